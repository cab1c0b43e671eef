//! Which base backups can be relied on: what a verification says, and what is remembered of
//! damage.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{Finding, Severity};
use crate::postgres::{SegmentNumber, TimelineId, WalFileName};
use crate::repository::{BaseBackup, Catalog, CopyClass, Repository};
use crate::verify::VerifyReport;
use crate::verify::backups::needed_wal;

/// The base backups by id: `None` for a usable one, else why it is not.
pub(super) type Usability = BTreeMap<String, Option<String>>;

/// Judges every base backup of a catalog.
pub(super) fn judge(
    repository: &Repository,
    catalog: &Catalog,
    report: &VerifyReport,
    remembered: &[Finding],
) -> Usability {
    let critical = || {
        report
            .findings
            .iter()
            .chain(remembered)
            .filter(|finding| finding.severity == Severity::Critical)
    };
    let objects: BTreeSet<&str> = critical().map(|finding| finding.object.as_str()).collect();
    let size = catalog.wal.segment_size;
    let segments: BTreeSet<(TimelineId, SegmentNumber)> = objects
        .iter()
        .filter_map(|key| match repository.copy_class(key) {
            CopyClass::Wal(WalFileName::Segment(name)) => {
                Some((name.timeline, name.number(size).ok()?))
            }
            _ => None,
        })
        .collect();
    let told = |backup: &BaseBackup| {
        let Some(found) = report.backups.iter().find(|found| found.id == backup.id) else {
            return Some("it was not looked at".to_owned());
        };
        if !found.usable {
            let reason = found.reasons.first();
            return Some(
                reason
                    .cloned()
                    .unwrap_or_else(|| "it cannot be used".to_owned()),
            );
        }
        damage(backup, &objects, &segments)
    };
    catalog
        .backups
        .iter()
        .map(|backup| (backup.id.clone(), told(backup)))
        .collect()
}

fn damage(
    backup: &BaseBackup,
    objects: &BTreeSet<&str>,
    segments: &BTreeSet<(TimelineId, SegmentNumber)>,
) -> Option<String> {
    let archives = backup.archives.iter().map(|archive| archive.key.as_str());
    let own = archives.chain([backup.info_key.as_str(), backup.id.as_str()]);
    if let Some(key) = own.into_iter().find(|key| objects.contains(key)) {
        return Some(format!("{key} is damaged"));
    }
    let (timeline, (first, last)) = (backup.timeline?, needed_wal(backup)?);
    segments
        .range((timeline, first)..=(timeline, last))
        .next()
        .map(|_| "the WAL that makes it consistent is damaged".to_owned())
}
