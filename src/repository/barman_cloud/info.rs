//! `backup.info`: Barman's description of one base backup.
//!
//! UTF-8, one `key=value` per line, `None` for null, some values as Python literals
//! (`barman/infofile.py`: `FieldListFile`, `BackupInfo`). Fields that this version does
//! not use are kept as written, so that a newer Barman's file is read and written alike.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::literal::{self, Literal};
use crate::postgres::{Lsn, SegmentName, SegmentSize, SystemId, TimelineId};
use crate::repository::{BackupStatus, Tablespace};

/// Fields that Barman 3.19 writes, in its order. Those that are absent are written as
/// `None`, except [`HIDDEN`].
const KNOWN: [&str; 35] = [
    "backup_label",
    "backup_name",
    "begin_offset",
    "begin_time",
    "begin_wal",
    "begin_xlog",
    "children_backup_ids",
    "cluster_size",
    "compression",
    "config_file",
    "copy_stats",
    "data_checksums",
    "deduplicated_size",
    "encryption",
    "end_offset",
    "end_time",
    "end_wal",
    "end_xlog",
    "error",
    "hba_file",
    "ident_file",
    "included_files",
    "mode",
    "parent_backup_id",
    "pgdata",
    "server_name",
    "size",
    "snapshots_info",
    "status",
    "summarize_wal",
    "systemid",
    "tablespaces",
    "timeline",
    "version",
    "xlog_segment_size",
];

/// Fields whose line is left out when they are unset.
const HIDDEN: [&str; 2] = ["backup_name", "snapshots_info"];

/// A `backup.info`, read. `None` stands for an absent field and for Barman's `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupInfo {
    /// `status`, as written.
    pub status: Option<String>,
    /// `backup_name`: a name given by a person or operator.
    pub backup_name: Option<String>,
    /// `error`, one line.
    pub error: Option<String>,
    /// `mode`: `None` for archives, `snapshot-…` for volume snapshots.
    pub mode: Option<String>,
    /// `begin_time`.
    pub begin_time: Option<DateTime<Utc>>,
    /// `end_time`.
    pub end_time: Option<DateTime<Utc>>,
    /// `begin_xlog`.
    pub begin_lsn: Option<Lsn>,
    /// `end_xlog`.
    pub end_lsn: Option<Lsn>,
    /// `begin_wal`.
    pub begin_wal: Option<SegmentName>,
    /// `end_wal`.
    pub end_wal: Option<SegmentName>,
    /// `timeline`.
    pub timeline: Option<TimelineId>,
    /// `systemid`.
    pub system_id: Option<SystemId>,
    /// `version`: `server_version_num`.
    pub version: Option<u32>,
    /// `xlog_segment_size`; absent in very old files, where it is 16 MiB.
    pub segment_size: Option<SegmentSize>,
    /// `data_checksums`.
    pub data_checksums: Option<bool>,
    /// `cluster_size` in bytes.
    pub cluster_size: Option<u64>,
    /// `tablespaces`.
    pub tablespaces: Vec<Tablespace>,
    /// `backup_label`.
    pub backup_label: Option<String>,
    /// Every other field that is not `None`, as written.
    pub other: BTreeMap<String, String>,
    /// Remarks on how the file was read, such as on times without a zone. Not written.
    pub notes: Vec<String>,
}

/// Why an object is not a `backup.info`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// Not text.
    #[error("not UTF-8 text")]
    NotText,
    /// Nothing in it.
    #[error("no field in it")]
    Empty,
    /// A line without `=`.
    #[error("line {line} is no `key=value`: {text:?}")]
    BadLine {
        /// Line number, from 1.
        line: usize,
        /// The line, cut to 80 characters.
        text: String,
    },
    /// A value that its field cannot have.
    #[error("line {line}: {key} is {value:?}: {reason}")]
    BadValue {
        /// Line number, from 1.
        line: usize,
        /// The field.
        key: String,
        /// The value, cut to 80 characters.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl BackupInfo {
    /// Reads a `backup.info` of any version of Barman.
    pub fn parse(bytes: &[u8]) -> Result<Self, InfoError> {
        let text = std::str::from_utf8(bytes).map_err(|_| InfoError::NotText)?;
        let mut info = Self::default();
        let mut fields = 0usize;
        for (index, raw) in text.split('\n').enumerate() {
            let line = index + 1;
            if raw.trim().is_empty() || raw.starts_with('#') {
                continue;
            }
            let Some((key, value)) = raw.split_once('=') else {
                return Err(InfoError::BadLine {
                    line,
                    text: cut(raw),
                });
            };
            let (key, value) = (key.trim(), value.trim());
            fields += 1;
            info.set(key, value).map_err(|reason| InfoError::BadValue {
                line,
                key: cut(key),
                value: cut(value),
                reason,
            })?;
        }
        if fields == 0 {
            return Err(InfoError::Empty);
        }
        Ok(info)
    }

    fn set(&mut self, key: &str, written: &str) -> Result<(), String> {
        let value = (written != "None").then_some(written);
        match key {
            "status" => self.status = value.map(str::to_owned),
            "backup_name" => self.backup_name = value.map(str::to_owned),
            "error" => self.error = value.map(str::to_owned),
            "mode" => self.mode = value.map(str::to_owned),
            "begin_time" => self.begin_time = self.time(key, value)?,
            "end_time" => self.end_time = self.time(key, value)?,
            "begin_xlog" => self.begin_lsn = parsed(value)?,
            "end_xlog" => self.end_lsn = parsed(value)?,
            "begin_wal" => self.begin_wal = parsed(value)?,
            "end_wal" => self.end_wal = parsed(value)?,
            "timeline" => self.timeline = parsed(value)?.map(TimelineId),
            "systemid" => self.system_id = parsed(value)?.map(SystemId),
            "version" => self.version = parsed(value)?,
            "cluster_size" => self.cluster_size = parsed(value)?,
            "xlog_segment_size" => {
                let bytes: Option<u64> = parsed(value)?;
                self.segment_size = bytes
                    .map(SegmentSize::new)
                    .transpose()
                    .map_err(|error| error.to_string())?;
            }
            "data_checksums" => {
                self.data_checksums = match value {
                    None => None,
                    Some("on") => Some(true),
                    Some("off") => Some(false),
                    Some(_) => return Err("expected on or off".to_owned()),
                }
            }
            "tablespaces" => {
                self.tablespaces = value.map(tablespaces).transpose()?.unwrap_or_default();
            }
            "backup_label" => self.backup_label = value.map(string).transpose()?,
            _ => match value {
                Some(value) => {
                    self.other.insert(key.to_owned(), value.to_owned());
                }
                None => {
                    self.other.remove(key);
                }
            },
        }
        Ok(())
    }

    fn time(&mut self, key: &str, value: Option<&str>) -> Result<Option<DateTime<Utc>>, String> {
        let Some(value) = value else { return Ok(None) };
        let (time, zoned) =
            parse_time(value).ok_or("expected a time such as 2026-11-21 13:31:59.674836+00:00")?;
        if !zoned {
            self.notes.push(format!(
                "{key} {value} has no time zone and was read as UTC"
            ));
        }
        Ok(Some(time))
    }

    /// The status in walproof's words.
    pub fn backup_status(&self) -> BackupStatus {
        match self.status.as_deref() {
            Some("DONE") => BackupStatus::Done,
            Some("STARTED") => BackupStatus::Started,
            Some("FAILED") => BackupStatus::Failed,
            Some(other) => BackupStatus::Other(other.to_owned()),
            None => BackupStatus::Unknown,
        }
    }

    /// Whether its data lies in volume snapshots.
    pub fn is_snapshot(&self) -> bool {
        self.mode
            .as_deref()
            .is_some_and(|mode| mode.starts_with("snapshot"))
            || self.other.contains_key("snapshots_info")
    }

    /// The fields that Barman 3.19 does not write.
    pub fn unknown_fields(&self) -> BTreeMap<String, String> {
        self.other
            .iter()
            .filter(|(key, _)| !KNOWN.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Writes the file as Barman 3.19 does: fields sorted, absent ones as `None`.
    /// Line breaks in a value become blanks, because a value is one line.
    pub fn format(&self) -> String {
        let time = |time: Option<DateTime<Utc>>| {
            time.map(|time| time.format("%Y-%m-%d %H:%M:%S%.6f+00:00").to_string())
        };
        let mut fields: BTreeMap<&str, Option<String>> = KNOWN
            .iter()
            .filter(|key| !HIDDEN.contains(key))
            .map(|key| (*key, None))
            .collect();
        for (key, value) in &self.other {
            fields.insert(key, Some(value.clone()));
        }
        for (key, value) in [
            ("status", self.status.clone()),
            ("backup_name", self.backup_name.clone()),
            ("error", self.error.clone()),
            ("mode", self.mode.clone()),
            ("begin_time", time(self.begin_time)),
            ("end_time", time(self.end_time)),
            ("begin_xlog", self.begin_lsn.map(|lsn| lsn.to_string())),
            ("end_xlog", self.end_lsn.map(|lsn| lsn.to_string())),
            ("begin_wal", self.begin_wal.map(|name| name.to_string())),
            ("end_wal", self.end_wal.map(|name| name.to_string())),
            ("timeline", self.timeline.map(|id| id.to_string())),
            ("systemid", self.system_id.map(|id| id.to_string())),
            ("version", self.version.map(|version| version.to_string())),
            (
                "xlog_segment_size",
                self.segment_size.map(|size| size.bytes().to_string()),
            ),
            (
                "data_checksums",
                self.data_checksums
                    .map(|on| if on { "on" } else { "off" }.to_owned()),
            ),
            (
                "cluster_size",
                self.cluster_size.map(|bytes| bytes.to_string()),
            ),
            ("tablespaces", format_tablespaces(&self.tablespaces)),
            (
                "backup_label",
                self.backup_label.as_deref().map(literal::quote),
            ),
        ] {
            if value.is_some() {
                fields.insert(key, value);
            }
        }
        let mut text = String::new();
        for (key, value) in fields {
            let value = value.map_or_else(
                || "None".to_owned(),
                |value| value.replace(['\n', '\r'], " "),
            );
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{key}={value}");
        }
        text
    }
}

/// Reads a time as Python's `str(datetime)` writes it; the flag says whether it had a
/// zone. Without one it is taken for UTC: Barman reads it in the reader's own zone, which
/// differs from machine to machine.
fn parse_time(text: &str) -> Option<(DateTime<Utc>, bool)> {
    let text = text.replacen('T', " ", 1);
    let utc = ["Z", " UTC", " GMT", "UTC", "GMT"]
        .iter()
        .find_map(|suffix| text.strip_suffix(suffix));
    let (clock, zoned) = utc.map_or((text.as_str(), false), |rest| (rest.trim_end(), true));
    let naive = ["%Y-%m-%d %H:%M:%S%.f", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(clock, format).ok());
    if let Some(naive) = naive {
        return Some((naive.and_utc(), zoned));
    }
    ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z"]
        .iter()
        .find_map(|format| DateTime::parse_from_str(&text, format).ok())
        .map(|time| (time.to_utc(), true))
}

fn parsed<T: std::str::FromStr>(value: Option<&str>) -> Result<Option<T>, String>
where
    T::Err: std::fmt::Display,
{
    value
        .map(|text| text.parse::<T>().map_err(|error| error.to_string()))
        .transpose()
}

fn string(text: &str) -> Result<String, String> {
    match Literal::parse(text) {
        Ok(Literal::Str(text)) => Ok(text),
        Ok(_) => Err("expected a quoted string".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn tablespaces(text: &str) -> Result<Vec<Tablespace>, String> {
    let literal = Literal::parse(text).map_err(|error| error.to_string())?;
    let expected = || "expected a list of (name, oid, location)".to_owned();
    literal
        .as_items()
        .ok_or_else(expected)?
        .iter()
        .map(|item| match item.as_items() {
            Some(
                [
                    Literal::Str(name),
                    Literal::Int(oid),
                    Literal::Str(location),
                ],
            ) => Ok(Tablespace {
                oid: u32::try_from(*oid).map_err(|_| expected())?,
                name: name.clone(),
                location: location.clone(),
            }),
            _ => Err(expected()),
        })
        .collect()
}

fn format_tablespaces(tablespaces: &[Tablespace]) -> Option<String> {
    let items: Vec<String> = tablespaces
        .iter()
        .map(|tablespace| {
            format!(
                "({}, {}, {})",
                literal::quote(&tablespace.name),
                tablespace.oid,
                literal::quote(&tablespace.location)
            )
        })
        .collect();
    (!items.is_empty()).then(|| format!("[{}]", items.join(", ")))
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As Barman 3.19.1 wrote it, abridged.
    const DONE: &str = r"backup_label='START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\n'
backup_name=backup-20261121133159
begin_offset=40
begin_time=2026-11-21 13:31:59.674836+00:00
begin_wal=000000010000000000000002
begin_xlog=0/2000028
children_backup_ids=None
cluster_size=30000000
compression=None
copy_stats={'total_time': 1.5}
data_checksums=on
end_time=2026-11-21 15:32:01+02:00
end_wal=000000010000000000000002
end_xlog=0/2000138
error=None
mode=None
server_name=cloud
status=DONE
systemid=18446744073709551615
tablespaces=[('tbs1', 16384, '/srv/tbs1')]
timeline=1
version=150018
xlog_segment_size=16777216
zz_new_field=hello = world
";

    #[test]
    fn reads_a_new_file() {
        let info = BackupInfo::parse(DONE.as_bytes()).unwrap();
        assert_eq!(info.backup_status(), BackupStatus::Done);
        assert_eq!(info.begin_lsn, Some(Lsn::new(0x200_0028)));
        assert_eq!(info.timeline, Some(TimelineId(1)));
        assert_eq!(info.system_id, Some(SystemId(u64::MAX)));
        assert_eq!(info.segment_size, Some(SegmentSize::DEFAULT));
        assert_eq!(info.data_checksums, Some(true));
        assert_eq!(info.tablespaces[0].location, "/srv/tbs1");
        assert!(info.backup_label.as_ref().unwrap().ends_with("0/2000060\n"));
        assert_eq!(
            info.end_time.unwrap().to_rfc3339(),
            "2026-11-21T13:32:01+00:00"
        );
        let unknown = info.unknown_fields();
        assert_eq!(unknown.len(), 1);
        assert_eq!(unknown["zz_new_field"], "hello = world");
        assert!(info.notes.is_empty());
        assert_eq!(BackupInfo::parse(info.format().as_bytes()).unwrap(), info);
    }

    #[test]
    fn reads_an_old_file() {
        let old = "# by hand\n\nbegin_time=2013-05-06 07:08:09\nstatus = FAILED\r\ntablespaces=[('t', 16384L, '/t')]\nend_time=2013-05-06 07:08:09.5\n";
        let info = BackupInfo::parse(old.as_bytes()).unwrap();
        assert_eq!(info.backup_status(), BackupStatus::Failed);
        assert_eq!(info.segment_size, None);
        assert_eq!(
            info.begin_time.unwrap().to_rfc3339(),
            "2013-05-06T07:08:09+00:00"
        );
        assert_eq!(info.notes.len(), 2);
        assert!(info.notes[0].contains("no time zone"), "{:?}", info.notes);
    }

    #[test]
    fn refusals_say_where_and_why() {
        let parse = |text: &str| BackupInfo::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(parse(""), "no field in it");
        assert!(parse("<html>").starts_with("line 1 is no `key=value`"));
        assert!(parse("status=DONE\ntimeline=x").starts_with("line 2: timeline is \"x\""));
        assert!(parse("xlog_segment_size=17").contains("power of two"));
        assert!(parse("tablespaces=[1]").contains("(name, oid, location)"));
        assert!(parse("tablespaces=[('a', -1, 'b')]").contains("(name, oid, location)"));
        assert!(parse("backup_label=open('x')").contains("not a Python literal"));
        assert!(parse("begin_time=yesterday").contains("expected a time"));
        assert!(parse("data_checksums=maybe").contains("on or off"));
        assert_eq!(BackupInfo::parse(&[0xFF]).unwrap_err(), InfoError::NotText);
    }

    #[test]
    fn snapshots_are_recognised() {
        let parse = |text: &str| BackupInfo::parse(text.as_bytes()).unwrap().is_snapshot();
        assert!(parse("mode=snapshot-concurrent"));
        assert!(parse("snapshots_info={'provider': 'aws'}"));
        assert!(!parse("mode=None\nsnapshots_info=None"));
    }

    fn any_info() -> impl Strategy<Value = BackupInfo> {
        let line = || proptest::option::of("[a-z][ -~]{0,20}[a-z]");
        let label = proptest::option::of(any::<String>());
        let tablespaces = proptest::collection::vec(
            (any::<String>(), any::<u32>(), any::<String>()).prop_map(|(name, oid, location)| {
                Tablespace {
                    oid,
                    name,
                    location,
                }
            }),
            0..3,
        );
        let other = proptest::collection::btree_map("x_[a-z]{1,8}", "[a-z][ -~]{0,20}[a-z]", 0..3);
        let numbers = (any::<u64>(), any::<u32>(), 0i64..4_000_000_000_000_000);
        (line(), line(), label, tablespaces, other, numbers).prop_map(
            |(backup_name, error, backup_label, tablespaces, other, (wide, narrow, micros))| {
                BackupInfo {
                    status: Some("DONE".to_owned()),
                    backup_name,
                    error,
                    begin_lsn: Some(Lsn::new(wide)),
                    system_id: Some(SystemId(wide)),
                    timeline: Some(TimelineId(narrow)),
                    version: Some(narrow),
                    cluster_size: Some(wide),
                    begin_time: DateTime::from_timestamp_micros(micros),
                    data_checksums: Some(narrow > 7),
                    tablespaces,
                    backup_label,
                    other,
                    ..BackupInfo::default()
                }
            },
        )
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = BackupInfo::parse(&bytes);
        }

        #[test]
        fn any_value_is_answered(key in "(tablespaces|begin_time|backup_label|systemid|timeline)", value: String) {
            let _ = BackupInfo::parse(format!("{key}={value}").as_bytes());
        }

        #[test]
        fn format_and_parse_are_inverse(info in any_info()) {
            prop_assert_eq!(BackupInfo::parse(info.format().as_bytes()).unwrap(), info);
        }
    }
}
