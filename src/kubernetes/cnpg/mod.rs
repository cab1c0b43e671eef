//! CloudNativePG's resources as walproof reads them: small views of what the API answers.
//!
//! Parsing is pure and takes whole objects as JSON; keys that a view does not know stay in
//! the view's raw value. Nothing here changes anything in a cluster, and no view ever holds
//! a secret: Secrets are named by reference, as in the resources themselves.

pub mod backup;
pub mod cluster;
mod fields;
pub mod list;
pub mod operator;
pub mod reference;
pub mod request;
pub mod resources;
pub mod snapshot;
pub mod store;
#[cfg(test)]
mod tests;

pub use backup::{Backup, BackupMethod, ScheduledBackup};
pub use cluster::{Archive, Catalog, SourceCluster, Storage, Tablespace};
pub use fields::ViewError;
pub use list::{
    Listed, VolumeClass, backups, clusters, object_store, operator, scheduled_backups,
    storage_classes, volume_snapshots,
};
pub use operator::{Operator, PLUGIN, Plugin};
pub use reference::SecretKeyRef;
pub use snapshot::{SnapshotRole, VolumeSnapshot, snapshot_faults};
pub use store::{ObjectStore, RecoveryWindow, StoreConfiguration, StoreCredentials};
