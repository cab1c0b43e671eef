//! What trouble in Kubernetes means for a drill.

use super::report::TroubleReport;
use crate::drill::course::Stop;
use crate::drill::last_words::gave_up;
use crate::finding::{Code, Finding};
use crate::kubernetes::watch::{Trouble, TroubleClass};
use crate::kubernetes::{KubeError, KubeErrorKind};
use crate::postgres::{SegmentName, WalFileName};
use crate::repository::{Catalog, Repository};

/// What a failed wish to the API means: never anything about the backup.
pub(super) fn stopped_by(error: &KubeError) -> Stop {
    Stop::Unproven(format!("{error}; {}", error.hint()))
}

/// What an object that the API did not take means.
pub(super) fn not_created(error: &KubeError) -> Stop {
    if error.kind == KubeErrorKind::Quota {
        return Stop::Unproven(format!(
            "{error}; raise `cnpg.quota` in the drill definition, or the quota that a policy of the \
             cluster sets"
        ));
    }
    stopped_by(error)
}

/// As the report tells it.
pub(super) fn reported(trouble: &Trouble) -> TroubleReport {
    TroubleReport {
        class: trouble.class.as_str().to_owned(),
        object: trouble.object.clone(),
        words: trouble.words.clone(),
        hint: trouble.hint.clone(),
    }
}

/// Where walproof itself finds what the pods' tools say is not there, or that it cannot look.
/// `None` where it is really gone, and for trouble of another kind: then it stands.
///
/// The tools take a server of another address, or one that answers "not there" for a moment,
/// at its word.
pub(super) async fn found_after_all(
    trouble: &Trouble,
    repository: &Repository,
    catalog: &Catalog,
    backup: &str,
) -> Option<String> {
    let keys: Vec<String> = match (trouble.class, &trouble.missing_wal) {
        (TroubleClass::WalMissing, Some(name)) => {
            let name: SegmentName = name.parse().ok()?;
            let objects = repository.wal_objects(catalog, WalFileName::Segment(name));
            objects.into_iter().map(|object| object.key).collect()
        }
        (TroubleClass::BackupNotFound, _) => {
            let found = catalog.backups.iter().find(|found| found.id == backup);
            found
                .map(|found| found.info_key.clone())
                .into_iter()
                .collect()
        }
        _ => return None,
    };
    for key in keys {
        match repository.store().head(&key).await {
            Ok(None) => {}
            Ok(Some(_)) => return Some(format!("walproof finds {key} where it lies")),
            Err(error) => return Some(format!("walproof cannot look for {key} again: {error}")),
        }
    }
    None
}

/// What trouble that ends a recovery means. `fatal` is what the restored server gave up
/// with, as far as it was heard.
pub(super) fn ended_by(trouble: &Trouble, fatal: &[String]) -> Stop {
    if !trouble.backup() {
        return Stop::Unproven(format!(
            "{}: {} ({})",
            trouble.object, trouble.words, trouble.hint
        ));
    }
    let code = match trouble.class {
        TroubleClass::RecoveryFailed if !fatal.is_empty() => {
            return gave_up(fatal, &trouble.words);
        }
        TroubleClass::WalMissing | TroubleClass::TargetNotReached => Code::RecoveryEndedEarly,
        _ => Code::RecoveryFailed,
    };
    Stop::failed(Finding::new(
        code,
        trouble.object.clone(),
        trouble.words.clone(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository;
    use crate::storage::{Location, StorageOptions, Store};

    /// The pods say that a segment is not there. It is blamed on the backup only if walproof
    /// does not find it either.
    #[tokio::test]
    async fn what_walproof_finds_is_not_the_backups_fault() {
        let place = tempfile::tempdir().unwrap();
        let segment = "000000010000000000000007";
        let folder = place.path().join("wals/0000000100000000");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(segment);
        let whole = std::fs::File::create(&file).unwrap();
        whole.set_len(16 << 20).unwrap();
        let location: Location = format!("file://{}", place.path().display())
            .parse()
            .unwrap();
        let store = Store::open(&location, &StorageOptions::default()).unwrap();
        let repository = repository::open(store);
        let catalog = repository.catalog().await.unwrap();
        let trouble = |class| Trouble {
            class,
            object: "pod drill-1".to_owned(),
            words: "not found".to_owned(),
            hint: String::new(),
            missing_wal: Some(segment.to_owned()),
            fatal: true,
        };
        let again =
            async |class| found_after_all(&trouble(class), &repository, &catalog, "b").await;
        let found = again(TroubleClass::WalMissing).await;
        assert!(
            found.as_ref().is_some_and(|words| words.contains(segment)),
            "{found:?} {:?}",
            catalog.wal
        );
        // What replay itself gave up over is not asked for again.
        assert_eq!(again(TroubleClass::TargetNotReached).await, None);
        assert_eq!(again(TroubleClass::BackupNotFound).await, None);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(again(TroubleClass::WalMissing).await, None);
    }
}
