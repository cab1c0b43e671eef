//! Questions put to a restored database.
//!
//! A check passes, fails, or is unproven: it fails when the database was asked and does
//! not hold what it should, and is unproven when it could not be asked (a program or
//! extension is missing, time ran out, the question itself is wrong). Every check runs in
//! sessions whose transactions are read-only unless it is `amcheck`, which may need to
//! install its own extension in the scratch copy.

pub mod amcheck;
pub mod answer;
pub mod checksums;
pub mod connect;
pub mod expectation;
pub mod heartbeat;
pub mod run;
pub mod sql;

use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use expectation::{Comparison, Expectation, ParseExpectationError, Reference};
pub use run::run_all;

use crate::evidence::Verdict;
use crate::finding::Finding;

/// The time a check may take unless it says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);

/// At most this many bytes of an observed value are kept.
pub const OBSERVED_LIMIT: usize = 1024;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckDefinition {
    /// What is asked, in a few words; unique within a drill.
    pub name: String,
    /// Whether the verdict depends on it.
    pub required: bool,
    /// It is given up after this time.
    pub timeout: Duration,
    /// What is asked.
    pub kind: CheckKind,
}

/// The kinds of questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// Every database that allows connections accepts one.
    Connect,
    /// A query and what its answer must be.
    Sql {
        /// The database that is asked.
        database: String,
        /// The query.
        sql: String,
        /// What its answer must be.
        expectation: Expectation,
    },
    /// The newest row of a table that is written at a steady rate.
    Heartbeat {
        /// The database that holds it.
        database: String,
        /// The table, `table` or `schema.table`.
        table: String,
        /// The column of type `timestamptz`.
        column: String,
        /// The newest row may be at most this much older than the recovery point.
        max_age: Option<Duration>,
    },
    /// `pg_amcheck` over tables and indexes.
    Amcheck {
        /// The databases; empty for all.
        databases: Vec<String>,
        /// Only these tables; empty for all.
        tables: Vec<String>,
        /// Whether every row must be found in its indexes.
        heapallindexed: bool,
        /// How many connections work at once.
        jobs: u32,
    },
    /// Every page's checksum, after the server was stopped.
    Checksums,
}

impl CheckKind {
    /// The kind's name.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Sql { .. } => "sql",
            Self::Heartbeat { .. } => "heartbeat",
            Self::Amcheck { .. } => "amcheck",
            Self::Checksums => "checksums",
        }
    }
}

impl CheckDefinition {
    /// A required question with the usual time to answer.
    pub fn new(name: impl Into<String>, kind: CheckKind) -> Self {
        Self {
            name: name.into(),
            required: true,
            timeout: DEFAULT_TIMEOUT,
            kind,
        }
    }
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// The database holds what it should.
    Passed,
    /// It does not.
    Failed,
    /// It could not be asked.
    Unproven,
}

impl CheckOutcome {
    /// The word used in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Unproven => "unproven",
        }
    }
}

impl From<CheckOutcome> for Verdict {
    fn from(outcome: CheckOutcome) -> Self {
        match outcome {
            CheckOutcome::Passed => Self::Proven,
            CheckOutcome::Failed => Self::Failed,
            CheckOutcome::Unproven => Self::Unproven,
        }
    }
}

/// A check's answer, before it is timed and named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What came of it.
    pub outcome: CheckOutcome,
    /// What was expected, in words.
    pub expected: Option<String>,
    /// What was seen; at most [`OBSERVED_LIMIT`] bytes.
    pub observed: Option<String>,
    /// Why it failed or is unproven.
    pub message: Option<String>,
    /// What was found on the way.
    pub findings: Vec<Finding>,
    /// The newest heartbeat, for checks that read one.
    pub heartbeat: Option<DateTime<Utc>>,
}

impl Answered {
    /// An answer with nothing more to say.
    pub const fn new(outcome: CheckOutcome) -> Self {
        Self {
            outcome,
            expected: None,
            observed: None,
            message: None,
            findings: Vec::new(),
            heartbeat: None,
        }
    }

    /// The database could not be asked.
    pub fn unproven(message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            ..Self::new(CheckOutcome::Unproven)
        }
    }

    /// The database does not hold what it should.
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            ..Self::new(CheckOutcome::Failed)
        }
    }

    /// With what was expected.
    #[must_use]
    pub fn expecting(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(bounded(&expected.into()));
        self
    }

    /// With what was seen.
    #[must_use]
    pub fn seeing(mut self, observed: &str) -> Self {
        self.observed = Some(bounded(observed));
        self
    }
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckResult {
    /// The check's name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Whether the verdict depends on it.
    pub required: bool,
    /// What came of it.
    pub outcome: CheckOutcome,
    /// What was expected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected: Option<String>,
    /// What was seen, cut to 1 KiB.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub observed: Option<String>,
    /// Why it failed or is unproven.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

/// Cuts a text to [`OBSERVED_LIMIT`] bytes, at a character's border, and says so.
pub(crate) fn bounded(text: &str) -> String {
    if text.len() <= OBSERVED_LIMIT {
        return text.to_owned();
    }
    let mut end = OBSERVED_LIMIT - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_at_a_character() {
        assert_eq!(bounded("short"), "short");
        let cut = bounded(&"é".repeat(2000));
        assert!(cut.len() <= OBSERVED_LIMIT && cut.ends_with('…'));
    }
}
