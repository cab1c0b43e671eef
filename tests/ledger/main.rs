//! The object ledger on real stores: what changed is found and what did not is left alone,
//! a night reads what is due, and an interrupted one is gone on with.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "this is test code; clippy knows only functions marked #[test] as such"
)]

#[path = "../common/mod.rs"]
mod common;

mod changed;
mod nights;
mod shards;
mod slow;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tempfile::TempDir;

use common::repository::{Fixture, RepositoryOptions};
use common::scratch;
use common::walproof::{Run, command, run_command};

/// A state directory, and how to reach one repository.
struct Ground {
    state: TempDir,
    url: String,
    environment: Vec<(String, String)>,
}

impl Ground {
    fn new(url: impl Into<String>, environment: Vec<(String, String)>) -> Self {
        Self {
            state: scratch::directory(),
            url: url.into(),
            environment,
        }
    }

    fn command(&self, options: &[&str]) -> std::process::Command {
        let state = format!("sqlite://{}/state.sqlite", self.state.path().display());
        let mut arguments = vec!["verify", &self.url, "--output", "json", "--state", &state];
        arguments.extend_from_slice(options);
        command(&arguments, &self.environment)
    }

    fn verify(&self, options: &[&str]) -> Run {
        run_command(self.command(options))
    }

    /// A run without a finding from which an alarm would come.
    #[track_caller]
    fn sound(&self, options: &[&str]) -> Value {
        self.verify(options).expect_code(0).json()
    }

    /// A run with one finding of the ledger on `key`.
    #[track_caller]
    fn changed(&self, options: &[&str], key: &str, severity: &str) -> Value {
        let report = self.verify(options).expect_code(1).json();
        let found = changes(&report);
        assert_eq!(found.len(), 1, "{:#}", report["findings"]);
        assert_eq!(found[0]["object"], key);
        assert_eq!(found[0]["severity"], severity, "{:#}", found[0]);
        report
    }

    fn database(&self) -> std::path::PathBuf {
        self.state.path().join("state.sqlite")
    }
}

/// The findings on changed objects.
fn changes(report: &Value) -> Vec<&Value> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["code"] == "object-changed")
        .collect()
}

fn message(finding: &Value) -> &str {
    finding["message"].as_str().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}

fn fixture() -> Fixture {
    Fixture::get(&RepositoryOptions::default())
}

/// How many objects of WAL the ledger holds that were never read, and that were.
fn wal_read(ground: &Ground) -> (u64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new()
            .filename(ground.database())
            .busy_timeout(Duration::from_secs(5));
        let Ok(pool) = SqlitePoolOptions::new().connect_with(options).await else {
            return (0, 0);
        };
        let counts: Result<(i64, i64), _> = sqlx::query_as(
            "SELECT count(*) - count(last_read), count(last_read) FROM objects \
             WHERE key LIKE 'wals/%/%' AND key NOT LIKE '%.backup%'",
        )
        .fetch_one(&pool)
        .await;
        pool.close().await;
        let (unread, read) = counts.unwrap_or((0, 0));
        (unread.try_into().unwrap(), read.try_into().unwrap())
    })
}

/// Gives a file another time than it has.
fn touch(path: &Path, seconds: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let then = file.metadata().unwrap().modified().unwrap();
    file.set_modified(then + Duration::from_secs(seconds))
        .unwrap();
}
