//! A crash between any two statements leaves all or nothing.

use serde_json::json;
use uuid::Uuid;

use super::super::database::crash;
use super::super::{
    Advance, Completion, DepthRank, HistoryFilter, IncidentFilter, JobFilter, JobKind, Release,
    RunKind, RunStatus, ScheduleRow, Standing, StandingFilter, State,
};
use super::{LEASE, Place, begin, claim, moment, new_job, on_both, outcome};
use crate::evidence::{EntryKind, NewEntry};
use crate::finding::{Code, Finding};

on_both!(
    the_end_of_a_run_is_whole_or_nothing,
    a_step_of_a_schedule_is_whole_or_nothing,
    a_claim_is_whole_or_nothing,
    missing_a_job_is_whole_or_nothing,
);

/// Everything that can be seen, except runs that never came to an end.
async fn seen(state: &State) -> String {
    let runs: Vec<_> = state
        .history(&HistoryFilter::default())
        .await
        .unwrap()
        .into_iter()
        .filter(|run| run.status == RunStatus::Finished || run.findings > 0)
        .collect();
    format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}",
        runs,
        state.jobs(&JobFilter::default()).await.unwrap(),
        state.entries(0, 1000).await.unwrap(),
        state.entry_counts().await.unwrap(),
        state
            .incidents(false, &IncidentFilter::default())
            .await
            .unwrap(),
        state.incident_events(0, 1000).await.unwrap(),
        state.standings(&StandingFilter::default()).await.unwrap(),
        state.schedules(None).await.unwrap(),
    )
}

/// Does something again and again, each time crashing one statement later, until it comes
/// through. Gives how often it crashed.
async fn until_whole<T, F>(state: &State, attempt: impl Fn() -> F) -> u32
where
    F: Future<Output = Result<T, super::super::StateError>>,
{
    let before = seen(state).await;
    for statements in 0..1000 {
        crash::after(statements);
        let done = attempt().await;
        crash::never();
        let now = seen(state).await;
        match done {
            Ok(_) => {
                assert_ne!(now, before, "nothing happened");
                return statements;
            }
            Err(error) => {
                assert!(error.to_string().contains(crash::WORDS), "{error}");
                assert_eq!(now, before, "after {statements} statements");
            }
        }
    }
    panic!("it never came through");
}

async fn the_end_of_a_run_is_whole_or_nothing(place: &Place) {
    let state = place.open().await;
    // One incident that will close.
    let run = begin(&state, RunKind::Verify, "orders").await;
    let mut found = outcome();
    found.exit_code = 1;
    found.findings = vec![Finding::new(Code::WalDuplicate, "wals/1", "twice")];
    state.finish_run(run, &found, &listed()).await.unwrap();
    state.enqueue(&[new_job("a", "orders")]).await.unwrap();
    let job = claim(&state, 0).await.unwrap();
    found.findings = vec![
        Finding::new(Code::WalGap, "wals/2", "three segments"),
        Finding::new(Code::PageCorrupt, "base/1/2", "block 7"),
    ];
    found.report = Some(super::super::Report {
        schema: "walproof.verify/v1".to_owned(),
        body: json!({}),
    });
    let crashes = until_whole(&state, async || {
        let statements = crash::pause();
        let run = begin(&state, RunKind::Verify, "orders").await;
        crash::go_on(statements);
        let completion = Completion {
            fence: Some(job.fence()),
            standing: Some(Standing {
                cluster: "orders".to_owned(),
                copy: "primary".to_owned(),
                location: String::new(),
                kind: RunKind::Verify,
                at: moment(0),
                run_id: run.id,
                exit_code: 1,
                verdict: None,
                body: json!({}),
            }),
            ..listed()
        };
        state.finish_run(run, &found, &completion).await
    })
    .await;
    assert!(crashes > 10, "{crashes}");
}

fn listed() -> Completion {
    Completion {
        depth: Some(DepthRank::LISTED),
        ..Completion::default()
    }
}

async fn a_step_of_a_schedule_is_whole_or_nothing(place: &Place) {
    let state = place.open().await;
    let row = ScheduleRow {
        schedule: "often".to_owned(),
        cluster: "orders".to_owned(),
        kind: JobKind::Verify,
        definition: "*/15".to_owned(),
        next_due: moment(0),
        last_due: None,
    };
    let lease = state
        .try_lease("tick", Uuid::now_v7(), moment(0), LEASE)
        .await
        .unwrap()
        .unwrap();
    state
        .schedules_sync(&lease, &[row], moment(0))
        .await
        .unwrap();
    let entry = NewEntry {
        kind: EntryKind::Late,
        at: moment(1),
        cluster: None,
        copy: None,
        run_id: None,
        body: json!({}),
    };
    let step = Advance {
        schedule: "often".to_owned(),
        cluster: "orders".to_owned(),
        next_due: moment(900),
        last_due: moment(0),
        jobs: vec![new_job("a", "orders"), new_job("b", "billing")],
        entries: vec![entry.clone(), entry],
    };
    let steps = [step];
    let crashes = until_whole(&state, async || {
        state.schedule_advance(&lease, &steps).await
    })
    .await;
    assert!(crashes > 8, "{crashes}");
}

async fn a_claim_is_whole_or_nothing(place: &Place) {
    let state = place.open().await;
    state.enqueue(&[new_job("a", "orders")]).await.unwrap();
    let asked = super::request(0);
    let crashes = until_whole(&state, async || state.claim(&asked).await).await;
    assert!(crashes > 4, "{crashes}");
    let job = state.jobs(&JobFilter::default()).await.unwrap().remove(0);
    assert_eq!(job.token, 1);
    let failed = Release::Failed {
        error: "no".to_owned(),
    };
    until_whole(&state, async || {
        state.release(&job.fence(), moment(1), &failed).await
    })
    .await;
}

async fn missing_a_job_is_whole_or_nothing(place: &Place) {
    let state = place.open().await;
    let mut new = new_job("a", "orders");
    new.deadline = Some(moment(1));
    state.enqueue(&[new]).await.unwrap();
    let crashes = until_whole(&state, async || state.missed_jobs(moment(2)).await).await;
    assert!(crashes > 4, "{crashes}");
}
