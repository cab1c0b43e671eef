//! The base backups of a repository together, held against what the tier promises.

use chrono::Duration;

use super::BackupAssessment;
use crate::finding::{Code, Finding};
use crate::postgres::TimelineId;
use crate::repository::{BaseBackup, Catalog};
use crate::verify::VerifyOptions;
use crate::verify::words::{length, utc};

/// What is wrong with the backups as a whole.
pub fn findings(
    catalog: &Catalog,
    assessments: &[BackupAssessment],
    options: &VerifyOptions,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let usable = |backup: &&BaseBackup| {
        assessments
            .iter()
            .any(|found| found.usable && found.id == backup.id)
    };
    if !catalog.is_empty() && !catalog.backups.iter().any(|backup| usable(&backup)) {
        let message = match catalog.backups.len() {
            0 => "there is no base backup".to_owned(),
            1 => "there is one base backup, and it cannot be used".to_owned(),
            number => format!("there are {number} base backups, and none can be used"),
        };
        findings.push(
            Finding::new(Code::RepositoryWithoutBackup, &catalog.location, message)
                .with_consequence("Nothing can be restored from here: WAL without a usable base backup restores nothing."),
        );
        return findings;
    }
    if !options.beside.is_empty() {
        findings.push(Finding::new(
            Code::BackupsBesideOnly,
            &catalog.location,
            format!(
                "no base backup that can be used lies here; {} beside it, as volume snapshots",
                match options.beside.len() {
                    1 => "one lies".to_owned(),
                    number => format!("{number} lie"),
                }
            ),
        ));
    }
    let newest = catalog
        .backups
        .iter()
        .filter(usable)
        .max_by_key(|backup| backup.end_time);
    if let (Some(limit), Some(newest)) = (options.max_backup_age, newest)
        && let Some(end) = newest.end_time
    {
        let age = options.now.signed_duration_since(end);
        if age > limit {
            findings.push(
                Finding::new(
                    Code::BackupStale,
                    &newest.id,
                    format!(
                        "the newest usable base backup is {} old; the tier allows {}",
                        length(age),
                        length(limit)
                    ),
                )
                .with_time(Some(end), Some(options.now)),
            );
        }
    }
    findings.extend(retention(catalog, assessments, options));
    findings
}

/// Whether the oldest restorable moment is as old as the tier promises. A repository
/// that still holds the cluster's first segments has lost nothing: it is only young.
fn retention(
    catalog: &Catalog,
    assessments: &[BackupAssessment],
    options: &VerifyOptions,
) -> Option<Finding> {
    let required: Duration = options.retention?;
    let oldest = assessments
        .iter()
        .filter(|found| found.usable)
        .filter_map(|found| catalog.backup(&found.id))
        .filter(|backup| backup.keep != Some(crate::repository::Keep::Standalone))
        .min_by_key(|backup| backup.end_time)?;
    let begin = oldest.end_time?;
    let promised = options.now - required;
    let since_birth = catalog
        .wal
        .timelines
        .get(&TimelineId::FIRST)
        .and_then(crate::repository::TimelineWal::oldest)
        .is_some_and(|first| first.0 <= 1);
    (begin > promised && !since_birth).then(|| {
        Finding::new(
            Code::RetentionTooShort,
            &oldest.id,
            format!(
                "the oldest restorable moment is {} ({} ago); the tier promises {}",
                utc(begin),
                length(options.now - begin),
                length(required)
            ),
        )
        .with_time(Some(promised), Some(begin))
        .with_action("If this repository is younger than the promise, wait. Otherwise lengthen the retention of the backup tool or of the bucket's lifecycle rules.")
    })
}
