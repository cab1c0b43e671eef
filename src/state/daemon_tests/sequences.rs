//! Any sequence of claims, signs of life, releases, silences and ends by several holders: no
//! job is lost, none is finished twice, tokens only grow, budgets hold.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use uuid::Uuid;

use super::super::{
    Budgets, Heartbeat, Job, JobFilter, JobKind, JobStatus, Release, RunKind, State, StateErrorKind,
};
use super::{LEASE, Place, begin, fenced_by, moment, new_job, on_both, outcome, request};
use crate::evidence::EntryKind;

on_both!(no_sequence_loses_a_job_or_does_one_twice);

const BUDGETS: Budgets = Budgets {
    drills: 2,
    per_cluster: 2,
    per_bucket: 3,
    scratch_bytes: 100,
};

#[derive(Clone, Debug)]
enum Step {
    Claim {
        holder: usize,
    },
    Beat {
        attempt: usize,
    },
    Retry {
        attempt: usize,
    },
    GiveBack {
        attempt: usize,
    },
    Fail {
        attempt: usize,
    },
    Finish {
        attempt: usize,
    },
    Cancel {
        job: usize,
    },
    /// Time goes on, and whoever fell silent loses its job.
    Expire {
        seconds: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize).prop_map(|holder| Step::Claim { holder }),
        2 => (0..64_usize).prop_map(|attempt| Step::Beat { attempt }),
        1 => (0..64_usize).prop_map(|attempt| Step::Retry { attempt }),
        1 => (0..64_usize).prop_map(|attempt| Step::GiveBack { attempt }),
        1 => (0..64_usize).prop_map(|attempt| Step::Fail { attempt }),
        3 => (0..64_usize).prop_map(|attempt| Step::Finish { attempt }),
        1 => (0..16_usize).prop_map(|job| Step::Cancel { job }),
        2 => (1..90_i64).prop_map(|seconds| Step::Expire { seconds }),
    ]
}

/// What must be so, kept apart from the database.
struct Model {
    holders: Vec<(Uuid, State)>,
    now: i64,
    /// Every attempt there ever was, with whether it is still the newest and held.
    attempts: Vec<(Job, usize)>,
    /// The newest token of each job, and whether somebody holds it.
    tokens: BTreeMap<Uuid, (i64, bool)>,
    finished: BTreeMap<Uuid, u32>,
}

impl Model {
    fn attempt(&self, index: usize) -> Option<(&Job, &State, bool)> {
        if self.attempts.is_empty() {
            return None;
        }
        let (job, holder) = &self.attempts[index % self.attempts.len()];
        let held = self.tokens[&job.id] == (job.token, true);
        Some((job, &self.holders[*holder].1, held))
    }

    async fn claim(&mut self, holder: usize) -> Result<(), TestCaseError> {
        let holder = holder % self.holders.len();
        let (id, state) = &self.holders[holder];
        let mut asked = request(self.now);
        asked.holder = *id;
        asked.budgets = BUDGETS;
        let Some(job) = state.claim(&asked).await.unwrap() else {
            return Ok(());
        };
        let (newest, held) = self.tokens.get(&job.id).copied().unwrap_or_default();
        prop_assert!(!held, "{} was given twice", job.key);
        prop_assert!(job.token > newest, "token {} after {newest}", job.token);
        prop_assert!(job.attempts <= job.max_attempts);
        self.tokens.insert(job.id, (job.token, true));
        self.attempts.push((job, holder));
        Ok(())
    }

    async fn release(&mut self, index: usize, release: Release) -> Result<(), TestCaseError> {
        let Some((job, state, held)) = self.attempt(index) else {
            return Ok(());
        };
        let released = state
            .release(&job.fence(), moment(self.now), &release)
            .await;
        match released {
            Ok(status) => {
                prop_assert!(held, "a stale attempt released {}", job.key);
                prop_assert_ne!(status, JobStatus::Running);
                self.tokens.insert(job.id, (job.token, false));
            }
            Err(error) => {
                prop_assert_eq!(error.kind, StateErrorKind::Fenced);
                prop_assert!(!held, "{} was refused: {error}", job.key);
            }
        }
        Ok(())
    }

    async fn finish(&mut self, index: usize) -> Result<(), TestCaseError> {
        let Some((job, state, held)) = self.attempt(index) else {
            return Ok(());
        };
        let run = begin(state, RunKind::Verify, &job.cluster).await;
        let finished = state
            .finish_run(run, &outcome(), &fenced_by(job.fence()))
            .await;
        match finished {
            Ok(_) => {
                prop_assert!(held, "a stale attempt finished {}", job.key);
                let (id, token) = (job.id, job.token);
                self.tokens.insert(id, (token, false));
                *self.finished.entry(id).or_default() += 1;
            }
            Err(error) => {
                prop_assert_eq!(error.kind, StateErrorKind::Fenced);
                prop_assert!(!held, "{} was refused: {error}", job.key);
            }
        }
        Ok(())
    }

    async fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Claim { holder } => self.claim(*holder).await,
            Step::Beat { attempt } => {
                let Some((job, state, held)) = self.attempt(*attempt) else {
                    return Ok(());
                };
                let beat = state
                    .heartbeat(&job.fence(), moment(self.now), LEASE, None)
                    .await
                    .unwrap();
                prop_assert_eq!(beat == Heartbeat::Lost, !held);
                Ok(())
            }
            Step::Retry { attempt } => {
                let retry = Release::Retry {
                    run_after: moment(self.now + 3),
                    error: "busy".to_owned(),
                };
                self.release(*attempt, retry).await
            }
            Step::GiveBack { attempt } => self.release(*attempt, Release::GivenBack).await,
            Step::Fail { attempt } => {
                let failed = Release::Failed {
                    error: "no".to_owned(),
                };
                self.release(*attempt, failed).await
            }
            Step::Finish { attempt } => self.finish(*attempt).await,
            Step::Cancel { job } => {
                let jobs = self.holders[0].1.jobs(&JobFilter::default()).await.unwrap();
                let job = &jobs[job % jobs.len()];
                self.holders[0]
                    .1
                    .cancel(job.id, moment(self.now))
                    .await
                    .unwrap();
                Ok(())
            }
            Step::Expire { seconds } => {
                self.now += seconds;
                let expired = self.holders[0]
                    .1
                    .expire_leases(moment(self.now))
                    .await
                    .unwrap();
                for job in expired {
                    prop_assert_eq!(self.tokens[&job.id], (job.token, true));
                    self.tokens.insert(job.id, (job.token, false));
                }
                Ok(())
            }
        }
    }

    /// What holds after every step.
    async fn check(&self, jobs: usize) -> Result<(), TestCaseError> {
        let all = self.holders[0].1.jobs(&JobFilter::default()).await.unwrap();
        prop_assert_eq!(all.len(), jobs, "a job is gone");
        let running: Vec<_> = all
            .iter()
            .filter(|job| job.status == JobStatus::Running)
            .collect();
        for job in &all {
            let (token, held) = self.tokens.get(&job.id).copied().unwrap_or_default();
            prop_assert_eq!(job.token, token);
            prop_assert_eq!(job.status == JobStatus::Running, held);
            let finished = self.finished.get(&job.id).copied().unwrap_or_default();
            prop_assert_eq!(u32::from(job.status == JobStatus::Done), finished);
        }
        let count =
            |wanted: &dyn Fn(&Job) -> bool| running.iter().filter(|job| wanted(job)).count();
        prop_assert!(count(&|job| job.kind == JobKind::Drill) <= 2);
        for job in &running {
            prop_assert!(count(&|other| other.cluster == job.cluster) <= 2);
            prop_assert!(job.bucket.is_empty() || count(&|other| other.bucket == job.bucket) <= 3);
        }
        let scratch: u64 = running.iter().map(|job| job.scratch_bytes).sum();
        prop_assert!(scratch <= BUDGETS.scratch_bytes);
        Ok(())
    }
}

async fn play(place: &Place, case: u32, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut holders = Vec::new();
    for _ in 0..3 {
        holders.push((Uuid::now_v7(), place.open().await));
    }
    let jobs: Vec<_> = (0..12)
        .map(|n| {
            let mut job = new_job(
                &format!("{case}/{n}"),
                ["orders", "billing", "small"][n % 3],
            );
            if n % 4 == 0 {
                job.kind = JobKind::Drill;
                job.scratch_bytes = 45;
            }
            ["one", "two", ""][n / 2 % 3].clone_into(&mut job.bucket);
            job.max_attempts = 2;
            job
        })
        .collect();
    let state = holders[0].1.clone();
    state.enqueue(&jobs).await.unwrap();
    let mut model = Model {
        holders,
        now: 0,
        attempts: Vec::new(),
        tokens: BTreeMap::new(),
        finished: BTreeMap::new(),
    };
    for step in steps {
        model.take(step).await?;
        model.check(jobs.len()).await?;
    }
    // Whoever is left falls silent; another does what is still to be done.
    model.take(&Step::Expire { seconds: 100 }).await?;
    for _ in 0..jobs.len() * 3 {
        model.take(&Step::Claim { holder: 2 }).await?;
        if !model.attempts.is_empty() {
            model.finish(model.attempts.len() - 1).await?;
        }
    }
    model.check(jobs.len()).await?;
    let all = state.jobs(&JobFilter::default()).await.unwrap();
    for job in &all {
        prop_assert!(job.status.is_over(), "{} is {:?}", job.key, job.status);
    }
    // The ledger tells of each end and of each job that came to none, once.
    let told = state.entries(0, 1000).await.unwrap();
    prop_assert_eq!(told.len(), all.len());
    for (status, kind) in [
        (JobStatus::Done, EntryKind::Verify),
        (JobStatus::Failed, EntryKind::Missed),
        (JobStatus::Cancelled, EntryKind::Skipped),
    ] {
        let jobs = all.iter().filter(|job| job.status == status).count();
        let kinds = told.iter().map(|entry| entry.content().map(|it| it.kind));
        let entries = kinds
            .filter(|it| matches!(it, Ok(it) if *it == kind))
            .count();
        prop_assert_eq!(jobs, entries, "{:?}", status);
    }
    for (_, state) in &model.holders {
        state.close().await;
    }
    Ok(())
}

async fn no_sequence_loses_a_job_or_does_one_twice(place: &Place) {
    // A server takes its time for each statement.
    let cases = if place.is_sqlite() { 24 } else { 8 };
    let steps = prop::collection::vec(step(), 1..60);
    // proptest calls back without async, so it has a thread of its own.
    let (ask, mut asked) = tokio::sync::mpsc::channel::<(
        Vec<Step>,
        std::sync::mpsc::Sender<Result<(), TestCaseError>>,
    )>(1);
    let runner = std::thread::spawn(move || {
        let mut runner = TestRunner::new(Config {
            cases,
            failure_persistence: None,
            max_shrink_iters: 60,
            ..Config::default()
        });
        runner.run(&steps, |steps| {
            let (answer, answered) = std::sync::mpsc::channel();
            ask.blocking_send((steps, answer)).unwrap();
            answered.recv().unwrap()
        })
    });
    let mut case = 0;
    while let Some((steps, answer)) = asked.recv().await {
        case += 1;
        let fresh = place.fresh().await;
        answer.send(play(&fresh, case, &steps).await).unwrap();
    }
    runner.join().unwrap().unwrap();
}
