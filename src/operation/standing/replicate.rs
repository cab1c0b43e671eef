//! Where a replica stands by its newest replication.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::verify::{FindingTally, tally};
use crate::finding::Severity;
use crate::replicate::{Ended, ReplicateReport};

/// Where a replica stands by its newest replication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicateStanding {
    /// When both sides were compared: what appeared at the source later is not counted.
    pub compared_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// Why it ended: `complete`, `window-closed`, `interrupted`, `stopped`, `limited`,
    /// `failed`.
    pub ended: String,
    /// Whether everything was copied that was to be: nothing is left, nothing failed.
    #[serde(default)]
    pub complete: bool,
    /// Whether only what is new was looked for.
    #[serde(default)]
    pub incremental: bool,
    /// How far the replica was behind at `compared_at`, after the copying, in milliseconds:
    /// 0 when nothing was left, else not known from a replication; the newest verifications
    /// of both copies tell it.
    #[serde(default)]
    pub lag_ms: Option<u64>,
    /// As of when nothing was left, by the newest replication that was complete: this one's
    /// `compared_at`, or that of one before to the same place.
    #[serde(default)]
    pub complete_at: Option<DateTime<Utc>>,
    /// Objects that were left to be copied.
    #[serde(default)]
    pub missing_objects: u64,
    /// Their stored size in bytes.
    #[serde(default)]
    pub missing_bytes: u64,
    /// Files of the WAL archive among them.
    #[serde(default)]
    pub missing_segments: u64,
    /// Base backups that wait: unfinished ones, and those whose WAL is not there yet.
    #[serde(default)]
    pub waiting: u64,
    /// Objects that could not be copied.
    #[serde(default)]
    pub failures: u64,
    /// Objects copied.
    #[serde(default)]
    pub copied_objects: u64,
    /// Their stored size in bytes.
    #[serde(default)]
    pub copied_bytes: u64,
    /// Findings of at least a warning: objects that differ, vanished, or changed after they
    /// were copied.
    #[serde(default)]
    pub differs: u64,
    /// Objects that lie at the replica alone.
    #[serde(default)]
    pub only_at_target: u64,
    /// What was found, by code.
    #[serde(default)]
    pub findings: BTreeMap<String, FindingTally>,
}

impl ReplicateStanding {
    /// As it is kept; `None` when this version cannot read it.
    pub fn read(body: serde_json::Value) -> Option<Self> {
        serde_json::from_value(body).ok()
    }

    /// The same, with the newest replication that was complete: this one, or one before to the
    /// same place.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        let known = before.complete.then_some(before.compared_at);
        self.complete_at = self.complete_at.or(before.complete_at).or(known);
        self
    }

    /// Where a replica stands by a replication that looked only at what is new, over where it
    /// stood before: what was found then was not looked at since.
    #[must_use]
    pub fn over(mut self, before: &Self) -> Self {
        self.differs = self.differs.saturating_add(before.differs);
        self.only_at_target = before.only_at_target;
        for (code, found) in &before.findings {
            let tally = self.findings.entry(code.clone()).or_insert(FindingTally {
                severity: found.severity,
                count: 0,
            });
            tally.severity = tally.severity.max(found.severity);
            tally.count = tally.count.saturating_add(found.count);
        }
        self
    }

    /// Where a replica stands by this report.
    pub fn of(report: &ReplicateReport) -> Self {
        let (left, copied) = (report.left.total(), report.copied.by_kind.total());
        // One that followed the source until it was stopped had copied what there was.
        let complete = matches!(report.ended, Ended::Complete | Ended::Stopped)
            && report.is_complete()
            && left.is_empty()
            && report.trouble.is_none();
        Self {
            compared_at: report.started_at,
            finished_at: report.finished_at,
            ended: word(&report.ended).to_owned(),
            complete,
            incremental: report.incremental.is_some(),
            lag_ms: complete.then_some(0),
            complete_at: complete.then_some(report.started_at),
            missing_objects: left.objects,
            missing_bytes: left.bytes,
            missing_segments: report.left.wal.objects,
            waiting: report.waiting.len() as u64,
            failures: report.failures.len() as u64,
            copied_objects: copied.objects,
            copied_bytes: copied.bytes,
            differs: report
                .findings
                .iter()
                .filter(|finding| finding.severity >= Severity::Warning)
                .count() as u64,
            only_at_target: report.compared.only_at_target.objects,
            findings: tally(&report.findings),
        }
    }
}

const fn word(ended: &Ended) -> &'static str {
    match ended {
        Ended::Complete => "complete",
        Ended::WindowClosed => "window-closed",
        Ended::Interrupted => "interrupted",
        Ended::Stopped => "stopped",
        Ended::Limited => "limited",
        Ended::Failed { .. } => "failed",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_incomplete_replication_does_not_hide_the_complete_one_before() {
        let standing = |minute: u32, complete: bool, complete_at: Option<&str>| {
            let at = format!("2026-11-22T01:{minute:02}:00Z");
            ReplicateStanding::read(json!({
                "compared_at": at, "finished_at": at, "ended": "limited", "complete": complete,
                "complete_at": complete_at,
            }))
            .unwrap()
        };
        let first = standing(0, false, None);
        let never = standing(1, false, None).after(&first);
        assert_eq!(never.complete_at, None);
        let whole = standing(2, true, Some("2026-11-22T01:02:00Z")).after(&never);
        let known = whole.complete_at;
        assert_eq!(known, Some(whole.compared_at));
        let third = standing(3, false, None).after(&whole);
        assert_eq!(standing(4, false, None).after(&third).complete_at, known);
        // What an older version wrote.
        let older = standing(5, true, None);
        let next = standing(6, false, None).after(&older);
        assert_eq!(next.complete_at, Some(older.compared_at));
        let newer = standing(7, true, Some("2026-11-22T01:07:00Z"));
        assert_eq!(newer.clone().after(&whole).complete_at, newer.complete_at);
    }

    #[test]
    fn what_was_not_looked_at_again_stands_as_it_was() {
        let standing = |incremental: bool, differs: u64, only: u64| {
            let now = DateTime::UNIX_EPOCH;
            ReplicateStanding::read(json!({
                "compared_at": now, "finished_at": now, "ended": "complete", "complete": true,
                "incremental": incremental, "differs": differs, "only_at_target": only,
                "findings": {"copy-differs": {"severity": "critical", "count": differs}},
            }))
            .unwrap()
        };
        let over = standing(true, 0, 0).over(&standing(false, 2, 3));
        assert_eq!((over.differs, over.only_at_target), (2, 3));
        assert_eq!(over.findings["copy-differs"].count, 2);
        assert!(over.incremental);
        assert_eq!(standing(true, 1, 0).over(&over).differs, 3);
        let clean = standing(true, 0, 0).over(&standing(false, 0, 0));
        assert_eq!((clean.differs, clean.only_at_target), (0, 0));
    }
}
