//! Which findings are remembered with an object.

use std::collections::HashMap;

use super::log::Logged;
use super::{Place, listing};
use crate::finding::{Code, Finding, Severity};
use crate::state::{RememberedObject, State, StateError};

/// Whether only reading an object can show this. What a listing shows is seen by every run.
const fn by_bytes(code: Code) -> bool {
    matches!(
        code,
        Code::WalUnreadable
            | Code::WalCorrupt
            | Code::WalForeign
            | Code::BackupDamaged
            | Code::BackupMemberUnsafe
            | Code::BackupLabelMissing
            | Code::PageCorrupt
            | Code::PageBeyondEnd
            | Code::PageStale
            | Code::RelationFileMissing
            | Code::RelationFileShort
            | Code::RelationMapCorrupt
            | Code::TransactionStatusMissing
            | Code::ManifestMismatch
    )
}

/// Remembers what is wrong with the objects that were read.
pub(super) async fn remember(
    place: &Place,
    logged: &Logged,
    findings: &[Finding],
) -> Result<(), StateError> {
    let mut damage: HashMap<&str, Vec<Finding>> = HashMap::new();
    for finding in findings {
        if by_bytes(finding.code)
            && finding.severity >= Severity::Warning
            && logged.keys.contains(&finding.object)
        {
            let of_object = damage.entry(&finding.object).or_default();
            of_object.push(finding.clone());
        }
    }
    let keys: Vec<String> = damage.keys().map(|key| (*key).to_owned()).collect();
    for keys in keys.chunks(State::OBJECTS_TOGETHER) {
        let update = |rows: Vec<RememberedObject>| {
            let mut rows = listing::by_key(rows);
            keys.iter()
                .filter_map(|key| {
                    let findings = damage.get(key.as_str())?.clone();
                    Some(RememberedObject {
                        findings,
                        last_read: Some(place.now),
                        ..rows.remove(key)?
                    })
                })
                .collect()
        };
        place
            .state
            .objects_update(&place.name, keys, update)
            .await?;
    }
    Ok(())
}
