//! A place to restore into, and the server that runs there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use walproof::postgres::Lsn;
use walproof::repository::{Catalog, Repository};
use walproof::restore::configuration::RecoveryAction;
use walproof::restore::{
    BackupChoice, ExtractOptions, RestoreOptions, RestoreReport, RunError, TablespaceMap, Target,
    Watch, Wish, run,
};
use walproof::storage::{StorageOptions, Store};

use crate::client;
use crate::common::postgres::TestServer;
use crate::common::process::wait_until;
use crate::common::scratch;

/// Opens a repository by its URL.
pub(crate) fn open(url: &str) -> Repository {
    let store = Store::open(&url.parse().unwrap(), &StorageOptions::default()).unwrap();
    walproof::repository::open(store)
}

/// A scratch place.
pub(crate) struct Place {
    pub(crate) keep: Arc<TempDir>,
    pub(crate) program: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let keep = Arc::new(scratch::directory());
        std::fs::create_dir(keep.path().join("pg")).unwrap();
        let program = client::program(keep.path());
        Self { keep, program }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.keep.path().join("pg/data")
    }

    /// Options for a restore into this place.
    pub(crate) fn options(&self, url: &str, wish: Wish, action: RecoveryAction) -> RestoreOptions {
        RestoreOptions {
            wish,
            into: self.data(),
            tablespaces: TablespaceMap::default(),
            extract: ExtractOptions {
                sync: false,
                ..ExtractOptions::default()
            },
            action,
            program: self.program.clone(),
            wal_get_arguments: vec![url.to_owned()],
            owner: None,
            preload: Vec::new(),
            socket_directory: self.keep.path().join("pg/s"),
            port: TestServer::PORT,
            ignore_free_space: false,
        }
    }

    pub(crate) async fn restore(
        &self,
        url: &str,
        catalog: &Catalog,
        wish: Wish,
        action: RecoveryAction,
    ) -> Result<RestoreReport, RunError> {
        let options = self.options(url, wish, action);
        run(&open(url), catalog, &options, &Watch::default()).await
    }

    /// The server of this place, not started. Tests talk to it as its superuser.
    pub(crate) fn server(&self, settings: &[(&str, &str)]) -> TestServer {
        std::fs::write(self.data().join("pg_hba.conf"), "local all all trust\n").unwrap();
        let mut all = vec![("fsync", "off"), ("shared_buffers", "32MB")];
        all.extend(settings);
        TestServer::adopt(Arc::clone(&self.keep), &self.data(), &all)
    }
}

/// A wish without a word on backup or timeline.
pub(crate) fn wish(target: Target) -> Wish {
    Wish {
        target,
        ..Wish::default()
    }
}

/// A wish from a named backup.
pub(crate) fn wish_from(backup: &str, target: Target) -> Wish {
    Wish {
        target,
        backup: BackupChoice::Id(backup.to_owned()),
        ..Wish::default()
    }
}

/// Starts a server that pauses at its target, waits for that, and gives the position.
pub(crate) fn replay_until_paused(server: &mut TestServer) -> Lsn {
    server.start();
    wait_until(Duration::from_mins(1), "recovery to pause", || {
        server.psql("select pg_get_wal_replay_pause_state()") == "paused"
    });
    server
        .psql("select pg_last_wal_replay_lsn()")
        .parse()
        .unwrap()
}

/// Every file below a directory, relative, with links as their targets.
pub(crate) fn listing(root: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path.clone());
            }
            all.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
    all.sort();
    all
}
