//! What the answer to a check must be: `> 0`, `= 42`, `max age 10m`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Period;

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
    /// As written.
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

/// What the single value that a query gives must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Expectation {
    /// The value compared with this text: as numbers when both are numbers, otherwise as
    /// text, for which only `=` and `!=` make sense.
    Compare(Comparison, String),
    /// The value is a moment at most this long before the recovery point.
    MaxAge(Period),
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare(comparison, value) => write!(f, "{} {value}", comparison.as_str()),
            Self::MaxAge(period) => write!(f, "max age {period}"),
        }
    }
}

/// A text that is no expectation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an expectation: {reason} (write `> 0`, `= 42`, `!= x` or `max age 10m`)")]
pub struct ParseExpectationError {
    text: String,
    reason: String,
}

impl FromStr for Expectation {
    type Err = ParseExpectationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason: &str| ParseExpectationError {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        let trimmed = text.trim();
        if let Some(age) = trimmed.strip_prefix("max age") {
            let period = age
                .trim()
                .parse::<Period>()
                .map_err(|cause| error(&cause.to_string()))?;
            return Ok(Self::MaxAge(period));
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
            .ok_or_else(|| error("it begins with none of = != < <= > >= and `max age`"))?;
        if value.is_empty() {
            return Err(error("the value is missing"));
        }
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::Different);
        if ordered
            && value
                .parse::<f64>()
                .map_or(true, |number| !number.is_finite())
        {
            return Err(error("only numbers are ordered"));
        }
        Ok(Self::Compare(comparison, value.to_owned()))
    }
}

impl TryFrom<String> for Expectation {
    type Error = ParseExpectationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Expectation> for String {
    fn from(expectation: Expectation) -> Self {
        expectation.to_string()
    }
}

impl schemars::JsonSchema for Expectation {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Expectation".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^\\s*(=|!=|<>|<|<=|>|>=|max age)",
            "description": "What the query's single value must be: `> 0`, `= 42`, `!= x`, `max age 10m` (a moment at most that long before the recovery point).",
            "examples": ["> 0", "= 42", "max age 10m"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_form() {
        for (text, shown) in [
            ("> 0", "> 0"),
            (">=10.5", ">= 10.5"),
            ("<> x", "!= x"),
            ("== on hold", "= on hold"),
            ("max age 10m", "max age 10m"),
        ] {
            let expectation: Expectation = text.parse().unwrap();
            assert_eq!(expectation.to_string(), shown);
            assert_eq!(shown.parse::<Expectation>().unwrap(), expectation);
        }
    }

    #[test]
    fn refusals_say_why() {
        for (text, reason) in [
            ("0", "it begins with none of"),
            (">", "the value is missing"),
            ("> many", "only numbers are ordered"),
            ("> NaN", "only numbers are ordered"),
            ("max age soon", "is not a length of time"),
        ] {
            let error = text.parse::<Expectation>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
