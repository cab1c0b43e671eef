//! Where each copy of each cluster stands by its newest run of each kind, as plain data.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::RunKind;
use crate::evidence::{EntryKind, Verdict};

/// How long a standing's body may be as JSON text, in bytes.
pub const STANDING_LIMIT: usize = 8 * 1024;

/// What the newest run of a kind said of a copy. One per cluster, copy and kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The cluster.
    pub cluster: String,
    /// Which copy; may be empty.
    pub copy: String,
    /// The repository's URL. Never with credentials.
    pub location: String,
    /// What kind of run.
    pub kind: RunKind,
    /// When this was so. An older standing never replaces a newer one.
    pub at: DateTime<Utc>,
    /// The run.
    pub run_id: Uuid,
    /// Its exit code.
    pub exit_code: u8,
    /// Its verdict.
    pub verdict: Option<Verdict>,
    /// What it said; less than [`STANDING_LIMIT`].
    pub body: Value,
}

impl Standing {
    /// Whether the run gave an answer, good or bad: it came to its end (exit codes 0 and 1),
    /// and its verdict, if it has one, is not `unproven`. A drill that is `proven` and could
    /// not clean up ends with 3, and has answered.
    pub fn has_answered(&self) -> bool {
        match self.verdict {
            Some(Verdict::Proven) => true,
            Some(Verdict::Failed) | None => self.exit_code <= 1,
            Some(Verdict::Unproven) => false,
        }
    }
}

/// What to show of standings. Everything that is left out does not narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandingFilter {
    /// This cluster.
    pub cluster: Option<String>,
    /// This copy.
    pub copy: Option<String>,
    /// This kind.
    pub kind: Option<RunKind>,
}

/// How many entries of a kind the ledger holds of a copy: counted since the beginning, so
/// that counters survive restarts and are the same in every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryCount {
    /// The kind.
    pub kind: EntryKind,
    /// The cluster; may be empty.
    pub cluster: String,
    /// Which copy; may be empty.
    pub copy: String,
    /// What the run came to: `proven`, `failed` or `unproven`; without a verdict `done`
    /// (exit code 0), `found` (1), `unchecked` (3) or `refused` (others). Of something that
    /// was due and missed, late or skipped, the reason. Empty for other entries of no run.
    pub outcome: String,
    /// How many.
    pub entries: u64,
    /// How many due moments they stand for; what is late stands for those that it passes
    /// over as well. Of other kinds as many as there are entries.
    pub moments: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_whatever_was_left_behind() {
        for (exit_code, verdict, expected) in [
            (0, Some(Verdict::Proven), true),
            // Proven, and not cleaned up.
            (3, Some(Verdict::Proven), true),
            (1, Some(Verdict::Failed), true),
            (3, Some(Verdict::Failed), false),
            (0, Some(Verdict::Unproven), false),
            (3, Some(Verdict::Unproven), false),
            (0, None, true),
            (1, None, true),
            (3, None, false),
        ] {
            let standing = Standing {
                cluster: "orders".to_owned(),
                copy: "primary".to_owned(),
                location: String::new(),
                kind: RunKind::Drill,
                at: DateTime::UNIX_EPOCH,
                run_id: Uuid::nil(),
                exit_code,
                verdict,
                body: Value::Null,
            };
            assert_eq!(standing.has_answered(), expected, "{exit_code} {verdict:?}");
        }
    }
}
