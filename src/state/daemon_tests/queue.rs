//! Jobs one by one: what is given, what is held, what is taken back, what is refused.

use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use super::super::testing::wait_until;
use super::super::{
    Advance, Budgets, Heartbeat, JobEnd, JobFilter, JobKind, JobProgress, JobStatus, Release,
    RunKind, RunStatus, ScheduleRow, ScheduleSync, StateErrorKind,
};
use super::{LEASE, Place, begin, claim, fenced_by, moment, new_job, on_both, outcome, request};
use crate::evidence::{EntryKind, NewEntry};
use crate::state::{Completion, HistoryFilter, IncidentFilter};

on_both!(
    a_job_goes_from_the_queue_to_its_end,
    the_same_key_does_nothing,
    what_is_not_ready_is_not_given,
    a_holder_that_falls_silent_loses_the_job_and_is_refused,
    a_released_job_waits_again_until_its_attempts_are_used_up,
    a_job_is_cancelled_wherever_it_stands,
    what_is_not_begun_in_time_is_missed_and_recorded,
    each_budget_holds_over_all_holders,
    priority_goes_before_the_turn_and_the_turn_before_the_time,
    jobs_are_shown_by_each_filter_and_forgotten_when_old,
    a_lease_is_held_by_one_and_its_token_grows_with_each_change,
    schedules_keep_their_moment_until_their_definition_changes,
    a_step_of_a_schedule_is_taken_whole_and_only_under_the_lease,
    a_job_without_a_run_is_done_with_its_entries,
    a_spec_past_its_limit_is_refused,
);

async fn a_job_goes_from_the_queue_to_its_end(place: &Place) {
    let state = place.open().await;
    let mut new = new_job("a", "orders");
    new.late = true;
    new.scratch_bytes = 7;
    new.deadline = Some(moment(900));
    assert_eq!(state.enqueue(&[new.clone()]).await.unwrap(), [true]);
    let asked = request(1);
    let job = state.claim(&asked).await.unwrap().unwrap();
    assert_eq!((job.key.as_str(), job.kind), ("a", JobKind::Verify));
    assert_eq!(job.schedule, new.schedule);
    assert_eq!(job.tier, new.tier);
    assert_eq!(job.spec, new.spec);
    assert_eq!(job.deadline, new.deadline);
    assert_eq!((job.late, job.scratch_bytes, job.priority), (true, 7, 5));
    assert_eq!(
        (job.status, job.attempts, job.token),
        (JobStatus::Running, 1, 1)
    );
    assert_eq!(job.holder, Some(asked.holder));
    assert_eq!(job.lease_until, Some(moment(61)));
    assert_eq!(job.started_at, Some(moment(1)));
    assert_eq!(claim(&state, 1).await, None);

    let progress = JobProgress {
        phase: "reading".to_owned(),
        done: 3,
        total: Some(9),
        unit: "objects".to_owned(),
        at: moment(20),
    };
    let beat = state
        .heartbeat(&job.fence(), moment(20), LEASE, Some(progress.clone()))
        .await
        .unwrap();
    assert_eq!(beat, Heartbeat::Held);
    let beat = state
        .heartbeat(&job.fence(), moment(40), LEASE, None)
        .await
        .unwrap();
    assert_eq!(beat, Heartbeat::Held);
    let held = state.job(job.id).await.unwrap().unwrap();
    assert_eq!(held.progress, Some(progress));
    assert_eq!(held.lease_until, Some(moment(100)));

    let run = begin(&state, RunKind::Verify, "orders").await;
    let run_id = run.id;
    let entry = state
        .finish_run(run, &outcome(), &fenced_by(job.fence()))
        .await
        .unwrap();
    assert_eq!(entry.sequence, 1);
    let done = state.job(job.id).await.unwrap().unwrap();
    assert_eq!((done.status, done.run_id), (JobStatus::Done, Some(run_id)));
    assert_eq!((done.holder, done.lease_until), (None, None));
    assert!(done.finished_at.is_some());
    // It is done once.
    let beat = state
        .heartbeat(&job.fence(), moment(41), LEASE, None)
        .await
        .unwrap();
    assert_eq!(beat, Heartbeat::Lost);
    let error = state
        .release(&job.fence(), moment(41), &Release::GivenBack)
        .await
        .unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Fenced, "{error}");
}

async fn the_same_key_does_nothing(place: &Place) {
    let state = place.open().await;
    let other = place.open().await;
    let jobs = [new_job("a", "orders"), new_job("b", "orders")];
    assert_eq!(state.enqueue(&jobs).await.unwrap(), [true, true]);
    let again = [
        new_job("b", "orders"),
        new_job("c", "orders"),
        new_job("c", "billing"),
    ];
    assert_eq!(other.enqueue(&again).await.unwrap(), [false, true, false]);
    // Not even once it is over.
    let job = claim(&state, 1).await.unwrap();
    state
        .release(&job.fence(), moment(2), &Release::Cancelled)
        .await
        .unwrap();
    assert_eq!(
        state.enqueue(&[new_job(&job.key, "orders")]).await.unwrap(),
        [false]
    );
    assert_eq!(state.jobs(&JobFilter::default()).await.unwrap().len(), 3);
}

async fn what_is_not_ready_is_not_given(place: &Place) {
    let state = place.open().await;
    let mut later = new_job("later", "orders");
    later.run_after = moment(100);
    let mut past = new_job("past", "orders");
    past.deadline = Some(moment(-1));
    let mut drill = new_job("drill", "orders");
    drill.kind = JobKind::Drill;
    state.enqueue(&[later, past, drill]).await.unwrap();
    let mut asked = request(0);
    asked.allow = vec![JobKind::Verify];
    assert_eq!(state.claim(&asked).await.unwrap(), None);
    asked.allow = Vec::new();
    assert_eq!(state.claim(&asked).await.unwrap(), None);
    assert_eq!(claim(&state, 0).await.unwrap().key, "drill");
    assert_eq!(claim(&state, 99).await, None);
    assert_eq!(claim(&state, 100).await.unwrap().key, "later");
}

async fn a_holder_that_falls_silent_loses_the_job_and_is_refused(place: &Place) {
    let paused = place.open().await;
    let other = place.open().await;
    paused.enqueue(&[new_job("a", "orders")]).await.unwrap();
    let first = claim(&paused, 0).await.unwrap();
    let run = begin(&paused, RunKind::Verify, "orders").await;
    let run_id = run.id;
    assert_eq!(other.expire_leases(moment(60)).await.unwrap(), []);
    let expired = other.expire_leases(moment(61)).await.unwrap();
    assert_eq!(expired.len(), 1);
    assert_eq!(
        (expired[0].id, expired[0].status),
        (first.id, JobStatus::Waiting)
    );
    assert!(expired[0].error.as_ref().unwrap().contains("silent"));
    let second = claim(&other, 62).await.unwrap();
    assert_eq!((second.id, second.token, second.attempts), (first.id, 2, 2));

    // It wakes, and whatever it tries is refused.
    let beat = paused
        .heartbeat(&first.fence(), moment(63), LEASE, None)
        .await
        .unwrap();
    assert_eq!(beat, Heartbeat::Lost);
    for release in [
        Release::GivenBack,
        Release::Cancelled,
        Release::Failed {
            error: String::new(),
        },
        Release::Retry {
            run_after: moment(0),
            error: String::new(),
        },
    ] {
        let error = paused
            .release(&first.fence(), moment(63), &release)
            .await
            .unwrap_err();
        assert_eq!(error.kind, StateErrorKind::Fenced, "{error}");
    }
    let mut found = outcome();
    found.exit_code = 1;
    found.findings = vec![crate::finding::Finding::new(
        crate::finding::Code::WalGap,
        "wals/0001",
        "three segments",
    )];
    for end in [JobEnd::Done, JobEnd::GoesOn] {
        let run = begin(&paused, RunKind::Verify, "orders").await;
        let completion = Completion {
            job: end,
            ..fenced_by(first.fence())
        };
        let error = paused
            .finish_run(run, &found, &completion)
            .await
            .unwrap_err();
        assert_eq!(error.kind, StateErrorKind::Fenced, "{error}");
        assert!(error.to_string().contains("leave the work"), "{error}");
    }
    let error = paused
        .finish_run(run, &found, &fenced_by(first.fence()))
        .await
        .unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Fenced, "{error}");
    // Nothing of it is visible.
    assert_eq!(other.entry_head().await.unwrap(), None);
    assert_eq!(
        other
            .incidents(false, &IncidentFilter::default())
            .await
            .unwrap(),
        []
    );
    let runs = other.history(&HistoryFilter::default()).await.unwrap();
    assert!(
        runs.iter()
            .all(|run| run.findings == 0 && run.verdict.is_none())
    );
    assert!(runs.iter().all(|run| run.status != RunStatus::Finished));
    let held = other.job(second.id).await.unwrap().unwrap();
    assert_eq!((held.status, held.token), (JobStatus::Running, 2));
    assert_eq!(held.lease_until, Some(moment(122)));

    // The other one comes to its end.
    let run = begin(&other, RunKind::Verify, "orders").await;
    other
        .finish_run(run, &outcome(), &fenced_by(second.fence()))
        .await
        .unwrap();
    assert_eq!(other.entry_head().await.unwrap().unwrap().0, 1);

    // What was refused is noticed as interrupted, once.
    let mut marked = Vec::new();
    wait_until("what was given up is noticed", async || {
        marked.extend(other.mark_interrupted().await.unwrap());
        marked.len() >= 3
    })
    .await;
    assert!(marked.contains(&run_id));
    assert_eq!(marked.len(), 3);
    assert!(other.mark_interrupted().await.unwrap().is_empty());
    let entries = other.entries(1, 100).await.unwrap();
    assert_eq!(entries.len(), 3);
    assert!(
        entries
            .iter()
            .all(|entry| entry.text.contains(r#""kind":"interrupted""#))
    );
}

async fn a_released_job_waits_again_until_its_attempts_are_used_up(place: &Place) {
    let state = place.open().await;
    state.enqueue(&[new_job("a", "orders")]).await.unwrap();
    // Given back: not counted, at once.
    let job = claim(&state, 0).await.unwrap();
    let status = state
        .release(&job.fence(), moment(1), &Release::GivenBack)
        .await
        .unwrap();
    assert_eq!(status, JobStatus::Waiting);
    let mut now = 1;
    for attempt in 1..=3_u32 {
        let job = claim(&state, now).await.unwrap();
        assert_eq!(job.attempts, attempt);
        assert_eq!(job.token, i64::from(attempt) + 1);
        let retry = Release::Retry {
            run_after: moment(now + 30),
            error: format!("attempt {attempt}"),
        };
        let status = state
            .release(&job.fence(), moment(now), &retry)
            .await
            .unwrap();
        let job = state.job(job.id).await.unwrap().unwrap();
        assert_eq!(job.error.unwrap(), format!("attempt {attempt}"));
        assert_eq!(claim(&state, now + 29).await, None);
        now += 30;
        if attempt < 3 {
            assert_eq!(status, JobStatus::Waiting);
        } else {
            assert_eq!(status, JobStatus::Failed);
            assert_eq!(claim(&state, now).await, None);
        }
    }
    // The same for a holder that falls silent, and for one that gives up by itself.
    state
        .enqueue(&[new_job("b", "orders"), new_job("c", "orders")])
        .await
        .unwrap();
    for attempt in 1..=3 {
        let job = claim(&state, now).await.unwrap();
        assert_eq!(job.key, "b");
        now += 61;
        let status = state.expire_leases(moment(now)).await.unwrap()[0].status;
        let expected = if attempt < 3 {
            JobStatus::Waiting
        } else {
            JobStatus::Failed
        };
        assert_eq!(status, expected);
    }
    let job = claim(&state, now).await.unwrap();
    let failed = Release::Failed {
        error: "no such bucket".to_owned(),
    };
    let status = state
        .release(&job.fence(), moment(now), &failed)
        .await
        .unwrap();
    assert_eq!((job.key.as_str(), status), ("c", JobStatus::Failed));
    assert_eq!(claim(&state, now + 1000).await, None);

    // An attempt whose run said what goes on.
    state.enqueue(&[new_job("d", "orders")]).await.unwrap();
    let job = claim(&state, now).await.unwrap();
    for (end, expected) in [
        (JobEnd::GoesOn, JobStatus::Running),
        (
            JobEnd::Retry {
                run_after: moment(now + 5),
                error: "busy".to_owned(),
            },
            JobStatus::Waiting,
        ),
    ] {
        let run = begin(&state, RunKind::Verify, "orders").await;
        let completion = Completion {
            job: end,
            ..fenced_by(job.fence())
        };
        state
            .finish_run(run, &outcome(), &completion)
            .await
            .unwrap();
        assert_eq!(state.job(job.id).await.unwrap().unwrap().status, expected);
    }
}

async fn a_job_is_cancelled_wherever_it_stands(place: &Place) {
    let state = place.open().await;
    let jobs: Vec<_> = ["a", "b", "c", "d"]
        .map(|key| new_job(key, "orders"))
        .into();
    state.enqueue(&jobs).await.unwrap();
    let running = claim(&state, 0).await.unwrap();
    let silent = claim(&state, 0).await.unwrap();
    let given_back = claim(&state, 0).await.unwrap();
    let waiting = state
        .jobs(&JobFilter {
            status: Some(JobStatus::Waiting),
            ..JobFilter::default()
        })
        .await
        .unwrap();
    let cancel = async |id| state.cancel(id, moment(5)).await.unwrap();
    assert_eq!(cancel(waiting[0].id).await, Some(JobStatus::Cancelled));
    assert_eq!(cancel(Uuid::now_v7()).await, None);
    for job in [&running, &silent, &given_back] {
        assert_eq!(cancel(job.id).await, Some(JobStatus::Running));
        let beat = state
            .heartbeat(&job.fence(), moment(6), LEASE, None)
            .await
            .unwrap();
        assert_eq!(beat, Heartbeat::CancelAsked);
    }
    let released = async |job: &super::Job, release| {
        state
            .release(&job.fence(), moment(7), &release)
            .await
            .unwrap()
    };
    assert_eq!(
        released(&running, Release::Cancelled).await,
        JobStatus::Cancelled
    );
    assert_eq!(
        released(&given_back, Release::GivenBack).await,
        JobStatus::Cancelled
    );
    let expired = state.expire_leases(moment(67)).await.unwrap();
    assert_eq!(
        (expired[0].id, expired[0].status),
        (silent.id, JobStatus::Cancelled)
    );
    assert_eq!(claim(&state, 1000).await, None);
    assert_eq!(cancel(silent.id).await, Some(JobStatus::Cancelled));
}

async fn what_is_not_begun_in_time_is_missed_and_recorded(place: &Place) {
    let state = place.open().await;
    let mut soon = new_job("soon", "orders");
    soon.deadline = Some(moment(10));
    let mut later = new_job("later", "billing");
    later.deadline = Some(moment(20));
    let mut running = new_job("running", "orders");
    running.deadline = Some(moment(5));
    state.enqueue(&[running, soon, later]).await.unwrap();
    assert_eq!(claim(&state, 0).await.unwrap().cluster, "billing");
    let expired = state.expire_leases(moment(100)).await.unwrap();
    assert_eq!(expired.len(), 1);
    assert_eq!(state.missed_jobs(moment(5)).await.unwrap(), []);
    let job = claim(&state, 4).await.unwrap();
    assert_eq!(job.cluster, "orders");
    let missed = state.missed_jobs(moment(21)).await.unwrap();
    assert_eq!(missed.len(), 1);
    assert_eq!(
        (missed[0].key.as_str(), missed[0].status),
        ("soon", JobStatus::Missed)
    );
    assert_eq!(state.missed_jobs(moment(21)).await.unwrap(), []);
    let entries = state.entries(0, 10).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert!(
        entries
            .iter()
            .all(|entry| entry.text.contains(r#""kind":"missed""#))
    );
    assert!(
        entries
            .iter()
            .all(|entry| entry.text.contains(r#""reason":"deadline""#))
    );
    // Begun in time, and its holder died: it is tried on beyond its deadline.
    assert_eq!(claim(&state, 30).await.unwrap().cluster, "billing");
    assert_eq!(claim(&state, 30).await, None);
    let counts = state.entry_counts().await.unwrap();
    assert_eq!(counts.iter().map(|count| count.entries).sum::<u64>(), 1);
    assert!(counts.iter().all(|count| count.kind == EntryKind::Missed));
}

async fn each_budget_holds_over_all_holders(place: &Place) {
    let state = place.open().await;
    let other = place.open().await;
    let job = |key: &str, cluster: &str, kind, bucket: &str, scratch| {
        let mut job = new_job(key, cluster);
        job.kind = kind;
        job.bucket = bucket.to_owned();
        job.scratch_bytes = scratch;
        job
    };
    let given = async |budgets: Budgets| {
        let mut given = Vec::new();
        for holder in [&state, &other].into_iter().cycle() {
            let asked = super::ClaimRequest {
                budgets,
                ..request(1)
            };
            let Some(job) = holder.claim(&asked).await.unwrap() else {
                break;
            };
            given.push(job);
        }
        given
    };
    let give_back = async |jobs: &[super::Job]| {
        for job in jobs {
            state
                .release(&job.fence(), moment(2), &Release::Cancelled)
                .await
                .unwrap();
        }
    };
    // Drills.
    let jobs: Vec<_> = (0..5)
        .map(|n| job(&format!("d{n}"), &format!("c{n}"), JobKind::Drill, "", 0))
        .collect();
    state.enqueue(&jobs).await.unwrap();
    let budgets = Budgets {
        drills: 2,
        ..Budgets::NONE
    };
    let held = given(budgets).await;
    assert_eq!(held.len(), 2);
    give_back(&held).await;
    let held = given(Budgets::NONE).await;
    assert_eq!(held.len(), 3);
    give_back(&held).await;
    // One cluster; work on none is not counted.
    let mut jobs: Vec<_> = (0..5)
        .map(|n| job(&format!("o{n}"), "orders", JobKind::Verify, "", 0))
        .collect();
    jobs.extend((0..4).map(|n| job(&format!("n{n}"), "", JobKind::Report, "", 0)));
    state.enqueue(&jobs).await.unwrap();
    let held = given(Budgets {
        per_cluster: 2,
        ..Budgets::NONE
    })
    .await;
    let orders = held.iter().filter(|job| job.cluster == "orders").count();
    assert_eq!((held.len(), orders), (6, 2));
    give_back(&held).await;
    give_back(&given(Budgets::NONE).await).await;
    // One bucket; no bucket is not counted.
    let jobs: Vec<_> = (0..9)
        .map(|n| {
            let bucket = ["one", "two", ""][n % 3];
            job(
                &format!("b{n}"),
                &format!("c{n}"),
                JobKind::Verify,
                bucket,
                0,
            )
        })
        .collect();
    state.enqueue(&jobs).await.unwrap();
    let held = given(Budgets {
        per_bucket: 1,
        ..Budgets::NONE
    })
    .await;
    let mut buckets: Vec<_> = held.iter().map(|job| job.bucket.as_str()).collect();
    buckets.sort_unstable();
    assert_eq!(buckets, ["", "", "", "one", "two"]);
    give_back(&held).await;
    give_back(&given(Budgets::NONE).await).await;
    // Scratch disk: what fits goes, even behind what does not.
    let jobs = [
        job("s1", "c1", JobKind::Drill, "", 60),
        job("s2", "c2", JobKind::Drill, "", 50),
        job("s3", "c3", JobKind::Drill, "", 40),
        job("s4", "c4", JobKind::Verify, "", 0),
    ];
    state.enqueue(&jobs).await.unwrap();
    let held = given(Budgets {
        scratch_bytes: 100,
        ..Budgets::NONE
    })
    .await;
    let bytes: u64 = held.iter().map(|job| job.scratch_bytes).sum();
    assert_eq!((held.len(), bytes <= 100), (3, true));
}

async fn priority_goes_before_the_turn_and_the_turn_before_the_time(place: &Place) {
    let state = place.open().await;
    let job = |key: &str, cluster: &str, priority, due| {
        let mut job = new_job(key, cluster);
        job.priority = priority;
        job.due_at = moment(due);
        job.run_after = moment(due);
        job
    };
    state
        .enqueue(&[
            job("a1", "a", 5, 1),
            job("a2", "a", 5, 0),
            job("a3", "a", 5, 2),
            job("b1", "b", 5, 9),
            job("b2", "b", 9, 9),
            job("c1", "c", 0, 0),
        ])
        .await
        .unwrap();
    let mut keys = Vec::new();
    while let Some(job) = claim(&state, 10).await {
        keys.push(job.key);
    }
    assert_eq!(keys, ["b2", "a2", "b1", "a1", "a3", "c1"]);
}

async fn jobs_are_shown_by_each_filter_and_forgotten_when_old(place: &Place) {
    let state = place.open().await;
    let mut drill = new_job("b", "billing");
    drill.kind = JobKind::Drill;
    drill.schedule = None;
    state
        .enqueue(&[new_job("a@1", "orders"), drill, new_job("a@2", "orders")])
        .await
        .unwrap();
    let job = claim(&state, 1).await.unwrap();
    state
        .release(&job.fence(), moment(50), &Release::Cancelled)
        .await
        .unwrap();
    let count = async |filter: JobFilter| state.jobs(&filter).await.unwrap().len();
    let none = JobFilter::default;
    assert_eq!(count(none()).await, 3);
    assert_eq!(
        count(JobFilter {
            cluster: Some("orders".to_owned()),
            ..none()
        })
        .await,
        2
    );
    assert_eq!(
        count(JobFilter {
            kind: Some(JobKind::Drill),
            ..none()
        })
        .await,
        1
    );
    assert_eq!(
        count(JobFilter {
            status: Some(JobStatus::Cancelled),
            ..none()
        })
        .await,
        1
    );
    assert_eq!(
        count(JobFilter {
            schedule: Some("often".to_owned()),
            ..none()
        })
        .await,
        2
    );
    assert_eq!(
        count(JobFilter {
            open: true,
            ..none()
        })
        .await,
        2
    );
    assert_eq!(count(JobFilter { limit: 1, ..none() }).await, 1);
    let id = job.id.to_string().to_uppercase();
    assert_eq!(
        count(JobFilter {
            id: Some(id),
            ..none()
        })
        .await,
        1
    );
    assert_eq!(
        count(JobFilter {
            id: Some("%".to_owned()),
            ..none()
        })
        .await,
        0
    );
    let counts = state.job_counts().await.unwrap();
    assert_eq!(counts.iter().map(|count| count.jobs).sum::<u64>(), 3);
    // Two moments of the same; the other schedule's is over.
    let under_way = state.jobs_under_way("often").await.unwrap();
    assert_eq!(under_way.into_iter().collect::<Vec<_>>(), ["a"]);

    assert_eq!(state.prune_jobs(moment(50), 10).await.unwrap(), 0);
    assert_eq!(state.prune_jobs(moment(51), 10).await.unwrap(), 1);
    assert_eq!(state.job(job.id).await.unwrap(), None);
    assert_eq!(count(none()).await, 2);
}

async fn a_lease_is_held_by_one_and_its_token_grows_with_each_change(place: &Place) {
    let state = place.open().await;
    let other = place.open().await;
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(state.lease("tick", moment(0)).await.unwrap(), None);
    let lease = state
        .try_lease("tick", one, moment(0), LEASE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((lease.token, lease.until), (1, moment(60)));
    assert_eq!(
        other
            .try_lease("tick", two, moment(1), LEASE)
            .await
            .unwrap(),
        None
    );
    let elsewhere = other
        .try_lease("sweep", two, moment(1), LEASE)
        .await
        .unwrap();
    assert_eq!(elsewhere.unwrap().token, 1);
    let renewed = state
        .try_lease("tick", one, moment(30), LEASE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((renewed.token, renewed.until), (1, moment(90)));
    assert_eq!(
        other.lease("tick", moment(31)).await.unwrap(),
        Some(renewed.clone())
    );
    assert_eq!(
        other
            .try_lease("tick", two, moment(90), LEASE)
            .await
            .unwrap(),
        None
    );
    let taken = other
        .try_lease("tick", two, moment(91), LEASE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(taken.token, 2);
    // Giving back what one has not does nothing.
    state.release_lease(&renewed).await.unwrap();
    assert_eq!(
        state
            .try_lease("tick", one, moment(92), LEASE)
            .await
            .unwrap(),
        None
    );
    other.release_lease(&taken).await.unwrap();
    let again = state
        .try_lease("tick", one, moment(92), LEASE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.token, 3);
}

fn schedule(name: &str, cluster: &str, definition: &str, next: i64) -> ScheduleRow {
    ScheduleRow {
        schedule: name.to_owned(),
        cluster: cluster.to_owned(),
        kind: JobKind::Verify,
        definition: definition.to_owned(),
        next_due: moment(next),
        last_due: None,
    }
}

async fn schedules_keep_their_moment_until_their_definition_changes(place: &Place) {
    let state = place.open().await;
    let rows = [
        schedule("often", "orders", "*/15", 100),
        schedule("often", "billing", "*/15", 200),
        schedule("nightly", "orders", "0 3", 300),
    ];
    let lease = state.try_lease("tick", Uuid::now_v7(), moment(0), LEASE);
    let lease = lease.await.unwrap().unwrap();
    let sync = async |rows: &[ScheduleRow]| {
        let synced = state.schedules_sync(&lease, rows, moment(0));
        synced.await.unwrap()
    };
    assert_eq!(
        sync(&rows).await,
        ScheduleSync {
            added: 3,
            ..Default::default()
        }
    );
    assert_eq!(sync(&rows).await, ScheduleSync::default());
    let rows = [
        schedule("often", "orders", "*/15", 999),
        schedule("often", "billing", "*/30", 999),
        schedule("weekly", "orders", "0 4", 400),
    ];
    let changed = ScheduleSync {
        added: 1,
        changed: 1,
        removed: 1,
    };
    assert_eq!(sync(&rows).await, changed);
    let due = state.schedules_due(moment(999), 10).await.unwrap();
    let due: Vec<_> = due
        .iter()
        .map(|row| (row.schedule.as_str(), row.cluster.as_str(), row.next_due))
        .collect();
    assert_eq!(
        due,
        [
            ("often", "orders", moment(100)),
            ("weekly", "orders", moment(400)),
            ("often", "billing", moment(999)),
        ]
    );
    assert_eq!(state.schedules_due(moment(99), 10).await.unwrap(), []);
    assert_eq!(state.schedules_due(moment(999), 1).await.unwrap().len(), 1);
    assert_eq!(state.schedules(Some("orders")).await.unwrap().len(), 2);
    assert_eq!(state.schedules(None).await.unwrap().len(), 3);
}

async fn a_step_of_a_schedule_is_taken_whole_and_only_under_the_lease(place: &Place) {
    let state = place.open().await;
    let rows = [schedule("often", "orders", "*/15", 100)];
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let old = state
        .try_lease("tick", one, moment(0), LEASE)
        .await
        .unwrap()
        .unwrap();
    state.schedules_sync(&old, &rows, moment(0)).await.unwrap();
    let new = state
        .try_lease("tick", two, moment(100), LEASE)
        .await
        .unwrap()
        .unwrap();
    let entry = NewEntry {
        kind: EntryKind::Late,
        at: moment(101),
        cluster: Some("orders".to_owned()),
        copy: None,
        run_id: None,
        body: json!({"schedule": "often"}),
    };
    let step = Advance {
        schedule: "often".to_owned(),
        cluster: "orders".to_owned(),
        next_due: moment(1000),
        last_due: moment(100),
        jobs: vec![new_job("a", "orders"), new_job("b", "orders")],
        entries: vec![entry],
    };
    let gone = Advance {
        schedule: "gone".to_owned(),
        jobs: vec![new_job("z", "orders")],
        ..step.clone()
    };
    let steps = [step, gone];
    let error = state.schedule_advance(&old, &steps).await.unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Fenced, "{error}");
    assert_eq!(state.jobs(&JobFilter::default()).await.unwrap(), []);
    assert_eq!(state.schedules_due(moment(100), 9).await.unwrap().len(), 1);
    let advanced = state.schedule_advance(&new, &steps).await.unwrap();
    assert_eq!((advanced.jobs, advanced.entries.len()), (2, 1));
    assert_eq!(state.schedules_due(moment(999), 9).await.unwrap(), []);
    let row = &state.schedules(None).await.unwrap()[0];
    assert_eq!(
        (row.next_due, row.last_due),
        (moment(1000), Some(moment(100)))
    );
    // The same step again finds the schedule beyond it.
    let advanced = state.schedule_advance(&new, &steps).await.unwrap();
    assert_eq!((advanced.jobs, advanced.entries.len()), (0, 0));
    assert_eq!(state.entry_head().await.unwrap().unwrap().0, 1);
}

async fn a_job_without_a_run_is_done_with_its_entries(place: &Place) {
    let state = place.open().await;
    let mut report = new_job("report", "");
    report.kind = JobKind::Report;
    state.enqueue(&[report]).await.unwrap();
    let first = claim(&state, 0).await.unwrap();
    state
        .expire_leases(moment(0) + TimeDelta::hours(1))
        .await
        .unwrap();
    let second = claim(&state, 4000).await.unwrap();
    let entry = NewEntry {
        kind: EntryKind::Report,
        at: moment(1),
        cluster: None,
        copy: None,
        run_id: None,
        body: json!({}),
    };
    let entries = [entry];
    let error = state
        .finish_job(&first.fence(), moment(4001), &entries)
        .await
        .unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Fenced, "{error}");
    assert_eq!(state.entry_head().await.unwrap(), None);
    let appended = state
        .finish_job(&second.fence(), moment(4001), &entries)
        .await
        .unwrap();
    assert_eq!(appended.len(), 1);
    assert_eq!(
        state.job(second.id).await.unwrap().unwrap().status,
        JobStatus::Done
    );
}

async fn a_spec_past_its_limit_is_refused(place: &Place) {
    let state = place.open().await;
    let mut job = new_job("a", "orders");
    job.spec = json!("x".repeat(super::super::JOB_SPEC_LIMIT));
    let error = state
        .enqueue(&[new_job("b", "orders"), job.clone()])
        .await
        .unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Refused, "{error}");
    // All or nothing.
    assert_eq!(state.jobs(&JobFilter::default()).await.unwrap(), []);
    job.spec = json!("x".repeat(super::super::JOB_SPEC_LIMIT - 2));
    assert_eq!(state.enqueue(&[job]).await.unwrap(), [true]);
}
