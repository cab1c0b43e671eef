//! Renderings for people. The same reports are written as JSON for programs.

pub mod alone;
pub mod definition;
pub mod discover;
pub mod drill;
pub mod evidence;
pub mod history;
pub mod job;
pub(super) mod kubernetes_check;
pub(super) mod kubernetes_scan;
pub mod recoverability;
#[cfg(test)]
mod recoverability_tests;
pub mod replicate;
pub mod replicate_expire;
pub mod replicate_status;
pub mod request;
pub mod restore;
pub mod status;
mod status_cluster;
#[cfg(test)]
mod status_tests;
pub mod style;
mod table;
pub mod verify;
pub(super) mod wal;
