//! What the tests of this room share.

use chrono::{TimeZone as _, Utc};
use uuid::Uuid;

use super::notice::Facts;
use crate::config::{self, Config};
use crate::finding::Severity;

/// A configuration from its text.
pub(super) fn config(text: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("walproof.yaml");
    std::fs::write(&file, text).unwrap();
    config::load(&file).unwrap()
}

/// A gap in the WAL of `orders`.
pub(super) fn facts() -> Facts<'static> {
    Facts {
        id: Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001),
        cluster: "orders",
        copy: "primary",
        kind: "verify",
        code: "wal-gap",
        severity: Severity::Critical,
        object: "wals/0000000100000000/000000010000000000000007",
        message: "2 segments are missing from 000000010000000000000007 on",
        opened_at: Utc.with_ymd_and_hms(2026, 11, 21, 2, 40, 0).unwrap(),
        closed_at: None,
    }
}
