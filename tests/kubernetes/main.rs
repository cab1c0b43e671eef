//! walproof and a real Kubernetes cluster with CloudNativePG: the user's (`KUBECONFIG`) or
//! the lab's. `make test-kubernetes` runs these; without a cluster they say that they did
//! not run.
//!
//! Begin a test with `let lab = cluster!();`. What it makes goes into namespaces of
//! `lab.namespace("…")`; sources under load are shared (`Source::plugin(lab)`).

#![allow(
    clippy::await_holding_lock,
    clippy::items_after_statements,
    clippy::match_wild_err_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and measured times are printed"
)]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod backup_request;
mod bench;
mod chaos;
mod chart_install;
mod controller;
mod definition;
mod drill;
mod executor;
mod ground;
mod image;
mod inside;
mod kit;
mod monitoring;
mod plumbing;
mod policy;
mod request;
mod rights;
mod scan;
mod scratch;
mod story;
mod validation;
mod watch;
