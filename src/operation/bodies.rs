//! What the ledger's entries of verifications and replications say, from the standings that
//! hold the same figures.

use crate::config::Period;
use crate::evidence::ledger::{ReplicateBody, RunBody, VerifyBody};
use crate::finding::Severity;
use crate::replicate::ReplicateReport;

use super::replicate::Places;
use super::standing::{ReplicateStanding, VerifyStanding};

/// The entry of a verification.
pub(super) fn verify(run: RunBody, location: &str, standing: &VerifyStanding) -> VerifyBody {
    let exposure_ms = standing.tip_commit_at.and_then(|tip| {
        let exposure = standing.checked_at.signed_duration_since(tip);
        // A clock that goes wrong must not look like a good exposure.
        u64::try_from(exposure.num_milliseconds()).ok()
    });
    VerifyBody {
        window_begin: standing.oldest_begin,
        window_end: standing.window_end,
        gaps: Some(standing.gaps),
        exposure_ms: exposure_ms.filter(|_| standing.exposure_known),
        rpo_ms: standing.rpo_ms,
        usable_backups: Some(standing.usable_backups),
        newest_backup_at: standing.newest_backup_at,
        segments: Some(standing.segments),
        bytes_read: Some(standing.bytes_read),
        ..VerifyBody::new(run, location.to_owned(), standing.depth.as_str().to_owned())
    }
}

/// The entry of a replication.
pub(super) fn replicate(
    run: RunBody,
    places: &Places,
    report: &ReplicateReport,
    standing: &ReplicateStanding,
) -> ReplicateBody {
    let different = report
        .findings
        .iter()
        .filter(|finding| finding.severity >= Severity::Warning)
        .count();
    ReplicateBody {
        ended: Some(standing.ended.clone()),
        copied_objects: Some(standing.copied_objects),
        copied_bytes: Some(standing.copied_bytes),
        missing_objects: Some(standing.missing_objects),
        lag_ms: standing.lag_ms,
        lag_objective_ms: places.replication.lag.map(milliseconds),
        different_objects: Some(different as u64),
        ..ReplicateBody::new(run, report.source.clone(), report.target.clone())
    }
}

const fn milliseconds(period: Period) -> u64 {
    period.as_secs().saturating_mul(1_000)
}
