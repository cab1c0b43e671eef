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
