//! What a scratch namespace is to hold: plain data, from which the manifests follow.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::kubernetes::Identity;
use crate::kubernetes::cnpg::SourceCluster;

/// Everything that a recovery in a scratch namespace needs. [`manifests`](super::manifests())
/// turns it into objects, and refuses a plan from which anything could be archived.
#[derive(Clone, Debug)]
pub struct ScratchPlan {
    /// The drill. Every object carries it as a label, and only objects with it are removed.
    pub id: Uuid,
    /// The namespace to make; [`namespace_name`] makes one.
    pub namespace: String,
    /// The guarded cluster's name, as the label says it.
    pub cluster_label: String,
    /// The guarded cluster's owner.
    pub owner: Option<String>,
    /// Who pays.
    pub cost_centre: Option<String>,
    /// After this moment a sweep removes the namespace, whoever made it.
    pub expires_at: DateTime<Utc>,
    /// The process that makes it.
    pub holder: String,
    /// How the recovery is asked for.
    pub form: Form,
    /// The Cluster to be like.
    pub source: SourceCluster,
    /// The folder of the source in the object store. Never left to a default: the operator's
    /// is the name of another object.
    pub server_name: String,
    /// How the object store is reached. A recovery from volume snapshots reads its WAL there.
    pub store: StoreAccess,
    /// Where the recovery ends.
    pub target: RecoveryTarget,
    /// The snapshots to start from, with [`Form::Snapshot`] only.
    pub snapshots: Option<SnapshotSet>,
    /// What is to be other than in the source.
    pub overrides: Overrides,
    /// What the namespace may use.
    pub quota: Quota,
    /// Whom the namespace's pods may talk to.
    pub network: NetworkPlan,
    /// Secrets for pulling the image, by the name that the source's Cluster gives them:
    /// each the content of `.dockerconfigjson`.
    pub pull_secrets: BTreeMap<String, SecretBytes>,
    /// What walproof binds itself to in the namespace before it makes anything in it; nothing
    /// where its rights hold there anyway.
    pub grant: Option<Grant>,
}

/// A right that walproof gives itself in its own scratch namespace, and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The ClusterRole.
    pub role: String,
    /// Who gets it: walproof, as the API server knows it.
    pub identity: Identity,
}

/// How a recovery is asked of CloudNativePG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Base backup and WAL through the Barman Cloud plugin and an ObjectStore.
    Plugin,
    /// Base backup and WAL by the operator itself (until CloudNativePG 1.30).
    InTree,
    /// Base backup from volume snapshots; WAL through the plugin, or by the operator where
    /// [`StoreAccess::in_tree_wal`] says so.
    Snapshot,
}

impl Form {
    /// The word used in records and configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::InTree => "in-tree",
            Self::Snapshot => "snapshot",
        }
    }
}

/// How the recovery reaches the object store.
#[derive(Clone, Debug, Default)]
pub struct StoreAccess {
    /// The `configuration` of an ObjectStore (the same as a `barmanObjectStore`), as it is
    /// to be in the scratch namespace: credentials refer to [`super::STORE_SECRET`].
    /// [`StoreAccess::new`] makes it.
    pub configuration: Value,
    /// The content of [`super::STORE_SECRET`]. Must only allow reading.
    pub secret: BTreeMap<String, SecretBytes>,
    /// Another address for the same bucket, or the second bucket's.
    pub endpoint: Option<String>,
    /// The authority of the store's certificate (PEM).
    pub ca: Option<Vec<u8>>,
    /// With [`Form::Snapshot`]: the operator itself fetches the WAL, not the plugin.
    pub in_tree_wal: bool,
}

/// A secret's bytes. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Wraps bytes that must not be shown.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes. For the Secret that is made of them, and nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

impl From<&str> for SecretBytes {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

/// Where the recovery ends. There is always an explicit end: without one PostgreSQL
/// promotes quietly at the first segment that it cannot get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryTarget {
    /// The base backup's identifier in the object store. Required, but with
    /// [`Form::Snapshot`], where CloudNativePG refuses it.
    pub backup_id: Option<String>,
    /// The end.
    pub stop: Stop,
    /// The timeline to follow.
    pub timeline: u32,
    /// Stop before the target instead of after it.
    pub exclusive: bool,
}

/// The end of a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At this location, as PostgreSQL writes it (`0/3000060`).
    Lsn(String),
    /// At this moment. A transaction must have committed after it.
    Time(DateTime<Utc>),
    /// As soon as the base backup is consistent.
    Immediate,
}

/// The volume snapshots of one base backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSet {
    /// The data directory's.
    pub data: SnapshotSource,
    /// The WAL volume's, where the source has one.
    pub wal: Option<SnapshotSource>,
    /// Those of the tablespaces, by the tablespace's name.
    pub tablespaces: BTreeMap<String, SnapshotSource>,
}

impl SnapshotSet {
    /// All of them, the data directory's first.
    pub fn all(&self) -> impl Iterator<Item = &SnapshotSource> {
        std::iter::once(&self.data)
            .chain(&self.wal)
            .chain(self.tablespaces.values())
    }
}

/// One volume snapshot of the source, and how the storage knows it. A volume is only made
/// from a snapshot of its own namespace, so the scratch namespace gets a second name for
/// the same snapshot; deleting that name leaves the snapshot alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSource {
    /// The VolumeSnapshot's namespace.
    pub namespace: String,
    /// The VolumeSnapshot's name.
    pub name: String,
    /// The CSI driver (`spec.driver` of its VolumeSnapshotContent).
    pub driver: String,
    /// The driver's own name for the snapshot (`status.snapshotHandle`).
    pub handle: String,
    /// Its VolumeSnapshotClass.
    pub class: Option<String>,
    /// `Filesystem` or `Block`, where it is known.
    pub volume_mode: Option<String>,
    /// The least size of a volume that is made from it (`status.restoreSize`).
    pub restore_size: Option<String>,
    /// Annotations of CloudNativePG on it; they carry the backup label, without which a
    /// snapshot of a running server is not a backup.
    pub annotations: BTreeMap<String, String>,
}

/// What is to be other than in the source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Another image.
    pub image: Option<String>,
    /// The storage class of all volumes.
    pub storage_class: Option<String>,
    /// The size of the data volume.
    pub storage_size: Option<String>,
    /// The size of the WAL volume.
    pub wal_storage_size: Option<String>,
    /// The instance's CPU, requested and allowed.
    pub cpu: Option<String>,
    /// The instance's memory, requested and allowed.
    pub memory: Option<String>,
    /// Nodes to run on, instead of the source's.
    pub node_selector: BTreeMap<String, String>,
    /// Taints to tolerate, instead of the source's.
    pub tolerations: Vec<Value>,
    /// Annotations of the ServiceAccount: workload identities of clouds.
    pub service_account_annotations: BTreeMap<String, String>,
    /// PostgreSQL's parameters; judged by the same list as the source's.
    pub parameters: BTreeMap<String, String>,
    /// Libraries to preload although they are not known to be harmless.
    pub preload: Vec<String>,
}

/// What the namespace may use. What is not said follows from the Cluster's own wishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// CPU that all pods may request.
    pub cpu: Option<String>,
    /// Memory that all pods may request and use.
    pub memory: Option<String>,
    /// Bytes that all volumes may ask for.
    pub storage: Option<String>,
}

/// Whom the namespace's pods may talk to, and who may talk to them. All else is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPlan {
    /// Outwards: the object store.
    pub store: Vec<Peer>,
    /// Outwards: the API server; the instance manager reads its Cluster there.
    pub api_server: Vec<Peer>,
    /// Outwards: names.
    pub dns: Vec<Peer>,
    /// Inwards: the operator, which asks the instance for its state.
    pub operator: Option<Peer>,
    /// Inwards: walproof, when it runs as a pod. From outside it comes through the API server.
    pub walproof: Option<Peer>,
}

/// One other side of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub side: Side,
    /// The ports; for a side that comes in, ports of the scratch pods.
    pub ports: Vec<Port>,
}

/// Who the other side is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// Pods with these labels in this namespace.
    Pods {
        /// Their namespace.
        namespace: String,
        /// Their labels; never empty.
        labels: BTreeMap<String, String>,
    },
    /// Addresses, as CIDR blocks.
    Addresses(Vec<String>),
}

/// A port of a connection's listening side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The number, from 1.
    pub number: u16,
}

impl Port {
    /// A TCP port.
    pub const fn tcp(number: u16) -> Self {
        Self {
            protocol: Protocol::Tcp,
            number,
        }
    }

    /// A UDP port.
    pub const fn udp(number: u16) -> Self {
        Self {
            protocol: Protocol::Udp,
            number,
        }
    }
}

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// What the names of scratch namespaces begin with where nothing else is said.
pub const PREFIX: &str = "walproof-drill";

/// The name of a drill's namespace: `<prefix>-<cluster>-<tail of the drill's id>`, at most
/// 63 characters, the cluster's name shortened to what fits. The tail, eight hexadecimal
/// digits, holds the random part of a time-ordered UUID.
pub fn namespace_name(prefix: &str, cluster: &str, id: Uuid) -> String {
    const MOST: usize = 63;
    let tail = tail(id);
    let mut prefix = dns_label(prefix);
    prefix.truncate(30);
    let prefix = match prefix.trim_end_matches('-') {
        "" => PREFIX,
        prefix => prefix,
    };
    let mut cluster = dns_label(cluster);
    cluster.truncate(MOST.saturating_sub(prefix.len() + tail.len() + 2));
    match cluster.trim_matches('-') {
        "" => format!("{prefix}-{tail}"),
        cluster => format!("{prefix}-{cluster}-{tail}"),
    }
}

/// Whether a namespace's name ends as [`namespace_name`] makes it for this drill. Labels are
/// copied with a namespace's manifest; its name then is another.
pub(super) fn is_named_after(namespace: &str, id: Uuid) -> bool {
    namespace
        .strip_suffix(tail(id).as_str())
        .is_some_and(|head| head.len() > 1 && head.ends_with('-'))
}

fn tail(id: Uuid) -> String {
    let hex = id.simple().to_string();
    let tail = hex.get(hex.len().saturating_sub(8)..);
    tail.unwrap_or(&hex).to_owned()
}

/// Lower-case letters, digits and `-`, beginning with a letter or digit.
fn dns_label(text: &str) -> String {
    let mapped: String = text
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
            _ => '-',
        })
        .collect();
    mapped.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_name_is_legal_and_ends_with_the_drill() {
        let id = Uuid::parse_str("01936d2e-7c1a-7f00-8000-0123456789ab").unwrap();
        for (prefix, cluster, name) in [
            ("walproof-drill", "orders", "walproof-drill-orders-456789ab"),
            ("Drill_", "Orders EU", "drill-orders-eu-456789ab"),
            ("", "", "walproof-drill-456789ab"),
            ("p", "--", "p-456789ab"),
        ] {
            assert_eq!(namespace_name(prefix, cluster, id), name);
        }
        let long = namespace_name(&"p".repeat(80), &"c-".repeat(80), id);
        assert!(long.len() <= 63 && long.ends_with("-456789ab"), "{long}");
        assert!(!long.contains("--"), "{long}");
    }

    #[test]
    fn a_name_tells_whose_it_is() {
        let id = Uuid::parse_str("01936d2e-7c1a-7f00-8000-0123456789ab").unwrap();
        assert!(is_named_after(&namespace_name("p", "orders", id), id));
        for other in [
            "prod",
            "p-orders-456789ac",
            "456789ab",
            "-456789ab",
            "p456789ab",
        ] {
            assert!(!is_named_after(other, id), "{other}");
        }
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = SecretBytes::from("hunter2");
        assert_eq!(format!("{secret:?}"), "SecretBytes(7 bytes)");
        assert_eq!(secret.expose(), b"hunter2");
    }
}
