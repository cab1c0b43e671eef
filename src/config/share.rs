//! A share of many things: `1%`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A share from 0% to 100%, with at most two digits behind the point.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Share {
    /// Hundredths of a percent, at most 10,000.
    hundredths: u16,
}

/// A text that is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a share (write 0%, 1%, 0.25% or 100%)")]
pub struct ParseShareError(String);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self { hundredths: 0 };
    /// One in a hundred.
    pub const ONE_PERCENT: Self = Self { hundredths: 100 };
    /// Everything.
    pub const ALL: Self = Self { hundredths: 10_000 };

    /// As a number from 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.hundredths) / 10_000.0
    }

    /// Whether a thing belongs to the share, by a number that is evenly spread over all
    /// things, such as the beginning of a digest. The same number always gives the same
    /// answer, and what belongs to a share belongs to every larger one.
    pub fn holds(self, number: u64) -> bool {
        u128::from(number) * 10_000 < (u128::from(self.hundredths) << 64)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.hundredths / 100, self.hundredths % 100);
        match rest {
            0 => write!(f, "{whole}%"),
            rest if rest % 10 == 0 => write!(f, "{whole}.{}%", rest / 10),
            rest => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

impl FromStr for Share {
    type Err = ParseShareError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseShareError(text.to_owned());
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, rest) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(rest) || rest.len() > 2 {
            return Err(wrong());
        }
        let whole: u16 = whole.parse().map_err(|_| wrong())?;
        let parts: u16 = rest.parse().map_err(|_| wrong())?;
        let parts = if rest.len() == 1 { parts * 10 } else { parts };
        whole
            .checked_mul(100)
            .and_then(|hundredths| hundredths.checked_add(parts))
            .filter(|hundredths| *hundredths <= 10_000)
            .map(|hundredths| Self { hundredths })
            .ok_or_else(wrong)
    }
}

impl TryFrom<String> for Share {
    type Error = ParseShareError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

impl schemars::JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]+(\\.[0-9]{1,2})?%$",
            "description": "A share: 0%, 1%, 0.25%, 100%.",
            "examples": ["1%"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for text in ["0%", "1%", "0.25%", "12.5%", "100%"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
        for text in ["", "1", "%", "101%", "1.234%", "-1%", "1.%", ".5%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_about_as_large_as_it_says() {
        let quarter: Share = "25%".parse().unwrap();
        let step = u64::MAX / 1_000;
        let held = (0..1_000).filter(|n| quarter.holds(n * step)).count();
        assert!((249..=251).contains(&held), "{held}");
        assert!(Share::ALL.holds(u64::MAX) && !Share::NONE.holds(0));
    }
}
