//! A listing in shards, so that both sides are listed by many requests at once.

use std::future::ready;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::repository::is_own;
use crate::storage::{ObjectEntry, Scheme, StorageError, Store};

/// How many folders make a shard worth its own requests.
const FOLDERS: usize = 8;

/// How many shards there are at most.
const SHARDS: usize = 64;

/// How many folders are looked into at once.
const PARALLEL: usize = 8;

/// A stretch of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    /// Only keys behind this one.
    pub(super) after: String,
    /// Only keys up to and with this one; all that follow if `None`.
    pub(super) until: Option<String>,
}

impl Shard {
    /// Every key.
    pub(super) const fn whole() -> Self {
        Self {
            after: String::new(),
            until: None,
        }
    }

    /// What a store holds of it, in the order of the keys. Empty objects that stand for
    /// folders and walproof's own are left out.
    pub(super) fn list(
        &self,
        store: &Store,
    ) -> BoxStream<'static, Result<ObjectEntry, StorageError>> {
        let until = self.until.clone();
        store
            .list_after("", &self.after)
            .try_take_while(move |entry| {
                let within = until.as_ref().is_none_or(|until| entry.key <= *until);
                ready(Ok(within))
            })
            .try_filter(|entry| {
                let folder = entry.key.ends_with('/') && entry.size == 0;
                ready(!folder && !is_own(&entry.key))
            })
            .boxed()
    }
}

/// Cuts the keys of two stores into shards of about as many folders, by the folders of the
/// first two levels of whichever has more. Memory: the folders' names.
pub(super) async fn shards(source: &Store, target: &Store) -> Result<Vec<Shard>, StorageError> {
    // Azure lists from the beginning whatever one asks for.
    let azure = |store: &Store| store.location().scheme() == Scheme::Azure;
    if azure(source) || azure(target) {
        return Ok(vec![Shard::whole()]);
    }
    let (here, there) = futures::try_join!(folders(source), folders(target))?;
    let folders = if here.len() < there.len() {
        there
    } else {
        here
    };
    Ok(cut(&folders))
}

async fn folders(store: &Store) -> Result<Vec<String>, StorageError> {
    let tops = store.list_folders("").await?;
    let mut names: Vec<String> = futures::stream::iter(tops)
        .map(|top| async move {
            let below = store.list_folders(&top).await?;
            let names: Vec<String> = below
                .into_iter()
                .map(|name| format!("{top}/{name}"))
                .collect();
            Ok::<_, StorageError>(names)
        })
        .buffered(PARALLEL)
        .try_concat()
        .await?;
    names.sort_unstable();
    Ok(names)
}

fn cut(folders: &[String]) -> Vec<Shard> {
    let count = (folders.len() / FOLDERS).clamp(1, SHARDS);
    let mut shards = Vec::with_capacity(count);
    let mut after = String::new();
    for number in 1..count {
        let Some(border) = folders.get(number * folders.len() / count) else {
            break;
        };
        shards.push(Shard {
            after: after.clone(),
            until: Some(border.clone()),
        });
        after.clone_from(border);
    }
    shards.push(Shard { after, until: None });
    shards
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::StorageOptions;

    #[test]
    fn shards_follow_each_other_without_a_gap() {
        let folders: Vec<String> = (0..1_000).map(|n| format!("wals/{n:016X}")).collect();
        for many in [0, 1, 7, 8, 100, 1_000] {
            let shards = cut(&folders[..many]);
            assert!(shards.len() <= SHARDS);
            assert_eq!(shards[0].after, "");
            assert_eq!(shards.last().unwrap().until, None);
            for pair in shards.windows(2) {
                assert_eq!(pair[0].until.as_ref(), Some(&pair[1].after));
                assert!(pair[0].after < pair[1].after);
            }
        }
        assert_eq!(cut(&folders).len(), SHARDS);
    }

    #[tokio::test]
    async fn every_object_is_in_one_shard() {
        let directory = tempfile::tempdir().unwrap();
        let mut keys = vec!["top".to_owned()];
        for folder in 0..40 {
            for file in 0..3 {
                keys.push(format!("wals/{folder:04}/{file}"));
            }
            keys.push(format!("wals/{folder:04}.history"));
        }
        for key in &keys {
            let path = directory.path().join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, key).unwrap();
        }
        let location = format!("file://{}", directory.path().display());
        let store = Store::open(&location.parse().unwrap(), &StorageOptions::default()).unwrap();
        let shards = shards(&store, &store).await.unwrap();
        assert_eq!(shards.len(), 5);
        let mut listed = Vec::new();
        for shard in shards {
            let entries: Vec<ObjectEntry> = shard.list(&store).try_collect().await.unwrap();
            listed.extend(entries.into_iter().map(|entry| entry.key));
        }
        keys.sort_unstable();
        assert_eq!(listed, keys);
    }
}
