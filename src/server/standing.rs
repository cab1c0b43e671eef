//! From what the newest run of a kind said of a copy to facts.

use super::facts::{DrillFacts, ReplicaFacts, VerificationFacts};
use crate::drill::Phase;
use crate::drill::verdict::ObjectiveState;
use crate::operation::standing::{DrillStanding, ReplicateStanding, VerifyStanding};
use crate::postgres::Lsn;
use crate::verify::Depth;

pub(super) fn verification(standing: &VerifyStanding) -> VerificationFacts {
    VerificationFacts {
        at: standing.checked_at,
        depth: match standing.depth {
            Depth::Listed => 0,
            Depth::Sampled => 1,
            Depth::Read | Depth::Restored => 2,
        },
        tip_at: standing.tip_commit_at,
        tip_known: standing.exposure_known,
        tip_lsn: standing.tip_lsn.map(Lsn::bytes),
        archive_end_at: standing.archive_end_at,
        archive_end_lsn: standing.archive_end_lsn.map(Lsn::bytes),
        oldest_begin: standing.oldest_begin,
        window_begin: standing.window_begin,
        window_end: standing.window_end,
        gaps: standing.gaps,
        missing_segments: standing.missing_segments,
        usable_backups: standing.usable_backups,
        backup_at: standing.newest_backup_at,
        failed_backup_at: standing.failed_backup_at,
        segments: standing.segments,
        wal_bytes: standing.wal_bytes,
        base_bytes: standing.base_bytes,
        read_bytes: standing.bytes_read,
    }
}

pub(super) const fn replica(standing: &ReplicateStanding) -> ReplicaFacts {
    ReplicaFacts {
        lag_ms: standing.lag_ms,
        missing: Some(standing.missing_objects),
        failures: Some(standing.failures),
        compared_at: Some(standing.compared_at),
        complete_at: match standing.complete_at {
            Some(at) => Some(at),
            // What an older version wrote.
            None if standing.complete => Some(standing.compared_at),
            None => None,
        },
        copied_bytes: Some(standing.copied_bytes),
    }
}

pub(super) fn drill(standing: &DrillStanding) -> DrillFacts {
    let met = |state| match state {
        ObjectiveState::Met => Some(true),
        ObjectiveState::Missed => Some(false),
        ObjectiveState::NotSet | ObjectiveState::NotApplicable | ObjectiveState::NotMeasured => {
            None
        }
    };
    DrillFacts {
        phases: standing
            .phases
            .iter()
            .filter_map(|timing| Some((phase(&timing.phase)?, timing.ms)))
            .collect(),
        time_to_service_ms: standing.time_to_service_ms,
        time_to_verified_ms: standing.time_to_verified_ms,
        recovery_point_ms: standing.recovery_point_ms,
        rpo_met: met(standing.rpo.state),
        rto_met: met(standing.rto.state),
    }
}

/// The phase of this name.
pub(super) fn phase(name: &str) -> Option<Phase> {
    Phase::ALL.into_iter().find(|phase| phase.as_str() == name)
}
