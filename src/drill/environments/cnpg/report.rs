//! What a drill in Kubernetes reports beside what every drill does.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::drill::proof::ProofItem;

/// What a drill asked of the cluster that it ran in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// Processor time that its pods reserved, in thousandths of a processor.
    pub cpu_millis: u64,
    /// Memory that its pods reserved, in bytes.
    pub memory_bytes: u64,
    /// All its volumes, in bytes.
    pub volume_bytes: u64,
    /// Stored bytes of base backup and WAL that were fetched from the object store. The base
    /// backup by its size in the listing; WAL by the segments that recovery needs.
    pub fetched_bytes: u64,
    /// How long all that was held, in milliseconds.
    pub held_milliseconds: u64,
}

impl Cost {
    /// Takes over what pods and volumes reserve.
    pub(super) const fn reserve(&mut self, reserved: &Self) {
        self.cpu_millis = reserved.cpu_millis;
        self.memory_bytes = reserved.memory_bytes;
        self.volume_bytes = reserved.volume_bytes;
    }
}

/// What kept a recovery from its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TroubleReport {
    /// Its class, a stable kebab-case word.
    pub class: String,
    /// What it is about.
    pub object: String,
    /// In the words of whoever told it.
    pub words: String,
    /// What to do.
    pub hint: String,
}

/// What a drill in Kubernetes reports beside what every drill does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KubernetesReport {
    /// The API server.
    pub server: String,
    /// Its version.
    pub version: Option<String>,
    /// As whom walproof worked there.
    pub identity: Option<String>,
    /// The operator's version.
    pub operator: Option<String>,
    /// The Barman Cloud plugin's version.
    pub plugin: Option<String>,
    /// What the recovery Cluster took after.
    pub source: String,
    /// The form of recovery: `plugin`, `in-tree` or `snapshot`.
    pub form: String,
    /// The scratch namespace.
    pub namespace: String,
    /// The image that ran.
    pub image: Option<String>,
    /// How often the operator began the recovery anew.
    pub retries: u32,
    /// What kept the recovery from its end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<TroubleReport>,
    /// What the restored server could reach, by trying from its pod, and what its
    /// ServiceAccount may do.
    pub probes: Vec<ProofItem>,
    /// What it cost.
    pub cost: Cost,
    /// Until when the restored database stays, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kept_until: Option<DateTime<Utc>>,
    /// Why it does not stay although that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_kept: Option<String>,
}
