//! Where restores run: `local` (PostgreSQL binaries on this machine) and `cnpg` (a recovery
//! Cluster of CloudNativePG in Kubernetes).

pub mod cnpg;
pub mod local;
