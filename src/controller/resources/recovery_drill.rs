//! RecoveryDrill: a restore for proof, by schedule or once.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ClusterRef, Condition, Mirrored, Timetable, conditions};
use crate::config::{
    AloneSetting, Amcheck, Check, CnpgDrill, DrillDefinition, Environment, Period, SettingValue,
    TargetText,
};

/// A restore for proof: what is restored, how far, what the result is asked, and when.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "walproof.dev",
    version = "v1alpha1",
    kind = "RecoveryDrill",
    plural = "recoverydrills",
    shortname = "rdrill",
    category = "walproof",
    namespaced,
    status = "RecoveryDrillStatus",
    derive = "PartialEq",
    doc = "A restore for proof, by schedule or once.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("the name of a RecoveryDrill has no dots"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".status.target", description = "What is drilled"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule.cron"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Where it stands"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict", description = "What the last run came to"),
    printcolumn(name = "Verified-In", type_ = "string", json_path = ".status.lastRun.timeToVerified", description = "From the start until all checks passed"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastRun.endedAt", description = "When the last run ended"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextRunAt", description = "When it is due next", priority = 1),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step", description = "What the run under way is doing", priority = 1),
    printcolumn(name = "Exposure", type_ = "string", json_path = ".status.lastRun.exposure", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.clusterRef) != has(self.protectedCluster)").message("name either `clusterRef` or `protectedCluster`"),
    validation = Rule::new("has(self.schedule) || has(oldSelf.schedule) || (has(self.clusterRef) == has(oldSelf.clusterRef) && (!has(self.clusterRef) || self.clusterRef == oldSelf.clusterRef) && (!has(self.protectedCluster) || self.protectedCluster == oldSelf.protectedCluster))").message("the cluster of a one-off drill cannot be changed: make another RecoveryDrill"),
    validation = Rule::new("!has(self.cnpg) || self.environment == 'cnpg'").message("`cnpg` belongs to `environment: cnpg`"),
    validation = Rule::new("!has(self.schedule) || !has(self.schedule.depth)").message("`depth` belongs to the schedule of a verification")
)]
pub struct RecoveryDrillSpec {
    /// The Cluster that is drilled; a ProtectedCluster must guard it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<ClusterRef>,
    /// The ProtectedCluster of this namespace all of whose Clusters are drilled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub protected_cluster: Option<String>,
    /// When it is run. Without it once for each generation of this spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Timetable>,
    /// No run is begun as long as it is true.
    #[serde(default)]
    pub suspend: bool,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// Which copy it restores from: `primary`, `replica-1` or the copy's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub copy: Option<String>,
    /// Whether every other copy must be out of reach while it runs: `true`, or `report`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<AloneSetting>")]
    pub alone: Option<Mirrored<AloneSetting>>,
    /// Where it restores. `local` only in the namespace of the controller itself.
    #[serde(default = "cnpg")]
    pub environment: Mirrored<Environment>,
    /// How it restores with `environment: cnpg`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<CnpgDrill>")]
    pub cnpg: Option<Mirrored<CnpgDrill>>,
    /// How far it recovers.
    #[serde(default = "tip")]
    pub target: Mirrored<TargetText>,
    /// The base backup: `auto` takes the newest that reaches the target.
    #[serde(default = "auto")]
    #[schemars(length(min = 1, max = 253))]
    pub backup: String,
    /// The drill is given up after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Period>")]
    pub timeout: Option<Mirrored<Period>>,
    /// With `environment: local`: the directory in which scratch directories are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub scratch: Option<String>,
    /// The superuser's name in the restored cluster. Default: `postgres`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub superuser: Option<String>,
    /// Libraries for `shared_preload_libraries` that the checks need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub preload: Vec<String>,
    /// Settings of the restored server, such as `shared_buffers: 256MB`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Mirrored<SettingValue>>,
    /// Questions put to the restored databases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub checks: Vec<Mirrored<Check>>,
    /// Whether `pg_checksums` reads every page.
    #[serde(default)]
    pub checksums: bool,
    /// Runs `pg_amcheck` over the restored databases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Amcheck>")]
    pub amcheck: Option<Mirrored<Amcheck>>,
    /// Whether walproof tries to write to the repository, which should be refused.
    #[serde(default)]
    pub probe_write: bool,
}

/// What of a spec is no part of the definition.
const OWN: [&str; 4] = ["clusterRef", "protectedCluster", "schedule", "suspend"];

fn cnpg() -> Mirrored<Environment> {
    Mirrored::new(Value::String("cnpg".to_owned()))
}

fn tip() -> Mirrored<TargetText> {
    Mirrored::new(Value::String("tip".to_owned()))
}

fn auto() -> String {
    "auto".to_owned()
}

impl RecoveryDrillSpec {
    /// What it says of the definition, as a file with a definition would write it: without
    /// version, name and clusters.
    pub fn definition(&self) -> Value {
        let mut written = serde_json::to_value(self).unwrap_or_default();
        if let Some(members) = written.as_object_mut() {
            for key in OWN {
                members.remove(key);
            }
        }
        Mirrored::<DrillDefinition>::new(written).snake()
    }
}

/// Where a RecoveryDrill stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryDrillStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it stands, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<DrillPhase>,
    /// Why, in a word, where it does not stand well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the last run came to: `proven`, `failed`, `unproven`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// What the run under way is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What is drilled: a Cluster, or how many of a ProtectedCluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The last run that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<DrillRun>,
    /// When it is due next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_at: Option<DateTime<Utc>>,
    /// The last five runs that ended, the newest first.
    #[serde(default)]
    #[schemars(length(max = 5))]
    pub runs: Vec<DrillRun>,
    /// Of a one-off drill: the generation whose runs are over, which is not run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_generation: Option<i64>,
    /// Where it stands, in the terms of the API's conventions: `Ready`, `Proven`, `Refused`.
    #[serde(default)]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// Where a RecoveryDrill stands, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DrillPhase {
    /// It was seen, and is not yet taken up.
    Pending,
    /// It waits for when it is due.
    Scheduled,
    /// A run waits in the queue.
    Queued,
    /// A run is under way.
    Running,
    /// The last run was proven.
    Proven,
    /// The last run failed.
    Failed,
    /// The last run could not prove anything.
    Unproven,
    /// It is suspended.
    Suspended,
    /// It is not taken up: the condition `Refused` says why.
    Refused,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillRun {
    /// The run's identity, as `walproof drill show` takes it.
    pub id: String,
    /// The cluster, by its name in the configuration.
    #[serde(default)]
    pub cluster: String,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// What it came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The commit time of the newest transaction that was recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_to: Option<DateTime<Utc>>,
    /// From the start of recovery until the first query was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_service: Option<String>,
    /// From the start until all checks passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_verified: Option<String>,
    /// What would have been lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<String>,
    /// Why it came to this; the first five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub reasons: Vec<String>,
}
