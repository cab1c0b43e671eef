//! What entries say of walproof itself: its configuration, its daemons, its reports.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Asked, ClosedIncident, MAX_ITEMS, OpenedIncident, cut};
use crate::evidence::Digest;

/// The configuration was taken up, changed or refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationBody {
    /// Whether it holds from now on. A refused one leaves the old one in force.
    pub accepted: bool,
    /// SHA-256 of the configuration file.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: String,
    /// SHA-256 of the one that held before.
    #[serde(default)]
    pub previous_sha256: Option<String>,
    /// The files that it is made of.
    #[serde(default)]
    pub files: Vec<Digest>,
    /// What changed, in words; the first 200 changes.
    #[serde(default)]
    pub changes: Vec<String>,
    /// Why it was refused: the first mistake.
    #[serde(default)]
    pub mistake: Option<String>,
    /// Incidents that it opened.
    #[serde(default)]
    pub opened: Vec<OpenedIncident>,
    /// Incidents that it closed: what they were about is right again, or is no longer
    /// in the configuration.
    #[serde(default)]
    pub closed: Vec<ClosedIncident>,
}

impl ConfigurationBody {
    /// A configuration that holds from now on.
    pub fn accepted(sha256: String, previous_sha256: Option<String>, changes: &[String]) -> Self {
        Self {
            accepted: true,
            sha256,
            previous_sha256,
            files: Vec::new(),
            changes: some(changes),
            mistake: None,
            opened: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// A configuration that was refused.
    pub fn refused(sha256: String, previous_sha256: Option<String>, mistake: &str) -> Self {
        Self {
            accepted: false,
            mistake: Some(cut(mistake)),
            ..Self::accepted(sha256, previous_sha256, &[])
        }
    }
}

/// As many as a body may hold, and how many more there were.
fn some(changes: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = changes.iter().take(MAX_ITEMS).map(|c| cut(c)).collect();
    let more = changes.len().saturating_sub(kept.len());
    if more > 0 {
        kept.push(format!("and {more} more"));
    }
    kept
}

/// A daemon began, or ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DaemonBody {
    /// Which daemon: the holder of its jobs.
    #[schemars(with = "String")]
    pub daemon: Uuid,
    /// The machine's name.
    pub host: String,
    /// The version of walproof.
    pub version: String,
    /// SHA-256 of the program's file, where it could be read.
    #[serde(default)]
    pub build_sha256: Option<String>,
    /// SHA-256 of the configuration file in force.
    #[serde(default)]
    pub configuration_sha256: Option<String>,
    /// Why it ended, such as the signal's name.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A daemon saw that something is wrong or no longer so, in no run: such as that the records
/// break.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoticedBody {
    /// What it saw, in words.
    pub message: String,
    /// Incidents that it opened.
    #[serde(default)]
    pub opened: Vec<OpenedIncident>,
    /// Incidents that it closed.
    #[serde(default)]
    pub closed: Vec<ClosedIncident>,
}

impl NoticedBody {
    /// What was seen; the incidents are added when it is kept.
    pub fn new(message: &str) -> Self {
        Self {
            message: cut(message),
            opened: Vec::new(),
            closed: Vec::new(),
        }
    }
}

/// A report was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportBody {
    /// Who asked, and what was due.
    #[serde(default)]
    pub asked: Asked,
    /// The first moment that it covers.
    pub from: DateTime<Utc>,
    /// The moment at which it ends.
    pub to: DateTime<Utc>,
    /// The cluster, when it is about one alone.
    #[serde(default)]
    pub cluster: Option<String>,
    /// The directory in which it was written.
    #[serde(default)]
    pub directory: Option<String>,
    /// Why it could not be written.
    #[serde(default)]
    pub error: Option<String>,
    /// The first entry that it holds.
    #[serde(default)]
    pub first: Option<u64>,
    /// The last entry that it holds.
    #[serde(default)]
    pub last: Option<u64>,
    /// Its files with their digests.
    #[serde(default)]
    pub files: Vec<Digest>,
    /// Incidents that it opened.
    #[serde(default)]
    pub opened: Vec<OpenedIncident>,
    /// Incidents that it closed.
    #[serde(default)]
    pub closed: Vec<ClosedIncident>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_changes_is_cut_and_says_so() {
        let changes: Vec<String> = (0..MAX_ITEMS + 7).map(|n| n.to_string()).collect();
        let body = ConfigurationBody::accepted("0".repeat(64), None, &changes);
        assert_eq!(body.changes.len(), MAX_ITEMS + 1);
        assert_eq!(body.changes.last().unwrap(), "and 7 more");
    }
}
