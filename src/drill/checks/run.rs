//! Running a drill's checks one after the other.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::answer::Moments;
use super::{
    Answered, CheckDefinition, CheckKind, CheckOutcome, CheckResult, amcheck, checksums, connect,
    heartbeat, sql,
};
use crate::drill::observer::{DrillObserver, Progress, Unit};
use crate::drill::phases::Phase;
use crate::drill::restored::Restored;
use crate::finding::{Code, Finding};

/// What all checks of a drill came to.
#[derive(Clone, Debug, Default)]
pub struct ChecksReport {
    /// Each check's result, in order.
    pub results: Vec<CheckResult>,
    /// What was found on the way.
    pub findings: Vec<Finding>,
    /// The newest heartbeat, where one was read.
    pub heartbeat: Option<DateTime<Utc>>,
}

impl ChecksReport {
    fn add(&mut self, definition: &CheckDefinition, answered: Answered, begun: Instant) {
        if answered.outcome == CheckOutcome::Failed && answered.findings.is_empty() {
            let message = answered.message.as_deref().unwrap_or("failed");
            let seen = answered
                .observed
                .as_deref()
                .map_or_else(String::new, |seen| format!(" (seen: {seen})"));
            self.findings.push(Finding::new(
                Code::CheckFailed,
                &definition.name,
                super::bounded(&format!("{message}{seen}")),
            ));
        }
        self.findings.extend(answered.findings);
        self.heartbeat = self.heartbeat.max(answered.heartbeat);
        self.results.push(CheckResult {
            name: definition.name.clone(),
            kind: definition.kind.as_str().to_owned(),
            required: definition.required,
            outcome: answered.outcome,
            expected: answered.expected,
            observed: answered.observed,
            message: answered.message,
            milliseconds: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    }
}

async fn run_one(server: &dyn Restored, check: &CheckDefinition, moments: &Moments) -> Answered {
    let timeout = check.timeout;
    match &check.kind {
        CheckKind::Connect => connect::check(server, timeout).await,
        CheckKind::Sql {
            database,
            sql,
            expectation,
        } => sql::check(server, database, sql, expectation, moments, timeout).await,
        CheckKind::Heartbeat {
            database,
            table,
            column,
            max_age,
        } => heartbeat::check(server, database, table, column, *max_age, moments, timeout).await,
        CheckKind::Amcheck {
            databases,
            tables,
            heapallindexed,
            jobs,
        } => {
            let scope = amcheck::Scope {
                databases,
                tables,
                heapallindexed: *heapallindexed,
                jobs: *jobs,
            };
            amcheck::check(server, &scope, timeout).await
        }
        CheckKind::Checksums => Answered::unproven("it runs after the server was stopped"),
    }
}

/// Runs all checks; `checksums` last, for which the server is stopped. A server that ends
/// by itself leaves the remaining checks unproven. Results are added one by one, so that
/// those are kept that were there before an interruption.
pub async fn run_all(
    server: &mut dyn Restored,
    definitions: &[CheckDefinition],
    recovery_point: Option<DateTime<Utc>>,
    data_checksums: bool,
    observer: &dyn DrillObserver,
    report: &mut ChecksReport,
) {
    let (last, first): (Vec<_>, Vec<_>) = definitions
        .iter()
        .partition(|check| check.kind == CheckKind::Checksums);
    let total = u64::try_from(definitions.len()).ok();
    let tell = |done: usize| {
        observer.progress(
            Phase::Checks,
            Progress {
                unit: Unit::Checks,
                done: u64::try_from(done).unwrap_or(0),
                total,
            },
        );
    };
    for check in first {
        tell(report.results.len());
        let begun = Instant::now();
        let moments = Moments {
            recovery_point,
            now: Utc::now(),
        };
        // The session's own time-out comes first and tells more; this one is for what
        // never answers at all.
        let patience = check.timeout.saturating_add(Duration::from_secs(10));
        let answered = match tokio::time::timeout(patience, run_one(server, check, &moments)).await
        {
            Ok(answered) => answered,
            Err(_) => Answered::unproven(format!("no answer within {} s", check.timeout.as_secs())),
        };
        report.add(check, answered, begun);
    }
    for check in last {
        tell(report.results.len());
        let begun = Instant::now();
        let answered = checksums::check(server, data_checksums, check.timeout).await;
        report.add(check, answered, begun);
    }
    tell(report.results.len());
}
