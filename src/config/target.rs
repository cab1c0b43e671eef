//! The recovery target of a drill as one line of text.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::Period;
use crate::postgres::Lsn;

/// How far a drill recovers, as a definition writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TargetText {
    /// `tip`: to the last commit that the archive can give.
    Tip,
    /// `immediate`: only until the base backup is consistent.
    Immediate,
    /// `time:2026-11-21T02:40:00Z`: the last commit at or before this moment.
    Time(DateTime<Utc>),
    /// `time:-1h`: the moment this long before the drill starts.
    Ago(Period),
    /// `lsn:16/B374D848`, with ` exclusive` behind it: up to, not including, that record.
    Lsn(Lsn, bool),
    /// `xid:4711`, with ` exclusive` behind it: up to, not including, its commit.
    Xid(u32, bool),
    /// `name:before_release`: the restore point of this name.
    Name(String),
}

impl fmt::Display for TargetText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = |inclusive: bool| if inclusive { "" } else { " exclusive" };
        match self {
            Self::Tip => f.write_str("tip"),
            Self::Immediate => f.write_str("immediate"),
            Self::Time(time) => {
                write!(
                    f,
                    "time:{}",
                    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
                )
            }
            Self::Ago(period) => write!(f, "time:-{period}"),
            Self::Lsn(lsn, inclusive) => write!(f, "lsn:{lsn}{}", ending(*inclusive)),
            Self::Xid(xid, inclusive) => write!(f, "xid:{xid}{}", ending(*inclusive)),
            Self::Name(name) => write!(f, "name:{name}"),
        }
    }
}

/// A text that is no recovery target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a recovery target: {reason} (write tip, immediate, time:2026-11-21T02:40:00Z, time:-1h, lsn:16/B374D848, xid:4711 or name:POINT)"
)]
pub struct ParseTargetError {
    text: String,
    reason: String,
}

impl FromStr for TargetText {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason: &str| ParseTargetError {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        match text {
            "tip" => return Ok(Self::Tip),
            "immediate" => return Ok(Self::Immediate),
            _ => {}
        }
        let (kind, value) = text
            .split_once(':')
            .ok_or_else(|| error("there is no such word"))?;
        let value = value.trim();
        let (bare, inclusive) = match value.strip_suffix(" exclusive") {
            Some(bare) => (bare.trim_end(), false),
            None => (value, true),
        };
        match kind {
            "time" => match value.strip_prefix('-') {
                Some(ago) => ago
                    .parse()
                    .map(Self::Ago)
                    .map_err(|cause: super::ParsePeriodError| error(&cause.to_string())),
                None => moment(value)
                    .map(Self::Time)
                    .ok_or_else(|| error("a moment needs date, time and zone")),
            },
            "lsn" => bare
                .parse()
                .map(|lsn| Self::Lsn(lsn, inclusive))
                .map_err(|cause: crate::postgres::ParseLsnError| error(&cause.to_string())),
            "xid" => bare
                .parse()
                .map(|xid| Self::Xid(xid, inclusive))
                .map_err(|_| error("a transaction id is a number from 0 to 4294967295")),
            "name" if value.is_empty() => Err(error("the name is missing")),
            "name" => Ok(Self::Name(value.to_owned())),
            _ => Err(error("there is no such kind")),
        }
    }
}

/// A moment as RFC 3339 or as PostgreSQL prints it (`2026-11-21 02:40:00.5+00`).
fn moment(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"))
        .ok()
        .map(|time| time.to_utc())
}

impl TryFrom<String> for TargetText {
    type Error = ParseTargetError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TargetText> for String {
    fn from(target: TargetText) -> Self {
        target.to_string()
    }
}

impl schemars::JsonSchema for TargetText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TargetText".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^(tip|immediate|(time|lsn|xid|name):.+)$",
            "description": "tip, immediate, time:2026-11-21T02:40:00Z, time:-1h (that long before the drill starts), lsn:16/B374D848, xid:4711 or name:POINT. `exclusive` behind an LSN or xid stops before it.",
            "examples": ["tip", "time:-1h"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_each_kind() {
        for text in [
            "tip",
            "immediate",
            "time:2026-11-21T02:40:00Z",
            "time:2026-11-21T02:40:00.123456Z",
            "time:-1h30m",
            "lsn:16/B374D848",
            "lsn:16/B374D848 exclusive",
            "xid:4711",
            "xid:4711 exclusive",
            "name:before release",
        ] {
            assert_eq!(text.parse::<TargetText>().unwrap().to_string(), text);
        }
        for text in [
            "time:2026-11-21T03:40:00+01:00",
            "time:2026-11-21 02:40:00+00",
            "time:2026-11-21 08:10:00.000+05:30",
        ] {
            assert_eq!(
                text.parse::<TargetText>().unwrap(),
                "time:2026-11-21T02:40:00Z".parse().unwrap()
            );
        }
    }

    #[test]
    fn refusals_say_why() {
        for (text, reason) in [
            ("latest", "there is no such word"),
            ("moment:1", "there is no such kind"),
            ("time:2026-11-21 02:40", "needs date, time and zone"),
            ("time:-1", "the unit is missing"),
            ("lsn:nine", "not an LSN"),
            ("xid:-1", "a number from 0"),
            ("name:", "the name is missing"),
        ] {
            let error = text.parse::<TargetText>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
