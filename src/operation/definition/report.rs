//! What a capture says.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::Verdict;
use crate::finding::{Code, Finding, Severity};
use crate::kubernetes::definition::Unread;

/// What a capture came to. JSON: `walproof.definition-capture/v1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureReport {
    /// `walproof.definition-capture/v1`.
    pub schema: String,
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// The replica.
    pub copy: String,
    /// The Cluster's namespace.
    pub namespace: String,
    /// The Cluster's name.
    pub name: String,
    /// When it was read.
    pub captured_at: DateTime<Utc>,
    /// Whether it was written.
    pub outcome: Outcome,
    /// The stored definition's name.
    pub definition: String,
    /// Where it lies.
    pub location: String,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Since when the definition is as it is.
    pub since: DateTime<Utc>,
    /// What it holds, in the order of a rebuild.
    pub objects: Vec<String>,
    /// The Secrets that it refers to.
    pub secrets: Vec<SecretReport>,
    /// Where copies of the Secrets were looked for; `null` when no place is configured.
    pub disaster_site: Option<SiteReport>,
    /// What could not be read.
    pub unread: Vec<Unread>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// What became of a captured definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is new, was written, and was read back.
    Stored,
    /// The newest that is stored is the same, and half of its object lock was over: it was written
    /// once more with a lock of its own, and read back.
    Renewed,
    /// The newest that is stored is the same; it was read back.
    Unchanged,
}

/// A Secret by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretReport {
    /// Its name.
    pub name: String,
    /// Whether it is in the Cluster's namespace; `null` where that could not be read.
    pub present: Option<bool>,
    /// The names of its keys there; `null` where they could not be read.
    pub keys: Option<Vec<String>>,
    /// Whether nothing needs it.
    pub optional: bool,
    /// What refers to it.
    pub referenced_by: Vec<String>,
    /// Whether it is at the disaster site; `null` when that was not looked at.
    pub at_disaster_site: Option<bool>,
    /// The keys that a rebuild needs and the copy there lacks.
    pub missing_keys: Vec<String>,
}

/// The place in which a rebuild would happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SiteReport {
    /// The API server there; empty when it could not even be named.
    pub server: String,
    /// The namespace there.
    pub namespace: String,
    /// Why it could not be looked at, if so.
    pub unchecked: Option<String>,
}

impl CaptureReport {
    /// The document's name.
    pub const SCHEMA: &'static str = "walproof.definition-capture/v1";

    /// `failed` when something is wrong, `unproven` when something could not be looked at,
    /// none when all is well: a capture proves nothing by itself.
    pub fn verdict(&self) -> Option<Verdict> {
        let wrong = |finding: &&Finding| finding.severity >= Severity::Warning;
        let mut wrong = self.findings.iter().filter(wrong).peekable();
        wrong.peek()?;
        Some(
            if wrong.all(|finding| finding.code == Code::DefinitionIncomplete) {
                Verdict::Unproven
            } else {
                Verdict::Failed
            },
        )
    }

    /// The exit code of the command.
    pub fn exit_code(&self) -> u8 {
        match self.verdict() {
            None | Some(Verdict::Proven) => 0,
            Some(Verdict::Failed) => 1,
            Some(Verdict::Unproven) => 3,
        }
    }

    /// One line for the history.
    pub fn summary(&self) -> String {
        let what = match self.outcome {
            Outcome::Stored => "stored",
            Outcome::Renewed => "unchanged, locked anew as",
            Outcome::Unchanged => "unchanged since",
        };
        let mut line = format!(
            "{what} {} ({} objects)",
            self.definition,
            self.objects.len()
        );
        if let Some(first) = self.findings.first() {
            let more = self.findings.len().saturating_sub(1);
            line.push_str("; ");
            line.push_str(first.code.as_str());
            line.push_str(": ");
            line.push_str(&first.object);
            if more > 0 {
                line.push_str(" and ");
                line.push_str(&more.to_string());
                line.push_str(" more");
            }
        }
        line
    }
}
