//! Kubernetes as walproof uses it: a client, views of CloudNativePG's resources, scratch
//! namespaces, and what happens in them.
//!
//! The room stands below `drill`: it knows namespaces, manifests and pods, not drills and
//! verdicts. Times of the API (`jiff`) are turned into `chrono` here and nowhere else.

pub mod access;
pub mod backoff;
pub mod bridge;
pub mod calls;
pub mod client;
pub mod cnpg;
pub mod definition;
pub mod error;
pub mod exec;
pub mod forward;
pub mod holder;
pub mod job;
pub mod logs;
pub mod names;
pub mod quantity;
pub mod scratch;
pub mod time;
pub mod tunnel;
pub mod watch;

pub use client::{Access, Identity, Kube};
pub use error::{KubeError, KubeErrorKind};

/// One container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// The container; the pod's only or default one when absent.
    pub container: Option<String>,
}

impl PodRef {
    /// A container of a pod.
    pub fn new(namespace: impl Into<String>, pod: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            pod: pod.into(),
            container: None,
        }
    }

    /// The same pod's container of this name.
    #[must_use]
    pub fn container(mut self, container: impl Into<String>) -> Self {
        self.container = Some(container.into());
        self
    }
}

impl std::fmt::Display for PodRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.pod)?;
        match &self.container {
            Some(container) => write!(f, " ({container})"),
            None => Ok(()),
        }
    }
}
