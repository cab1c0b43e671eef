//! `backup_label`, which tells recovery where a base backup begins, and the backup history
//! file, which repeats it in the archive together with the end.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, FixedOffset, NaiveDateTime, Utc};
use serde::Serialize;

use super::{Lsn, SegmentName, TimelineId};

/// The largest file that is looked at. A label has at most 1,024 bytes, the rest is short.
const SIZE_MAX: usize = 64 << 10;

/// What `backup_label` says (`build_backup_content` in
/// `src/backend/access/transam/xlogbackup.c`; read by recovery in `read_backup_label`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupLabel {
    /// Where replay must begin: the redo point of the backup's checkpoint.
    pub start_lsn: Lsn,
    /// The segment that holds it.
    #[serde(serialize_with = "as_text")]
    pub start_segment: SegmentName,
    /// The checkpoint's record.
    pub checkpoint: Lsn,
    /// `streamed` for every backup since 15; `pg_start_backup` for an exclusive one.
    pub method: String,
    /// Whether a standby was copied: its backup has no end-of-backup record.
    pub from_standby: bool,
    /// When the backup began.
    pub start_time: Option<LabelTime>,
    /// What the person or tool called it.
    pub label: String,
    /// The timeline on which it began.
    pub timeline: TimelineId,
    /// The backup that an incremental one (17 and later) builds on.
    pub incremental_from: Option<IncrementalFrom>,
}

/// What an incremental backup builds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IncrementalFrom {
    /// Where the earlier backup began.
    pub lsn: Lsn,
    /// Its timeline.
    pub timeline: TimelineId,
}

/// What a backup history file says: the label, and the backup's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupHistory {
    /// The label.
    #[serde(flatten)]
    pub label: BackupLabel,
    /// Where the backup ended: it is consistent from here on.
    pub stop_lsn: Lsn,
    /// The segment named beside it.
    #[serde(serialize_with = "as_text")]
    pub stop_segment: SegmentName,
    /// When it ended.
    pub stop_time: Option<LabelTime>,
    /// The timeline on which it ended.
    pub stop_timeline: TimelineId,
}

/// A time as these files have it: in the server's `log_timezone`, with the zone's
/// abbreviation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelTime {
    /// As written.
    pub text: String,
    /// The moment, where the zone is UTC or a number. Names such as `CST` mean different
    /// zones to different people and are not guessed.
    pub utc: Option<DateTime<Utc>>,
}

/// Why bytes are not such a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum BackupLabelError {
    /// Far larger than any server writes.
    #[error("{found} bytes are too many for a backup label")]
    TooLarge {
        /// Bytes found.
        found: u64,
    },
    /// A line ends in a carriage return, which recovery refuses ("invalid data in file").
    #[error("its lines end in carriage returns, which PostgreSQL refuses to read")]
    CarriageReturns,
    /// A line that recovery needs is absent.
    #[error("the line {field:?} is missing")]
    Missing {
        /// How the line begins.
        field: &'static str,
    },
    /// A line has a value that recovery would refuse.
    #[error("the line {field:?} has the value {found:?}, expected {expected}")]
    BadValue {
        /// How the line begins.
        field: &'static str,
        /// Its value, cut to 80 characters.
        found: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// The start timeline is not the one in the segment's name: recovery stops there.
    #[error("START TIMELINE is {stated}, but the start segment is of timeline {named}")]
    TimelineMismatch {
        /// The line's value.
        stated: TimelineId,
        /// The segment name's.
        named: TimelineId,
    },
}

const START: &str = "START WAL LOCATION";
const STOP: &str = "STOP WAL LOCATION";
const CHECKPOINT: &str = "CHECKPOINT LOCATION";
const METHOD: &str = "BACKUP METHOD";
const FROM: &str = "BACKUP FROM";
const START_TIME: &str = "START TIME";
const LABEL: &str = "LABEL";
const START_TIMELINE: &str = "START TIMELINE";
const STOP_TIME: &str = "STOP TIME";
const STOP_TIMELINE: &str = "STOP TIMELINE";
const INCREMENTAL_LSN: &str = "INCREMENTAL FROM LSN";
const INCREMENTAL_TIMELINE: &str = "INCREMENTAL FROM TLI";

impl BackupLabel {
    /// Reads a `backup_label`. Unknown lines are passed over, as recovery does.
    pub fn parse(bytes: &[u8]) -> Result<Self, BackupLabelError> {
        Self::from_lines(&Lines::new(bytes)?)
    }

    fn from_lines(lines: &Lines) -> Result<Self, BackupLabelError> {
        let (start_lsn, start_segment) = lines.location(START)?;
        let timeline = lines.timeline(START_TIMELINE)?;
        if let Some(stated) = timeline
            && stated != start_segment.timeline
        {
            return Err(BackupLabelError::TimelineMismatch {
                stated,
                named: start_segment.timeline,
            });
        }
        let from = lines.find(FROM).unwrap_or("primary");
        if !matches!(from, "primary" | "standby") {
            return Err(bad_value(FROM, from, "primary or standby"));
        }
        let incremental_from = match (
            lines.lsn(INCREMENTAL_LSN)?,
            lines.timeline(INCREMENTAL_TIMELINE)?,
        ) {
            (Some(lsn), Some(timeline)) => Some(IncrementalFrom { lsn, timeline }),
            (None, None) => None,
            (Some(_), None) => return Err(missing(INCREMENTAL_TIMELINE)),
            (None, Some(_)) => return Err(missing(INCREMENTAL_LSN)),
        };
        Ok(Self {
            start_lsn,
            start_segment,
            checkpoint: lines.lsn(CHECKPOINT)?.ok_or(missing(CHECKPOINT))?,
            method: lines.find(METHOD).unwrap_or_default().to_owned(),
            from_standby: from == "standby",
            start_time: lines.find(START_TIME).map(LabelTime::new),
            label: lines.find(LABEL).unwrap_or_default().to_owned(),
            timeline: start_segment.timeline,
            incremental_from,
        })
    }
}

impl BackupHistory {
    /// Reads a backup history file, `….backup` in the archive.
    pub fn parse(bytes: &[u8]) -> Result<Self, BackupLabelError> {
        let lines = Lines::new(bytes)?;
        let label = BackupLabel::from_lines(&lines)?;
        let (stop_lsn, stop_segment) = lines.location(STOP)?;
        Ok(Self {
            stop_lsn,
            stop_segment,
            stop_time: lines.find(STOP_TIME).map(LabelTime::new),
            stop_timeline: lines
                .timeline(STOP_TIMELINE)?
                .unwrap_or(stop_segment.timeline),
            label,
        })
    }
}

impl LabelTime {
    fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            utc: parse_time(text),
        }
    }
}

/// `%Y-%m-%d %H:%M:%S %Z`, where `%Z` is an abbreviation or, for zones without one, the
/// offset east of Greenwich as `+03` or `+0530`.
fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let (time, zone) = text.rsplit_once(' ')?;
    let time = NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S").ok()?;
    let east = match zone {
        "UTC" | "GMT" => 0,
        _ => {
            let (sign, digits) = match (zone.strip_prefix('+'), zone.strip_prefix('-')) {
                (Some(digits), _) => (1, digits),
                (_, Some(digits)) => (-1, digits),
                _ => return None,
            };
            if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let number: i32 = digits.parse().ok()?;
            match digits.len() {
                2 => sign * number * 3600,
                4 => sign * (number / 100 * 3600 + number % 100 * 60),
                _ => return None,
            }
        }
    };
    let offset = FixedOffset::east_opt(east)?;
    time.and_local_timezone(offset)
        .single()
        .map(|time| time.to_utc())
}

/// The lines of such a file. Labels are in the server's encoding, which the file does not
/// tell: what is not UTF-8 is shown with replacement characters.
struct Lines {
    text: String,
}

impl Lines {
    fn new(bytes: &[u8]) -> Result<Self, BackupLabelError> {
        if bytes.len() > SIZE_MAX {
            return Err(BackupLabelError::TooLarge {
                found: bytes.len() as u64,
            });
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        if text
            .split('\n')
            .next()
            .is_some_and(|line| line.ends_with('\r'))
        {
            return Err(BackupLabelError::CarriageReturns);
        }
        Ok(Self { text })
    }

    /// The value of the first line with that name.
    fn find(&self, field: &str) -> Option<&str> {
        self.text.split('\n').find_map(|line| {
            line.strip_prefix(field)
                .and_then(|rest| rest.strip_prefix(": "))
        })
    }

    fn parsed<T: FromStr>(
        &self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, BackupLabelError> {
        self.find(field)
            .map(|value| value.parse().map_err(|_| bad_value(field, value, expected)))
            .transpose()
    }

    fn lsn(&self, field: &'static str) -> Result<Option<Lsn>, BackupLabelError> {
        self.parsed(field, "an LSN")
    }

    fn timeline(&self, field: &'static str) -> Result<Option<TimelineId>, BackupLabelError> {
        let number: Option<u32> = self.parsed(field, "a timeline number")?;
        Ok(number.map(TimelineId))
    }

    /// `0/2000028 (file 000000010000000000000002)`.
    fn location(&self, field: &'static str) -> Result<(Lsn, SegmentName), BackupLabelError> {
        let value = self.find(field).ok_or(missing(field))?;
        let parse = || {
            let (lsn, rest) = value.split_once(' ')?;
            let segment = rest.strip_prefix("(file ")?.strip_suffix(')')?;
            Some((lsn.parse().ok()?, segment.parse().ok()?))
        };
        parse().ok_or_else(|| bad_value(field, value, "\"<LSN> (file <segment>)\""))
    }
}

const fn missing(field: &'static str) -> BackupLabelError {
    BackupLabelError::Missing { field }
}

fn bad_value(field: &'static str, found: &str, expected: &'static str) -> BackupLabelError {
    BackupLabelError::BadValue {
        field,
        found: found.chars().take(80).collect(),
        expected,
    }
}

fn as_text<T: fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)
CHECKPOINT LOCATION: 0/2000060
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-11-21 18:00:05 UTC
LABEL: nightly: orders
START TIMELINE: 1
";

    #[test]
    fn reads_what_a_primary_writes() {
        let label = BackupLabel::parse(PLAIN.as_bytes()).unwrap();
        assert_eq!(label.start_lsn, Lsn::new(0x200_0028));
        assert_eq!(label.start_segment.to_string(), "000000010000000000000002");
        assert_eq!(label.checkpoint, Lsn::new(0x200_0060));
        assert_eq!(label.method, "streamed");
        assert!(!label.from_standby);
        assert_eq!(label.label, "nightly: orders");
        assert_eq!(label.timeline, TimelineId(1));
        assert_eq!(label.incremental_from, None);
        let time = label.start_time.unwrap();
        assert_eq!(time.utc.unwrap().to_rfc3339(), "2026-11-21T18:00:05+00:00");
    }

    #[test]
    fn reads_the_end_from_a_history_file() {
        let text = PLAIN.replace(
            "CHECKPOINT",
            "STOP WAL LOCATION: 0/3000138 (file 000000010000000000000003)\nCHECKPOINT",
        ) + "STOP TIME: 2026-11-21 20:00:06 +02\nSTOP TIMELINE: 1\n";
        let history = BackupHistory::parse(text.as_bytes()).unwrap();
        assert_eq!(history.stop_lsn, Lsn::new(0x300_0138));
        assert_eq!(history.stop_timeline, TimelineId(1));
        let (start, stop) = (history.label.start_time, history.stop_time);
        let seconds = stop.unwrap().utc.unwrap() - start.unwrap().utc.unwrap();
        assert_eq!(seconds.num_seconds(), 1);
        assert!(matches!(
            BackupHistory::parse(PLAIN.as_bytes()),
            Err(BackupLabelError::Missing { field: STOP })
        ));
    }

    #[test]
    fn standby_and_incremental_are_told() {
        let text = PLAIN.replace("primary", "standby")
            + "INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\n";
        let label = BackupLabel::parse(text.as_bytes()).unwrap();
        assert!(label.from_standby);
        assert_eq!(label.incremental_from.unwrap().lsn, Lsn::new(0x100_0028));
    }

    #[test]
    fn a_zone_by_name_is_not_guessed() {
        let label = BackupLabel::parse(PLAIN.replace("UTC", "CST").as_bytes()).unwrap();
        let time = label.start_time.unwrap();
        assert_eq!(time.text, "2026-11-21 18:00:05 CST");
        assert_eq!(time.utc, None);
    }

    #[test]
    fn each_damage_has_its_own_error() {
        let parse = |text: String| BackupLabel::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(
            parse(String::new()),
            BackupLabelError::Missing { field: START }
        ));
        assert!(matches!(
            parse(PLAIN.replace("CHECKPOINT", "CHECK")),
            BackupLabelError::Missing { field: CHECKPOINT }
        ));
        assert!(matches!(
            parse(PLAIN.replace("0/2000060", "here")),
            BackupLabelError::BadValue { .. }
        ));
        assert!(matches!(
            parse(PLAIN.replace("primary", "elsewhere")),
            BackupLabelError::BadValue { field: FROM, .. }
        ));
        assert!(matches!(
            parse(PLAIN.replace("TIMELINE: 1", "TIMELINE: 2")),
            BackupLabelError::TimelineMismatch { .. }
        ));
        assert!(matches!(
            parse(PLAIN.replace('\n', "\r\n")),
            BackupLabelError::CarriageReturns
        ));
        assert!(matches!(
            parse("x".repeat(SIZE_MAX + 1)),
            BackupLabelError::TooLarge { .. }
        ));
        assert!(matches!(
            parse(format!("{PLAIN}INCREMENTAL FROM LSN: 0/1\n")),
            BackupLabelError::Missing { .. }
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>, at in 0usize..200, cut in 0usize..300) {
            let _ = BackupLabel::parse(&bytes);
            let mut text = PLAIN.as_bytes().to_vec();
            text.splice(at..at, bytes);
            text.truncate(cut);
            let _ = BackupHistory::parse(&text);
        }

        #[test]
        fn any_time_is_answered(text in "\\PC*", zone in "[+-]{0,2}[0-9:é]{0,12}") {
            let _ = parse_time(&text);
            let _ = parse_time(&format!("2026-11-21 18:00:05 {zone}"));
        }
    }
}
