//! An object on its way into a database, where rows travel as one JSON text per batch, and
//! out of it.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::columns::{Columns, Reader};
use super::number::signed;
use super::{ChangeKind, ObjectChange, RememberedObject, StateError};
use crate::codec::Sha256;
use crate::finding::Finding;
use crate::storage::ObjectIdentity;

/// A row on its way into the database.
#[derive(Serialize)]
pub(super) struct ObjectRow<'a> {
    key: &'a str,
    size: i64,
    etag: Option<&'a str>,
    version: Option<&'a str>,
    modified: i64,
    sha256: Option<Sha256>,
    first_seen: i64,
    first_read: Option<i64>,
    last_read: Option<i64>,
    findings: Option<String>,
    change: Option<&'static str>,
    changed_at: Option<i64>,
    size_before: Option<i64>,
    etag_before: Option<&'a str>,
    sha256_after: Option<Sha256>,
    absent_since: Option<i64>,
}

impl<'a> ObjectRow<'a> {
    /// `json` writes what is wrong with it.
    pub(super) fn new(
        object: &'a RememberedObject,
        json: impl Fn(&Vec<Finding>) -> Result<String, StateError>,
    ) -> Result<Self, StateError> {
        let change = object.change.as_ref();
        let micros = |time: DateTime<Utc>| time.timestamp_micros();
        Ok(Self {
            key: &object.key,
            size: signed(object.identity.size),
            etag: object.identity.etag.as_deref(),
            version: object.identity.version.as_deref(),
            modified: micros(object.identity.modified),
            sha256: object.first_read.map(|(sha256, _)| sha256),
            first_seen: micros(object.first_seen),
            first_read: object.first_read.map(|(_, time)| micros(time)),
            last_read: object.last_read.map(micros),
            findings: if object.findings.is_empty() {
                None
            } else {
                Some(json(&object.findings)?)
            },
            change: change.map(|change| change.kind.as_str()),
            changed_at: change.map(|change| micros(change.noticed)),
            size_before: change.map(|change| signed(change.size_before)),
            etag_before: change.and_then(|change| change.etag_before.as_deref()),
            sha256_after: change.and_then(|change| change.sha256_after),
            absent_since: object.absent_since.map(micros),
        })
    }
}

/// The object of a row.
pub(super) fn object(row: &Columns<'_, impl Reader>) -> Result<RememberedObject, StateError> {
    let change = match row.word("change", ChangeKind::from_word)? {
        None => None,
        Some(kind) => Some(ObjectChange {
            kind,
            noticed: row.needed_moment("changed_at")?,
            size_before: row.count("size_before")?,
            etag_before: row.optional("etag_before")?,
            sha256_after: row.digest("sha256_after")?,
        }),
    };
    Ok(RememberedObject {
        key: row.text("key")?,
        identity: ObjectIdentity {
            size: row.count("size")?,
            etag: row.optional("etag")?,
            version: row.optional("version")?,
            modified: row.needed_moment("modified")?,
        },
        first_seen: row.needed_moment("first_seen")?,
        first_read: row.digest("sha256")?.zip(row.moment("first_read")?),
        last_read: row.moment("last_read")?,
        findings: row.json("findings")?.unwrap_or_default(),
        change,
        absent_since: row.moment("absent_since")?,
    })
}
