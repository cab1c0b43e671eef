//! The proof that recovery ended where the bytes said it would.
//!
//! The server pauses at its target, still in recovery; there it is asked how far it
//! replayed and whether the last commit is in and the next one is not. After promotion
//! the history file that the server itself wrote gives the switch point, which must be
//! the same position. Its log is not believed: its "last completed transaction" line names
//! another commit after a stop by LSN.

use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;

use super::checks::sql::ask_value;
use crate::postgres::{Lsn, SystemId, TimelineHistory, TimelineId};
use crate::verify::CommitPoint;

/// Where recovery must end, computed from the bytes before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExpectedEnd {
    /// The timeline that recovery follows.
    pub timeline: TimelineId,
    /// The begin of the last record that is replayed: the target given to the server.
    pub stop_record: Lsn,
    /// The end of that record: what the server must show.
    pub end: Lsn,
    /// The last commit that is replayed; `None` when the range holds none.
    pub recovery_point: Option<CommitPoint>,
    /// The first commit that is not; `None` at the end of the archive.
    pub next_commit: Option<CommitPoint>,
    /// The database system.
    pub system_id: Option<SystemId>,
}

/// Whether the end is proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProofState {
    /// Recovery ended where it must.
    Held,
    /// It ended elsewhere, or the database is another.
    Differs,
    /// The server could not be asked.
    #[default]
    Unknown,
}

/// One question of a proof with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProofItem {
    /// What was asked, a stable kebab-case name.
    pub name: String,
    /// What the answer must be.
    pub expected: String,
    /// What it was; `None` when the server gave none.
    pub observed: Option<String>,
    /// Whether it is as expected; `None` when nothing can be said.
    pub holds: Option<bool>,
}

impl ProofItem {
    /// A comparison of texts.
    pub fn compare(name: &str, expected: impl Into<String>, observed: Option<String>) -> Self {
        let expected = expected.into();
        Self {
            name: name.to_owned(),
            holds: observed.as_ref().map(|observed| *observed == expected),
            expected,
            observed,
        }
    }
}

/// The proof of a recovery's end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndProof {
    /// The result.
    pub state: ProofState,
    /// Whether the server was asked while it paused at the target (the alternative is the
    /// switch point in the history file alone).
    pub asked_at_target: bool,
    /// Where recovery ended, as the server says.
    pub observed_end: Option<Lsn>,
    /// The timeline after promotion.
    pub new_timeline: Option<TimelineId>,
    /// Every question.
    pub items: Vec<ProofItem>,
}

/// Items that say by themselves where recovery ended.
const ENDS: [&str; 2] = ["replay-end", "switch-point"];

impl EndProof {
    /// Draws the conclusion from the items: one that does not hold outweighs all; without
    /// one that says where recovery ended nothing is proven.
    pub fn conclude(&mut self) {
        let any_false = self.items.iter().any(|item| item.holds == Some(false));
        let end_known = self
            .items
            .iter()
            .any(|item| ENDS.contains(&item.name.as_str()) && item.holds == Some(true));
        self.state = match (any_false, end_known) {
            (true, _) => ProofState::Differs,
            (false, true) => ProofState::Held,
            (false, false) => ProofState::Unknown,
        };
    }

    /// Whether the restored database is another one than the repository claims to hold.
    pub fn is_another_system(&self) -> bool {
        self.items
            .iter()
            .any(|item| item.name == "system-identifier" && item.holds == Some(false))
    }

    /// The items that do not hold, in words.
    pub fn differences(&self) -> Vec<String> {
        self.items
            .iter()
            .filter(|item| item.holds == Some(false))
            .map(|item| {
                format!(
                    "{}: expected {}, found {}",
                    item.name,
                    item.expected,
                    item.observed.as_deref().unwrap_or("nothing")
                )
            })
            .collect()
    }
}

/// The 64-bit number of a transaction from its 32 bits: the one nearest to the next
/// transaction, since no two that can be told apart are 2^31 or more away from each other.
pub fn full_xid(xid: u32, next: u64) -> Option<u64> {
    const WRAP: u64 = 1 << 32;
    let same_epoch = (next & !(WRAP - 1)) | u64::from(xid);
    [
        same_epoch.checked_sub(WRAP),
        Some(same_epoch),
        same_epoch.checked_add(WRAP),
    ]
    .into_iter()
    .flatten()
    .min_by_key(|candidate| candidate.abs_diff(next))
}

/// Asks whether a transaction is committed. `None` when the server no longer knows.
async fn status(
    connection: &mut PgConnection,
    xid: u32,
    next: u64,
) -> Result<Option<String>, sqlx::Error> {
    let Some(full) = full_xid(xid, next) else {
        return Ok(None);
    };
    // A transaction that the server has not heard of is an error there; here it is simply
    // not committed.
    if full >= next {
        return Ok(Some("not yet begun".to_owned()));
    }
    let sql = format!("SELECT pg_catalog.pg_xact_status('{full}'::pg_catalog.xid8)");
    match ask_value(connection, &sql).await {
        Err(sqlx::Error::Database(error)) if error.message().contains("is in the future") => {
            Ok(Some("not yet begun".to_owned()))
        }
        other => other,
    }
}

/// Which database system it is.
async fn ask_system(
    connection: &mut PgConnection,
    expected: &ExpectedEnd,
    proof: &mut EndProof,
) -> Result<(), sqlx::Error> {
    if let Some(system_id) = expected.system_id {
        let found = ask_value(
            connection,
            "SELECT system_identifier FROM pg_catalog.pg_control_system()",
        )
        .await?;
        // The function prints a signed number; identifiers use the sign bit only after
        // the year 2038.
        let found = found
            .and_then(|text| text.parse::<i64>().ok())
            .map(|number| number.cast_unsigned().to_string());
        proof.items.push(ProofItem::compare(
            "system-identifier",
            system_id.to_string(),
            found,
        ));
    }
    Ok(())
}

/// The number of the next transaction.
async fn next_transaction(connection: &mut PgConnection) -> Result<Option<u64>, sqlx::Error> {
    let next = ask_value(
        connection,
        "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())",
    )
    .await?;
    Ok(next.and_then(|text| text.parse::<u64>().ok()))
}

/// Whether the last commit before the end is in.
async fn ask_last_commit(
    connection: &mut PgConnection,
    expected: &ExpectedEnd,
    next: u64,
    proof: &mut EndProof,
) -> Result<(), sqlx::Error> {
    if let Some(last) = expected.recovery_point.filter(|commit| commit.xid != 0) {
        let found = status(connection, last.xid, next).await?;
        proof
            .items
            .push(ProofItem::compare("last-commit", "committed", found));
    }
    Ok(())
}

/// Asks the server that pauses at its target.
pub async fn at_target(
    connection: &mut PgConnection,
    expected: &ExpectedEnd,
    proof: &mut EndProof,
) -> Result<(), sqlx::Error> {
    proof.asked_at_target = true;
    let recovering = ask_value(connection, "SELECT pg_catalog.pg_is_in_recovery()").await?;
    proof
        .items
        .push(ProofItem::compare("in-recovery-at-target", "t", recovering));
    let end = ask_value(connection, "SELECT pg_catalog.pg_last_wal_replay_lsn()").await?;
    proof.observed_end = end.as_deref().and_then(|text| text.parse().ok());
    proof.items.push(ProofItem::compare(
        "replay-end",
        expected.end.to_string(),
        end,
    ));
    ask_system(connection, expected, proof).await?;
    let next = next_transaction(connection).await?;
    if let Some(next) = next {
        ask_last_commit(connection, expected, next, proof).await?;
        if let Some(after) = expected.next_commit.filter(|commit| commit.xid != 0) {
            let found = status(connection, after.xid, next).await?;
            proof.items.push(ProofItem {
                name: "next-commit".to_owned(),
                expected: "not committed".to_owned(),
                holds: found.as_ref().map(|found| found != "committed"),
                observed: found,
            });
        }
    }
    Ok(())
}

/// Where the history files are read that a promoted server wrote.
#[derive(Clone, Copy, Debug)]
pub enum Histories<'a> {
    /// In its data directory, which lies here.
    Directory(&'a Path),
    /// By asking the server, whose data directory lies elsewhere.
    Server,
}

/// Asks the promoted server, and reads the history file that it wrote.
pub async fn after_promotion(
    connection: &mut PgConnection,
    histories: Histories<'_>,
    expected: &ExpectedEnd,
    proof: &mut EndProof,
) -> Result<(), sqlx::Error> {
    let recovering = ask_value(connection, "SELECT pg_catalog.pg_is_in_recovery()").await?;
    proof
        .items
        .push(ProofItem::compare("promoted", "f", recovering));
    let name = ask_value(
        connection,
        "SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn())",
    )
    .await?;
    let timeline = name
        .as_deref()
        .and_then(|name| name.get(..8))
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .map(TimelineId);
    proof.new_timeline = timeline;
    proof.items.push(ProofItem {
        name: "new-timeline".to_owned(),
        expected: format!("above {}", expected.timeline),
        observed: timeline.map(|timeline| timeline.to_string()),
        holds: timeline.map(|timeline| timeline > expected.timeline),
    });
    let mut switch = None;
    if let Some(timeline) = timeline {
        let text = match histories {
            Histories::Directory(data) => history_in(data, timeline),
            Histories::Server => history_from(connection, timeline).await?,
        };
        switch = text.and_then(|text| switch_point(&text, timeline, expected.timeline));
    }
    if proof.observed_end.is_none() {
        proof.observed_end = switch;
    }
    proof.items.push(ProofItem::compare(
        "switch-point",
        expected.end.to_string(),
        switch.map(|lsn| lsn.to_string()),
    ));
    Ok(())
}

/// Asks a promoted server that never paused at its target what it would have been asked
/// there: which system it is, and whether the last commit is in. Whether the next one is not
/// can no longer be asked, since its number may have been given to another by now; the
/// switch point says it.
pub async fn instead_of_target(
    connection: &mut PgConnection,
    expected: &ExpectedEnd,
    proof: &mut EndProof,
) -> Result<(), sqlx::Error> {
    ask_system(connection, expected, proof).await?;
    if let Some(next) = next_transaction(connection).await? {
        ask_last_commit(connection, expected, next, proof).await?;
    }
    Ok(())
}

/// At most this much of a history file is read.
const HISTORY_LIMIT: u64 = 1 << 20;

fn history_in(data: &Path, timeline: TimelineId) -> Option<Vec<u8>> {
    let path = data.join("pg_wal").join(timeline.history_file_name());
    let metadata = fs::symlink_metadata(&path).ok()?;
    if !metadata.is_file() || metadata.len() > HISTORY_LIMIT {
        return None;
    }
    fs::read(&path).ok()
}

async fn history_from(
    connection: &mut PgConnection,
    timeline: TimelineId,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let name = timeline.history_file_name();
    let sql = format!("SELECT pg_catalog.pg_read_file('pg_wal/{name}', 0, {HISTORY_LIMIT}, true)");
    Ok(ask_value(connection, &sql).await?.map(String::into_bytes))
}

/// Where the promoted server left `parent`, by the history file that it wrote.
fn switch_point(history: &[u8], timeline: TimelineId, parent: TimelineId) -> Option<Lsn> {
    let history = TimelineHistory::parse(timeline, history).ok()?;
    history
        .ancestors
        .last()
        .filter(|entry| entry.timeline == parent)
        .map(|entry| entry.switch_lsn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_those_nearest_to_the_next_transaction() {
        let epoch = 1_u64 << 32;
        for (xid, next, full) in [
            (745, 746, 745),
            (745, 3 * epoch + 800, 3 * epoch + 745),
            (u32::MAX, 3 * epoch + 10, 3 * epoch - 1),
            (5, 3 * epoch - 1, 3 * epoch + 5),
        ] {
            assert_eq!(full_xid(xid, next), Some(full), "{xid} {next}");
        }
    }

    fn proof(items: &[(&str, Option<bool>)]) -> ProofState {
        let mut proof = EndProof {
            items: items
                .iter()
                .map(|(name, holds)| ProofItem {
                    name: (*name).to_owned(),
                    expected: "x".into(),
                    observed: None,
                    holds: *holds,
                })
                .collect(),
            ..EndProof::default()
        };
        proof.conclude();
        proof.state
    }

    #[test]
    fn another_system_is_told_from_another_end() {
        let differs = |name: &str| EndProof {
            items: vec![ProofItem {
                name: name.to_owned(),
                expected: "1".to_owned(),
                observed: Some("2".to_owned()),
                holds: Some(false),
            }],
            ..EndProof::default()
        };
        assert!(differs("system-identifier").is_another_system());
        assert!(!differs("replay-end").is_another_system());
    }

    #[test]
    fn one_difference_outweighs_all_and_silence_proves_nothing() {
        assert_eq!(
            proof(&[("replay-end", Some(true)), ("promoted", Some(true))]),
            ProofState::Held
        );
        assert_eq!(
            proof(&[("replay-end", None), ("switch-point", Some(true))]),
            ProofState::Held
        );
        assert_eq!(
            proof(&[("replay-end", Some(true)), ("switch-point", Some(false))]),
            ProofState::Differs
        );
        assert_eq!(
            proof(&[("replay-end", Some(true)), ("last-commit", Some(false))]),
            ProofState::Differs
        );
        assert_eq!(
            proof(&[("promoted", Some(true)), ("replay-end", None)]),
            ProofState::Unknown
        );
        assert_eq!(proof(&[]), ProofState::Unknown);
    }

    #[test]
    fn the_switch_point_is_that_of_the_parent() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("pg_wal")).unwrap();
        let write = |text: &str| {
            std::fs::write(place.path().join("pg_wal/00000003.history"), text).unwrap();
            let read = history_in(place.path(), TimelineId(3)).unwrap();
            switch_point(&read, TimelineId(3), TimelineId(2))
        };
        assert_eq!(
            write("1\t0/2000000\tbefore\n2\t0/5000148\tafter LSN 0/5000110\n"),
            Some("0/5000148".parse().unwrap())
        );
        assert_eq!(write("1\t0/2000000\tbefore\n"), None, "another parent");
        assert_eq!(write("nonsense"), None);
    }
}
