//! What is said of a copy and what is removed from it, with real stores: expiry, settings of
//! buckets, object lock by trying, and the statement about all copies.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code; clippy knows only functions marked #[test] as such"
)]

#[path = "../common/mod.rs"]
mod common;

mod expire;
mod locks;
mod posture;
mod status;

use std::path::Path;

use tempfile::TempDir;

use common::scratch;
use common::walproof::{self, Run};

/// A configuration of one cluster, `orders`, and a state.
pub(crate) struct Ground {
    directory: TempDir,
    environment: Vec<(String, String)>,
}

impl Ground {
    /// `cluster` are the lines of the cluster behind its name, `tier` those of its tier.
    pub(crate) fn new(cluster: &str, tier: &str, environment: Vec<(String, String)>) -> Self {
        let directory = scratch::directory();
        let text = format!(
            "version: 1\nstate: sqlite://{0}/state.sqlite\ntiers:\n  t: {{{tier}}}\nclusters:\n- name: orders\n  tier: t\n{cluster}",
            directory.path().display()
        );
        std::fs::write(directory.path().join("walproof.yaml"), text).unwrap();
        Self {
            directory,
            environment,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn text(&self, arguments: &[&str]) -> Run {
        let config = self.directory.path().join("walproof.yaml");
        let mut all = vec!["--config", config.to_str().unwrap()];
        all.extend(arguments);
        walproof::run(&all, &self.environment)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        self.text(&all)
    }
}
