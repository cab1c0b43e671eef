//! `alone:` of a drill definition.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Whether the cluster's other copies must be out of reach while a drill runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AloneSetting {
    /// `false`: they are left in peace.
    #[default]
    No,
    /// `report`: they are asked, and what they say is only recorded.
    Report,
    /// `true`: a copy that answers makes the drill `unproven`.
    Required,
}

/// A word that is none of the three.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither true, false nor report")]
pub struct AloneSettingError(String);

impl AloneSetting {
    /// Whether the other copies are left in peace.
    pub fn is_no(&self) -> bool {
        *self == Self::No
    }
}

impl FromStr for AloneSetting {
    type Err = AloneSettingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "report" => Ok(Self::Report),
            other => Err(AloneSettingError(other.to_owned())),
        }
    }
}

impl Serialize for AloneSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::No => serializer.serialize_bool(false),
            Self::Required => serializer.serialize_bool(true),
            Self::Report => serializer.serialize_str("report"),
        }
    }
}

impl<'de> Deserialize<'de> for AloneSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Truth(bool),
            Word(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Truth(false) => Ok(Self::No),
            Written::Truth(true) => Ok(Self::Required),
            Written::Word(word) => word.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for AloneSetting {
    fn schema_name() -> Cow<'static, str> {
        "AloneSetting".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["boolean", "string"],
            "pattern": "^report$",
            "description": "true, false or report.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_ways_to_write_it() {
        for (text, setting) in [
            ("false", AloneSetting::No),
            ("true", AloneSetting::Required),
            ("\"report\"", AloneSetting::Report),
        ] {
            let read: AloneSetting = serde_json::from_str(text).unwrap();
            assert_eq!(read, setting);
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
        for wrong in ["\"maybe\"", "\"\"", "1", "null"] {
            assert!(
                serde_json::from_str::<AloneSetting>(wrong).is_err(),
                "{wrong}"
            );
        }
    }
}
