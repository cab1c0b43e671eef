//! The three verdicts.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a drill or a check came to. Nothing is green that was not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything that was asked for was checked and holds.
    Proven,
    /// Something that was checked does not hold.
    Failed,
    /// Something that was asked for could not be checked. Never blamed on the backup.
    Unproven,
}

impl Verdict {
    /// The word used in output and in the state database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Failed => "failed",
            Self::Unproven => "unproven",
        }
    }

    /// The verdict over two: a failure outweighs what could not be checked, which outweighs
    /// a proof.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Failed, _) | (_, Self::Failed) => Self::Failed,
            (Self::Unproven, _) | (_, Self::Unproven) => Self::Unproven,
            (Self::Proven, Self::Proven) => Self::Proven,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a verdict: {0:?} (allowed: proven, failed, unproven)")]
pub struct ParseVerdictError(String);

impl std::str::FromStr for Verdict {
    type Err = ParseVerdictError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "proven" => Ok(Self::Proven),
            "failed" => Ok(Self::Failed),
            "unproven" => Ok(Self::Unproven),
            _ => Err(ParseVerdictError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_verdict_wins() {
        use Verdict::{Failed, Proven, Unproven};
        assert_eq!(Proven.and(Proven), Proven);
        assert_eq!(Proven.and(Unproven), Unproven);
        assert_eq!(Unproven.and(Failed), Failed);
        assert_eq!(Failed.and(Proven), Failed);
    }

    #[test]
    fn words_go_both_ways() {
        for verdict in [Verdict::Proven, Verdict::Failed, Verdict::Unproven] {
            assert_eq!(verdict.as_str().parse(), Ok(verdict));
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
        }
        assert!("green".parse::<Verdict>().is_err());
    }
}
