//! The first look at a Kubernetes cluster: every Cluster of CloudNativePG, what its
//! repository is worth, and what a drill in a scratch namespace would need.
//!
//! Nothing is made and nothing is changed: the API is asked with `get` and `list`, and
//! which permissions there are (SelfSubjectAccessReview). A repository is opened exactly as
//! the configuration that [`written`] writes would open it, and judged by
//! [`verify`](super::verify) alone.

mod gather;
mod locate;
mod look;
mod needs;
mod place;
mod report;
pub mod written;

pub use gather::{Scan, ScanOptions, scan};
pub use locate::{Located, locate, object_store_of};
pub use report::{
    Need, NeedKind, OperatorReport, SCHEMA, ScanCounts, ScanOutcome, ScanReport, ScanTrouble,
    ScannedCluster,
};
