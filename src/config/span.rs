//! Stretches of the calendar: `Mon-Fri 08:00-18:00`, `2026-12-24 00:00 - 2026-12-27 00:00`.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike as _, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Weekday};
use serde::{Deserialize, Serialize};

/// A stretch of the calendar on the clock of the wall: every week, or once.
///
/// - `08:00-18:00`: every day; over midnight when it ends earlier than it begins;
/// - `Mon-Fri 08:00-18:00`, `Sat,Sun 22:00-06:00`: begins on these days;
/// - `Sat,Sun`: these days from midnight to midnight;
/// - `2026-12-24 00:00 - 2026-12-27 00:00`: once; `2026-12-24` is that whole day.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CalendarSpan {
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// The days on which it begins (bit 0 is Monday), when, and for how many minutes.
    Weekly { days: u8, begin: u32, minutes: u32 },
    Once {
        begin: NaiveDateTime,
        end: NaiveDateTime,
    },
}

/// A text that is no stretch of the calendar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a stretch of the calendar: {reason} (write `Mon-Fri 08:00-18:00`, `22:00-06:00`, `Sat,Sun` or `2026-12-24 00:00 - 2026-12-27 00:00`)"
)]
pub struct ParseCalendarSpanError {
    text: String,
    reason: &'static str,
}

const DAY: u32 = 24 * 60;

impl CalendarSpan {
    /// When the stretch that holds a wall-clock moment ends; `None` outside of it.
    pub fn end_of(&self, moment: NaiveDateTime) -> Option<NaiveDateTime> {
        match self.kind {
            Kind::Once { begin, end } => (begin <= moment && moment < end).then_some(end),
            Kind::Weekly {
                days,
                begin,
                minutes,
            } => {
                // What holds it began today, or yesterday and went over midnight.
                [0, 1].into_iter().find_map(|back| {
                    let date = moment.date().checked_sub_days(Days::new(back))?;
                    let bit = 1_u8 << date.weekday().num_days_from_monday();
                    let from = date
                        .and_time(NaiveTime::MIN)
                        .checked_add_signed(TimeDelta::minutes(begin.into()))?;
                    let until = from.checked_add_signed(TimeDelta::minutes(minutes.into()))?;
                    (days & bit != 0 && from <= moment && moment < until).then_some(until)
                })
            }
        }
    }

    /// When it next begins after a wall-clock moment; `None` when never again.
    pub fn begins_after(&self, moment: NaiveDateTime) -> Option<NaiveDateTime> {
        match self.kind {
            Kind::Once { begin, .. } => (begin > moment).then_some(begin),
            Kind::Weekly { days, begin, .. } => (0..=7).find_map(|ahead| {
                let date = moment.date().checked_add_days(Days::new(ahead))?;
                let bit = 1_u8 << date.weekday().num_days_from_monday();
                let from = date
                    .and_time(NaiveTime::MIN)
                    .checked_add_signed(TimeDelta::minutes(begin.into()))?;
                (days & bit != 0 && from > moment).then_some(from)
            }),
        }
    }
}

impl fmt::Display for CalendarSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn weekday(text: &str) -> Option<u32> {
    (text.len() == 3)
        .then(|| text.parse::<Weekday>().ok())
        .flatten()
        .map(|day| day.num_days_from_monday())
}

fn weekdays(text: &str) -> Option<u8> {
    let mut days = 0_u8;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (weekday(first)?, weekday(last)?);
        // `Fri-Mon` goes over the week's end.
        loop {
            days |= 1 << day;
            if day == last {
                break;
            }
            day = (day + 1) % 7;
        }
    }
    Some(days)
}

fn clock(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    if text.len() != 5 {
        return None;
    }
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    // 24:00 is the end of a day.
    (hours < 24 && minutes < 60 || (hours, minutes) == (24, 0)).then_some(hours * 60 + minutes)
}

fn moment(text: &str) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(text.trim(), "%Y-%m-%d %H:%M").ok()
}

fn date(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()
}

fn parse(text: &str) -> Result<Kind, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if let Some(date) = date(text) {
        let begin = date.and_time(NaiveTime::MIN);
        let end = begin
            .checked_add_days(Days::new(1))
            .ok_or("the date is too far away")?;
        return Ok(Kind::Once { begin, end });
    }
    if text.starts_with(|first: char| first.is_ascii_digit()) && text.contains(" - ") {
        let (begin, end) = text
            .split_once(" - ")
            .and_then(|(begin, end)| moment(begin).zip(moment(end)))
            .ok_or("it is two moments with ` - ` between")?;
        if begin >= end {
            return Err("it ends before it begins");
        }
        return Ok(Kind::Once { begin, end });
    }
    let (days, clocks) = match text.split_once(' ') {
        Some((days, clocks)) => (
            weekdays(days).ok_or("the days are Mon, Tue, Wed, Thu, Fri, Sat and Sun")?,
            Some(clocks.trim()),
        ),
        None => match weekdays(text) {
            Some(days) => (days, None),
            None => (0x7F, Some(text)),
        },
    };
    let Some(clocks) = clocks else {
        return Ok(Kind::Weekly {
            days,
            begin: 0,
            minutes: DAY,
        });
    };
    let (begin, end) = clocks
        .split_once('-')
        .and_then(|(begin, end)| clock(begin).zip(clock(end)))
        .ok_or("the time of day is two times with `-` between")?;
    if begin == end {
        return Err("it begins when it ends");
    }
    if begin == DAY {
        return Err("24:00 is an end, not a begin");
    }
    Ok(Kind::Weekly {
        days,
        begin,
        minutes: if begin < end {
            end - begin
        } else {
            DAY - begin + end
        },
    })
}

impl FromStr for CalendarSpan {
    type Err = ParseCalendarSpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match parse(text.trim()) {
            Ok(kind) => Ok(Self {
                text: text.trim().to_owned(),
                kind,
            }),
            Err(reason) => Err(ParseCalendarSpanError {
                text: text.to_owned(),
                reason,
            }),
        }
    }
}

impl TryFrom<String> for CalendarSpan {
    type Error = ParseCalendarSpanError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CalendarSpan> for String {
    fn from(span: CalendarSpan) -> Self {
        span.text
    }
}

impl schemars::JsonSchema for CalendarSpan {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CalendarSpan".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^([A-Za-z]{3}[A-Za-z,-]*|[0-9A-Za-z,:-]+ ?[0-9: -]*)$",
            "description": "A stretch of the calendar: `Mon-Fri 08:00-18:00`, `22:00-06:00`, `Sat,Sun`, `2026-12-24 00:00 - 2026-12-27 00:00`.",
            "examples": ["Mon-Fri 08:00-18:00"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> CalendarSpan {
        text.parse().unwrap()
    }

    fn at(text: &str) -> NaiveDateTime {
        moment(text).unwrap()
    }

    #[test]
    fn a_stretch_of_each_week() {
        let office = span("Mon-Fri 08:00-18:00");
        // 2026-11-20 is a Friday.
        let end = Some(at("2026-11-20 18:00"));
        assert_eq!(office.end_of(at("2026-11-20 08:00")), end);
        assert_eq!(office.end_of(at("2026-11-20 17:59")), end);
        assert_eq!(office.end_of(at("2026-11-20 18:00")), None);
        assert_eq!(office.end_of(at("2026-11-21 12:00")), None);
        assert_eq!(
            office.begins_after(at("2026-11-20 08:00")),
            Some(at("2026-11-23 08:00"))
        );
        let night = span("Fri 22:00-06:00");
        let end = Some(at("2026-11-21 06:00"));
        assert_eq!(night.end_of(at("2026-11-20 23:00")), end);
        assert_eq!(night.end_of(at("2026-11-21 05:59")), end);
        assert_eq!(night.end_of(at("2026-11-20 05:59")), None);
        let weekend = span("Sat-Sun");
        assert_eq!(
            weekend.end_of(at("2026-11-21 12:00")),
            Some(at("2026-11-22 00:00"))
        );
        assert_eq!(weekend.end_of(at("2026-11-23 00:00")), None);
        assert_eq!(span("Sun,Sat"), span("Sun,Sat"));
        assert!(
            span("Fri-Mon 01:00-02:00")
                .end_of(at("2026-11-22 01:30"))
                .is_some()
        );
        let daily = span("12:00-24:00");
        assert_eq!(
            daily.end_of(at("2026-11-22 23:59")),
            Some(at("2026-11-23 00:00"))
        );
        assert_eq!(
            span("22:00-06:00").end_of(at("2026-11-22 01:00")),
            Some(at("2026-11-22 06:00"))
        );
    }

    #[test]
    fn a_stretch_that_comes_once() {
        let holidays = span("2026-12-24 00:00 - 2026-12-27 12:00");
        assert_eq!(holidays.end_of(at("2026-12-23 23:59")), None);
        assert_eq!(
            holidays.end_of(at("2026-12-25 09:00")),
            Some(at("2026-12-27 12:00"))
        );
        assert_eq!(holidays.end_of(at("2026-12-27 12:00")), None);
        assert_eq!(holidays.begins_after(at("2026-12-24 00:00")), None);
        assert_eq!(
            span("2026-12-24").end_of(at("2026-12-24 23:59")),
            Some(at("2026-12-25 00:00"))
        );
    }

    #[test]
    fn refusals_say_why() {
        for (text, reason) in [
            ("", "it is empty"),
            ("Mon-Fri 8-18", "two times with `-` between"),
            ("Monday 08:00-18:00", "the days are Mon"),
            ("08:00-08:00", "it begins when it ends"),
            ("24:00-06:00", "24:00 is an end"),
            ("08:00-25:00", "two times"),
            (
                "2026-12-27 00:00 - 2026-12-24 00:00",
                "it ends before it begins",
            ),
            ("2026-12-24 - 2026-12-27", "two moments"),
        ] {
            let error = text.parse::<CalendarSpan>().unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {}", error.reason);
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text: String) {
            let _ = text.parse::<CalendarSpan>();
        }

        #[test]
        fn a_stretch_ends_after_what_it_holds(minutes in 0_i64..20_000) {
            let moment = at("2026-11-16 00:00") + TimeDelta::minutes(minutes);
            for span in ["Mon-Fri 08:00-18:00", "22:00-06:00", "Sat,Sun", "Fri 22:00-06:00"] {
                let span = span.parse::<CalendarSpan>().unwrap();
                if let Some(end) = span.end_of(moment) {
                    assert!(end > moment && end <= moment + TimeDelta::days(1));
                    assert!(span.end_of(end - TimeDelta::minutes(1)).is_some());
                }
                let begin = span.begins_after(moment).unwrap();
                assert!(begin > moment && span.end_of(begin).is_some());
            }
        }
    }
}
