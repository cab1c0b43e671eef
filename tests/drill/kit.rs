//! What the drill tests share.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::repository::Facts;
use crate::common::scratch;
use crate::common::walproof::{self, Run};

/// A place of a test's own: scratch root, state, definitions.
pub(crate) struct Place {
    keep: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            keep: scratch::directory(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.keep.path()
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.path().join("scratch")
    }

    /// Writes a drill definition with these lines below its name.
    pub(crate) fn definition(&self, lines: &str) -> String {
        let file = self.path().join("drill.yaml");
        std::fs::write(&file, format!("version: 1\nname: test\n{lines}")).unwrap();
        file.to_str().unwrap().to_owned()
    }

    pub(crate) fn arguments(&self, url: &str, more: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = ["drill", "run", url, "--output", "json"]
            .map(str::to_owned)
            .to_vec();
        all.push("--scratch".into());
        all.push(self.scratch().to_str().unwrap().to_owned());
        all.push("--state".into());
        all.push(format!("sqlite://{}/state.sqlite", self.path().display()));
        all.extend(more.iter().map(|word| (*word).to_owned()));
        all
    }

    pub(crate) fn drill(&self, url: &str, more: &[&str]) -> Run {
        self.drill_in(url, more, &[])
    }

    /// A drill with more in its environment, such as an S3 server's address.
    pub(crate) fn drill_in(
        &self,
        url: &str,
        more: &[&str],
        environment: &[(String, String)],
    ) -> Run {
        let arguments = self.arguments(url, more);
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        walproof::run(&words, environment)
    }

    /// A definition that holds a restored database against what the server itself said of
    /// its tip: rows, sums, balances, and every page and index by `pg_amcheck`.
    pub(crate) fn definition_of_tip(&self, facts: &Facts) -> String {
        let tip = facts.tip();
        let mut lines = format!(
            "amcheck: {{}}\nchecks:\n\
             - {{name: rows, database: postgres, sql: 'select count(*) from ledger', expect: '= {}'}}\n\
             - {{name: sum, database: postgres, sql: 'select sum(id) from ledger', expect: '= {}'}}\n\
             - {{name: beats, database: postgres, sql: 'select count(*) from heartbeat', expect: '= {}'}}\n\
             - {{name: balance, database: postgres, sql: 'select sum(abalance) from pgbench_accounts', expect: '= {}'}}\n",
            tip.rows, tip.sum, tip.beats, facts.balance
        );
        if facts.options.tablespace {
            writeln!(
                lines,
                "- {{name: far, database: postgres, sql: 'select count(*) from ledger_far', expect: '= {}'}}",
                facts.far_rows
            )
            .unwrap();
        }
        self.definition(&lines)
    }

    /// Everything left in the scratch root.
    pub(crate) fn left(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.scratch())
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.left(), Vec::<PathBuf>::new());
        assert_eq!(self.servers(), Vec::<String>::new());
    }

    /// Command lines of processes that name this place.
    pub(crate) fn servers(&self) -> Vec<String> {
        let needle = self.path().to_str().unwrap().to_owned();
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
            .filter(|line| line.contains(&needle))
            .collect()
    }
}

/// The codes of the reasons of a report.
pub(crate) fn reason_codes(report: &Value) -> Vec<String> {
    report["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|reason| reason["code"].as_str().map(str::to_owned))
        .collect()
}

/// The one check of that name.
#[track_caller]
pub(crate) fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no check {name}: {:#}", report["checks"]))
}

/// Phases that add up to the total, in an order that a drill can take.
#[track_caller]
pub(crate) fn assert_phases_add_up(report: &Value) {
    let phases = report["phases"].as_array().unwrap();
    let sum: u64 = phases
        .iter()
        .map(|phase| phase["milliseconds"].as_u64().unwrap())
        .sum();
    assert_eq!(report["measurements"]["total"].as_u64(), Some(sum));
    assert_eq!(phases.last().unwrap()["phase"], "tear-down");
}
