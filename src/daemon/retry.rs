//! Whether and when a job that could not be done is tried again.

use std::time::Duration;

use uuid::Uuid;

use crate::operation::FailureClass;

/// What becomes of a job that met trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is tried again after this long, as long as attempts are left.
    Again(Duration),
    /// Trying again would give the same.
    Failed,
    /// It belongs to somebody else.
    Leave,
}

/// No pause is longer.
const LONGEST: Duration = Duration::from_mins(30);

/// What becomes of a job after trouble of a class in its attempt number `attempt` (from 1).
/// Pauses double with each attempt, and each job has its own within a fifth of it, so that
/// what failed together does not come back together.
pub(super) fn after(class: FailureClass, attempt: u32, job: Uuid) -> Verdict {
    let first = match class {
        FailureClass::Configuration
        | FailureClass::Refused
        | FailureClass::Storage { transient: false } => return Verdict::Failed,
        FailureClass::Fenced => return Verdict::Leave,
        // Stopped without anybody having asked: by its own limit of time.
        FailureClass::Interrupted => Duration::from_mins(1),
        FailureClass::Storage { transient: true } | FailureClass::State => Duration::from_secs(30),
        FailureClass::Capacity => Duration::from_mins(2),
        // Somebody has to do something.
        FailureClass::Credentials | FailureClass::Defect => Duration::from_mins(5),
    };
    let doubled = first.saturating_mul(1_u32 << attempt.saturating_sub(1).min(10));
    let pause = doubled.min(LONGEST);
    let fifth = pause.as_secs() / 5;
    let own = u64::from(job.as_bytes().last().copied().unwrap_or_default());
    Verdict::Again(pause + Duration::from_secs(fifth * own / 256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_way() {
        let job = Uuid::nil();
        let store = FailureClass::Storage { transient: true };
        assert_eq!(
            after(store, 1, job),
            Verdict::Again(Duration::from_secs(30))
        );
        assert_eq!(after(store, 2, job), Verdict::Again(Duration::from_mins(1)));
        assert_eq!(after(store, 3, job), Verdict::Again(Duration::from_mins(2)));
        assert_eq!(after(store, u32::MAX, job), Verdict::Again(LONGEST));
        for class in FailureClass::ALL {
            let verdict = after(class, 1, job);
            let lasting = matches!(
                class,
                FailureClass::Configuration
                    | FailureClass::Refused
                    | FailureClass::Storage { transient: false }
            );
            assert_eq!(verdict == Verdict::Failed, lasting, "{class:?}");
            assert_eq!(verdict == Verdict::Leave, class == FailureClass::Fenced);
        }
    }

    #[test]
    fn what_failed_together_does_not_come_back_together() {
        let pause = |byte| match after(FailureClass::Credentials, 1, Uuid::from_bytes([byte; 16])) {
            Verdict::Again(pause) => pause,
            other => panic!("{other:?}"),
        };
        assert_eq!(pause(0), Duration::from_mins(5));
        assert!(pause(128) > pause(0) && pause(255) > pause(128));
        assert!(pause(255) < Duration::from_mins(6));
    }
}
