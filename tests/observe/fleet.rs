//! A fleet whose facts are made up: a configuration, and runs with standings in a real state.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use walproof::config::{Config, load};
use walproof::evidence::Verdict;
use walproof::finding::{Code, Finding};
use walproof::state::{Completion, DepthRank, NewRun, Outcome, RunKind, Standing, State};

/// `minutes` ago.
pub(crate) fn ago(minutes: i64) -> DateTime<Utc> {
    Utc::now() - TimeDelta::minutes(minutes)
}

/// Clusters of these names in the tier gold, each with a replica `far`.
pub(crate) fn configured(directory: &Path, clusters: &[&str]) -> Arc<Config> {
    let mut text =
        "version: 1\ntiers:\n  gold:\n    rpo: 5m\n    rto: 1h\n    max_backup_age: 1d\n    \
                    due: {verify: 2h, replicate: 2h, drill: 1d}\nclusters:\n"
            .to_owned();
    for name in clusters {
        write!(
            text,
            "  - name: {name}\n    tier: gold\n    owner: team-{name}\n    \
             primary: {{url: \"file:///nowhere/{name}\"}}\n    \
             replicas: [{{name: far, url: \"file:///elsewhere/{name}\", replication: {{lag: 15m}}}}]\n"
        )
        .unwrap();
    }
    let file = directory.join("walproof.yaml");
    std::fs::write(&file, text).unwrap();
    Arc::new(load(&file).unwrap_or_else(|errors| panic!("{errors}")))
}

/// One run that ended, with what it said.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) kind: RunKind,
    pub(crate) copy: &'static str,
    pub(crate) at: DateTime<Utc>,
    pub(crate) exit_code: u8,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) body: Value,
    pub(crate) findings: Vec<Finding>,
}

impl Said {
    /// Sets a field of the body.
    pub(crate) fn with(mut self, field: &str, value: impl serde::Serialize) -> Self {
        self.body[field] = serde_json::to_value(value).unwrap();
        self
    }

    /// As if it had been at another time.
    pub(crate) fn at(mut self, at: DateTime<Utc>) -> Self {
        self.at = at;
        self
    }

    /// Adds a finding.
    pub(crate) fn finding(mut self, code: Code) -> Self {
        self.findings
            .push(Finding::new(code, "an object", "it was seen"));
        self
    }

    /// What it came to.
    pub(crate) fn verdict(mut self, verdict: Verdict, exit_code: u8) -> Self {
        self.verdict = Some(verdict);
        self.exit_code = exit_code;
        if self.kind == RunKind::Drill {
            self = self.with("verdict", verdict);
        }
        self
    }

    /// Puts it into the state.
    pub(crate) fn tell(&self, runtime: &Runtime, state: &State, cluster: &str) {
        let new = NewRun {
            kind: self.kind,
            cluster: cluster.to_owned(),
            copy: self.copy.to_owned(),
            location: match self.copy {
                "far" => format!("file:///elsewhere/{cluster}"),
                _ => format!("file:///nowhere/{cluster}"),
            },
        };
        let outcome = Outcome {
            verdict: self.verdict,
            exit_code: self.exit_code,
            summary: "made up".to_owned(),
            findings: self.findings.clone(),
            report: None,
        };
        runtime.block_on(async {
            let run = state.begin_run(&new).await.unwrap();
            // A look that could not check says nothing: what was last known stays.
            let says = self.exit_code != 3 || self.kind != RunKind::Verify;
            let standing = says.then(|| Standing {
                cluster: new.cluster.clone(),
                copy: new.copy.clone(),
                location: new.location.clone(),
                kind: self.kind,
                at: self.at,
                run_id: run.id,
                exit_code: self.exit_code,
                verdict: self.verdict,
                body: self.body.clone(),
            });
            let completion = Completion {
                standing,
                depth: Some(DepthRank::READ),
                ..Completion::default()
            };
            state.finish_run(run, &outcome, &completion).await.unwrap();
        });
    }
}

/// A verification of a copy with which all is well.
pub(crate) fn verified(copy: &'static str) -> Said {
    let at = Utc::now();
    Said {
        kind: RunKind::Verify,
        copy,
        at,
        exit_code: 0,
        verdict: None,
        body: json!({
            "depth": "read",
            "checked_at": at,
            "tip_commit_at": at - TimeDelta::seconds(30),
            "exposure_known": true,
            "tip_lsn": "0/5000028",
            "archive_end_lsn": "0/6000000",
            "archive_end_at": at - TimeDelta::seconds(20),
            "window_begin": at - TimeDelta::hours(30),
            "window_end": at - TimeDelta::seconds(30),
            "oldest_begin": at - TimeDelta::hours(60),
            "newest_backup_at": at - TimeDelta::hours(5),
            "usable_backups": 3,
            "segments": 100,
        }),
        findings: Vec::new(),
    }
}

/// A verification of the past: everything in it as old.
pub(crate) fn verified_at(copy: &'static str, at: DateTime<Utc>) -> Said {
    verified(copy)
        .with("checked_at", at)
        .with("tip_commit_at", at - TimeDelta::seconds(30))
        .with("archive_end_at", at - TimeDelta::seconds(20))
        .at(at)
}

/// A replication that left nothing.
pub(crate) fn replicated() -> Said {
    let at = Utc::now();
    Said {
        kind: RunKind::Replicate,
        copy: "far",
        at,
        exit_code: 0,
        verdict: None,
        body: json!({
            "compared_at": at,
            "finished_at": at,
            "ended": "complete",
            "complete": true,
            "lag_ms": 0,
        }),
        findings: Vec::new(),
    }
}

/// A drill that proved the primary.
pub(crate) fn drilled() -> Said {
    let at = Utc::now();
    Said {
        kind: RunKind::Drill,
        copy: "primary",
        at,
        exit_code: 0,
        verdict: Some(Verdict::Proven),
        body: json!({
            "verdict": "proven",
            "ending": "complete",
            "started_at": at - TimeDelta::minutes(3),
            "finished_at": at,
            "phases": [{"phase": "replay", "ms": 2500, "completed": true}],
            "time_to_verified_ms": 120_000,
            "rpo": {"state": "met"},
            "rto": {"state": "met"},
        }),
        findings: Vec::new(),
    }
}

/// All is well with a cluster.
pub(crate) fn well(runtime: &Runtime, state: &State, cluster: &str) {
    for said in [
        verified("primary"),
        verified("far"),
        replicated(),
        drilled(),
    ] {
        said.tell(runtime, state, cluster);
    }
}
