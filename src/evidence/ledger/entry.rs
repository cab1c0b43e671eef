//! One entry, and the bytes that make it.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Body, CanonicalError, EntryKind, canonical_json};
use crate::evidence::sha256_hex;

/// The schema's name, in every entry.
pub const LEDGER_ENTRY_SCHEMA: &str = "walproof.dev/ledger-entry/v1";

/// What stands as the digest of the entry before the first.
pub const FIRST_PREVIOUS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The longest text of an entry, in bytes. Typed bodies stay far below it.
pub const MAX_ENTRY_BYTES: usize = 256 * 1024;

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
    /// What is to be said: a [`Body`] as JSON, without broken numbers: lengths of time are
    /// whole milliseconds.
    pub body: Value,
}

impl NewEntry {
    /// An entry about walproof itself; see [`NewEntry::about`] and [`NewEntry::of_run`].
    pub fn new(at: DateTime<Utc>, body: &Body) -> Result<Self, SealError> {
        Ok(Self {
            kind: body.kind(),
            at,
            cluster: None,
            copy: None,
            run_id: None,
            body: body.to_value().map_err(|error| SealError {
                kind: body.kind(),
                cause: SealCause::Json(error.to_string()),
            })?,
        })
    }

    /// The entry about a cluster's copy. An empty copy is none.
    #[must_use]
    pub fn about(mut self, cluster: &str, copy: &str) -> Self {
        self.cluster = Some(cluster.to_owned());
        self.copy = (!copy.is_empty()).then(|| copy.to_owned());
        self
    }

    /// The entry about a run.
    #[must_use]
    pub fn of_run(mut self, run: Uuid) -> Self {
        self.run_id = Some(run);
        self
    }
}

/// An entry that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a record of kind {kind}: {cause}")]
pub struct SealError {
    /// Its kind.
    pub kind: EntryKind,
    /// Why.
    pub cause: SealCause,
}

/// Why an entry cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealCause {
    /// Its body has no JSON form.
    #[error("{0}")]
    Json(String),
    /// Its body has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// It says too much.
    #[error("its text has {bytes} bytes (at most {MAX_ENTRY_BYTES} are kept)")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
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

/// What an entry's text says. Fields that are not known are ignored.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EntryContent {
    /// [`LEDGER_ENTRY_SCHEMA`].
    pub schema: String,
    /// Its number.
    pub sequence: u64,
    /// SHA-256 of the text before it.
    pub previous: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What it is about.
    pub kind: EntryKind,
    /// The cluster it is about.
    pub cluster: Option<String>,
    /// The copy it is about.
    pub copy: Option<String>,
    /// The run it is about.
    pub run_id: Option<Uuid>,
    /// What it says; [`Body::read`] gives it a type.
    pub body: Value,
}

impl LedgerEntry {
    /// The entry whose text this is: number and link are read from it, the digest is taken.
    pub fn of_text(text: String) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Head {
            sequence: u64,
            previous: String,
        }
        let head: Head = serde_json::from_str(&text)?;
        Ok(Self {
            sequence: head.sequence,
            previous: head.previous,
            sha256: sha256_hex(text.as_bytes()),
            text,
        })
    }

    /// What its text says.
    pub fn content(&self) -> Result<EntryContent, serde_json::Error> {
        serde_json::from_str(&self.text)
    }
}

/// The entry that `entry` becomes behind the one whose digest is `previous`.
pub fn seal(entry: &NewEntry, sequence: u64, previous: &str) -> Result<LedgerEntry, SealError> {
    let refused = |cause| SealError {
        kind: entry.kind,
        cause,
    };
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
    }))
    .map_err(|cause| refused(cause.into()))?;
    if text.len() > MAX_ENTRY_BYTES {
        return Err(refused(SealCause::TooLong { bytes: text.len() }));
    }
    Ok(LedgerEntry {
        sequence,
        previous: previous.to_owned(),
        sha256: sha256_hex(text.as_bytes()),
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(body: Value) -> NewEntry {
        NewEntry {
            kind: EntryKind::Missed,
            at: DateTime::from_timestamp_micros(1_795_321_800_000_001).unwrap(),
            cluster: Some("orders".to_owned()),
            copy: None,
            run_id: None,
            body,
        }
    }

    #[test]
    fn an_entry_is_its_canonical_text_and_the_next_names_its_digest() {
        let entry = missed(json!({"reason": "down", "due": 3}));
        let first = seal(&entry, 1, FIRST_PREVIOUS).unwrap();
        assert_eq!(
            first.text,
            format!(
                r#"{{"at":"2026-11-22T04:30:00.000001Z","body":{{"due":3,"reason":"down"}},"cluster":"orders","copy":null,"kind":"missed","previous":"{FIRST_PREVIOUS}","run_id":null,"schema":"{LEDGER_ENTRY_SCHEMA}","sequence":1}}"#
            )
        );
        assert_eq!(first.sha256, sha256_hex(first.text.as_bytes()));
        let second = seal(&entry, 2, &first.sha256).unwrap();
        assert!(second.text.contains(&first.sha256));
        assert_ne!(second.sha256, first.sha256);
        assert_eq!(LedgerEntry::of_text(second.text.clone()).unwrap(), second);
        assert_eq!(second.content().unwrap().cluster.as_deref(), Some("orders"));
    }

    #[test]
    fn what_has_no_canonical_form_or_says_too_much_is_refused() {
        let refused = seal(&missed(json!({"took": 1.5})), 1, FIRST_PREVIOUS).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "write a record of kind missed: 1.5 is not a whole number (write milliseconds, bytes, or text)"
        );
        let long = missed(json!({"words": "x".repeat(MAX_ENTRY_BYTES)}));
        let refused = seal(&long, 1, FIRST_PREVIOUS).unwrap_err();
        assert!(matches!(refused.cause, SealCause::TooLong { .. }));
    }
}
