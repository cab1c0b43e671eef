//! An object on its way into a database: rows travel as one JSON text per batch.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::number::signed;
use super::{RememberedObject, StateError};
use crate::codec::Sha256;
use crate::finding::Finding;

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
