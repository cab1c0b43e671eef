//! Stored definitions, listed and read.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{DefinitionError, MOST_BYTES, MOST_FILE, MOST_MANIFEST, folder};
use crate::kubernetes::definition::{Content, ContentError, Manifest, Stamp, restored};
use crate::storage::Store;

/// A definition that was read back, every digest checked.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredDefinition {
    /// Its name.
    pub stamp: Stamp,
    /// What is said of it.
    pub manifest: Manifest,
    /// What it holds.
    pub content: Content,
}

/// The stamps of a cluster's stored definitions, the oldest first. A folder in which something
/// was begun and not finished is among them; [`read`] says so. Other names are left alone.
///
/// # Errors
///
/// The store cannot be asked.
pub async fn list(store: &Store, cluster: &str) -> Result<Vec<Stamp>, DefinitionError> {
    let names = match store.list_folders(&folder(cluster)).await {
        Ok(names) => names,
        // A directory without this folder.
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut stamps: Vec<Stamp> = names.iter().filter_map(|name| name.parse().ok()).collect();
    stamps.sort();
    Ok(stamps)
}

/// One of them; `None` when it was never finished. Memory: at most 64 MiB.
///
/// # Errors
///
/// The store cannot be asked, or what lies there is not what was captured.
pub async fn read(
    store: &Store,
    cluster: &str,
    stamp: &Stamp,
) -> Result<Option<StoredDefinition>, DefinitionError> {
    let place = format!("{}/{stamp}", folder(cluster));
    let changed = |problem: ContentError| DefinitionError::Changed {
        name: store.location().join(&place).to_string(),
        problem,
    };
    let key = format!("{place}/{}", Manifest::FILE);
    let bytes = match store.read_small(&key, MOST_MANIFEST).await {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let manifest = Manifest::parse(&bytes).map_err(changed)?;
    if manifest.stamp() != *stamp || manifest.cluster != cluster {
        return Err(changed(ContentError::Manifest(format!(
            "it is that of `{}`, {}",
            manifest.cluster,
            manifest.stamp()
        ))));
    }
    let total = manifest
        .files
        .iter()
        .fold(0_u64, |sum, file| sum.saturating_add(file.size));
    if total > MOST_BYTES {
        return Err(changed(ContentError::Manifest(format!(
            "its files have {total} bytes"
        ))));
    }
    let mut files = BTreeMap::new();
    for file in &manifest.files {
        let key = format!("{place}/{}", file.file);
        match store.read_small(&key, MOST_FILE).await {
            Ok(bytes) => {
                files.insert(file.file.clone(), bytes.to_vec());
            }
            Err(error) if error.is_not_found() => {
                return Err(changed(ContentError::Missing(file.file.clone())));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let content = restored(&manifest, &files).map_err(changed)?;
    Ok(Some(StoredDefinition {
        stamp: stamp.clone(),
        manifest,
        content,
    }))
}

/// The newest that was finished; `None` when there is none.
///
/// # Errors
///
/// The store cannot be asked, or what lies there is not what was captured: an older one is not
/// taken in its place silently.
pub async fn newest(
    store: &Store,
    cluster: &str,
) -> Result<Option<StoredDefinition>, DefinitionError> {
    for stamp in list(store, cluster).await?.iter().rev() {
        if let Some(stored) = read(store, cluster, stamp).await? {
            return Ok(Some(stored));
        }
    }
    Ok(None)
}

/// Since when a definition is as it is: when the first of those was captured that lie right before
/// it and hold the same.
///
/// # Errors
///
/// The store cannot be asked.
pub async fn since(
    store: &Store,
    cluster: &str,
    stored: &StoredDefinition,
) -> Result<DateTime<Utc>, DefinitionError> {
    let stamps = list(store, cluster).await?;
    let same = |stamp: &&Stamp| stamp.digest() == stored.stamp.digest();
    let first = stamps
        .iter()
        .rev()
        .skip_while(|stamp| **stamp != stored.stamp)
        .take_while(same)
        .last();
    Ok(match first {
        Some(first) if *first != stored.stamp => first.moment(),
        _ => stored.manifest.captured_at,
    })
}
