//! Scratch namespaces: what a recovery needs, made from a plan, and removed without a trace.
//!
//! A [`ScratchPlan`] becomes objects by [`manifests`], one file for each kind, checked
//! against an [`invariant`] before anybody sees them: from a scratch namespace nothing can be
//! archived, and its pods reach only what recovery needs.

pub mod error;
pub mod invariant;
mod manifests;
pub mod plan;

pub use error::ManifestError;
pub use manifests::{CLUSTER_SOURCE, OBJECT_STORE, POLICY, STORE_CA_KEY, STORE_SECRET, manifests};
pub use plan::{
    Form, NetworkPlan, Overrides, Peer, Port, Protocol, Quota, RecoveryTarget, ScratchPlan,
    SecretBytes, Side, SnapshotSet, SnapshotSource, Stop, StoreAccess, namespace_name,
};
