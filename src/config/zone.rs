//! Named time zones: `Europe/Berlin`.

use std::fmt;
use std::str::FromStr;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::suggest;

/// A time zone of the IANA database, by its name. What it says of a moment comes from the
/// copy of that database that walproof was built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(Tz);

impl Zone {
    /// Universal time.
    pub const UTC: Self = Self(Tz::UTC);

    /// The zone as chrono computes with it.
    pub const fn tz(self) -> Tz {
        self.0
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// A text that is no name of a time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time zone{hint}")]
pub struct ParseZoneError {
    text: String,
    hint: String,
}

impl FromStr for Zone {
    type Err = ParseZoneError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| {
            let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
            // `Berlin` alone is what people write first.
            let city = chrono_tz::TZ_VARIANTS
                .iter()
                .map(|zone| zone.name())
                .find(|name| {
                    let last = name.rsplit('/').next().unwrap_or(name);
                    !text.is_empty() && last.eq_ignore_ascii_case(text.trim())
                });
            let hint = match city.or_else(|| suggest::nearest(text, names)) {
                Some(name) => format!("; did you mean {name}?"),
                None => " (write UTC or a name such as Europe/Berlin)".to_owned(),
            };
            ParseZoneError {
                text: text.to_owned(),
                hint,
            }
        })
    }
}

impl TryFrom<String> for Zone {
    type Error = ParseZoneError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.to_string()
    }
}

impl schemars::JsonSchema for Zone {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Zone".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z][A-Za-z0-9_+/-]*$",
            "description": "A time zone of the IANA database: UTC, Europe/Berlin.",
            "examples": ["Europe/Berlin"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_known_by_its_name() {
        for name in ["UTC", "Europe/Berlin", "Australia/Lord_Howe"] {
            assert_eq!(name.parse::<Zone>().unwrap().to_string(), name);
        }
        for (text, hint) in [
            ("Europe/Berln", "did you mean Europe/Berlin?"),
            ("berlin", "did you mean Europe/Berlin?"),
            ("+02:00", "write UTC or a name"),
            ("", "write UTC or a name"),
        ] {
            let error = text.parse::<Zone>().unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
    }
}
