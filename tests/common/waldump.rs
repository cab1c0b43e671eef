//! `pg_waldump` as second opinion on where commits lie and where WAL ends.

use std::path::Path;
use std::process::Command;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::postgres::TestServer;
use super::process;

/// One record, as pg_waldump prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The resource manager: `Transaction`, `XLOG`, ….
    pub manager: String,
    /// The transaction id, 0 if none.
    pub xid: u32,
    /// The record's start, in bytes.
    pub start: u64,
    /// The start of the record before it.
    pub previous: u64,
    /// What it does, `COMMIT 2026-11-21 18:00:00.123456 UTC …`.
    pub description: String,
}

impl Record {
    /// The commit time, if this is a commit (also of a prepared transaction).
    pub fn commit_time(&self) -> Option<DateTime<Utc>> {
        let rest = ["COMMIT_PREPARED ", "COMMIT "]
            .iter()
            .find_map(|kind| self.description.strip_prefix(kind))?;
        if self.manager != "Transaction" {
            return None;
        }
        // COMMIT_PREPARED names its transaction first: "735: 2026-…".
        let rest = rest.split_once(": ").map_or(rest, |(xid, after)| {
            if xid.bytes().all(|b| b.is_ascii_digit()) {
                after
            } else {
                rest
            }
        });
        let text = rest.get(..26)?;
        let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.6f").ok()?;
        Some(time.and_utc())
    }
}

/// An LSN's text as bytes.
pub fn lsn(text: &str) -> u64 {
    let (high, low) = text
        .split_once('/')
        .unwrap_or_else(|| panic!("not an LSN: {text}"));
    (u64::from_str_radix(high, 16).unwrap() << 32) | u64::from_str_radix(low, 16).unwrap()
}

/// Bytes as an LSN's text.
pub fn lsn_text(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF)
}

/// All records from `start` on, on `timeline`, in plain segments of `directory`, until they
/// end (a missing segment, an unfinished record, zeros).
pub fn records(directory: &Path, timeline: u32, start: u64) -> Vec<Record> {
    let mut command = Command::new(TestServer::bin("pg_waldump"));
    command
        .arg("--path")
        .arg(directory)
        .args(["--timeline", &timeline.to_string()])
        .args(["--start", &lsn_text(start)])
        .env("TZ", "UTC")
        .env("LC_ALL", "C");
    // It ends with an error where the WAL ends; what it printed before is the answer.
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let records: Vec<Record> = text.lines().filter_map(parse).collect();
    assert!(
        !records.is_empty(),
        "pg_waldump read nothing: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    records
}

fn parse(line: &str) -> Option<Record> {
    let after = |name: &str| line.split_once(name).map(|(_, rest)| rest.trim_start());
    let word = |text: &str| text.split([',', ' ']).next().unwrap_or_default().to_owned();
    Some(Record {
        manager: word(after("rmgr:")?),
        xid: word(after(" tx:")?).parse().ok()?,
        start: lsn(&word(after(" lsn:")?)),
        previous: lsn(&word(after(" prev ")?)),
        description: after(" desc:")?.to_owned(),
    })
}

/// The last commit among `records`.
pub fn last_commit(records: &[Record]) -> Option<&Record> {
    records
        .iter()
        .rev()
        .find(|record| record.commit_time().is_some())
}

/// Runs `pg_waldump`'s check of one segment by reading it whole; for tests of damage.
pub fn version() -> String {
    process::run(Command::new(TestServer::bin("pg_waldump")).arg("--version"))
}
