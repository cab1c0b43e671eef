//! A time of day in which something may be done: `22:00-06:00`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Local, NaiveTime, Offset as _, TimeDelta, Timelike as _, Utc};
use serde::{Deserialize, Serialize};

/// A time of day, over midnight if it ends earlier than it begins. Told in the time zone of
/// the machine (`TZ`), or in the one that stands behind it: `22:00-06:00 UTC`,
/// `22:00-06:00 +02:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeWindow {
    /// Minutes since midnight.
    begin: u32,
    end: u32,
    zone: Zone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Zone {
    Machine,
    Utc,
    /// Seconds east.
    Offset(i32),
}

/// A text that is no time of day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time of day: {reason} (write 22:00-06:00 or 22:00-06:00 UTC)")]
pub struct ParseTimeWindowError {
    text: String,
    reason: &'static str,
}

impl TimeWindow {
    /// Whether a moment lies in it.
    pub fn contains(&self, moment: DateTime<Utc>) -> bool {
        let minute = self.seconds_of_day(moment) / 60;
        if self.begin < self.end {
            (self.begin..self.end).contains(&minute)
        } else {
            minute >= self.begin || minute < self.end
        }
    }

    /// How long after a moment it opens; zero while it is open.
    pub fn opens_in(&self, moment: DateTime<Utc>) -> Duration {
        if self.contains(moment) {
            return Duration::ZERO;
        }
        self.until(moment, self.begin)
    }

    /// How long after a moment it closes; `None` while it is closed.
    pub fn closes_in(&self, moment: DateTime<Utc>) -> Option<Duration> {
        self.contains(moment).then(|| self.until(moment, self.end))
    }

    fn until(&self, moment: DateTime<Utc>, minute: u32) -> Duration {
        const DAY: u32 = 24 * 60 * 60;
        let now = self.seconds_of_day(moment);
        let ahead = (minute * 60 + DAY - now) % DAY;
        Duration::from_secs(if ahead == 0 { DAY } else { ahead }.into())
    }

    fn seconds_of_day(&self, moment: DateTime<Utc>) -> u32 {
        let offset = match self.zone {
            Zone::Machine => moment.with_timezone(&Local).offset().fix(),
            Zone::Utc => Utc.fix(),
            Zone::Offset(seconds) => FixedOffset::east_opt(seconds).unwrap_or(Utc.fix()),
        };
        let there = moment
            .naive_utc()
            .checked_add_signed(TimeDelta::seconds(offset.local_minus_utc().into()))
            .unwrap_or(moment.naive_utc());
        there.time().num_seconds_from_midnight()
    }
}

impl fmt::Display for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |minutes: u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        write!(f, "{}-{}", clock(self.begin), clock(self.end))?;
        match self.zone {
            Zone::Machine => Ok(()),
            Zone::Utc => f.write_str(" UTC"),
            Zone::Offset(seconds) => {
                let sign = if seconds < 0 { '-' } else { '+' };
                write!(f, " {sign}{}", clock(seconds.unsigned_abs() / 60))
            }
        }
    }
}

fn minutes(text: &str) -> Option<u32> {
    let time = NaiveTime::parse_from_str(text, "%H:%M").ok()?;
    (text.len() == 5).then(|| time.num_seconds_from_midnight() / 60)
}

fn zone(text: &str) -> Option<Zone> {
    if text == "UTC" || text == "Z" {
        return Some(Zone::Utc);
    }
    let (east, clock) = match text.split_at_checked(1)? {
        ("+", clock) => (1, clock),
        ("-", clock) => (-1, clock),
        _ => return None,
    };
    let seconds = i32::try_from(minutes(clock)?).ok()? * 60 * east;
    FixedOffset::east_opt(seconds)?;
    Some(Zone::Offset(seconds))
}

impl FromStr for TimeWindow {
    type Err = ParseTimeWindowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| ParseTimeWindowError {
            text: text.to_owned(),
            reason,
        };
        let (clock, behind) = text
            .split_once(' ')
            .map_or((text, None), |(clock, zone)| (clock, Some(zone.trim())));
        let (begin, end) = clock
            .split_once('-')
            .and_then(|(begin, end)| minutes(begin).zip(minutes(end)))
            .ok_or_else(|| error("it is two times with `-` between"))?;
        if begin == end {
            return Err(error("it begins when it ends"));
        }
        let zone = match behind {
            None => Zone::Machine,
            Some(text) => zone(text).ok_or_else(|| error("a zone is UTC or like +02:00"))?,
        };
        Ok(Self { begin, end, zone })
    }
}

impl TryFrom<String> for TimeWindow {
    type Error = ParseTimeWindowError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TimeWindow> for String {
    fn from(window: TimeWindow) -> Self {
        window.to_string()
    }
}

impl schemars::JsonSchema for TimeWindow {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimeWindow".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]( (UTC|Z|[+-][0-2][0-9]:[0-5][0-9]))?$",
            "description": "A time of day in the machine's time zone, or in the one behind it: 22:00-06:00, 22:00-06:00 UTC.",
            "examples": ["22:00-06:00"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(clock: &str) -> DateTime<Utc> {
        format!("2026-11-21T{clock}Z").parse().unwrap()
    }

    #[test]
    fn a_window_may_go_over_midnight() {
        let night: TimeWindow = "22:00-06:00 UTC".parse().unwrap();
        assert!(night.contains(at("22:00:00")) && night.contains(at("05:59:59")));
        assert!(!night.contains(at("06:00:00")) && !night.contains(at("21:59:59")));
        assert_eq!(night.opens_in(at("21:59:30")), Duration::from_secs(30));
        assert_eq!(night.opens_in(at("23:00:00")), Duration::ZERO);
        assert_eq!(
            night.closes_in(at("23:00:00")),
            Some(Duration::from_hours(7))
        );
        assert_eq!(night.closes_in(at("12:00:00")), None);
        let noon: TimeWindow = "12:00-13:30 +02:00".parse().unwrap();
        assert!(noon.contains(at("10:00:00")) && noon.contains(at("11:29:00")));
        assert!(!noon.contains(at("12:00:00")));
        assert_eq!(noon.opens_in(at("11:30:00")), Duration::from_mins(1_350));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "22:00-06:00",
            "22:00-06:00 UTC",
            "00:30-01:00 -05:30",
            "09:00-17:00 +02:00",
        ] {
            assert_eq!(text.parse::<TimeWindow>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "22:00",
            "22-06",
            "22:00-22:00",
            "25:00-26:00",
            "22:00-06:00 Mars",
            "9:00-17:00",
        ] {
            assert!(text.parse::<TimeWindow>().is_err(), "{text}");
        }
    }
}
