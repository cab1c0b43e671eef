//! ProtectedCluster: Clusters that are guarded, and what is promised of them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Condition, Mirrored, conditions};
use crate::config::{
    CalendarSpan, CatchUp, Credentials, CronExpression, Due, FreshBackup, Heartbeat, Period, Raci,
    RepositoryConfig, Verification, VerificationDepth, Zone,
};

/// Which Clusters of CloudNativePG are guarded, and what is promised of them. They are looked
/// for all the time: a Cluster that comes is guarded, one that goes is no longer.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "walproof.dev",
    version = "v1alpha1",
    kind = "ProtectedCluster",
    plural = "protectedclusters",
    shortname = "pcluster",
    category = "walproof",
    namespaced,
    status = "ProtectedClusterStatus",
    derive = "PartialEq",
    doc = "Clusters of CloudNativePG that walproof guards, and what is promised of them.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("the name of a ProtectedCluster has no dots"),
    printcolumn(name = "Clusters", type_ = "integer", json_path = ".status.counts.clusters", description = "Clusters that are guarded"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Where it stands"),
    printcolumn(name = "Proven", type_ = "integer", json_path = ".status.counts.proven", description = "Clusters whose last drill was proven"),
    printcolumn(name = "Problems", type_ = "integer", json_path = ".status.counts.problems", description = "Clusters with an open incident"),
    printcolumn(name = "Exposure", type_ = "string", json_path = ".status.exposure", description = "The greatest of what would be lost now"),
    printcolumn(name = "Tier", type_ = "string", json_path = ".spec.tier.name", priority = 1),
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.name) || has(self.selector)").message("name a Cluster (`name`), or select some (`selector`; `{}` selects all)"),
    validation = Rule::new("!has(self.replicate) || (has(self.replicas) && size(self.replicas) > 0)").message("`replicate` needs `replicas` to copy to")
)]
pub struct ProtectedClusterSpec {
    /// Only Clusters of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,
    /// Only Clusters with these labels; `{}` selects all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<ClusterSelector>,
    /// The namespaces of the Clusters. Default: that of this resource. Another one only in the
    /// namespace of the controller itself; `*` there stands for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub namespaces: Vec<String>,
    /// What is promised: a tier of the controller's configuration by `name`, or the objectives
    /// themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<TierSpec>,
    /// What the Clusters are for, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// The team or person that owns them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub owner: Option<String>,
    /// Who does what when they must be recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Raci>")]
    pub raci: Option<Mirrored<Raci>>,
    /// How walproof itself reaches the Clusters' repositories. Default: with the credentials
    /// that each Cluster writes them with; those that can only read are better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "credentials")]
    pub credentials: Option<Mirrored<Credentials>>,
    /// Further copies of each Cluster's repository. `{namespace}` and `{cluster}` in a `url`
    /// are those of the Cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "replicas")]
    pub replicas: Vec<Mirrored<RepositoryConfig>>,
    /// A table that something writes to at a steady rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Heartbeat>")]
    pub heartbeat: Option<Mirrored<Heartbeat>>,
    /// When CloudNativePG is asked for a base backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_backup: Option<FreshBackupSpec>,
    /// When every copy is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Timetable>,
    /// When the replicas are made and kept up to date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicate: Option<Timetable>,
    /// When a plain drill to the archive tip is made in a scratch namespace. A RecoveryDrill
    /// says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<Timetable>,
    /// When the Clusters' definitions are captured beside the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Timetable>,
    /// Its own schedules and objectives rest as long as it is true. The Clusters stay known by
    /// name, and their RecoveryDrills go on: each has a `suspend` of its own.
    #[serde(default)]
    pub suspend: bool,
}

/// Which Clusters, by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSelector {
    /// Labels with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements; all must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub match_expressions: Vec<Requirement>,
}

/// What is asked of a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.operator in ['Exists', 'DoesNotExist'] ? !has(self.values) || size(self.values) == 0 : has(self.values) && size(self.values) > 0").message("In and NotIn need `values`; Exists and DoesNotExist have none")
)]
pub struct Requirement {
    /// The label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// What is asked: `In`, `NotIn`, `Exists`, `DoesNotExist`.
    #[schemars(schema_with = "operators")]
    pub operator: String,
    /// The values for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub values: Vec<String>,
}

/// A tier by name, or the objectives themselves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.name) || !(has(self.rpo) || has(self.rto) || has(self.retention) || has(self.maxBackupAge) || has(self.startedBackupAge) || has(self.verification) || has(self.due))").message("either `name` of a tier, or objectives of its own")
)]
pub struct TierSpec {
    /// A tier of the controller's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,
    /// At most this much may be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Period>")]
    pub rpo: Option<Mirrored<Period>>,
    /// From the start of recovery until all checks passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Period>")]
    pub rto: Option<Mirrored<Period>>,
    /// How far back any moment must be recoverable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Period>")]
    pub retention: Option<Mirrored<Period>>,
    /// The newest good base backup must be younger than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Period>")]
    pub max_backup_age: Option<Mirrored<Period>>,
    /// A base backup that began longer ago than this and has not ended counts as dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Period>")]
    pub started_backup_age: Option<Mirrored<Period>>,
    /// How deeply is verified, and how much is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Verification>")]
    pub verification: Option<Mirrored<Verification>>,
    /// How old the newest proof of each kind may get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Due>")]
    pub due: Option<Mirrored<Due>>,
}

/// When CloudNativePG is asked for a base backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FreshBackupSpec {
    /// When.
    #[schemars(with = "Mirrored<FreshBackup>")]
    pub when: Option<Mirrored<FreshBackup>>,
    /// At most one is asked for in this time. Default: 6h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Period>")]
    pub every: Option<Mirrored<Period>>,
}

/// When something is done again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timetable {
    /// When: five fields as in crontab(5), six with seconds first, or `@daily`.
    pub cron: Mirrored<CronExpression>,
    /// The zone in which `cron` and `blackout` are read. Default: that of the controller's
    /// configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Zone>")]
    pub time_zone: Option<Mirrored<Zone>>,
    /// Each Cluster starts at most this much after it is due, always by the same share of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Period>")]
    pub jitter: Option<Mirrored<Period>>,
    /// Nothing is started within these; it is put off to their end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub blackout: Vec<Mirrored<CalendarSpan>>,
    /// What was not started this long after it was due is missed. Default: until it is due
    /// again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Period>")]
    pub deadline: Option<Mirrored<Period>>,
    /// What happens to what was due while no controller ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<CatchUp>")]
    pub catch_up: Option<Mirrored<CatchUp>>,
    /// Only these copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub copies: Option<Vec<String>>,
    /// Of `verify`: how deeply. Default: as the tier says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<VerificationDepth>")]
    pub depth: Option<Mirrored<VerificationDepth>>,
    /// 9 goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9))]
    pub priority: Option<u8>,
}

/// Where a ProtectedCluster stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProtectedClusterStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it stands, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ProtectedClusterPhase>,
    /// Why, in a word, where it does not stand well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The greatest exposure among the Clusters, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<String>,
    /// The Clusters, counted.
    #[serde(default)]
    pub counts: ProtectedClusterCounts,
    /// The first 100 Clusters, by namespace and name.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub clusters: Vec<GuardedStatus>,
    /// Where it stands, in the terms of the API's conventions: `Ready`, `Refused`.
    #[serde(default)]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// Where a ProtectedCluster stands, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProtectedClusterPhase {
    /// No Cluster is found.
    Waiting,
    /// Clusters are guarded, and nothing is known to be wrong.
    Guarding,
    /// Clusters are guarded, and something is wrong with one of them.
    Problem,
    /// It is suspended.
    Suspended,
    /// It is not taken up: the condition `Refused` says why.
    Refused,
}

/// Clusters, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProtectedClusterCounts {
    /// Those that are guarded.
    pub clusters: u32,
    /// Those whose last drill was proven.
    pub proven: u32,
    /// Those whose last drill was not.
    pub not_proven: u32,
    /// Those with an open incident.
    pub problems: u32,
    /// Those that were found and are not guarded: they archive nowhere, or something is in
    /// the way.
    pub left_out: u32,
}

/// One guarded Cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuardedStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its name in the configuration, by which commands know it; none when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_name: Option<String>,
    /// Why it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// What would have been lost at its last verification, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure_seconds: Option<i64>,
    /// From when on it could be recovered, at its last verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_begin: Option<DateTime<Utc>>,
    /// Up to when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_end: Option<DateTime<Utc>>,
    /// When its primary copy was last verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verified: Option<DateTime<Utc>>,
    /// When its last drill ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_drill: Option<DateTime<Utc>>,
    /// What that drill came to: `proven`, `failed`, `unproven`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// How many incidents are open.
    #[serde(default)]
    pub findings: u32,
}

fn operators(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "type": "string",
        "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
        "description": "What is asked: In, NotIn, Exists, DoesNotExist.",
    })
}

/// As [`RepositoryConfig`], but for a URL with places to fill in, and Secrets of the
/// resource's own namespace.
fn replicas(generator: &mut SchemaGenerator) -> Schema {
    let mut item = Mirrored::<RepositoryConfig>::json_schema(generator).to_value();
    own_namespace(&mut item);
    if let Some(url) = item.pointer_mut("/properties/url") {
        *url = serde_json::json!({
            "type": "string",
            "minLength": 1,
            "maxLength": 2048,
            "description": "Where it lies, down to the server's folder, such as s3://bucket/prefix/{namespace}/{cluster}.",
        });
    }
    schemars::json_schema!({
        "type": "array",
        "maxItems": 8,
        "description": "Further copies of each Cluster's repository. `{namespace}` and `{cluster}` in a `url` are those of the Cluster.",
        "items": item,
    })
}

/// As [`Credentials`], but for Secrets of the resource's own namespace.
fn credentials(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = Mirrored::<Credentials>::json_schema(generator).to_value();
    own_namespace(&mut schema);
    let words = "How walproof itself reaches the Clusters' repositories. Default: with the credentials that each Cluster writes them with; those that can only read are better.";
    if let Some(members) = schema.as_object_mut() {
        members.insert("description".to_owned(), words.into());
    }
    Schema::try_from(schema).unwrap_or_default()
}

/// A Secret's namespace may be left out.
fn own_namespace(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(secret) = members
                .get_mut("kubernetes")
                .and_then(|kubernetes| kubernetes.get_mut("required"))
                .and_then(Value::as_array_mut)
            {
                secret.retain(|name| name != "namespace");
            }
            members.values_mut().for_each(own_namespace);
        }
        Value::Array(items) => items.iter_mut().for_each(own_namespace),
        _ => {}
    }
}
