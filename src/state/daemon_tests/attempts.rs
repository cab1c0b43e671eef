//! Attempts by several at once, and what is kept of their runs.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::testing::wait_until;
use super::super::{
    Budgets, Completion, HistoryFilter, JobFilter, JobStatus, NewRun, Release, RunKind, State,
    StateErrorKind,
};
use super::{Place, begin, claim, fenced_by, moment, new_job, on_both, outcome, request};
use crate::evidence::ledger::Body;
use crate::evidence::{EntryKind, sample};

on_both!(
    holders_at_once_do_each_job_once,
    an_attempt_that_was_killed_names_its_job,
    a_run_begins_only_for_the_newest_attempt,
    a_record_is_kept_with_the_end_of_its_run_or_not_at_all,
    what_a_run_by_hand_says_can_be_read,
);

const JOBS: usize = 60;
const HOLDERS: usize = 4;

/// Claims and finishes until nothing is left to do. Gives what it did.
async fn work(state: State) -> Vec<String> {
    let mut asked = request(1);
    asked.budgets = Budgets {
        per_cluster: 1,
        ..Budgets::NONE
    };
    let mut done = Vec::new();
    let open = JobFilter {
        open: true,
        ..JobFilter::default()
    };
    loop {
        let Some(job) = state.claim(&asked).await.unwrap() else {
            if state.jobs(&open).await.unwrap().is_empty() {
                return done;
            }
            tokio::task::yield_now().await;
            continue;
        };
        let running = JobFilter {
            cluster: Some(job.cluster.clone()),
            status: Some(JobStatus::Running),
            ..JobFilter::default()
        };
        assert_eq!(state.jobs(&running).await.unwrap().len(), 1);
        let run = begin(&state, RunKind::Verify, &job.cluster).await;
        state
            .finish_run(run, &outcome(), &fenced_by(job.fence()))
            .await
            .unwrap();
        done.push(job.key);
    }
}

async fn holders_at_once_do_each_job_once(place: &Place) {
    let state = place.open().await;
    let jobs: Vec<_> = (0..JOBS)
        .map(|n| new_job(&format!("{n}"), &format!("c{}", n % 10)))
        .collect();
    state.enqueue(&jobs).await.unwrap();
    let mut tasks = Vec::new();
    for _ in 0..HOLDERS {
        tasks.push(tokio::spawn(work(place.open().await)));
    }
    let mut done = Vec::new();
    for task in tasks {
        done.extend(task.await.unwrap());
    }
    assert_eq!(done.len(), JOBS);
    assert_eq!(done.into_iter().collect::<BTreeSet<_>>().len(), JOBS);
    let jobs = state.jobs(&JobFilter::default()).await.unwrap();
    assert!(
        jobs.iter()
            .all(|job| job.status == JobStatus::Done && job.token == 1)
    );
    assert_eq!(state.entry_head().await.unwrap().unwrap().0, JOBS as u64);
}

fn new_run() -> NewRun {
    NewRun {
        kind: RunKind::Verify,
        cluster: "orders".to_owned(),
        copy: "primary".to_owned(),
        location: "s3://backups/orders".to_owned(),
    }
}

async fn an_attempt_that_was_killed_names_its_job(place: &Place) {
    let state = place.open().await;
    state.enqueue(&[new_job("a", "orders")]).await.unwrap();
    for again in [true, false] {
        let job = claim(&state, 0).await.unwrap();
        drop(state.begin_run_of(&job.fence(), &new_run()).await.unwrap());
        let release = if again {
            Release::GivenBack
        } else {
            Release::Failed {
                error: "no".to_owned(),
            }
        };
        state
            .release(&job.fence(), moment(1), &release)
            .await
            .unwrap();
        wait_until("the run is noticed", async || {
            !state.mark_interrupted().await.unwrap().is_empty()
        })
        .await;
        let head = state.entry_head().await.unwrap().unwrap().0;
        let entry = state.entries(head - 1, 1).await.unwrap().remove(0);
        let content: Value = serde_json::from_str(&entry.text).unwrap();
        let Ok(Body::Interrupted(body)) =
            Body::read(EntryKind::Interrupted, content["body"].clone())
        else {
            panic!("{content}");
        };
        // What a job came to always stands in another entry.
        assert!(body.again);
        assert_eq!(body.asked.job, Some(job.id));
        assert_eq!(body.asked.schedule.as_deref(), Some("often"));
        assert_eq!(body.asked.due_at, Some(moment(0)));
        assert_eq!(body.job, EntryKind::Verify);
    }
    // One by hand has none.
    drop(begin(&state, RunKind::Verify, "orders").await);
    wait_until("the run is noticed", async || {
        !state.mark_interrupted().await.unwrap().is_empty()
    })
    .await;
    let head = state.entry_head().await.unwrap().unwrap().0;
    let entry = state.entries(head - 1, 1).await.unwrap().remove(0);
    let content: Value = serde_json::from_str(&entry.text).unwrap();
    assert_eq!(content["body"]["again"], false);
}

async fn a_run_begins_only_for_the_newest_attempt(place: &Place) {
    let state = place.open().await;
    state.enqueue(&[new_job("a", "orders")]).await.unwrap();
    let first = claim(&state, 0).await.unwrap();
    state.expire_leases(moment(100)).await.unwrap();
    let second = claim(&state, 100).await.unwrap();
    let error = state
        .begin_run_of(&first.fence(), &new_run())
        .await
        .unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Fenced, "{error}");
    let run = state
        .begin_run_of(&second.fence(), &new_run())
        .await
        .unwrap();
    let job = state.job(second.id).await.unwrap().unwrap();
    assert_eq!(job.run_id, Some(run.id));
    let runs = state.history(&HistoryFilter::default()).await.unwrap();
    assert_eq!(runs.len(), 1);
    // The run of an attempt that was followed by another is still the job's.
    state.expire_leases(moment(200)).await.unwrap();
    let third = claim(&state, 200).await.unwrap();
    let newest = state
        .begin_run_of(&third.fence(), &new_run())
        .await
        .unwrap();
    let by_hand = begin(&state, RunKind::Verify, "orders").await;
    for (run, expected) in [(&run, true), (&newest, true), (&by_hand, false)] {
        let found = state.job_of_run(run.id).await.unwrap();
        assert_eq!(found.is_some_and(|found| found.id == job.id), expected);
    }
}

async fn a_record_is_kept_with_the_end_of_its_run_or_not_at_all(place: &Place) {
    let state = place.open().await;
    let mut new = new_job("a", "orders");
    new.kind = super::JobKind::Drill;
    state.enqueue(&[new]).await.unwrap();
    let first = claim(&state, 0).await.unwrap();
    let stale = begin(&state, RunKind::Drill, "orders").await;
    state.expire_leases(moment(100)).await.unwrap();
    let second = claim(&state, 100).await.unwrap();
    let completion = |run: &super::RunningRun, fence| {
        let mut record = sample();
        record.id = uuid::Uuid::now_v7();
        record.run_id = run.id;
        Completion {
            record: Some(Box::new(record)),
            ..fenced_by(fence)
        }
    };
    let files = || std::fs::read_dir(state.records_directory()).map_or(0, Iterator::count);
    let stale_completion = completion(&stale, first.fence());
    let error = state
        .finish_run(stale, &outcome(), &stale_completion)
        .await
        .unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Fenced, "{error}");
    assert_eq!(
        (files(), place.number("SELECT count(*) FROM records").await),
        (0, 0)
    );

    // Of another run it is refused, and the run can still come to its end.
    let other = begin(&state, RunKind::Drill, "orders").await;
    let run = begin(&state, RunKind::Drill, "orders").await;
    let id = run.id;
    let error = state
        .finish_run(other, &outcome(), &completion(&run, second.fence()))
        .await;
    assert_eq!(error.unwrap_err().kind, StateErrorKind::Refused);

    let own = completion(&run, second.fence());
    state.finish_run(run, &outcome(), &own).await.unwrap();
    assert_eq!(
        (files(), place.number("SELECT count(*) FROM records").await),
        (1, 1)
    );
    let run = state
        .find_runs(RunKind::Drill, &id.to_string())
        .await
        .unwrap()
        .remove(0);
    let kept = state.drill(run).await.unwrap();
    assert_eq!(kept.record, own.record.map(|record| *record));
}

async fn what_a_run_by_hand_says_can_be_read(place: &Place) {
    let state = place.open().await;
    for kind in RunKind::ALL {
        let run = begin(&state, *kind, "orders").await;
        let mut ended = outcome();
        ended.exit_code = 1;
        ended.findings = vec![crate::finding::Finding::new(
            crate::finding::Code::WalGap,
            "wals/0001",
            "a \u{0} three segments",
        )];
        let entry = state
            .finish_run(run, &ended, &Completion::default())
            .await
            .unwrap();
        let content: Value = serde_json::from_str(&entry.text).unwrap();
        let body = Body::read(EntryKind::from(*kind), content["body"].clone());
        assert!(body.is_ok(), "{kind:?}: {body:?}");
        assert_eq!(content["body"]["run"]["exit_code"], 1);
    }
    let opened = state.entries(0, 1).await.unwrap().remove(0);
    assert!(
        opened.text.contains(r#""opened":[{"code":"wal-gap""#),
        "{}",
        opened.text
    );
}
