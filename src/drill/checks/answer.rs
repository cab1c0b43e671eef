//! Judging a query's answer by an expectation.

use std::cmp::Ordering;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};

use super::expectation::{Comparison, Expectation, Reference};
use super::{Answered, CheckOutcome};

/// Values as PostgreSQL prints them; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// A query's answer, as far as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether there were more rows than were read.
    pub more: bool,
}

/// The moments that ages are measured from.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// The commit time of the newest recovered transaction, where the WAL told it.
    pub recovery_point: Option<DateTime<Utc>>,
    /// The moment at which the check runs.
    pub now: DateTime<Utc>,
}

/// A decimal number taken apart: negative, digits before, digits behind the point.
fn decimal(text: &str) -> Option<(bool, &str, &str)> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let some = !(whole.is_empty() && fraction.is_empty());
    (some && all_digits(whole) && all_digits(fraction)).then(|| {
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        let zero = whole.is_empty() && fraction.is_empty();
        (negative && !zero, whole, fraction)
    })
}

/// Compares two numbers exactly, whatever their length; numbers with an exponent as
/// floating point. `None` when one is not a finite number.
pub(super) fn compare_numbers(left: &str, right: &str) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (decimal(left), decimal(right)) {
        let magnitude = || {
            a.1.len()
                .cmp(&b.1.len())
                .then_with(|| a.1.cmp(b.1))
                .then_with(|| a.2.cmp(b.2))
        };
        return Some(match (a.0, b.0) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => magnitude(),
            (true, true) => magnitude().reverse(),
        });
    }
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
    number(left)?.partial_cmp(&number(right)?)
}

/// Reads a moment as PostgreSQL prints it with `DateStyle = ISO` and `TimeZone = UTC`:
/// `timestamptz`, `timestamp` (taken as UTC) or `date`.
pub fn parse_moment(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if let Ok(moment) = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z") {
        return Some(moment.to_utc());
    }
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Some(moment.to_utc());
    }
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
        .ok()
        .or_else(|| {
            NaiveDate::parse_from_str(text, "%Y-%m-%d")
                .ok()?
                .and_hms_opt(0, 0, 0)
        })
        .map(|moment| moment.and_utc())
}

/// A length of time in words, to the second.
pub fn words(delta: TimeDelta) -> String {
    let seconds = delta.num_seconds().unsigned_abs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let mut text = String::new();
    for (count, unit) in [(days, "d"), (hours, "h"), (minutes, "m")] {
        if count > 0 || !text.is_empty() {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    text.push_str(&format!("{}s", seconds % 60));
    text
}

fn show(rows: &[Row], more: bool) -> String {
    let mut text = serde_json::to_string(rows).unwrap_or_default();
    if more {
        text.push_str(" and more");
    }
    text
}

/// Judges an answer.
pub fn judge(answer: &Answer, expectation: &Expectation, moments: &Moments) -> Answered {
    let expected = expectation.to_string();
    let judged = match expectation {
        Expectation::NoRows => by(answer.rows.is_empty(), "there are rows")
            .seeing(&show(&answer.rows, answer.more)),
        Expectation::Rows(rows) => by(!answer.more && answer.rows == *rows, "the rows differ")
            .seeing(&show(&answer.rows, answer.more)),
        _ => match answer.rows.as_slice() {
            [] => Answered::failed("the query gave no row"),
            [row] if !answer.more => match row.as_slice() {
                [value] => judge_value(value.as_deref(), expectation, moments)
                    .seeing(value.as_deref().unwrap_or("null")),
                columns => Answered::unproven(format!(
                    "one value is expected, but the query gives {} columns; select one",
                    columns.len()
                )),
            },
            _ => Answered::unproven(
                "one value is expected, but the query gives several rows; aggregate or limit them",
            ),
        },
    };
    judged.expecting(expected)
}

fn by(holds: bool, otherwise: &str) -> Answered {
    if holds {
        Answered::new(CheckOutcome::Passed)
    } else {
        Answered::failed(otherwise)
    }
}

fn judge_value(value: Option<&str>, expectation: &Expectation, moments: &Moments) -> Answered {
    let Some(value) = value else {
        return match expectation {
            Expectation::Compare(Comparison::Equal, text) => by(text == "null", "the value is NULL"),
            Expectation::Compare(Comparison::Different, text) => {
                by(text != "null", "the value is NULL")
            }
            _ => Answered::failed("the value is NULL"),
        };
    };
    match expectation {
        Expectation::Compare(comparison, wanted) => {
            let numbers = compare_numbers(value, wanted);
            let holds = match (comparison, numbers) {
                (Comparison::Equal, Some(order)) => order.is_eq(),
                (Comparison::Equal, None) => value == wanted,
                (Comparison::Different, Some(order)) => order.is_ne(),
                (Comparison::Different, None) => value != wanted,
                (_, None) => return Answered::unproven("the value is not a number"),
                (Comparison::Less, Some(order)) => order.is_lt(),
                (Comparison::AtMost, Some(order)) => order.is_le(),
                (Comparison::Greater, Some(order)) => order.is_gt(),
                (Comparison::AtLeast, Some(order)) => order.is_ge(),
            };
            by(holds, "the value differs")
        }
        Expectation::Between(low, high) => {
            match (compare_numbers(value, low), compare_numbers(value, high)) {
                (Some(low), Some(high)) => by(low.is_ge() && high.is_le(), "the value lies outside"),
                _ => Answered::unproven("the value is not a number"),
            }
        }
        Expectation::MaxAge(limit, reference) => {
            let from = match reference {
                Reference::Now => moments.now,
                Reference::RecoveryPoint => match moments.recovery_point {
                    Some(moment) => moment,
                    None => {
                        return Answered::unproven(
                            "the recovery point is unknown, because the replayed WAL holds no \
                             commit; measure the age `of now`",
                        );
                    }
                },
            };
            let Some(moment) = parse_moment(value) else {
                return Answered::unproven("the value is not a moment (timestamptz)");
            };
            let age = from.signed_duration_since(moment);
            let limit = TimeDelta::from_std(*limit).unwrap_or(TimeDelta::MAX);
            by(age <= limit, &format!("it is {} old", words(age)))
        }
        Expectation::Rows(_) | Expectation::NoRows => Answered::unproven("rows are expected"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments() -> Moments {
        Moments {
            recovery_point: parse_moment("2026-11-21 12:00:00+00"),
            now: parse_moment("2026-11-21 13:00:00+00").unwrap(),
        }
    }

    fn outcome(value: Option<&str>, expectation: &str) -> CheckOutcome {
        let answer = Answer {
            rows: vec![vec![value.map(str::to_owned)]],
            more: false,
        };
        judge(&answer, &expectation.parse().unwrap(), &moments()).outcome
    }

    #[test]
    fn numbers_are_compared_exactly() {
        use Ordering::{Equal, Greater, Less};
        for (left, right, order) in [
            ("10", "9", Some(Greater)),
            ("9007199254740993", "9007199254740992", Some(Greater)),
            ("-10", "-9", Some(Less)),
            ("1.50", "1.5", Some(Equal)),
            ("-0", "0.0", Some(Equal)),
            ("007", "7", Some(Equal)),
            ("0.09", "0.1", Some(Less)),
            ("1e3", "999", Some(Greater)),
            ("NaN", "1", None),
            ("x", "1", None),
            ("", "1", None),
            (".", "1", None),
        ] {
            assert_eq!(compare_numbers(left, right), order, "{left} {right}");
        }
    }

    #[test]
    fn each_expectation_goes_both_ways() {
        use CheckOutcome::{Failed, Passed, Unproven};
        for (value, expectation, wanted) in [
            (Some("1"), "> 0", Passed),
            (Some("0"), "> 0", Failed),
            (Some("10"), ">= 10", Passed),
            (Some("9"), ">= 10", Failed),
            (Some("9"), "< 10", Passed),
            (Some("10"), "< 10", Failed),
            (Some("10"), "<= 10", Passed),
            (Some("11"), "<= 10", Failed),
            (Some("42.0"), "= 42", Passed),
            (Some("43"), "= 42", Failed),
            (Some("on hold"), "= on hold", Passed),
            (Some("off"), "!= on hold", Passed),
            (Some("on hold"), "!= on hold", Failed),
            (Some("x"), "> 0", Unproven),
            (None, "> 0", Failed),
            (None, "= null", Passed),
            (None, "!= null", Failed),
            (Some("5"), "between 1 and 9", Passed),
            (Some("9"), "between 1 and 9", Passed),
            (Some("10"), "between 1 and 9", Failed),
            (Some("x"), "between 1 and 9", Unproven),
            (Some("2026-11-21 11:55:00.123+00"), "max age 10m", Passed),
            (Some("2026-11-21 11:40:00"), "max age 10m", Failed),
            (Some("2026-11-21 11:55:00+00"), "max age 10m of now", Failed),
            (Some("2026-11-21 12:55:00+00"), "max age 10m of now", Passed),
            (Some("2026-11-21"), "max age 13h", Passed),
            (Some("soon"), "max age 13h", Unproven),
        ] {
            assert_eq!(outcome(value, expectation), wanted, "{value:?} {expectation}");
        }
    }

    #[test]
    fn an_age_without_recovery_point_is_unproven() {
        let answer = Answer {
            rows: vec![vec![Some("2026-11-21".into())]],
            more: false,
        };
        let unknown = Moments {
            recovery_point: None,
            ..moments()
        };
        let judged = judge(&answer, &"max age 1d".parse().unwrap(), &unknown);
        assert_eq!(judged.outcome, CheckOutcome::Unproven);
    }

    #[test]
    fn rows_are_compared_whole() {
        let rows = |rows: &[&[&str]], more| Answer {
            rows: rows
                .iter()
                .map(|row| row.iter().map(|v| Some((*v).to_owned())).collect())
                .collect(),
            more,
        };
        let judged = |answer: &Answer, text: &str| {
            judge(answer, &text.parse().unwrap(), &moments()).outcome
        };
        let two = rows(&[&["1", "a"], &["2", "b"]], false);
        assert_eq!(judged(&two, "rows = [[1, \"a\"], [2, \"b\"]]"), CheckOutcome::Passed);
        assert_eq!(judged(&two, "rows = [[2, \"b\"], [1, \"a\"]]"), CheckOutcome::Failed);
        assert_eq!(judged(&two, "rows = [[1, \"a\"]]"), CheckOutcome::Failed);
        assert_eq!(judged(&rows(&[&["1"]], true), "rows = [[1]]"), CheckOutcome::Failed);
        assert_eq!(judged(&rows(&[], false), "no rows"), CheckOutcome::Passed);
        assert_eq!(judged(&two, "no rows"), CheckOutcome::Failed);
        assert_eq!(judged(&two, "> 0"), CheckOutcome::Unproven);
        assert_eq!(judged(&rows(&[&["1", "2"]], false), "> 0"), CheckOutcome::Unproven);
        assert_eq!(judged(&rows(&[], false), "> 0"), CheckOutcome::Failed);
    }

    #[test]
    fn lengths_of_time_read_well() {
        assert_eq!(words(TimeDelta::seconds(59)), "59s");
        assert_eq!(words(TimeDelta::seconds(90_061)), "1d1h1m1s");
        assert_eq!(words(TimeDelta::seconds(3_600)), "1h0m0s");
    }
}
