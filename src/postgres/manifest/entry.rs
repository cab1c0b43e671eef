//! The single entries of a manifest.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ManifestError;
use super::checksum::{ChecksumAlgorithm, FileChecksum, decode_hex};
use crate::postgres::{Lsn, SystemId, TimelineId};

pub(super) const VERSION: &str = "PostgreSQL-Backup-Manifest-Version";
pub(super) const SYSTEM_ID: &str = "System-Identifier";
pub(super) const FILES: &str = "Files";
pub(super) const WAL_RANGES: &str = "WAL-Ranges";
pub(super) const CHECKSUM: &str = "Manifest-Checksum";

/// One file of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManifestFile {
    /// The path relative to the data directory, as bytes: a name need not be text. Files of
    /// tablespaces are `pg_tblspc/<oid>/...`.
    #[serde(serialize_with = "as_text")]
    pub path: Vec<u8>,
    /// The size in bytes.
    pub size: u64,
    /// The checksum, if the backup was made with any.
    pub checksum: Option<FileChecksum>,
}

/// WAL that the backup needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ManifestWalRange {
    /// The timeline.
    pub timeline: TimelineId,
    /// From here,
    pub start: Lsn,
    /// to here.
    pub end: Lsn,
}

/// A file's entry as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(rename = "Path")]
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    #[serde(rename = "Size")]
    size: Option<Value>,
    /// For people only.
    #[serde(rename = "Last-Modified")]
    _last_modified: Option<String>,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<String>,
    #[serde(rename = "Checksum")]
    checksum: Option<String>,
}

/// A range as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRange {
    #[serde(rename = "Timeline")]
    timeline: Option<Value>,
    #[serde(rename = "Start-LSN")]
    start: Option<String>,
    #[serde(rename = "End-LSN")]
    end: Option<String>,
}

/// A field of the manifest itself.
pub(super) enum Member {
    Version(u32),
    SystemId(SystemId),
    Checksum(FileChecksum),
}

impl Member {
    /// Reads `"Key": value`.
    pub(super) fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        const PLACE: &str = "the manifest";
        let wrapped = [b"{", text, b"}"].concat();
        let object: serde_json::Map<String, Value> =
            serde_json::from_slice(&wrapped).map_err(|error| unexpected(PLACE, &error))?;
        let Some((key, value)) = object.into_iter().next() else {
            return Err(unexpected(PLACE, "an empty place between commas"));
        };
        match key.as_str() {
            VERSION => match value.as_u64() {
                Some(version @ 1..=2) => Ok(Self::Version(u32::from(version == 2) + 1)),
                Some(found) => Err(ManifestError::UnknownVersion { found }),
                None => Err(bad(VERSION, PLACE, &value)),
            },
            SYSTEM_ID => match number(&value) {
                Some(id) => Ok(Self::SystemId(SystemId(id))),
                None => Err(bad(SYSTEM_ID, PLACE, &value)),
            },
            CHECKSUM => value
                .as_str()
                .and_then(|text| FileChecksum::from_hex(ChecksumAlgorithm::Sha256, text))
                .map(Self::Checksum)
                .ok_or_else(|| bad(CHECKSUM, PLACE, &value)),
            other => Err(unexpected(PLACE, other)),
        }
    }
}

/// Reads `"Key":` before an array.
pub(super) fn array_name(text: &[u8]) -> Result<String, ManifestError> {
    let text = text.trim_ascii_end();
    let name = text.strip_suffix(b":").unwrap_or_default();
    serde_json::from_slice(name).map_err(|error| unexpected("the manifest", &error))
}

impl ManifestFile {
    /// Reads the entry after `before` others.
    pub(super) fn parse(text: &[u8], before: u64) -> Result<Self, ManifestError> {
        let nameless = || format!("the entry of file {}", before + 1);
        let raw: RawFile =
            serde_json::from_slice(text).map_err(|error| unexpected(&nameless(), &error))?;
        let path = match (raw.path, raw.encoded_path) {
            (Some(path), None) => path.into_bytes(),
            (None, Some(encoded)) => {
                let mut bytes = vec![0; encoded.len() / 2];
                decode_hex(&encoded, &mut bytes).ok_or_else(|| {
                    bad("Encoded-Path", &nameless(), &Value::String(encoded.clone()))
                })?;
                bytes
            }
            (None, None) => {
                return Err(ManifestError::Missing {
                    field: "Path",
                    place: nameless(),
                });
            }
            (Some(_), Some(_)) => {
                return Err(unexpected(&nameless(), "both Path and Encoded-Path"));
            }
        };
        let place = || format!("the entry of {:?}", String::from_utf8_lossy(&path));
        let size = match &raw.size {
            Some(value) => number(value).ok_or_else(|| bad("Size", &place(), value))?,
            None => {
                return Err(ManifestError::Missing {
                    field: "Size",
                    place: place(),
                });
            }
        };
        let checksum = match (raw.algorithm, raw.checksum) {
            (None, None) => None,
            (Some(name), Some(digits)) => {
                let algorithm = ChecksumAlgorithm::from_name(&name)
                    .ok_or_else(|| bad("Checksum-Algorithm", &place(), &Value::String(name)))?;
                let checksum = FileChecksum::from_hex(algorithm, &digits)
                    .ok_or_else(|| bad("Checksum", &place(), &Value::String(digits)))?;
                Some(checksum)
            }
            (Some(_), None) => {
                return Err(ManifestError::Missing {
                    field: "Checksum",
                    place: place(),
                });
            }
            (None, Some(_)) => {
                return Err(ManifestError::Missing {
                    field: "Checksum-Algorithm",
                    place: place(),
                });
            }
        };
        Ok(Self {
            path,
            size,
            checksum,
        })
    }
}

impl ManifestWalRange {
    pub(super) fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        const PLACE: &str = "WAL-Ranges";
        let raw: RawRange =
            serde_json::from_slice(text).map_err(|error| unexpected(PLACE, &error))?;
        let missing = |field| ManifestError::Missing {
            field,
            place: PLACE.to_owned(),
        };
        let lsn = |field, text: Option<String>| -> Result<Lsn, ManifestError> {
            let text = text.ok_or_else(|| missing(field))?;
            text.parse()
                .map_err(|_| bad(field, PLACE, &Value::String(text)))
        };
        let timeline = raw.timeline.ok_or_else(|| missing("Timeline"))?;
        let range = Self {
            timeline: number(&timeline)
                .and_then(|number| u32::try_from(number).ok())
                .map(TimelineId)
                .ok_or_else(|| bad("Timeline", PLACE, &timeline))?,
            start: lsn("Start-LSN", raw.start)?,
            end: lsn("End-LSN", raw.end)?,
        };
        if range.start > range.end {
            let found = Value::String(range.end.to_string());
            return Err(bad("End-LSN", PLACE, &found));
        }
        Ok(range)
    }
}

/// A number, which PostgreSQL takes with or without quotes.
fn number(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

pub(super) fn unexpected(place: &str, what: impl std::fmt::Display) -> ManifestError {
    ManifestError::Unexpected {
        place: place.to_owned(),
        what: what.to_string().chars().take(120).collect(),
    }
}

fn bad(field: &'static str, place: &str, value: &Value) -> ManifestError {
    ManifestError::BadValue {
        field,
        place: place.to_owned(),
        found: value.to_string().chars().take(80).collect(),
    }
}

fn as_text<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}
