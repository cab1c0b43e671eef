//! What a job is to do, as it is stored with the job.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::{DrillDefinition, Period, VerificationDepth};
use crate::evidence::sha256_hex;

/// What a job is to do. Stored as JSON with the job; the cluster and the copy stand beside
/// it. A field that is left out means what the configuration says when the job runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "kebab-case", deny_unknown_fields)]
pub enum JobSpec {
    /// Verify a copy; every copy of the cluster when none is named.
    Verify {
        /// How deeply; the tier's depth if it is left out, else `listed`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        depth: Option<VerificationDepth>,
    },
    /// Copy to a replica; to every replica of the cluster when none is named.
    Replicate {
        /// The replica, where the job itself names none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        copy: Option<String>,
    },
    /// Restore a copy for proof; that of the definition, else the primary.
    Drill {
        /// The definition's name; if it is left out, the only one defined for the cluster,
        /// else a plain drill to the tip.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        definition: Option<String>,
        /// What the definition must be ([`definition_digest`]): for a drill that proves what was
        /// asked for then, not what the name means by now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
    },
    /// Write the report of a stretch of time.
    Report {
        /// How long a stretch, up to when the job was due.
        period: Period,
    },
    /// Remove what dead drills left.
    Sweep,
    /// Capture the cluster's definition and store it beside a replica; beside every replica of
    /// the cluster when none is named.
    Capture,
    /// Restore what a person asked for, and hand it over.
    Request {
        /// The request, which says the rest.
        request: Uuid,
    },
}

impl JobSpec {
    /// The word of its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Verify { .. } => "verify",
            Self::Replicate { .. } => "replicate",
            Self::Drill { .. } => "drill",
            Self::Report { .. } => "report",
            Self::Sweep => "sweep",
            Self::Capture => "capture",
            Self::Request { .. } => "request",
        }
    }
}

/// What a drill's definition says, as a digest. For which clusters is no part of it: those come
/// and go, and a job names its own.
pub fn definition_digest(definition: &DrillDefinition) -> String {
    let mut definition = definition.clone();
    definition.clusters.clear();
    let text = serde_json::to_string(&definition).unwrap_or_default();
    sha256_hex(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_stored_and_read_back_by_its_kind() {
        for (spec, stored) in [
            (JobSpec::Verify { depth: None }, json!({"job": "verify"})),
            (
                JobSpec::Verify {
                    depth: Some(VerificationDepth::Read),
                },
                json!({"job": "verify", "depth": "read"}),
            ),
            (
                JobSpec::Replicate { copy: None },
                json!({"job": "replicate"}),
            ),
            (
                JobSpec::Drill {
                    definition: Some("nightly".into()),
                    digest: None,
                },
                json!({"job": "drill", "definition": "nightly"}),
            ),
            (
                JobSpec::Drill {
                    definition: Some("once".into()),
                    digest: Some("ab".into()),
                },
                json!({"job": "drill", "definition": "once", "digest": "ab"}),
            ),
            (
                JobSpec::Report {
                    period: "1d".parse().unwrap(),
                },
                json!({"job": "report", "period": "1d"}),
            ),
            (
                JobSpec::Request {
                    request: Uuid::nil(),
                },
                json!({"job": "request", "request": "00000000-0000-0000-0000-000000000000"}),
            ),
            (JobSpec::Sweep, json!({"job": "sweep"})),
            (JobSpec::Capture, json!({"job": "capture"})),
        ] {
            assert_eq!(serde_json::to_value(&spec).unwrap(), stored);
            assert_eq!(stored["job"], spec.kind());
            assert_eq!(serde_json::from_value::<JobSpec>(stored).unwrap(), spec);
        }
    }

    #[test]
    fn what_a_newer_version_wrote_is_not_half_understood() {
        for stored in [
            json!({"job": "polish"}),
            json!({"job": "verify", "twice": true}),
            json!({"job": "drill", "twice": true}),
            json!({}),
        ] {
            assert!(
                serde_json::from_value::<JobSpec>(stored.clone()).is_err(),
                "{stored}"
            );
        }
    }

    #[test]
    fn a_definitions_digest_is_of_what_it_asks_for() {
        let one = DrillDefinition::plain("d");
        let mut elsewhere = one.clone();
        elsewhere.clusters = vec!["orders".to_owned()];
        assert_eq!(definition_digest(&one), definition_digest(&elsewhere));
        let mut other = one.clone();
        other.checksums = true;
        assert_ne!(definition_digest(&one), definition_digest(&other));
    }
}
