//! Notices arrive at real receivers, each once, and are taken back; traces at a collector.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code; clippy knows only functions marked #[test] as such"
)]

#[path = "../common/mod.rs"]
mod common;

mod alertmanager;
mod command;
mod dispatch;
mod mail;
mod traces;
mod webhook;

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeZone as _, Utc};
use walproof::config::{self, Config, StateUrl};
use walproof::finding::Severity;
use walproof::state::{IncidentKey, IncidentKind, NewIncident, State};

/// A place with a configuration and a state.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// `notifications` stands below that key; `orders` has a RACI of `on-call`, `head`, `team`
    /// and `support`.
    fn new(notifications: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "version: 1\nstate: sqlite://state.sqlite\ntiers: {{gold: {{rpo: 5m}}}}\nclusters:\n\
             - name: orders\n  tier: gold\n  raci: {{responsible: [on-call], accountable: head, \
             consulted: [team], informed: [support]}}\n  primary: {{url: 'file://{}/repository'}}\n\
             notifications:\n{notifications}",
            directory.path().display()
        );
        std::fs::create_dir(directory.path().join("repository")).unwrap();
        std::fs::write(directory.path().join("walproof.yaml"), text).unwrap();
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn file(&self) -> PathBuf {
        self.path().join("walproof.yaml")
    }

    /// Writes a secret into a file beside the configuration.
    fn secret(&self, name: &str, value: &str) {
        std::fs::write(self.path().join(name), format!("{value}\n")).unwrap();
    }

    fn config(&self) -> Config {
        config::load(&self.file()).unwrap()
    }

    async fn state(&self) -> State {
        let url = StateUrl::sqlite(self.path().join("state.sqlite"));
        State::open(&url).await.unwrap()
    }
}

fn moment() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 21, 2, 40, 0).unwrap()
}

fn wrong(cluster: &str, severity: Severity, message: &str) -> NewIncident {
    NewIncident {
        cluster: cluster.to_owned(),
        copy: "primary".to_owned(),
        kind: IncidentKind::Verify,
        scope: String::new(),
        code: "wal-gap".to_owned(),
        severity,
        object: "wals/0000000100000000/000000010000000000000007".to_owned(),
        message: message.to_owned(),
        by: None,
    }
}

fn key(cluster: &str) -> IncidentKey {
    IncidentKey {
        cluster: cluster.to_owned(),
        copy: "primary".to_owned(),
        scope: String::new(),
        code: "wal-gap".to_owned(),
    }
}
