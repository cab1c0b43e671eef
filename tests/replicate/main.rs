//! Replication between real stores: what is copied, in which order, and what is told when
//! source or target are not what they were.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code; clippy knows only functions marked #[test] as such"
)]

#[path = "../common/mod.rs"]
mod common;

mod copying;
mod faults;
mod following;
mod kills;
mod locked;
mod order;
mod stores;
mod wrong;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use common::damage::Tree;
use common::s3::S3Server;
use common::scratch;
use common::walproof::{Run, command, run_command};

/// Two places and a state.
pub(crate) struct Ground {
    state: TempDir,
    pub(crate) source: String,
    pub(crate) target: String,
    options: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Ground {
    /// From files to files.
    pub(crate) fn files(source: &Tree) -> (Self, PathBuf) {
        let state = scratch::directory();
        let target = state.path().join("copy");
        let ground = Self {
            source: source.url(),
            target: format!("file://{}", target.display()),
            state,
            options: Vec::new(),
            environment: Vec::new(),
        };
        (ground, target)
    }

    /// From one S3 server to another.
    pub(crate) fn s3(source: &S3Server, url: &str, target: &S3Server) -> (Self, PathBuf) {
        let ground = Self {
            state: scratch::directory(),
            source: url.to_owned(),
            target: format!("s3://{}/far/orders", S3Server::BUCKET),
            options: vec!["--target-endpoint".to_owned(), target.endpoint()],
            environment: source.environment(),
        };
        (ground, target.object("far/orders"))
    }

    pub(crate) fn state(&self) -> String {
        format!("sqlite://{}/state.sqlite", self.state.path().display())
    }

    pub(crate) fn command(&self, verb: &str, options: &[&str]) -> Command {
        let state = self.state();
        let mut arguments = vec![
            "replicate",
            verb,
            &self.source,
            &self.target,
            "--output",
            "json",
            "--state",
            &state,
        ];
        arguments.extend(self.options.iter().map(String::as_str));
        arguments.extend_from_slice(options);
        command(&arguments, &self.environment)
    }

    pub(crate) fn run(&self, options: &[&str]) -> Run {
        run_command(self.command("run", options))
    }

    pub(crate) fn compare(&self, options: &[&str]) -> Run {
        run_command(self.command("compare", options))
    }

    /// How many objects a run copied.
    #[track_caller]
    pub(crate) fn copied(run: &Run) -> u64 {
        let copied = &run.json()["copied"];
        ["histories", "wal", "data", "markers", "other"]
            .iter()
            .map(|kind| copied[kind]["objects"].as_u64().unwrap())
            .sum()
    }
}

/// Every file below a directory with its bytes.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let key = path.strip_prefix(root).unwrap();
                files.insert(
                    key.to_str().unwrap().to_owned(),
                    std::fs::read(&path).unwrap(),
                );
            }
        }
    }
    files
}

/// Asserts that two trees hold the same, without printing megabytes.
#[track_caller]
pub(crate) fn assert_same(source: &Path, target: &Path) {
    let (source, target) = (tree(source), tree(target));
    let names = |tree: &BTreeMap<String, Vec<u8>>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&source), names(&target));
    for (key, bytes) in &source {
        assert!(target[key] == *bytes, "{key} differs");
    }
    assert!(!source.is_empty());
}
