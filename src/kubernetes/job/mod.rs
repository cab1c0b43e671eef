//! Jobs of Kubernetes in which walproof runs: their manifests, their making and removal, and
//! what can be told of them while they go.
//!
//! A Job is made suspended, so that no pod begins before the ConfigMap is there that it
//! mounts. Made twice it is one: its name comes from what it is for.

mod judge;
mod make;
mod manifest;
mod template;
mod watch;

pub use judge::{JobEnd, PodStand, job_end, pod_stand};
pub use make::{make, refused_pods, remove, remove_older};
pub use manifest::{Indexed, PodJob};
pub use template::{TemplateError, built_in, read};
pub use watch::{Sign, follow};

pub(in crate::kubernetes) use manifest::{POD_NAME, POD_NAMESPACE};

/// Label: the job in the state database, a UUID.
pub const JOB: &str = "walproof.dev/job";
/// Label: the claim that it was made for.
pub const TOKEN: &str = "walproof.dev/token";
/// Label: what kind of work.
pub const KIND: &str = "walproof.dev/kind";
/// The container that walproof runs in.
pub const CONTAINER: &str = "walproof";
/// Where a pod finds the job's configuration.
pub const CONFIGURATION: &str = "/etc/walproof/job";
