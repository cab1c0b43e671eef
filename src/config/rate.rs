//! Bytes per second as people write them: `50MiB/s`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ByteSize;

/// An amount of bytes per second: a whole number with a unit and `/s` behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bandwidth(ByteSize);

/// A text that is no bandwidth, with what is wrong about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a bandwidth: {reason} (write 50MiB/s or 400MB/s)")]
pub struct ParseBandwidthError {
    text: String,
    reason: String,
}

impl Bandwidth {
    /// Bytes per second, more than zero.
    pub const fn bytes_per_second(self) -> u64 {
        self.0.bytes()
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl FromStr for Bandwidth {
    type Err = ParseBandwidthError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason: &str| ParseBandwidthError {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        let size = text
            .strip_suffix("/s")
            .ok_or_else(|| error("`/s` is missing at its end"))?;
        match size.parse::<ByteSize>() {
            Ok(size) => Ok(Self(size)),
            Err(_) => Err(error("what stands before `/s` is no amount of bytes")),
        }
    }
}

impl TryFrom<String> for Bandwidth {
    type Error = ParseBandwidthError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Bandwidth> for String {
    fn from(bandwidth: Bandwidth) -> Self {
        bandwidth.to_string()
    }
}

impl schemars::JsonSchema for Bandwidth {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Bandwidth".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]+([KMGT]i?)?B/s$",
            "description": "Bytes per second: 50MiB/s, 400MB/s.",
            "examples": ["50MiB/s"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let bandwidth: Bandwidth = "50MiB/s".parse().unwrap();
        assert_eq!(bandwidth.bytes_per_second(), 50 << 20);
        assert_eq!(bandwidth.to_string(), "50MiB/s");
        for (text, reason) in [
            ("50MiB", "`/s` is missing at its end"),
            ("fast/s", "what stands before `/s` is no amount of bytes"),
            ("0B/s", "what stands before `/s` is no amount of bytes"),
        ] {
            assert_eq!(text.parse::<Bandwidth>().unwrap_err().reason, reason);
        }
    }
}
