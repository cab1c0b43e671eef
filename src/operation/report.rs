//! A report of a stretch of time, as a schedule asks for it: the ledger followed, and
//! exported into `reports/` beside the state.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::evidence::{LedgerError, broken_finding, check_ledger, export_ledger, report_entry};
use super::{Ended, Failure, Part, Performed, Surroundings};
use crate::config::Period;
use crate::evidence::export::{ExportError, Exported, Scope, directory_name};
use crate::evidence::ledger::Break;
use crate::evidence::{NewEntry, Verdict};
use crate::finding::Code;
use crate::state::{IncidentChanges, IncidentKey, IncidentKind, NewIncident, State, StateError};

/// How many names are tried when one is taken: a report that was written before its job was
/// noted as done is written once more.
const NAMES: u32 = 100;

/// Writes the report of the stretch that ends when the job was due.
pub(super) async fn report(period: Period, cluster: &str, around: &Surroundings) -> Performed {
    let mut cancelled = around.cancellation.clone();
    let outcome = tokio::select! {
        outcome = Box::pin(written(period, cluster, around)) => outcome,
        // What was begun removes itself.
        // Nobody who could cancel is nobody who does.
        Ok(_) = cancelled.wait_for(|cancelled| *cancelled) => Err(Failure::interrupted()),
    };
    Performed {
        parts: vec![Part {
            copy: String::new(),
            outcome,
        }],
    }
}

async fn written(period: Period, cluster: &str, around: &Surroundings) -> Result<Ended, Failure> {
    let state = &around.state;
    let now = Utc::now();
    let to = around.due_at.unwrap_or(now);
    let from = to
        .checked_sub_signed(period.as_chrono())
        .unwrap_or(DateTime::UNIX_EPOCH);
    let scope = Scope {
        from,
        to,
        cluster: (!cluster.is_empty()).then(|| cluster.to_owned()),
    };
    let check = check_ledger(state, None, |_| {}).await?;
    let exported = export_somewhere(state, &scope, now).await?;
    let broken = check
        .first_break
        .or_else(|| exported.manifest.ledger.first_break.clone());
    let entry = report_entry(around.origin(false).asked, &exported, Utc::now())?;
    keep(around, &entry, broken.as_ref()).await?;
    state.ledger_followed(Utc::now()).await?;
    Ok(Ended {
        run_id: None,
        exit_code: u8::from(broken.is_some()),
        verdict: broken.as_ref().map(|_| Verdict::Failed),
        summary: match &broken {
            None => format!(
                "{}: {} records, SHA-256 of the manifest {}",
                exported.directory.display(),
                exported.manifest.entries.count,
                exported.manifest_sha256
            ),
            Some(broken) => format!(
                "{}: the records are broken: {broken}",
                exported.directory.display()
            ),
        },
        findings: u64::from(broken.is_some()),
        worst: broken.map(|broken| broken_finding(&broken).severity),
        trouble: None,
    })
}

/// Where reports lie.
fn reports(state: &State) -> PathBuf {
    state.directory().join("reports")
}

async fn export_somewhere(
    state: &State,
    scope: &Scope,
    now: DateTime<Utc>,
) -> Result<Exported, LedgerError> {
    let name = directory_name(scope);
    let mut number = 1;
    loop {
        let name = match number {
            1 => name.clone(),
            number => format!("{name}-{number}"),
        };
        let directory = reports(state).join(name);
        match export_ledger(state, scope.clone(), Path::new(&directory), now, |_| {}).await {
            Err(LedgerError::Export(ExportError::Exists(_))) if number < NAMES => number += 1,
            other => return other,
        }
    }
}

/// Notes the report in the ledger, with what it says of the records, and the job as done.
async fn keep(
    around: &Surroundings,
    entry: &NewEntry,
    broken: Option<&Break>,
) -> Result<(), StateError> {
    let (changes, now) = (changes(broken), Utc::now());
    let state = &around.state;
    match &around.fence {
        Some(fence) => {
            let kept = state.finish_job_noting(fence, now, entry, &changes);
            kept.await.map(|_| ())
        }
        None => state.note(entry, &changes, now).await.map(|_| ()),
    }
}

/// Whether the records hold is an incident like any other.
pub(super) fn changes(broken: Option<&Break>) -> IncidentChanges {
    let code = Code::RecordsBroken.as_str().to_owned();
    let Some(finding) = broken.map(broken_finding) else {
        let key = IncidentKey {
            cluster: String::new(),
            copy: String::new(),
            scope: String::new(),
            code,
        };
        return IncidentChanges {
            closes: vec![key],
            ..IncidentChanges::default()
        };
    };
    let incident = NewIncident {
        cluster: String::new(),
        copy: String::new(),
        kind: IncidentKind::Schedule,
        scope: String::new(),
        code,
        severity: finding.severity,
        object: finding.object,
        message: finding.message,
        by: None,
    };
    IncidentChanges {
        opens: vec![incident],
        ..IncidentChanges::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::TimeDelta;
    use tokio::sync::watch;

    use super::*;
    use crate::config::StateUrl;
    use crate::evidence::Trigger;
    use crate::evidence::export::{ENTRIES_FILE, check_file};
    use crate::evidence::ledger::{Body, ConfigurationBody, EntryKind};
    use crate::operation::{JobSpec, Limits, Unobserved, perform};
    use crate::state::IncidentFilter;

    fn around(state: &State, due_at: DateTime<Utc>) -> Surroundings {
        Surroundings {
            config: Arc::default(),
            state: state.clone(),
            trigger: Trigger::Schedule,
            initiator: "walproof daemon".to_owned(),
            due_at: Some(due_at),
            schedule: Some("daily".to_owned()),
            fence: None,
            late: false,
            cancellation: watch::channel(false).1,
            observer: Arc::new(Unobserved),
            limits: Limits::default(),
        }
    }

    #[tokio::test]
    async fn a_report_is_written_noted_and_tells_of_a_break() {
        let directory = tempfile::tempdir().unwrap();
        let url = StateUrl::sqlite(directory.path().join("state.sqlite"));
        let state = State::open(&url).await.unwrap();
        let now = Utc::now();
        let body = ConfigurationBody::accepted("0".repeat(64), None, &[]);
        let body = Body::Configuration(Box::new(body));
        let entry = |hours| NewEntry::new(now - TimeDelta::hours(hours), &body).unwrap();
        state
            .append(&[entry(30), entry(3), entry(2)])
            .await
            .unwrap();

        let job = JobSpec::Report {
            period: "1d".parse().unwrap(),
        };
        for number in ["", "-2"] {
            let performed = perform(&job, "", None, &around(&state, now)).await;
            let ended = performed.parts[0].outcome.as_ref().unwrap();
            assert_eq!(
                (ended.exit_code, ended.findings),
                (0, 0),
                "{}",
                ended.summary
            );
            let scope = Scope {
                from: now - TimeDelta::days(1),
                to: now,
                cluster: None,
            };
            let name = format!("{}{number}", directory_name(&scope));
            let file = directory
                .path()
                .join("reports")
                .join(name)
                .join(ENTRIES_FILE);
            let check = check_file(&file, None, |_| {}).unwrap();
            assert!(check.holds(), "{check:?}");
            assert_eq!(check.entries, 2);
        }
        let last = state
            .entries(4, 10)
            .await
            .unwrap()
            .remove(0)
            .content()
            .unwrap();
        assert_eq!(last.kind, EntryKind::Report);
        assert_eq!(last.body["asked"]["schedule"], "daily");

        let other = sqlx::SqlitePool::connect(&format!(
            "sqlite://{}",
            directory.path().join("state.sqlite").display()
        ))
        .await
        .unwrap();
        sqlx::raw_sql("DROP TRIGGER entries_never_change; UPDATE entries SET cluster = 'x' WHERE sequence = 2")
            .execute(&other)
            .await
            .unwrap();
        let performed = perform(&job, "", None, &around(&state, now)).await;
        let ended = performed.parts[0].outcome.as_ref().unwrap();
        assert_eq!((ended.exit_code, ended.verdict), (1, Some(Verdict::Failed)));
        let open = state
            .incidents(true, &IncidentFilter::default())
            .await
            .unwrap();
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].code, "records-broken");
        // The entry says so itself, so that an export shows it.
        let newest = async || {
            let (head, _) = state.entry_head().await.unwrap().unwrap();
            let entry = state.entries(head - 1, 1).await.unwrap().remove(0);
            (head, entry.content().unwrap().body)
        };
        let (head, body) = newest().await;
        assert_eq!(open[0].opened_by, Some(head));
        assert_eq!(body["opened"][0]["code"], "records-broken");
        sqlx::raw_sql("UPDATE entries SET cluster = NULL WHERE sequence = 2")
            .execute(&other)
            .await
            .unwrap();
        perform(&job, "", None, &around(&state, now)).await;
        let open = state
            .incidents(true, &IncidentFilter::default())
            .await
            .unwrap();
        assert!(open.is_empty());
        let (_, body) = newest().await;
        assert_eq!(body["closed"][0]["code"], "records-broken");
    }
}
