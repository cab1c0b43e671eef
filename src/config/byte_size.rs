//! Amounts of bytes as people write them: `50GiB`, `500MB`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount of bytes, more than zero: a whole number with a unit (`B`, `KB`, `MB`, `GB`,
/// `TB` by thousands; `KiB`, `MiB`, `GiB`, `TiB` by 1,024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(u64);

/// The units, the largest first, so that output uses the largest that divides.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// A text that is no amount of bytes, with what is wrong about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an amount of bytes: {reason} (write 500MB, 50GiB or 1TiB)")]
pub struct ParseByteSizeError {
    text: String,
    reason: &'static str,
}

impl ByteSize {
    /// This many bytes; `None` for zero.
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes == 0 { None } else { Some(Self(bytes)) }
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = UNITS
            .into_iter()
            .find(|(_, unit)| self.0.is_multiple_of(*unit))
            .unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| ParseByteSizeError {
            text: text.to_owned(),
            reason,
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, name) = text.split_at(digits);
        if number.is_empty() {
            return Err(error("it begins with a whole number"));
        }
        let number: u64 = number
            .parse()
            .map_err(|_| error("the number is too large"))?;
        if name.is_empty() {
            return Err(error("the unit is missing"));
        }
        let (_, unit) = UNITS
            .into_iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| error("the units are B, KB, MB, GB, TB and KiB, MiB, GiB, TiB"))?;
        let bytes = number
            .checked_mul(unit)
            .ok_or_else(|| error("the number is too large"))?;
        Self::new(bytes).ok_or_else(|| error("it must be more than zero"))
    }
}

impl TryFrom<String> for ByteSize {
    type Error = ParseByteSizeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

impl schemars::JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]+([KMGT]i?)?B$",
            "description": "An amount of bytes: 500MB, 50GiB, 1TiB.",
            "examples": ["500MB", "50GiB"],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in [
            ("1B", 1),
            ("500MB", 500_000_000),
            ("50GiB", 50 << 30),
            ("2TiB", 2 << 40),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string()), (bytes, text.to_owned()));
        }
    }

    #[test]
    fn refusals_say_why() {
        for (text, reason) in [
            ("", "it begins with a whole number"),
            ("GiB", "it begins with a whole number"),
            (
                "1.5GiB",
                "the units are B, KB, MB, GB, TB and KiB, MiB, GiB, TiB",
            ),
            (
                "5 GiB",
                "the units are B, KB, MB, GB, TB and KiB, MiB, GiB, TiB",
            ),
            (
                "5g",
                "the units are B, KB, MB, GB, TB and KiB, MiB, GiB, TiB",
            ),
            ("5", "the unit is missing"),
            ("0B", "it must be more than zero"),
            ("99999999TiB", "the number is too large"),
        ] {
            assert_eq!(
                text.parse::<ByteSize>().unwrap_err().reason,
                reason,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(bytes in 1_u64..) {
            let size = ByteSize::new(bytes).unwrap();
            prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        }
    }
}
