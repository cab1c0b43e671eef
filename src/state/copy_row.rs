//! A copy on its way into a database, where rows travel as one JSON text per batch, and out
//! of it.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::columns::{Columns, Reader};
use super::number::signed;
use super::{CopyAlarm, RememberedCopy, StateError};
use crate::codec::Sha256;
use crate::storage::ObjectIdentity;

/// A row on its way into the database.
#[derive(Serialize)]
pub(super) struct CopyRow<'a> {
    key: &'a str,
    size: i64,
    sha256: Option<Sha256>,
    source_etag: Option<&'a str>,
    source_version: Option<&'a str>,
    source_modified: i64,
    target_etag: Option<&'a str>,
    target_version: Option<&'a str>,
    source_mark: i64,
    target_mark: i64,
    copied_at: Option<i64>,
    read_back_at: Option<i64>,
    expired_at: Option<i64>,
    alarm: Option<String>,
}

impl<'a> CopyRow<'a> {
    /// `json` writes what is wrong with it.
    pub(super) fn new(
        copy: &'a RememberedCopy,
        json: impl Fn(&CopyAlarm) -> Result<String, StateError>,
    ) -> Result<Self, StateError> {
        let micros = |time: DateTime<Utc>| time.timestamp_micros();
        Ok(Self {
            key: &copy.key,
            size: signed(copy.source.size),
            sha256: copy.sha256,
            source_etag: copy.source.etag.as_deref(),
            source_version: copy.source.version.as_deref(),
            source_modified: micros(copy.source.modified),
            target_etag: copy.target_etag.as_deref(),
            target_version: copy.target_version.as_deref(),
            source_mark: copy.source_mark(),
            target_mark: copy.target_mark(),
            copied_at: copy.copied_at.map(micros),
            read_back_at: copy.read_back_at.map(micros),
            expired_at: copy.expired_at.map(micros),
            alarm: copy.alarm.as_ref().map(json).transpose()?,
        })
    }
}

/// The copy of a row.
pub(super) fn copy(row: &Columns<'_, impl Reader>) -> Result<RememberedCopy, StateError> {
    Ok(RememberedCopy {
        key: row.text("key")?,
        sha256: row.digest("sha256")?,
        source: ObjectIdentity {
            size: row.count("size")?,
            etag: row.optional("source_etag")?,
            version: row.optional("source_version")?,
            modified: row.needed_moment("source_modified")?,
        },
        target_etag: row.optional("target_etag")?,
        target_version: row.optional("target_version")?,
        copied_at: row.moment("copied_at")?,
        read_back_at: row.moment("read_back_at")?,
        expired_at: row.moment("expired_at")?,
        alarm: row.json("alarm")?,
    })
}
