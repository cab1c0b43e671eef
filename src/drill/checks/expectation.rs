//! What the answer to a check must be: `> 0`, `between 1 and 9`, `max age 10m`,
//! `rows = [[1, "a"]]`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    Different,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

impl Comparison {
    /// The sign.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Different => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }
}

/// From which moment an age is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reference {
    /// The commit time of the newest recovered transaction.
    #[default]
    RecoveryPoint,
    /// The moment at which the check runs.
    Now,
}

/// What the answer to a query must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// One value, compared: as numbers when both are numbers, else as text, for which
    /// only `=` and `!=` make sense. `null` as a word means NULL.
    Compare(Comparison, String),
    /// One number, both ends included.
    Between(String, String),
    /// One moment, at most this long before the reference.
    MaxAge(Duration, Reference),
    /// Exactly these rows in this order, each value as PostgreSQL prints it; `None` is
    /// NULL.
    Rows(Vec<Vec<Option<String>>>),
    /// No row at all.
    NoRows,
}

/// A text that is no expectation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an expectation: {reason} (write `> 0`, `= 42`, `!= x`, `between 1 and 9`, \
     `max age 10m`, `max age 10m of now`, `no rows` or `rows = [[1, \"a\"]]`)"
)]
pub struct ParseExpectationError {
    text: String,
    reason: String,
}

/// A number with units, largest first: `1h30m`, `10m`, `90s`, `500ms`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(milliseconds)?;
        total = total.checked_add(Duration::from_millis(part))?;
        rest = after;
    }
    Some(total)
}

fn show_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    match milliseconds {
        0 => "0s".to_owned(),
        m if m % 3_600_000 == 0 => format!("{}h", m / 3_600_000),
        m if m % 60_000 == 0 => format!("{}m", m / 60_000),
        m if m % 1_000 == 0 => format!("{}s", m / 1_000),
        m => format!("{m}ms"),
    }
}

fn parse_rows(text: &str) -> Result<Vec<Vec<Option<String>>>, String> {
    use serde_json::Value;
    let rows: Vec<Vec<Value>> =
        serde_json::from_str(text).map_err(|error| format!("the rows cannot be read: {error}"))?;
    let cell = |value: Value| match value {
        Value::Null => Ok(None),
        Value::Bool(true) => Ok(Some("t".to_owned())),
        Value::Bool(false) => Ok(Some("f".to_owned())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::String(text) => Ok(Some(text)),
        Value::Array(_) | Value::Object(_) => {
            Err("a value is a text, a number, true, false or null".to_owned())
        }
    };
    rows.into_iter()
        .map(|row| row.into_iter().map(cell).collect())
        .collect()
}

/// Whether the text is a number that can be ordered.
fn is_number(text: &str) -> bool {
    super::answer::compare_numbers(text, "0").is_some()
}

impl FromStr for Expectation {
    type Err = ParseExpectationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason: &str| ParseExpectationError {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        let trimmed = text.trim();
        if trimmed == "no rows" {
            return Ok(Self::NoRows);
        }
        if let Some(rest) = trimmed.strip_prefix("rows") {
            let rows = rest
                .trim_start()
                .strip_prefix('=')
                .ok_or_else(|| error("`=` is missing after `rows`"))?;
            return parse_rows(rows).map(Self::Rows).map_err(|r| error(&r));
        }
        if let Some(rest) = trimmed.strip_prefix("max age") {
            let (age, reference) = match rest.split_once(" of ").map(|(a, b)| (a, b.trim())) {
                None => (rest, Reference::RecoveryPoint),
                Some((age, "recovery point")) => (age, Reference::RecoveryPoint),
                Some((age, "now")) => (age, Reference::Now),
                Some(_) => return Err(error("an age is `of now` or `of recovery point`")),
            };
            return parse_duration(age)
                .map(|age| Self::MaxAge(age, reference))
                .ok_or_else(|| error("the age is not a length of time such as 90s, 10m or 1h30m"));
        }
        if let Some(rest) = trimmed.strip_prefix("between ") {
            let (low, high) = rest
                .split_once(" and ")
                .map(|(low, high)| (low.trim(), high.trim()))
                .ok_or_else(|| error("`and` is missing"))?;
            return match super::answer::compare_numbers(low, high) {
                None => Err(error("only numbers are ordered")),
                Some(std::cmp::Ordering::Greater) => Err(error("the first number is the greater")),
                Some(_) => Ok(Self::Between(low.to_owned(), high.to_owned())),
            };
        }
        // Longer signs first, so that `>=` is not read as `>`.
        let signs = [
            ("!=", Comparison::Different),
            ("<>", Comparison::Different),
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("==", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
            ("=", Comparison::Equal),
        ];
        let (comparison, value) = signs
            .into_iter()
            .find_map(|(sign, comparison)| Some((comparison, trimmed.strip_prefix(sign)?.trim())))
            .ok_or_else(|| error("it begins with none of the known words and signs"))?;
        if value.is_empty() {
            return Err(error("the value is missing"));
        }
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::Different);
        if ordered && !is_number(value) {
            return Err(error("only numbers are ordered"));
        }
        Ok(Self::Compare(comparison, value.to_owned()))
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare(comparison, value) => write!(f, "{} {value}", comparison.as_str()),
            Self::Between(low, high) => write!(f, "between {low} and {high}"),
            Self::MaxAge(age, Reference::RecoveryPoint) => {
                write!(f, "max age {}", show_duration(*age))
            }
            Self::MaxAge(age, Reference::Now) => write!(f, "max age {} of now", show_duration(*age)),
            Self::Rows(rows) => {
                let text = serde_json::to_string(rows).map_err(|_| fmt::Error)?;
                write!(f, "rows = {text}")
            }
            Self::NoRows => f.write_str("no rows"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows_each_form() {
        for (text, shown) in [
            ("> 0", "> 0"),
            (">=10.5", ">= 10.5"),
            ("<> x", "!= x"),
            ("== on hold", "= on hold"),
            ("between -1 and 9", "between -1 and 9"),
            ("max age 10m", "max age 10m"),
            ("max age 1h30m", "max age 90m"),
            ("max age 10m of now", "max age 10m of now"),
            ("max age 10m of recovery point", "max age 10m"),
            ("no rows", "no rows"),
            (
                "rows = [[1, \"a\", null], [true]]",
                "rows = [[\"1\",\"a\",null],[\"t\"]]",
            ),
        ] {
            let expectation: Expectation = text.parse().unwrap();
            assert_eq!(expectation.to_string(), shown);
            assert_eq!(shown.parse::<Expectation>().unwrap(), expectation);
        }
    }

    #[test]
    fn refusals_say_why() {
        for (text, reason) in [
            ("0", "begins with none"),
            (">", "the value is missing"),
            ("> many", "only numbers are ordered"),
            ("> NaN", "only numbers are ordered"),
            ("between 1", "`and` is missing"),
            ("between 9 and 1", "the greater"),
            ("between a and b", "only numbers"),
            ("max age soon", "not a length of time"),
            ("max age", "not a length of time"),
            ("max age 10m of yesterday", "`of now`"),
            ("rows [[1]]", "`=` is missing"),
            ("rows = [1]", "the rows cannot be read"),
            ("rows = [[{}]]", "a value is a text"),
        ] {
            let error = text.parse::<Expectation>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
