//! The ledger in the database. The schema itself refuses gaps, wrong links and changes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::database::{Row, Transaction, transact, values};
use super::{EntryCount, State, StateError, StateErrorKind};
use crate::evidence::ledger::Body;
use crate::evidence::{EntryKind, FIRST_PREVIOUS, LedgerEntry, NewEntry, seal};

/// Entries that one call gives at most. An entry is a few KiB.
const ENTRIES: u32 = 1000;

impl State {
    /// Appends entries to the ledger, all of them or none, in the order given.
    pub async fn append(&self, entries: &[NewEntry]) -> Result<Vec<LedgerEntry>, StateError> {
        transact!(once self, transaction => append_in(&mut transaction, entries))
    }

    /// Entries behind a number, in order, at most `limit` and 1,000.
    pub async fn entries(&self, after: u64, limit: u32) -> Result<Vec<LedgerEntry>, StateError> {
        let rows = self
            .rows(
                "SELECT sequence, previous, sha256, text FROM entries WHERE sequence > $1 \
                 ORDER BY sequence LIMIT $2",
                values![after, limit.min(ENTRIES)],
            )
            .await?;
        rows.iter().map(entry).collect()
    }

    /// Entries whose moment lies at or after `from` and before `to`, behind a number, in
    /// order, at most `limit` and 1,000. Of one cluster if one is named; entries of no
    /// cluster are left out then.
    pub async fn entries_between(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        cluster: Option<&str>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<LedgerEntry>, StateError> {
        let rows = self
            .rows(
                "SELECT sequence, previous, sha256, text FROM entries WHERE sequence > $1 \
                 AND at >= $2 AND at < $3 AND ($4 IS NULL OR cluster = $4) \
                 ORDER BY sequence LIMIT $5",
                values![after, from, to, cluster, limit.min(ENTRIES)],
            )
            .await?;
        rows.iter().map(entry).collect()
    }

    /// The newest entry's number and digest; `None` while there is none.
    pub async fn entry_head(&self) -> Result<Option<(u64, String)>, StateError> {
        let row = self
            .row(
                "SELECT sequence, sha256 FROM entries ORDER BY sequence DESC LIMIT 1",
                values![],
            )
            .await?;
        row.map(|row| Ok((row.count("sequence")?, row.text("sha256")?)))
            .transpose()
    }

    /// Notes that the whole ledger was followed, whatever came of it.
    pub async fn ledger_followed(&self, now: DateTime<Utc>) -> Result<(), StateError> {
        transact!(self, transaction => async {
            transaction
                .execute(
                    "UPDATE ledger_head SET followed_at = $1 WHERE only_row = 1",
                    values![now],
                )
                .await
                .map(|_| ())
        })
    }

    /// When the whole ledger was last followed; `None` if it never was.
    pub async fn ledger_followed_at(&self) -> Result<Option<DateTime<Utc>>, StateError> {
        let row = self
            .row(
                "SELECT followed_at FROM ledger_head WHERE only_row = 1",
                values![],
            )
            .await?;
        row.map_or(Ok(None), |row| row.optional_moment("followed_at"))
    }

    /// How many entries of each kind and outcome there are, by cluster and copy.
    pub async fn entry_counts(&self) -> Result<Vec<EntryCount>, StateError> {
        let rows = self
            .rows(
                "SELECT kind, cluster, copy, outcome, entries, moments FROM entry_counts \
                 ORDER BY kind, cluster, copy, outcome",
                values![],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(EntryCount {
                    kind: row.word("kind", EntryKind::from_word)?,
                    cluster: row.text("cluster")?,
                    copy: row.text("copy")?,
                    outcome: row.text("outcome")?,
                    entries: row.count("entries")?,
                    moments: row.count("moments")?,
                })
            })
            .collect()
    }
}

/// Waits until nobody else appends, and keeps others waiting until the end of the
/// transaction.
pub(super) async fn take_head(transaction: &mut Transaction) -> Result<(), StateError> {
    let taken = transaction
        .execute(
            "UPDATE ledger_head SET events = events WHERE only_row = 1",
            values![],
        )
        .await?;
    if taken == 1 {
        Ok(())
    } else {
        Err(transaction.trouble(StateErrorKind::Other, "the ledger has no head"))
    }
}

/// The newest entry's number and digest, which stay the newest until the end of the
/// transaction.
pub(super) async fn head_in(transaction: &mut Transaction) -> Result<(u64, String), StateError> {
    take_head(transaction).await?;
    let newest = transaction
        .row(
            "SELECT sequence, sha256 FROM entries ORDER BY sequence DESC LIMIT 1",
            values![],
        )
        .await?;
    match newest {
        Some(row) => Ok((row.count("sequence")?, row.text("sha256")?)),
        None => Ok((0, FIRST_PREVIOUS.to_owned())),
    }
}

/// An entry of a body. One that is empty is none.
pub(super) fn new_entry(
    transaction: &Transaction,
    at: DateTime<Utc>,
    body: &Body,
    cluster: &str,
    copy: &str,
) -> Result<NewEntry, StateError> {
    let mut entry = NewEntry::new(at, body)
        .map_err(|error| transaction.trouble(StateErrorKind::Refused, error.to_string()))?;
    entry.cluster = (!cluster.is_empty()).then(|| cluster.to_owned());
    entry.copy = (!copy.is_empty()).then(|| copy.to_owned());
    Ok(entry)
}

pub(super) async fn append_in(
    transaction: &mut Transaction,
    entries: &[NewEntry],
) -> Result<Vec<LedgerEntry>, StateError> {
    let with_outcomes: Vec<_> = entries.iter().map(|entry| (entry, "")).collect();
    append_outcomes_in(transaction, &with_outcomes).await
}

/// Appends entries, each with what its run came to.
pub(super) async fn append_outcomes_in(
    transaction: &mut Transaction,
    entries: &[(&NewEntry, &str)],
) -> Result<Vec<LedgerEntry>, StateError> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let (mut sequence, mut previous) = head_in(transaction).await?;
    let mut counts: BTreeMap<(&str, &str, &str, &str), (u64, u64)> = BTreeMap::new();
    let mut sealed = Vec::with_capacity(entries.len());
    for (new, outcome) in entries {
        sequence += 1;
        let entry = seal(new, sequence, &previous)
            .map_err(|error| transaction.trouble(StateErrorKind::Refused, error.to_string()))?;
        transaction
            .execute(
                "INSERT INTO entries (sequence, previous, sha256, at, kind, cluster, copy, run_id, \
                 text) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                values![
                    entry.sequence,
                    &entry.previous,
                    &entry.sha256,
                    new.at,
                    new.kind.as_str(),
                    &new.cluster,
                    &new.copy,
                    new.run_id,
                    &entry.text,
                ],
            )
            .await?;
        previous.clone_from(&entry.sha256);
        sealed.push(entry);
        let (outcome, moments) = counted(new, outcome);
        let key = (
            new.kind.as_str(),
            new.cluster.as_deref().unwrap_or_default(),
            new.copy.as_deref().unwrap_or_default(),
            outcome,
        );
        let (entries, all) = counts.entry(key).or_default();
        *entries = entries.saturating_add(1);
        *all = all.saturating_add(moments);
    }
    for ((kind, cluster, copy, outcome), (entries, moments)) in counts {
        transaction
            .execute(
                "INSERT INTO entry_counts (kind, cluster, copy, outcome, entries, moments) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (kind, cluster, copy, outcome) \
                 DO UPDATE SET entries = entry_counts.entries + excluded.entries, \
                 moments = entry_counts.moments + excluded.moments",
                values![kind, cluster, copy, outcome, entries, moments],
            )
            .await?;
    }
    Ok(sealed)
}

/// As what an entry is counted, and for how many due moments it stands.
fn counted<'a>(new: &'a NewEntry, outcome: &'a str) -> (&'a str, u64) {
    let number = |field: &str| new.body.get(field).and_then(Value::as_u64);
    let moments = match new.kind {
        EntryKind::Missed | EntryKind::Skipped => number("moments").unwrap_or(1),
        EntryKind::Late => number("passed_over").unwrap_or(0).saturating_add(1),
        _ => return (outcome, 1),
    };
    let reason = new.body.get("reason").and_then(Value::as_str);
    (reason.unwrap_or_default(), moments)
}

pub(super) fn entry(row: &Row) -> Result<LedgerEntry, StateError> {
    Ok(LedgerEntry {
        sequence: row.count("sequence")?,
        previous: row.text("previous")?,
        sha256: row.text("sha256")?,
        text: row.text("text")?,
    })
}
