//! The kinds of `walproof.dev/v1alpha1`: types from which the CRDs are generated.
//!
//! A new kind is a file here with a `#[derive(CustomResource, KubeSchema, …)]` struct, a line
//! in [`crds()`], and, where its resources are work of their own, a [`Kind`](super::Kind).
//! Names of fields are camelCase; a type of [`config`](crate::config) is embedded as
//! [`Mirrored`], which writes its keys in camelCase and reads it back as that type.

#[allow(
    unreachable_pub,
    reason = "the derive writes the struct once more, in a function"
)]
mod cluster_ref;
mod condition;
mod crd;
mod mirror;
#[allow(
    unreachable_pub,
    reason = "the derive writes the struct once more, in a function"
)]
mod protected_cluster;
#[allow(
    unreachable_pub,
    reason = "the derive writes the struct once more, in a function"
)]
mod recovery_drill;
#[allow(
    unreachable_pub,
    reason = "the derive writes the struct once more, in a function"
)]
mod recovery_request;
mod structural;

pub use cluster_ref::ClusterRef;
pub use condition::{Condition, conditions, holds, set_condition};
pub use crd::{crds, file_name, to_yaml};
pub use mirror::Mirrored;
pub use protected_cluster::{
    ClusterSelector, FreshBackupSpec, GuardedStatus, ProtectedCluster, ProtectedClusterCounts,
    ProtectedClusterPhase, ProtectedClusterSpec, ProtectedClusterStatus, Requirement, TierSpec,
    Timetable,
};
pub use recovery_drill::{
    DrillPhase, DrillRun, RecoveryDrill, RecoveryDrillSpec, RecoveryDrillStatus,
};
pub use recovery_request::{
    ConnectionStatus, RecoveryRequest, RecoveryRequestSpec, RecoveryRequestStatus,
    RequestAccessSpec, RequestPhase,
};

/// The API group.
pub const GROUP: &str = "walproof.dev";
/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";
/// The finalizer of resources whose deletion waits until what was made for them is gone.
pub const CLEANUP: &str = "walproof.dev/cleanup";
