//! Where a recovery shall end, as a person says it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::postgres::Lsn;

/// Where recovery shall end. Every kind is turned into an explicit record before
/// PostgreSQL starts (see [`super::resolve()`]); none is handed to it as written.
///
/// The text form is `tip`, `immediate`, `time:2026-11-21T13:05:00Z`, `lsn:0/3000028`,
/// `xid:745` or `name:before-migration`; LSN and XID take `,exclusive` at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "value")]
pub enum Target {
    /// The last complete record that contiguous, valid WAL reaches.
    #[default]
    Tip,
    /// The last moment before the first transaction that ended later than this.
    Time(DateTime<Utc>),
    /// A position in the WAL.
    Lsn {
        /// The position.
        lsn: Lsn,
        /// Whether the first record that begins there or later is applied.
        inclusive: bool,
    },
    /// The end (commit or abort) of one transaction.
    Xid {
        /// The transaction's 32-bit number, without its epoch.
        xid: u32,
        /// Whether its commit is applied.
        inclusive: bool,
    },
    /// The first restore point of this name (`pg_create_restore_point`).
    Name(String),
    /// The first moment at which the base backup is consistent.
    Immediate,
}

/// A text that names no recovery target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTargetError {
    /// No known form.
    #[error(
        "not a recovery target: {0:?} (expected tip, immediate, time:2026-11-21T13:05:00Z, lsn:0/3000028, xid:745 or name:NAME)"
    )]
    Form(String),
    /// A time without a zone means another moment on every machine.
    #[error(
        "the time {0:?} has no zone; write it with one, as in {0}Z for UTC or {0}+01:00, so that it means one moment everywhere"
    )]
    NoZone(String),
    /// Not a time.
    #[error(
        "not a time: {0:?} (expected RFC 3339 or PostgreSQL's form with a zone, as in 2026-11-21 13:05:00+00)"
    )]
    Time(String),
    /// Not an LSN.
    #[error(transparent)]
    Lsn(#[from] crate::postgres::ParseLsnError),
    /// Not a transaction number.
    #[error(
        "not a transaction id: {0:?} (expected a decimal number from 3 on, as pg_current_xact_id() prints)"
    )]
    Xid(String),
    /// Not a name that a restore point can have.
    #[error(
        "not a restore point's name: {0:?} (expected 1 to 63 bytes without control characters)"
    )]
    Name(String),
}

impl Target {
    /// A moment in time, from RFC 3339 or PostgreSQL's own form. The zone is required:
    /// `Z`, `UTC`, `GMT`, or an offset of hours with or without minutes.
    pub fn parse_time(text: &str) -> Result<Self, ParseTargetError> {
        parse_moment(text).map(Self::Time)
    }

    /// A position, inclusive unless `exclusive`.
    pub fn parse_lsn(text: &str, inclusive: bool) -> Result<Self, ParseTargetError> {
        let lsn = text.trim().parse()?;
        Ok(Self::Lsn { lsn, inclusive })
    }

    /// A transaction. A 64-bit number with epoch is cut to its lower half, as PostgreSQL's
    /// `recovery_target_xid` does (`check_recovery_target_xid` in `xlogrecovery.c`).
    pub fn parse_xid(text: &str, inclusive: bool) -> Result<Self, ParseTargetError> {
        let error = || ParseTargetError::Xid(text.to_owned());
        let full: u64 = text.trim().parse().map_err(|_| error())?;
        let xid = u32::try_from(full & 0xFFFF_FFFF).map_err(|_| error())?;
        // 0 to 2 are PostgreSQL's invalid, bootstrap and frozen transactions.
        if xid < 3 {
            return Err(error());
        }
        Ok(Self::Xid { xid, inclusive })
    }

    /// A restore point.
    pub fn parse_name(text: &str) -> Result<Self, ParseTargetError> {
        // MAXFNAMELEN is 64 with its final zero byte (xlog_internal.h).
        if text.is_empty() || text.len() > 63 || text.chars().any(char::is_control) {
            return Err(ParseTargetError::Name(text.to_owned()));
        }
        Ok(Self::Name(text.to_owned()))
    }

    /// What the target means, in words.
    pub fn describe(&self) -> String {
        match self {
            Self::Tip => "the last record that the archive reaches".to_owned(),
            Self::Time(time) => format!(
                "the last moment not after {}",
                time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
            ),
            Self::Lsn {
                lsn,
                inclusive: true,
            } => format!("the record at or after {lsn}, applied"),
            Self::Lsn { lsn, .. } => format!("just before the record at or after {lsn}"),
            Self::Xid {
                xid,
                inclusive: true,
            } => format!("the end of transaction {xid}, applied"),
            Self::Xid { xid, .. } => format!("just before the end of transaction {xid}"),
            Self::Name(name) => format!("the restore point {name:?}"),
            Self::Immediate => "the first consistent moment of the base backup".to_owned(),
        }
    }
}

/// The bare text of a moment with a zone.
fn parse_moment(text: &str) -> Result<DateTime<Utc>, ParseTargetError> {
    let error = || ParseTargetError::Time(text.to_owned());
    let trimmed = text.trim();
    let (date, rest) =
        trimmed
            .split_once(['T', 't', ' '])
            .ok_or_else(|| match trimmed.parse::<NaiveDate>() {
                Ok(_) => ParseTargetError::NoZone(format!("{trimmed} 00:00:00")),
                Err(_) => error(),
            })?;
    let date: NaiveDate = date.parse().map_err(|_| error())?;
    let rest = rest.trim_start();
    let clock_end = rest
        .find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.'))
        .unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(clock_end);
    let clock = NaiveTime::parse_from_str(clock, "%H:%M:%S%.f")
        .or_else(|_| NaiveTime::parse_from_str(clock, "%H:%M"))
        .map_err(|_| error())?;
    let zone = zone.trim();
    if zone.is_empty() {
        return Err(ParseTargetError::NoZone(trimmed.to_owned()));
    }
    let offset = parse_zone(zone).ok_or_else(error)?;
    let local = NaiveDateTime::new(date, clock)
        .and_local_timezone(offset)
        .single()
        .ok_or_else(error)?;
    Ok(local.with_timezone(&Utc))
}

/// `Z`, `UTC`, `GMT`, `+01`, `+0130` or `+01:30`.
fn parse_zone(zone: &str) -> Option<FixedOffset> {
    if ["z", "utc", "gmt"].contains(&zone.to_ascii_lowercase().as_str()) {
        return FixedOffset::east_opt(0);
    }
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match (digits.split_once(':'), digits.len()) {
        (Some((hours, minutes)), _) => (hours, minutes),
        (None, 1 | 2) => (digits, "0"),
        (None, 4) => digits.split_at_checked(2)?,
        _ => return None,
    };
    let number = |text: &str, limit: i32| {
        let legal = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        legal
            .then(|| text.parse::<i32>().ok())
            .flatten()
            .filter(|value| *value <= limit)
    };
    FixedOffset::east_opt(sign * (number(hours, 15)? * 3600 + number(minutes, 59)? * 60))
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        match text {
            "tip" | "latest" => return Ok(Self::Tip),
            "immediate" => return Ok(Self::Immediate),
            _ => {}
        }
        let (kind, value) = text
            .split_once(':')
            .ok_or_else(|| ParseTargetError::Form(text.to_owned()))?;
        let (bare, inclusive) = match value.strip_suffix(",exclusive") {
            Some(bare) => (bare, false),
            None => (value, true),
        };
        match kind {
            "time" => Self::parse_time(value),
            "lsn" => Self::parse_lsn(bare, inclusive),
            "xid" => Self::parse_xid(bare, inclusive),
            "name" => Self::parse_name(value),
            // A person may paste a bare moment.
            _ if text.starts_with(|c: char| c.is_ascii_digit()) => Self::parse_time(text),
            _ => Err(ParseTargetError::Form(text.to_owned())),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |inclusive: bool| if inclusive { "" } else { ",exclusive" };
        match self {
            Self::Tip => f.write_str("tip"),
            Self::Time(time) => write!(
                f,
                "time:{}",
                time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
            ),
            Self::Lsn { lsn, inclusive } => write!(f, "lsn:{lsn}{}", side(*inclusive)),
            Self::Xid { xid, inclusive } => write!(f, "xid:{xid}{}", side(*inclusive)),
            Self::Name(name) => write!(f, "name:{name}"),
            Self::Immediate => f.write_str("immediate"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(text: &str) -> String {
        match Target::parse_time(text).unwrap() {
            Target::Time(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_usual_spelling_of_a_moment_means_the_same() {
        for text in [
            "2026-11-21T13:05:00Z",
            "2026-11-21 13:05:00Z",
            "2026-11-21 13:05:00+00",
            "2026-11-21 13:05:00 UTC",
            "2026-11-21 13:05Z",
            "2026-11-21 14:05:00+01",
            "2026-11-21 14:05:00+0100",
            "2026-11-21T14:05:00.000000+01:00",
            "2026-11-21 07:35:00-05:30",
        ] {
            assert_eq!(moment(text), "2026-11-21T13:05:00Z", "{text}");
        }
        assert_eq!(
            moment("2026-11-21 13:05:00.123456+00"),
            "2026-11-21T13:05:00.123456Z"
        );
    }

    #[test]
    fn a_moment_without_zone_is_refused_with_a_proposal() {
        for text in ["2026-11-21 13:05:00", "2026-11-21T13:05", "2026-11-21"] {
            let error = Target::parse_time(text).unwrap_err();
            assert!(matches!(error, ParseTargetError::NoZone(_)), "{text}");
            assert!(error.to_string().contains("Z for UTC"), "{error}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-13-01 00:00:00Z",
            "2026-11-21 25:00:00Z",
            "2026-11-21 13:05:00+1:2:3",
            "2026-11-21 13:05:00+99",
            "2026-11-21 13:05:00 Mars/Olympus",
            "13:05:00Z",
        ] {
            assert!(Target::parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn texts_and_targets_are_inverse() {
        for text in [
            "tip",
            "immediate",
            "time:2026-11-21T13:05:00.123456Z",
            "lsn:0/3000028",
            "lsn:0/3000028,exclusive",
            "xid:745",
            "xid:745,exclusive",
            "name:before: the migration",
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
            let json = serde_json::to_value(&target).unwrap();
            assert_eq!(serde_json::from_value::<Target>(json).unwrap(), target);
        }
        assert_eq!("latest".parse::<Target>().unwrap(), Target::Tip);
        assert_eq!(
            "2026-11-21T13:05:00Z"
                .parse::<Target>()
                .unwrap()
                .to_string(),
            "time:2026-11-21T13:05:00Z"
        );
    }

    #[test]
    fn nonsense_is_refused_for_its_own_reason() {
        let parse = |text: &str| text.parse::<Target>().unwrap_err();
        assert!(matches!(parse("newest"), ParseTargetError::Form(_)));
        assert!(matches!(parse("when:now"), ParseTargetError::Form(_)));
        assert!(matches!(parse("lsn:zzz"), ParseTargetError::Lsn(_)));
        assert!(matches!(parse("xid:2"), ParseTargetError::Xid(_)));
        assert!(matches!(parse("xid:-1"), ParseTargetError::Xid(_)));
        assert!(matches!(parse("name:"), ParseTargetError::Name(_)));
        assert!(matches!(
            "name:".to_owned() + &"x".repeat(64),
            text if matches!(parse(&text), ParseTargetError::Name(_))
        ));
    }

    #[test]
    fn an_epoch_is_cut_off_a_transaction_number() {
        let with_epoch = (7_u64 << 32) + 745;
        assert_eq!(
            Target::parse_xid(&with_epoch.to_string(), true).unwrap(),
            Target::Xid {
                xid: 745,
                inclusive: true
            }
        );
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text: String) {
            let _ = text.parse::<Target>();
            let _ = Target::parse_time(&text);
        }
    }
}
