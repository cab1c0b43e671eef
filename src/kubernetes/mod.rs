//! Kubernetes as walproof uses it: a client, views of CloudNativePG's resources, scratch
//! namespaces, and what happens in them.
//!
//! The room stands below `drill`: it knows namespaces, manifests and pods, not drills and
//! verdicts. Times of the API (`jiff`) are turned into `chrono` here and nowhere else.

pub mod names;
pub mod time;
pub mod watch;
