//! A CloudNativePG Cluster as the source of a recovery.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::fields::{ViewError, boolean, identity, list, moment, number, text, text_map, texts};
use super::operator::PLUGIN;
use crate::postgres::SystemId;

/// The phase of a Cluster that works (`api/v1/cluster_types.go`).
const HEALTHY: &str = "Cluster in healthy state";
/// Database and owner that CloudNativePG makes when nothing is said.
const DEFAULT_DATABASE: &str = "app";

/// What a recovery must know of a Cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceCluster {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid; empty in a definition that never was in a cluster.
    pub uid: String,
    /// The version of the object that was read; empty in a definition from a file.
    pub resource_version: String,
    /// When it was made.
    pub created_at: Option<DateTime<Utc>>,
    /// The image that its instances run (`status.image`), else the one it asks for.
    pub image: Option<String>,
    /// The catalog that the image comes from.
    pub catalog: Option<Catalog>,
    /// PostgreSQL's major version.
    pub major: Option<u16>,
    /// How many instances it wants.
    pub instances: u32,
    /// How many are ready.
    pub ready_instances: u32,
    /// The system identifier (`status.systemID`).
    pub system_id: Option<SystemId>,
    /// The timeline (`status.timelineID`).
    pub timeline: Option<u32>,
    /// The volume of the data directory.
    pub storage: Storage,
    /// The volume of the WAL, where it has one of its own.
    pub wal_storage: Option<Storage>,
    /// The tablespaces, in the order of the resource.
    pub tablespaces: Vec<Tablespace>,
    /// PostgreSQL's parameters as the resource gives them.
    pub parameters: BTreeMap<String, String>,
    /// Libraries to preload besides those that the operator adds by itself.
    pub preload: Vec<String>,
    /// The application's database.
    pub database: String,
    /// The application database's owner.
    pub owner: String,
    /// Where it archives its WAL and takes its base backups.
    pub archive: Archive,
    /// How long backups are kept, as the in-tree form says it (`30d`). The plugin form says
    /// it in its ObjectStore.
    pub retention: Option<String>,
    /// The class of its volume snapshots, where it takes any.
    pub snapshot_class: Option<String>,
    /// On which nodes it may run.
    pub node_selector: BTreeMap<String, String>,
    /// Which taints it tolerates, as in a pod.
    pub tolerations: Vec<Value>,
    /// Secrets for pulling its image, in its namespace.
    pub image_pull_secrets: Vec<String>,
    /// Whether the condition `Ready` holds.
    pub ready: bool,
    /// Whether the condition `ContinuousArchiving` holds; `None` when nothing is said of it.
    pub archiving: Option<bool>,
    /// What the operator says of failing archiving.
    pub archiving_problem: Option<String>,
    /// The operator's phase.
    pub phase: Option<String>,
    /// Whether it is put to rest (`cnpg.io/hibernation: "on"`).
    pub hibernated: bool,
    /// The whole object.
    pub manifest: Value,
}

/// A catalog of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    /// `ImageCatalog` (in the Cluster's namespace) or `ClusterImageCatalog`.
    pub kind: String,
    /// The API group.
    pub api_group: String,
    /// Its name.
    pub name: String,
    /// The major version that is taken from it.
    pub major: Option<u16>,
}

/// What is asked of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// Its size as a Kubernetes quantity (`50Gi`).
    pub size: Option<String>,
    /// Its storage class; `None` is the default class.
    pub class: Option<String>,
}

/// A tablespace with a volume of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tablespace {
    /// Its name in PostgreSQL.
    pub name: String,
    /// Its volume.
    pub storage: Storage,
    /// Its owner in PostgreSQL.
    pub owner: Option<String>,
    /// Whether it is used for temporary tables.
    pub temporary: bool,
}

/// Where a Cluster archives.
#[derive(Clone, Debug, PartialEq)]
pub enum Archive {
    /// Through the Barman Cloud plugin.
    Plugin {
        /// The ObjectStore's name, in the Cluster's namespace; empty when the parameter
        /// `barmanObjectName` is missing.
        store: String,
        /// The folder below the store's destination.
        server_name: String,
        /// Whether WAL goes there; without it only base backups do.
        wal: bool,
    },
    /// By the operator itself (`spec.backup.barmanObjectStore`, until CloudNativePG 1.30).
    InTree {
        /// The `barmanObjectStore`.
        configuration: Value,
        /// The folder below the store's destination.
        server_name: String,
    },
    /// Through a plugin that walproof does not know.
    Unknown {
        /// The plugin's name.
        plugin: String,
    },
    /// Nowhere.
    None,
}

impl Archive {
    /// The folder below the store's destination.
    pub fn server_name(&self) -> Option<&str> {
        match self {
            Self::Plugin { server_name, .. } | Self::InTree { server_name, .. } => {
                Some(server_name)
            }
            Self::Unknown { .. } | Self::None => None,
        }
    }

    /// The form in a word: `plugin`, `in-tree`, the name of an unknown plugin, or `none`.
    pub fn form(&self) -> &str {
        match self {
            Self::Plugin { .. } => "plugin",
            Self::InTree { .. } => "in-tree",
            Self::Unknown { plugin } => plugin,
            Self::None => "none",
        }
    }
}

impl SourceCluster {
    /// Reads a `Cluster` of `postgresql.cnpg.io/v1`, live or from a file.
    ///
    /// # Errors
    ///
    /// Name, namespace or `spec` are missing.
    pub fn parse(manifest: Value) -> Result<Self, ViewError> {
        let who = identity("Cluster", &manifest)?;
        let Some(spec) = manifest.get("spec").filter(|spec| spec.is_object()) else {
            return Err(ViewError {
                object: format!("Cluster {}/{}", who.namespace, who.name),
                problem: "spec is missing".to_owned(),
            });
        };
        let catalog = catalog(spec);
        let image = text(&manifest, "/status/image").or_else(|| text(spec, "/imageName"));
        let major = number(&manifest, "/status/pgDataImageInfo/majorVersion")
            .or_else(|| catalog.as_ref().and_then(|catalog| catalog.major))
            .or_else(|| image.as_deref().and_then(major_of_image));
        let (database, owner) = application(spec);
        Ok(Self {
            uid: text(&manifest, "/metadata/uid").unwrap_or_default(),
            resource_version: text(&manifest, "/metadata/resourceVersion").unwrap_or_default(),
            created_at: moment(&manifest, "/metadata/creationTimestamp"),
            image,
            catalog,
            major,
            instances: number(spec, "/instances").unwrap_or(1),
            ready_instances: number(&manifest, "/status/readyInstances").unwrap_or(0),
            system_id: number(&manifest, "/status/systemID").map(SystemId),
            timeline: number(&manifest, "/status/timelineID"),
            storage: storage(spec, "/storage").unwrap_or_default(),
            wal_storage: storage(spec, "/walStorage"),
            tablespaces: list(spec, "/tablespaces")
                .iter()
                .filter_map(tablespace)
                .collect(),
            parameters: text_map(spec, "/postgresql/parameters"),
            preload: texts(spec, "/postgresql/shared_preload_libraries"),
            database,
            owner,
            archive: archive(spec, &who.name),
            retention: text(spec, "/backup/retentionPolicy"),
            snapshot_class: text(spec, "/backup/volumeSnapshot/className"),
            node_selector: text_map(spec, "/affinity/nodeSelector"),
            tolerations: list(spec, "/affinity/tolerations").to_vec(),
            image_pull_secrets: list(spec, "/imagePullSecrets")
                .iter()
                .filter_map(|secret| text(secret, "/name"))
                .collect(),
            ready: condition(&manifest, "Ready").is_some_and(|(holds, _)| holds),
            archiving: condition(&manifest, "ContinuousArchiving").map(|(holds, _)| holds),
            archiving_problem: condition(&manifest, "ContinuousArchiving")
                .filter(|(holds, _)| !holds)
                .and_then(|(_, message)| message),
            phase: text(&manifest, "/status/phase"),
            hibernated: text(&manifest, "/metadata/annotations/cnpg.io~1hibernation").as_deref()
                == Some("on"),
            namespace: who.namespace,
            name: who.name,
            manifest,
        })
    }

    /// Whether the operator says that it works.
    pub fn is_healthy(&self) -> bool {
        self.ready && self.phase.as_deref() == Some(HEALTHY)
    }
}

fn catalog(spec: &Value) -> Option<Catalog> {
    let reference = spec.get("imageCatalogRef")?;
    Some(Catalog {
        kind: text(reference, "/kind")?,
        api_group: text(reference, "/apiGroup").unwrap_or_else(|| "postgresql.cnpg.io".to_owned()),
        name: text(reference, "/name")?,
        major: number(reference, "/major"),
    })
}

/// The major version from an image's tag: `…/postgresql:17.2-bookworm`.
fn major_of_image(image: &str) -> Option<u16> {
    let without_digest = image.split('@').next()?;
    let tag = without_digest.rsplit('/').next()?.split_once(':')?.1;
    let digits: String = tag.chars().take_while(char::is_ascii_digit).collect();
    // Tags can be dates and build numbers too.
    digits.parse().ok().filter(|major| (9..100).contains(major))
}

fn storage(spec: &Value, pointer: &str) -> Option<Storage> {
    let volume = spec.pointer(pointer).filter(|volume| volume.is_object())?;
    let template = "/pvcTemplate";
    Some(Storage {
        size: text(volume, "/size")
            .or_else(|| text(volume, &format!("{template}/resources/requests/storage"))),
        class: text(volume, "/storageClass")
            .or_else(|| text(volume, &format!("{template}/storageClassName"))),
    })
}

fn tablespace(value: &Value) -> Option<Tablespace> {
    Some(Tablespace {
        name: text(value, "/name")?,
        storage: storage(value, "/storage").unwrap_or_default(),
        owner: text(value, "/owner/name"),
        temporary: boolean(value, "/temporary").unwrap_or(false),
    })
}

/// Database and owner of the application, by whichever way the Cluster was made.
fn application(spec: &Value) -> (String, String) {
    let said = ["initdb", "recovery", "pg_basebackup"]
        .into_iter()
        .find_map(|way| spec.pointer(&format!("/bootstrap/{way}")));
    let database = said
        .and_then(|way| text(way, "/database"))
        .unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
    let owner = said
        .and_then(|way| text(way, "/owner"))
        .unwrap_or_else(|| database.clone());
    (database, owner)
}

fn archive(spec: &Value, cluster: &str) -> Archive {
    let enabled = || {
        list(spec, "/plugins")
            .iter()
            .filter(|plugin| boolean(plugin, "/enabled").unwrap_or(true))
    };
    let archives = |plugin: &Value| boolean(plugin, "/isWALArchiver").unwrap_or(false);
    let known = |plugin: &&Value| text(plugin, "/name").as_deref() == Some(PLUGIN);
    let of_plugin = |plugin: &Value| Archive::Plugin {
        store: text(plugin, "/parameters/barmanObjectName").unwrap_or_default(),
        server_name: text(plugin, "/parameters/serverName").unwrap_or_else(|| cluster.to_owned()),
        wal: archives(plugin),
    };
    // WAL goes to one place only; base backups alone make no recovery to a moment.
    if let Some(plugin) = enabled().filter(known).find(|plugin| archives(plugin)) {
        return of_plugin(plugin);
    }
    if let Some(configuration) = spec
        .pointer("/backup/barmanObjectStore")
        .filter(|configuration| configuration.is_object())
    {
        return Archive::InTree {
            server_name: text(configuration, "/serverName").unwrap_or_else(|| cluster.to_owned()),
            configuration: configuration.clone(),
        };
    }
    if let Some(plugin) = enabled()
        .find(|plugin| archives(plugin))
        .and_then(|plugin| text(plugin, "/name"))
    {
        return Archive::Unknown { plugin };
    }
    enabled().find(known).map_or(Archive::None, of_plugin)
}

/// Whether a condition holds, and its message.
fn condition(manifest: &Value, kind: &str) -> Option<(bool, Option<String>)> {
    list(manifest, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type").as_deref() == Some(kind))
        .and_then(|condition| {
            Some((
                text(condition, "/status")? == "True",
                text(condition, "/message"),
            ))
        })
}
