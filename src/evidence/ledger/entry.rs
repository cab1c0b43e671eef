//! One entry, and the bytes that make it.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{EntryKind, canonical_json};
use crate::evidence::sha256_hex;

/// The schema's name, in every entry.
pub const LEDGER_ENTRY_SCHEMA: &str = "walproof.dev/ledger-entry/v1";

/// What stands as the digest of the entry before the first.
pub const FIRST_PREVIOUS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// An entry that is to be appended; it has no number yet.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEntry {
    /// What it is about.
    pub kind: EntryKind,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The cluster it is about.
    pub cluster: Option<String>,
    /// The copy it is about.
    pub copy: Option<String>,
    /// The run it is about.
    pub run_id: Option<Uuid>,
    /// What is to be said, without broken numbers: lengths of time are whole milliseconds.
    pub body: Value,
}

/// An entry of the ledger, as it is kept for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Its number: from 1, without gaps.
    pub sequence: u64,
    /// SHA-256 of the text before it, lower-case hexadecimal; [`FIRST_PREVIOUS`] in the first.
    pub previous: String,
    /// SHA-256 of its own text, lower-case hexadecimal.
    pub sha256: String,
    /// Its text: canonical JSON of schema, sequence, previous, at, kind, cluster, copy,
    /// `run_id` and body.
    pub text: String,
}

/// The entry that `entry` becomes behind the one whose digest is `previous`.
pub fn seal(entry: &NewEntry, sequence: u64, previous: &str) -> LedgerEntry {
    let text = canonical_json(&json!({
        "schema": LEDGER_ENTRY_SCHEMA,
        "sequence": sequence,
        "previous": previous,
        "at": entry.at.to_rfc3339_opts(SecondsFormat::Micros, true),
        "kind": entry.kind.as_str(),
        "cluster": entry.cluster,
        "copy": entry.copy,
        "run_id": entry.run_id.map(|id| id.to_string()),
        "body": entry.body,
    }));
    LedgerEntry {
        sequence,
        previous: previous.to_owned(),
        sha256: sha256_hex(text.as_bytes()),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_its_canonical_text_and_the_next_names_its_digest() {
        let at = DateTime::from_timestamp_micros(1_795_321_800_000_001).unwrap();
        let entry = NewEntry {
            kind: EntryKind::Missed,
            at,
            cluster: Some("orders".to_owned()),
            copy: None,
            run_id: None,
            body: json!({"reason": "down", "due": 3}),
        };
        let first = seal(&entry, 1, FIRST_PREVIOUS);
        assert_eq!(
            first.text,
            format!(
                r#"{{"at":"2026-11-22T04:30:00.000001Z","body":{{"due":3,"reason":"down"}},"cluster":"orders","copy":null,"kind":"missed","previous":"{FIRST_PREVIOUS}","run_id":null,"schema":"{LEDGER_ENTRY_SCHEMA}","sequence":1}}"#
            )
        );
        assert_eq!(first.sha256, sha256_hex(first.text.as_bytes()));
        let second = seal(&entry, 2, &first.sha256);
        assert!(second.text.contains(&first.sha256));
        assert_ne!(second.sha256, first.sha256);
    }
}
