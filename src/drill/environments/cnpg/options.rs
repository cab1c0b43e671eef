//! What the `cnpg` environment is told.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::kubernetes::Access;
use crate::kubernetes::scratch::{Form, Overrides, Quota};
use crate::storage::StorageOptions;

/// Where the definition of the guarded Cluster comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Definition {
    /// The live Cluster.
    Live {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A file that was captured before.
    File(PathBuf),
    /// The newest that was captured beside the copy that is restored.
    Captured {
        /// The guarded cluster's name, by which it was stored.
        cluster: String,
    },
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live { namespace, name } => write!(f, "cluster {namespace}/{name}"),
            Self::File(path) => write!(f, "definition {}", path.display()),
            Self::Captured { cluster } => write!(f, "the captured definition of {cluster}"),
        }
    }
}

/// How the `cnpg` environment is used.
#[derive(Clone, Debug)]
pub struct CnpgOptions {
    /// Which Kubernetes.
    pub access: Access,
    /// The ClusterRole that walproof binds itself to in the scratch namespace; none where its
    /// rights hold there anyway.
    pub scratch_role: Option<String>,
    /// What the recovery Cluster takes after.
    pub definition: Definition,
    /// The form of recovery; the plugin's, or in-tree where there is no plugin, if not given.
    pub form: Option<Form>,
    /// The VolumeSnapshot of the data volume, for [`Form::Snapshot`]; the newest if not given.
    pub snapshot: Option<String>,
    /// What the namespace's name begins with.
    pub namespace_prefix: String,
    /// What is to be other than in the source.
    pub overrides: Overrides,
    /// What the namespace may use.
    pub quota: Quota,
    /// How walproof reaches the copy that is restored, credentials among it: the pods get
    /// the same ones.
    pub store: StorageOptions,
    /// The object store as pods reach it, where that is another address.
    pub endpoint: Option<String>,
    /// The addresses of the object store that pods may reach; found out if empty.
    pub store_cidrs: Vec<String>,
    /// The owner of the guarded cluster, for the labels.
    pub owner: Option<String>,
    /// Who pays, for the labels.
    pub cost_centre: Option<String>,
    /// The namespace in which a Secret with the way to the restored server is to be placed.
    pub secret_in: Option<String>,
    /// Leaves the restored database for so long.
    pub keep: Option<Duration>,
}
