//! What entries of runs say.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ClosedIncident, OpenedIncident, cut};
use crate::evidence::ledger::EntryKind;
use crate::evidence::{Trigger, Verdict};
use crate::finding::{Finding, Severity};

/// Who asked for a run, and what was due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// A person's command or a schedule.
    pub trigger: Trigger,
    /// Who: a person, a role or a service.
    #[serde(default)]
    pub initiator: String,
    /// The schedule's name.
    #[serde(default)]
    pub schedule: Option<String>,
    /// The job in the queue.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub job: Option<Uuid>,
    /// When it was due, for a schedule.
    #[serde(default)]
    pub due_at: Option<DateTime<Utc>>,
    /// Whether it ran later than it should have: it was caught up.
    #[serde(default)]
    pub late: bool,
}

impl Default for Asked {
    /// By hand, by nobody known.
    fn default() -> Self {
        Self {
            trigger: Trigger::Manual,
            initiator: String::new(),
            schedule: None,
            job: None,
            due_at: None,
            late: false,
        }
    }
}

/// How often a code was found, and how bad at worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundCount {
    /// The worst severity under this code.
    pub severity: Severity,
    /// How many findings.
    pub count: u64,
}

/// Findings counted by code. Bounded by the number of codes.
pub fn tally(findings: &[Finding]) -> BTreeMap<String, FoundCount> {
    let mut counts: BTreeMap<String, FoundCount> = BTreeMap::new();
    for finding in findings {
        let found = counts
            .entry(finding.code.as_str().to_owned())
            .or_insert(FoundCount {
                severity: finding.severity,
                count: 0,
            });
        found.severity = found.severity.max(finding.severity);
        found.count = found.count.saturating_add(1);
    }
    counts
}

/// What the entry of every run says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunBody {
    /// Who asked, and what was due.
    #[serde(default)]
    pub asked: Asked,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// The verdict. Only a drill can be `proven`; what else found nothing wrong has none.
    pub verdict: Option<Verdict>,
    /// The exit code: 0 nothing wrong, 1 a problem was found, above that it could not be
    /// checked.
    pub exit_code: u8,
    /// One line, cut to 500 characters.
    #[serde(default)]
    pub summary: String,
    /// What was found wrong, by code.
    #[serde(default)]
    pub findings: BTreeMap<String, FoundCount>,
}

impl RunBody {
    /// A run that ended.
    pub fn new(
        asked: Asked,
        (started_at, finished_at): (DateTime<Utc>, DateTime<Utc>),
        verdict: Option<Verdict>,
        exit_code: u8,
        summary: &str,
        findings: &[Finding],
    ) -> Self {
        Self {
            asked,
            started_at,
            finished_at,
            verdict,
            exit_code,
            summary: cut(summary),
            findings: tally(findings),
        }
    }
}

/// A verification that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyBody {
    /// The run.
    pub run: RunBody,
    /// Where the repository lies. Never with credentials.
    #[serde(default)]
    pub location: String,
    /// How deep it looked: `listed`, `sampled` or `read`.
    #[serde(default)]
    pub depth: String,
    /// The first moment that can be brought back.
    #[serde(default)]
    pub window_begin: Option<DateTime<Utc>>,
    /// The last moment that can be brought back.
    #[serde(default)]
    pub window_end: Option<DateTime<Utc>>,
    /// Gaps within the window.
    #[serde(default)]
    pub gaps: Option<u64>,
    /// What would have been lost had the database been lost at this verification.
    #[serde(default)]
    pub exposure_ms: Option<u64>,
    /// The objective for it.
    #[serde(default)]
    pub rpo_ms: Option<u64>,
    /// Base backups that can be used.
    #[serde(default)]
    pub usable_backups: Option<u64>,
    /// When the newest usable one ended.
    #[serde(default)]
    pub newest_backup_at: Option<DateTime<Utc>>,
    /// WAL segments seen.
    #[serde(default)]
    pub segments: Option<u64>,
    /// Bytes that were read.
    #[serde(default)]
    pub bytes_read: Option<u64>,
    /// Incidents that it opened.
    #[serde(default)]
    pub opened: Vec<OpenedIncident>,
    /// Incidents that it closed.
    #[serde(default)]
    pub closed: Vec<ClosedIncident>,
}

impl VerifyBody {
    /// A verification of which only the run is known.
    pub fn new(run: RunBody, location: String, depth: String) -> Self {
        Self {
            run,
            location,
            depth,
            window_begin: None,
            window_end: None,
            gaps: None,
            exposure_ms: None,
            rpo_ms: None,
            usable_backups: None,
            newest_backup_at: None,
            segments: None,
            bytes_read: None,
            opened: Vec::new(),
            closed: Vec::new(),
        }
    }
}

/// A replication that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicateBody {
    /// The run.
    pub run: RunBody,
    /// Where was read.
    #[serde(default)]
    pub source: String,
    /// Where was written.
    #[serde(default)]
    pub target: String,
    /// How it ended: `complete`, `window-closed`, `limited`, …
    #[serde(default)]
    pub ended: Option<String>,
    /// Objects copied.
    #[serde(default)]
    pub copied_objects: Option<u64>,
    /// Bytes copied.
    #[serde(default)]
    pub copied_bytes: Option<u64>,
    /// Objects that the target still lacks.
    #[serde(default)]
    pub missing_objects: Option<u64>,
    /// How far the copy is behind.
    #[serde(default)]
    pub lag_ms: Option<u64>,
    /// The objective for it.
    #[serde(default)]
    pub lag_objective_ms: Option<u64>,
    /// Objects with other bytes on the two sides.
    #[serde(default)]
    pub different_objects: Option<u64>,
    /// Incidents that it opened.
    #[serde(default)]
    pub opened: Vec<OpenedIncident>,
    /// Incidents that it closed.
    #[serde(default)]
    pub closed: Vec<ClosedIncident>,
}

impl ReplicateBody {
    /// A replication of which only the run is known.
    pub fn new(run: RunBody, source: String, target: String) -> Self {
        Self {
            run,
            source,
            target,
            ended: None,
            copied_objects: None,
            copied_bytes: None,
            missing_objects: None,
            lag_ms: None,
            lag_objective_ms: None,
            different_objects: None,
            opened: Vec::new(),
            closed: Vec::new(),
        }
    }
}

/// A comparison, a restore for use, a base backup, or a removal by policy that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OtherBody {
    /// The run.
    pub run: RunBody,
    /// Where the repository lies. Never with credentials.
    #[serde(default)]
    pub location: String,
    /// Incidents that it opened.
    #[serde(default)]
    pub opened: Vec<OpenedIncident>,
    /// Incidents that it closed.
    #[serde(default)]
    pub closed: Vec<ClosedIncident>,
}

/// A run that was killed, or whose machine went down, as it was noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterruptedBody {
    /// What it was.
    pub job: EntryKind,
    /// Who asked, and what was due, where that is known.
    #[serde(default)]
    pub asked: Asked,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was noticed.
    pub noticed_at: DateTime<Utc>,
    /// Whether it was one attempt of several: what the job came to stands in another entry,
    /// made before or after this one.
    #[serde(default)]
    pub again: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Code;

    #[test]
    fn findings_are_counted_by_code_with_the_worst_severity() {
        let gap = |severity| Finding::new(Code::WalGap, "1", "x").with_severity(severity);
        let counts = tally(&[
            gap(Severity::Warning),
            gap(Severity::Critical),
            gap(Severity::Info),
            Finding::new(Code::BackupStale, "b", "y"),
        ]);
        assert_eq!(counts.len(), 2);
        assert_eq!(
            counts["wal-gap"],
            FoundCount {
                severity: Severity::Critical,
                count: 3
            }
        );
        assert_eq!(counts["backup-stale"].count, 1);
    }
}
