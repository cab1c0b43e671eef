//! Lengths of time as people write them: `5m`, `1h30m`, `30d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time in whole seconds, more than zero and at most 36,525 days.
///
/// Written as numbers with units, largest first: `w`, `d`, `h`, `m`, `s` (`1h30m`). A day
/// is 24 hours and a week is 7 days; calendars do not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(u64);

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;

impl Period {
    /// The longest period: a hundred years.
    pub const MAX: Self = Self(36_525 * DAY);

    /// A period of this many seconds; `None` when zero or more than [`Self::MAX`].
    pub const fn from_secs(seconds: u64) -> Option<Self> {
        if seconds == 0 || seconds > Self::MAX.0 {
            None
        } else {
            Some(Self(seconds))
        }
    }

    /// The length in seconds.
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// The length as the standard library has it.
    pub const fn as_std(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// The length as chrono has it, for arithmetic on moments.
    pub fn as_chrono(self) -> chrono::TimeDelta {
        i64::try_from(self.0)
            .ok()
            .and_then(chrono::TimeDelta::try_seconds)
            .unwrap_or(chrono::TimeDelta::MAX)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        for (unit, length) in [("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", 1)] {
            if rest >= length {
                write!(f, "{}{unit}", rest / length)?;
                rest %= length;
            }
        }
        Ok(())
    }
}

/// A text that is no period, with what is wrong about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a length of time: {reason} (write 90s, 5m, 1h30m or 30d)")]
pub struct ParsePeriodError {
    text: String,
    reason: &'static str,
}

impl FromStr for Period {
    type Err = ParsePeriodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| ParsePeriodError {
            text: text.to_owned(),
            reason,
        };
        let mut total: u64 = 0;
        let mut last = u64::MAX;
        let mut rest = text;
        if rest.is_empty() {
            return Err(error("it is empty"));
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, behind) = rest.split_at(digits);
            if number.is_empty() {
                return Err(error("a unit needs a whole number before it"));
            }
            let number: u64 = number
                .parse()
                .map_err(|_| error("the number is too large"))?;
            let mut characters = behind.chars();
            let length = match characters.next() {
                None => return Err(error("the unit is missing")),
                Some('s') => 1,
                Some('m') => MINUTE,
                Some('h') => HOUR,
                Some('d') => DAY,
                Some('w') => WEEK,
                Some(_) => return Err(error("the units are s, m, h, d and w")),
            };
            if length >= last {
                return Err(error("units go from large to small, each once"));
            }
            last = length;
            total = number
                .checked_mul(length)
                .and_then(|seconds| total.checked_add(seconds))
                .ok_or_else(|| error("the number is too large"))?;
            rest = characters.as_str();
        }
        if total == 0 {
            return Err(error("it must be more than zero"));
        }
        Self::from_secs(total).ok_or_else(|| error("more than a hundred years"))
    }
}

impl TryFrom<String> for Period {
    type Error = ParsePeriodError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl schemars::JsonSchema for Period {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$",
            "minLength": 2,
            "description": "A length of time: 90s, 5m, 1h30m, 30d.",
            "examples": ["5m", "1h30m", "30d"],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("1h30m", 5400),
            ("30d", 30 * DAY),
            ("2w1d", 15 * DAY),
        ] {
            assert_eq!(text.parse::<Period>().unwrap().as_secs(), seconds, "{text}");
        }
        assert_eq!("90m".parse::<Period>().unwrap().to_string(), "1h30m");
    }

    #[test]
    fn refusals_say_why() {
        for (text, reason) in [
            ("", "it is empty"),
            ("5", "the unit is missing"),
            ("m", "a unit needs a whole number before it"),
            ("1.5h", "the units are s, m, h, d and w"),
            ("-5m", "a unit needs a whole number before it"),
            ("5 minutes", "the units are s, m, h, d and w"),
            ("5M", "the units are s, m, h, d and w"),
            ("5m5m", "units go from large to small, each once"),
            ("5m1h", "units go from large to small, each once"),
            ("0s", "it must be more than zero"),
            ("99999999999999999999s", "the number is too large"),
            ("40000d", "more than a hundred years"),
            ("ß", "a unit needs a whole number before it"),
            ("5ß", "the units are s, m, h, d and w"),
        ] {
            assert_eq!(text.parse::<Period>().unwrap_err().reason, reason, "{text}");
        }
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(seconds in 1..=Period::MAX.as_secs()) {
            let period = Period::from_secs(seconds).unwrap();
            prop_assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
        }

        #[test]
        fn parsing_never_panics(text: String) {
            let _ = text.parse::<Period>();
        }
    }
}
