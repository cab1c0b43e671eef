//! What is wrong with a repository as a collection of objects.

use std::collections::BTreeMap;

use crate::finding::{Code, Finding, Severity};
use crate::postgres::SystemId;
use crate::repository::{BackupStatus, BaseBackup, Catalog, WalInventory};

use super::words::count;

/// The system that a repository is taken to belong to: that of the newest finished base
/// backup which names one.
pub fn system_id(catalog: &Catalog) -> Option<SystemId> {
    finished(catalog)
        .filter_map(|backup| backup.system_id)
        .next_back()
}

fn finished(catalog: &Catalog) -> impl DoubleEndedIterator<Item = &BaseBackup> {
    catalog
        .backups
        .iter()
        .filter(|backup| backup.status == BackupStatus::Done)
}

/// Findings on the place as a whole.
pub fn findings(catalog: &Catalog) -> Vec<Finding> {
    let mut findings = Vec::new();
    if catalog.is_empty() {
        findings.push(Finding::new(
            Code::RepositoryEmpty,
            &catalog.location,
            "the listing holds no object",
        ));
        return findings;
    }
    findings.extend(mixed_systems(catalog));
    let unknown = &catalog.unknown;
    if unknown.count > 0 {
        let shown = unknown.sample.iter().take(5).map(String::as_str);
        let sample: Vec<&str> = shown.collect();
        findings.push(Finding::new(
            Code::ObjectUnknown,
            sample.first().copied().unwrap_or(&catalog.location),
            format!(
                "{} of no known kind, such as {}",
                count(unknown.count, "object"),
                sample.join(", ")
            ),
        ));
    }
    findings.extend(illegal_names(&catalog.wal));
    findings
}

fn mixed_systems(catalog: &Catalog) -> Option<Finding> {
    let mut backups: BTreeMap<SystemId, Vec<&str>> = BTreeMap::new();
    for backup in finished(catalog) {
        if let Some(system_id) = backup.system_id {
            backups.entry(system_id).or_default().push(&backup.id);
        }
    }
    if backups.len() < 2 {
        return None;
    }
    let own = system_id(catalog)?;
    let systems: Vec<String> = backups
        .iter()
        .map(|(system_id, ids)| {
            let newest = ids.last().copied().unwrap_or_default();
            format!(
                "{system_id} ({}, newest {newest})",
                count(ids.len() as u64, "backup")
            )
        })
        .collect();
    let foreign = backups
        .iter()
        .filter(|(system_id, _)| **system_id != own)
        .find_map(|(_, ids)| ids.last().copied())?;
    Some(Finding::new(
        Code::SystemIdMixed,
        foreign,
        format!(
            "backups of {} database systems lie here: {}",
            backups.len(),
            systems.join("; ")
        ),
    ))
}

/// Names that the segment size does not allow, as one finding: they have one cause.
/// None while the segment size is only guessed.
fn illegal_names(wal: &WalInventory) -> Option<Finding> {
    if wal.segment_size_guessed {
        return None;
    }
    let first = wal.illegal.first()?;
    Some(Finding::new(
        Code::WalNameIllegal,
        &first.key,
        format!(
            "{}{} that no cluster with {}-byte segments writes",
            if wal.illegal.len() >= WalInventory::LIMIT {
                "at least "
            } else {
                ""
            },
            count(wal.illegal.len() as u64, "WAL segment name"),
            wal.segment_size.bytes()
        ),
    ))
}

/// A finding that concerns nothing a recovery needs is told, but no alarm.
pub(super) fn unneeded(finding: Finding) -> Finding {
    finding
        .with_severity(Severity::Info)
        .with_consequence("No recovery to the current timeline needs it.")
        .with_action("Nothing to do; it goes when the backups before it expire, or delete it.")
}
