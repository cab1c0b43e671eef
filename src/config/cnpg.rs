//! How a drill restores with CloudNativePG.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::document::Endpoint;
use super::{ByteSize, KubernetesCluster, Period, SettingValue};

/// By which of CloudNativePG's ways a recovery Cluster gets its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecoveryForm {
    /// The Barman Cloud plugin with an ObjectStore.
    Plugin,
    /// `barmanObjectStore` in the Cluster itself, which CloudNativePG 1.31 removes.
    InTree,
    /// Volume snapshots, and WAL through the plugin.
    Snapshot,
}

/// Which definition a drill takes after, other than that of the live Cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum DefinitionSource {
    /// The newest that was captured beside the copy that is restored.
    Captured,
    /// A file.
    File(PathBuf),
}

impl From<String> for DefinitionSource {
    fn from(text: String) -> Self {
        match text.as_str() {
            "captured" => Self::Captured,
            _ => Self::File(PathBuf::from(text)),
        }
    }
}

impl From<DefinitionSource> for String {
    fn from(source: DefinitionSource) -> Self {
        match source {
            DefinitionSource::Captured => "captured".to_owned(),
            // A file of that name is written with a folder.
            DefinitionSource::File(path) if path.as_os_str() == "captured" => {
                "./captured".to_owned()
            }
            DefinitionSource::File(path) => path.to_string_lossy().into_owned(),
        }
    }
}

impl JsonSchema for DefinitionSource {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DefinitionSource".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "minLength": 1,
            "description": "`captured`, or a file with the Cluster's definition (`./captured` for a file of that name).",
        })
    }
}

/// At most this much may be asked for in a drill's namespace, as its ResourceQuota says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Processors, such as `2` or `1500m`.
    #[serde(default)]
    pub cpu: Option<String>,
    /// Memory.
    #[serde(default)]
    pub memory: Option<ByteSize>,
    /// All volumes together.
    #[serde(default)]
    pub storage: Option<ByteSize>,
}

/// How a drill with `environment: cnpg` restores. Everything has a default that comes from
/// the live Cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CnpgDrill {
    /// The form of recovery. Default: that of the plugin, or `in-tree` where there is no
    /// plugin.
    #[serde(default)]
    pub form: Option<RecoveryForm>,
    /// The live Cluster that the drill takes after. Default: the cluster's own `kubernetes`
    /// block in walproof.yaml.
    #[serde(default)]
    pub source: Option<KubernetesCluster>,
    /// What is used instead of the live Cluster, for the day when that is gone: `captured` for
    /// the newest definition that walproof stored beside the copy that is restored, or a file
    /// (YAML).
    #[serde(default)]
    pub definition: Option<DefinitionSource>,
    /// With `form: snapshot`: the VolumeSnapshot of the data volume, or `newest`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub snapshot: Option<String>,
    /// What the names of scratch namespaces begin with, at most 30 characters of it. Default:
    /// `walproof-drill`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub namespace_prefix: Option<String>,
    /// The PostgreSQL image. Default: the one that the source runs.
    #[serde(default)]
    pub image: Option<String>,
    /// The storage class of the volumes. Default: that of the source.
    #[serde(default)]
    pub storage_class: Option<String>,
    /// The size of the data volume. Default: that of the source.
    #[serde(default)]
    pub storage_size: Option<ByteSize>,
    /// The size of the WAL volume, where the source has one. Default: that of the source.
    #[serde(default)]
    pub wal_storage_size: Option<ByteSize>,
    /// Processors asked for, such as `1` or `500m`. Default: those of the source.
    #[serde(default)]
    pub cpu: Option<String>,
    /// Memory asked for. Default: that of the source.
    #[serde(default)]
    pub memory: Option<ByteSize>,
    /// At most this much may be asked for in the scratch namespace. Default: what the drill
    /// needs and nothing beside.
    #[serde(default)]
    pub quota: Quota,
    /// The object store as pods reach it, where that is another address than walproof's own.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// The addresses of the object store that the restored database may reach, as CIDR
    /// blocks. Default: the pods behind a service of the cluster, else the addresses that the
    /// endpoint's name has when the drill begins.
    #[serde(default)]
    pub store_cidrs: Vec<String>,
    /// Nodes on which the drill may run, by labels. Default: those of the source.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations, as a pod has them. Default: those of the source.
    #[serde(default)]
    pub tolerations: Vec<Value>,
    /// Annotations of the restored server's ServiceAccount, for a role that may only read the
    /// object store (`eks.amazonaws.com/role-arn`, …). Then no credentials are copied.
    #[serde(default)]
    pub service_account_annotations: BTreeMap<String, String>,
    /// Further settings of the restored server.
    #[serde(default)]
    pub parameters: BTreeMap<String, SettingValue>,
    /// Who pays; a label on everything that the drill makes.
    #[serde(default)]
    pub cost_centre: Option<String>,
    /// Leaves the restored database for inspection for so long, whatever the verdict; of a
    /// recovery that failed what is there of it. Never a server that is not confined or could
    /// not be asked, and nothing after an interruption: the report says why. Default:
    /// everything is removed at the end of the drill.
    #[serde(default)]
    pub keep: Option<Period>,
}
