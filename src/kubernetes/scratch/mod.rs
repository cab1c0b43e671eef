//! Scratch namespaces: what a recovery needs, made from a plan, and removed without a trace.
//!
//! A [`ScratchPlan`] becomes objects by [`manifests()`], one file for each kind, checked
//! against an [`invariant`] before anybody sees them: from a scratch namespace nothing can be
//! archived, and its pods reach only what recovery needs. [`create()`] makes them, [`remove()`]
//! proves that they are gone, [`sweep()`] removes what others left behind; only what carries a
//! drill's label is ever removed.

mod create;
pub mod definition;
pub mod error;
pub mod invariant;
#[cfg(test)]
mod invariant_tests;
mod keep;
mod kinds;
mod manifests;
pub mod network;
mod open;
mod patience;
pub mod plan;
mod quantity;
mod remove;
pub mod resources;
pub mod settings;
pub mod snapshots;
pub mod store;
mod sweep;
mod volumes;

pub use create::{create, dry_run};
pub use error::ManifestError;
pub use keep::{CLOSED, close, keep};
pub use manifests::{
    CLUSTER_SOURCE, GRANT, OBJECT_STORE, POLICY, STORE_CA_KEY, STORE_SECRET, manifests, settings_of,
};
pub use open::{PlacedSecret, open, place_secret, remove_secret};
pub use plan::{
    Form, Grant, NetworkPlan, Overrides, PREFIX, Peer, Port, Protocol, Quota, RecoveryTarget,
    ScratchPlan, SecretBytes, Side, SnapshotSet, SnapshotSource, Stop, StoreAccess, namespace_name,
};
pub use remove::{Removal, remove};
pub use store::StoreKeys;
pub use sweep::{Alive, Swept, SweptNamespaces, all, begin_sweep, sweep, would_sweep};
