//! Finding the servers under a prefix that somebody only half remembers.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::barman_cloud::keys::{BASE, WALS};
use super::{BackupStatus, Catalog, Layout, RepositoryError, open};
use crate::postgres::SystemId;
use crate::storage::{Location, Store};

/// How many levels below the given place are looked through.
const DEPTH: usize = 3;

/// How many folders are looked into at most; a bucket of other things has millions.
const FOLDERS: usize = 2_000;

/// One server's repository, found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Discovered {
    /// The server's name in this layout: its folder's name. Empty at the top of a bucket.
    pub server: String,
    /// Where it lies.
    pub location: Location,
    /// How its objects are laid out.
    pub layout: Layout,
    /// How many base backups there are, of any status.
    pub backups: u64,
    /// How many of them are finished.
    pub finished_backups: u64,
    /// When the newest finished one ended.
    pub newest_backup: Option<DateTime<Utc>>,
    /// How many WAL segments there are.
    pub wal_segments: u64,
    /// When the newest segment was stored.
    pub newest_wal: Option<DateTime<Utc>>,
    /// The database systems that the backups belong to; more than one is wrong.
    pub system_ids: Vec<SystemId>,
    /// The PostgreSQL major versions of the backups, rising.
    pub majors: Vec<u32>,
    /// The sum of all stored sizes in bytes.
    pub bytes: u64,
}

/// Finds every server at or up to three levels below a place, in the order of their
/// locations. A server is a folder that holds `base/` or `wals/`; nothing is looked for
/// inside one.
pub async fn discover(store: &Store) -> Result<Vec<Discovered>, RepositoryError> {
    let mut found = Vec::new();
    let mut level = vec![store.clone()];
    let mut looked = 0usize;
    for _ in 0..=DEPTH {
        let mut below = Vec::new();
        for place in level {
            if looked == FOLDERS {
                break;
            }
            looked += 1;
            let folders = place.list_folders("").await?;
            if is_server(&place, &folders).await? {
                let catalog = open(place.clone()).catalog().await?;
                found.push(describe(place.location(), &catalog));
            } else {
                below.extend(folders.iter().map(|folder| place.at(folder)));
            }
        }
        level = below;
    }
    found.sort_by_key(|server| server.location.to_string());
    Ok(found)
}

/// Whether the place is a server's folder. A server may itself be called `base` or `wals`:
/// then that folder holds such folders in turn.
async fn is_server(place: &Store, folders: &[String]) -> Result<bool, RepositoryError> {
    for name in [BASE, WALS] {
        if folders.iter().any(|folder| folder == name) {
            let inner = place.list_folders(name).await?;
            if !inner.iter().any(|folder| folder == BASE || folder == WALS) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn describe(location: &Location, catalog: &Catalog) -> Discovered {
    let finished = || {
        catalog
            .backups
            .iter()
            .filter(|backup| backup.status == BackupStatus::Done)
    };
    let system_ids: BTreeSet<SystemId> = catalog
        .backups
        .iter()
        .filter_map(|backup| backup.system_id)
        .collect();
    let majors: BTreeSet<u32> = catalog
        .backups
        .iter()
        .filter_map(super::BaseBackup::major)
        .collect();
    Discovered {
        server: location.last_part().unwrap_or_default().to_owned(),
        location: location.clone(),
        layout: catalog.layout,
        backups: catalog.backups.len() as u64,
        finished_backups: finished().count() as u64,
        newest_backup: finished().filter_map(|backup| backup.end_time).max(),
        wal_segments: catalog.wal.count(),
        newest_wal: catalog
            .wal
            .timelines
            .values()
            .filter_map(|wal| wal.newest_stored)
            .max(),
        system_ids: system_ids.into_iter().collect(),
        majors: majors.into_iter().collect(),
        bytes: catalog.bytes,
    }
}
