//! Findings opened and closed, followed through the ledger.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::Scope;
use crate::evidence::ledger::{ClosedIncident, EntryContent, OpenedIncident};
use crate::finding::Severity;

/// How many findings that were closed a page shows.
const SHOWN: usize = 200;

/// One finding: when it appeared, and when it was gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingRow {
    /// Its identity.
    pub id: Uuid,
    /// The cluster.
    pub cluster: String,
    /// The copy.
    pub copy: String,
    /// Its code.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// The first object that it concerned.
    pub object: String,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// The entry that opened it, where that is known.
    pub opened_by: Option<u64>,
    /// When it was closed; `None` when it was still open at the end of the period.
    pub closed_at: Option<DateTime<Utc>>,
    /// The entry that closed it.
    pub closed_by: Option<u64>,
}

impl FindingRow {
    /// How old it became, or was at the end of the period, in milliseconds.
    pub fn age_ms(&self, end: DateTime<Utc>) -> u64 {
        let age = self.closed_at.unwrap_or(end) - self.opened_at;
        u64::try_from(age.num_milliseconds()).unwrap_or(0)
    }
}

/// How many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FindingTotals {
    /// Open when the period began.
    pub carried: u64,
    /// Opened within the period.
    pub opened: u64,
    /// Closed within the period.
    pub closed: u64,
    /// Open when the period ended.
    pub open: u64,
    /// Of those, critical ones.
    pub open_critical: u64,
}

/// Follows incidents. Memory: those that are open (one per cluster, copy and code) and the
/// last 200 closed ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Incidents {
    open: BTreeMap<Uuid, FindingRow>,
    closed: VecDeque<FindingRow>,
    totals: FindingTotals,
}

impl Incidents {
    /// Follows an entry that is not past the period's end. Gives what it closed within the
    /// period.
    pub(super) fn follow(&mut self, entry: &EntryContent, scope: &Scope) -> Vec<FindingRow> {
        let within = entry.at >= scope.from;
        let list = |name: &str| entry.body.get(name).cloned().unwrap_or(Value::Null);
        // A list that cannot be read is no list; `Summary` counts unreadable bodies.
        let opened: Vec<OpenedIncident> =
            serde_json::from_value(list("opened")).unwrap_or_default();
        let closed: Vec<ClosedIncident> =
            serde_json::from_value(list("closed")).unwrap_or_default();
        for incident in opened {
            let row = FindingRow {
                id: incident.id,
                cluster: entry.cluster.clone().unwrap_or_default(),
                copy: entry.copy.clone().unwrap_or_default(),
                code: incident.code,
                severity: incident.severity,
                object: incident.object,
                opened_at: entry.at,
                opened_by: Some(entry.sequence),
                closed_at: None,
                closed_by: None,
            };
            if self.open.insert(row.id, row).is_none() {
                let count = if within {
                    &mut self.totals.opened
                } else {
                    &mut self.totals.carried
                };
                *count = count.saturating_add(1);
            }
        }
        let mut rows = Vec::new();
        for incident in closed {
            let known = self.open.remove(&incident.id);
            // A change of the configuration may close what was open of other clusters.
            if known.is_none() && entry.cluster.is_none() && scope.cluster.is_some() {
                continue;
            }
            if !within {
                if known.is_some() {
                    self.totals.carried = self.totals.carried.saturating_sub(1);
                }
                continue;
            }
            self.totals.closed = self.totals.closed.saturating_add(1);
            let row = known.unwrap_or_else(|| {
                // Opened by an entry that was not seen, as in an extract.
                self.totals.carried = self.totals.carried.saturating_add(1);
                FindingRow {
                    id: incident.id,
                    cluster: entry.cluster.clone().unwrap_or_default(),
                    copy: entry.copy.clone().unwrap_or_default(),
                    code: incident.code,
                    severity: incident.severity,
                    object: String::new(),
                    opened_at: incident.opened_at,
                    opened_by: incident.opened_by,
                    closed_at: None,
                    closed_by: None,
                }
            });
            let row = FindingRow {
                closed_at: Some(entry.at),
                closed_by: Some(entry.sequence),
                ..row
            };
            if self.closed.len() == SHOWN {
                self.closed.pop_front();
            }
            self.closed.push_back(row.clone());
            rows.push(row);
        }
        rows
    }

    /// Those that are open, the worst and oldest first.
    pub(super) fn open(&self) -> Vec<FindingRow> {
        let mut rows: Vec<FindingRow> = self.open.values().cloned().collect();
        rows.sort_by(|a, b| {
            (b.severity.cmp(&a.severity))
                .then(a.opened_at.cmp(&b.opened_at))
                .then(a.opened_by.cmp(&b.opened_by))
                .then(a.id.cmp(&b.id))
        });
        rows
    }

    /// The last of those that were closed, in the order of closing.
    pub(super) fn closed(&self) -> impl Iterator<Item = &FindingRow> {
        self.closed.iter()
    }

    pub(super) fn totals(&self) -> FindingTotals {
        let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
        let critical = |row: &&FindingRow| row.severity == Severity::Critical;
        FindingTotals {
            open: count(self.open.len()),
            open_critical: count(self.open.values().filter(critical).count()),
            ..self.totals
        }
    }
}
