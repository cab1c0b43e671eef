//! Jobs that did not happen: each leaves an entry, and one alone.

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::testing::wait_until;
use super::super::{
    JobEnd, JobFilter, JobKind, JobStatus, Lease, NewRun, Release, RunKind, ScheduleRow,
    ScheduleSync, State, StateErrorKind,
};
use super::{LEASE, Place, begin, claim, fenced_by, moment, new_job, on_both, outcome, request};

on_both!(
    a_job_that_never_began_its_run_is_missed,
    a_job_whose_attempt_left_an_entry_is_told_by_that,
    a_cancelled_job_is_skipped_unless_it_was_tried,
    what_the_configuration_does_not_want_any_more_is_skipped,
    a_schedule_that_is_due_keeps_its_moment_when_it_changes,
    schedules_are_changed_only_under_the_lease,
    a_job_planned_for_more_scratch_than_there_is_takes_all,
);

fn failed() -> Release {
    Release::Failed {
        error: "there is no cluster `orders`".to_owned(),
    }
}

fn again() -> Release {
    Release::Retry {
        run_after: moment(0),
        error: "the store does not answer".to_owned(),
    }
}

/// The kind, reason, key and due moment of every entry that is of no run.
async fn said(state: &State) -> Vec<Value> {
    let entries = state.entries(0, 100).await.unwrap();
    entries
        .iter()
        .map(|entry| serde_json::from_str::<Value>(&entry.text).unwrap())
        .filter(|entry| entry["run_id"].is_null())
        .map(|entry| {
            let body = &entry["body"];
            json!([entry["kind"], body["reason"], body["key"]])
        })
        .collect()
}

async fn a_job_that_never_began_its_run_is_missed(place: &Place) {
    let state = place.open().await;
    let mut sweep = new_job("sweep", "");
    sweep.kind = JobKind::Sweep;
    let jobs = [new_job("a", "orders"), new_job("b", "billing"), sweep];
    state.enqueue(&jobs).await.unwrap();
    // Once for good, once when attempts are used up, and never while it goes on.
    for _ in 0..3 {
        let job = claim(&state, 0).await.unwrap();
        let release = if job.key == "b" { again() } else { failed() };
        let status = state.release(&job.fence(), moment(1), &release).await;
        let waits = job.key == "b";
        assert_eq!(status.unwrap() == JobStatus::Waiting, waits);
    }
    assert_eq!(
        said(&state).await,
        [json!(["missed", "exhausted", "a"])],
        "sweeping is housekeeping"
    );
    for attempt in [2, 3] {
        let job = claim(&state, 10).await.unwrap();
        assert_eq!((job.key.as_str(), job.attempts), ("b", attempt));
        state
            .release(&job.fence(), moment(11), &again())
            .await
            .unwrap();
    }
    let all = [
        json!(["missed", "exhausted", "a"]),
        json!(["missed", "exhausted", "b"]),
    ];
    assert_eq!(said(&state).await, all);
    // Given back it is not over.
    state.enqueue(&[new_job("c", "orders")]).await.unwrap();
    let job = claim(&state, 20).await.unwrap();
    let fence = job.fence();
    let back = state.release(&fence, moment(21), &Release::GivenBack);
    assert_eq!(back.await.unwrap(), JobStatus::Waiting);
    assert_eq!(said(&state).await, all);
}

async fn a_job_whose_attempt_left_an_entry_is_told_by_that(place: &Place) {
    let state = place.open().await;
    state.enqueue(&[new_job("a", "orders")]).await.unwrap();
    let job = claim(&state, 0).await.unwrap();
    let run = begin(&state, RunKind::Verify, "orders").await;
    let mut could_not = outcome();
    could_not.exit_code = 3;
    let mut end = fenced_by(job.fence());
    end.job = JobEnd::GoesOn;
    state.finish_run(run, &could_not, &end).await.unwrap();
    state
        .release(&job.fence(), moment(1), &failed())
        .await
        .unwrap();
    assert_eq!(said(&state).await, [Value::Null; 0]);
    assert_eq!(state.entries(0, 10).await.unwrap().len(), 1);

    // That an attempt was killed does not say what the job came to.
    state.enqueue(&[new_job("b", "orders")]).await.unwrap();
    let job = claim(&state, 10).await.unwrap();
    let new = NewRun {
        kind: RunKind::Verify,
        cluster: "orders".to_owned(),
        copy: "primary".to_owned(),
        location: "s3://backups/orders".to_owned(),
    };
    drop(state.begin_run_of(&job.fence(), &new).await.unwrap());
    wait_until("the run is noticed", async || {
        !state.mark_interrupted().await.unwrap().is_empty()
    })
    .await;
    state
        .release(&job.fence(), moment(11), &failed())
        .await
        .unwrap();
    assert_eq!(said(&state).await, [json!(["missed", "exhausted", "b"])]);
}

async fn a_cancelled_job_is_skipped_unless_it_was_tried(place: &Place) {
    let state = place.open().await;
    let jobs = ["a", "b", "c", "d"].map(|key| new_job(key, key));
    state.enqueue(&jobs).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(claim(&state, 0).await.unwrap());
    }
    let filter = JobFilter {
        status: Some(JobStatus::Waiting),
        ..JobFilter::default()
    };
    let waiting = state.jobs(&filter).await.unwrap().remove(0);
    for _ in 0..2 {
        let status = state.cancel(waiting.id, moment(1)).await.unwrap();
        assert_eq!(status, Some(JobStatus::Cancelled));
    }
    assert_eq!(said(&state).await, [json!(["skipped", "cancelled", "d"])]);
    // Those that run are asked; what they leave decides.
    for job in &held {
        let status = state.cancel(job.id, moment(1)).await.unwrap();
        assert_eq!(status, Some(JobStatus::Running));
    }
    assert_eq!(said(&state).await.len(), 1);
    let run = begin(&state, RunKind::Verify, "a").await;
    let mut end = fenced_by(held[0].fence());
    end.job = JobEnd::GoesOn;
    state.finish_run(run, &outcome(), &end).await.unwrap();
    for job in &held[..2] {
        let fence = job.fence();
        let release = state.release(&fence, moment(2), &Release::Cancelled);
        assert_eq!(release.await.unwrap(), JobStatus::Cancelled);
    }
    assert_eq!(state.expire_leases(moment(1000)).await.unwrap().len(), 1);
    assert_eq!(
        said(&state).await,
        [
            json!(["skipped", "cancelled", "d"]),
            json!(["skipped", "cancelled", "b"]),
            json!(["skipped", "cancelled", "c"]),
        ]
    );
}

async fn lease(state: &State) -> Lease {
    let taken = state.try_lease("tick", Uuid::now_v7(), moment(0), LEASE);
    taken.await.unwrap().unwrap()
}

fn row(schedule: &str, definition: &str, next: i64) -> ScheduleRow {
    ScheduleRow {
        schedule: schedule.to_owned(),
        cluster: "orders".to_owned(),
        kind: JobKind::Verify,
        definition: definition.to_owned(),
        next_due: moment(next),
        last_due: None,
    }
}

async fn what_the_configuration_does_not_want_any_more_is_skipped(place: &Place) {
    let state = place.open().await;
    let lease = lease(&state).await;
    let rows = [row("often", "x", 100), row("later", "x", 1000)];
    state
        .schedules_sync(&lease, &rows, moment(0))
        .await
        .unwrap();
    let job = |key: &str, schedule: &str| super::NewJob {
        schedule: Some(schedule.to_owned()),
        ..new_job(key, "orders")
    };
    let jobs = [job("runs", "often"), job("waits", "often")];
    state.enqueue(&jobs).await.unwrap();
    let running = claim(&state, 1).await.unwrap();
    state.enqueue(&[job("other", "kept")]).await.unwrap();
    let synced = state
        .schedules_sync(&lease, &[], moment(200))
        .await
        .unwrap();
    assert_eq!(synced.removed, 2);
    // The one that was due; the other's moment had not come. What runs ends as it began.
    assert_eq!(
        said(&state).await,
        [
            json!(["skipped", "removed", "waits"]),
            json!(["skipped", "removed", null])
        ]
    );
    let status = async |id| state.job(id).await.unwrap().unwrap().status;
    assert_eq!(status(running.id).await, JobStatus::Running);
    let open = state.job_counts().await.unwrap();
    let waiting = open.iter().find(|count| count.status == JobStatus::Waiting);
    assert_eq!(waiting.map(|count| count.jobs), Some(1));
}

async fn a_schedule_that_is_due_keeps_its_moment_when_it_changes(place: &Place) {
    let state = place.open().await;
    let lease = lease(&state).await;
    let sync = async |rows: &[ScheduleRow], now| {
        state
            .schedules_sync(&lease, rows, moment(now))
            .await
            .unwrap()
    };
    let next = async || {
        let rows = state.schedules(None).await.unwrap();
        rows.iter().map(|row| row.next_due).collect::<Vec<_>>()
    };
    sync(&[row("early", "x", 500), row("often", "x", 100)], 0).await;
    let changed = sync(&[row("early", "y", 900), row("often", "y", 700)], 300).await;
    let two = ScheduleSync {
        changed: 2,
        ..ScheduleSync::default()
    };
    assert_eq!(changed, two);
    assert_eq!(next().await, [moment(900), moment(100)]);
    assert_eq!(said(&state).await, [Value::Null; 0]);
    // Another kind of work does not make up for it.
    let drill = ScheduleRow {
        kind: JobKind::Drill,
        ..row("often", "drill", 800)
    };
    sync(&[row("early", "y", 900), drill], 300).await;
    assert_eq!(next().await, [moment(900), moment(800)]);
    assert_eq!(said(&state).await, [json!(["skipped", "removed", null])]);
}

async fn schedules_are_changed_only_under_the_lease(place: &Place) {
    let state = place.open().await;
    let old = lease(&state).await;
    let later = moment(1000);
    let new = state.try_lease("tick", Uuid::now_v7(), later, LEASE);
    let new = new.await.unwrap().unwrap();
    let rows = [row("often", "x", 2000)];
    let error = state.schedules_sync(&old, &rows, later).await.unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Fenced, "{error}");
    assert_eq!(state.schedules(None).await.unwrap(), []);
    state.schedules_sync(&new, &rows, later).await.unwrap();
    assert_eq!(state.schedules(None).await.unwrap(), rows);
}

async fn a_job_planned_for_more_scratch_than_there_is_takes_all(place: &Place) {
    let state = place.open().await;
    let drill = |key: &str, scratch_bytes| super::NewJob {
        kind: JobKind::Drill,
        scratch_bytes,
        ..new_job(key, key)
    };
    let jobs = [drill("a", 60), drill("b", 1000), drill("c", 10)];
    state.enqueue(&jobs).await.unwrap();
    let mut asked = request(0);
    asked.budgets.scratch_bytes = 100;
    let claim = async || {
        let job = state.claim(&asked).await.unwrap();
        job.map(|job| (job.key.clone(), job.fence()))
    };
    let (key, first) = claim().await.unwrap();
    assert_eq!(key, "a");
    // Not beside another; what fits goes on.
    let (key, small) = claim().await.unwrap();
    assert_eq!(key, "c");
    assert_eq!(claim().await, None);
    for fence in [first, small] {
        state.release(&fence, moment(1), &failed()).await.unwrap();
    }
    // The budget was lowered after it was planned: it takes all there is.
    let (key, _) = claim().await.unwrap();
    assert_eq!(key, "b");
    state.enqueue(&[drill("d", 1)]).await.unwrap();
    assert_eq!(claim().await, None);
}
