//! A copy on its way into a database: rows travel as one JSON text per batch.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::number::signed;
use super::{CopyAlarm, RememberedCopy, StateError};
use crate::codec::Sha256;

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
