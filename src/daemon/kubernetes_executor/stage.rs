//! One Job of Kubernetes, from its making to its end.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use uuid::Uuid;

use super::Inner;
use super::pods::Pods;
use crate::kubernetes::job::{self, JobEnd, PodJob, Sign, follow, job_end, refused_pods};
use crate::kubernetes::{Kube, KubeError};
use crate::state::{Heartbeat, Job, JobProgress, StateError};

/// How often the claim is looked after, at least.
const LOOK: Duration = Duration::from_secs(5);
/// A Job whose controller has made no pod after this long is asked for the reason.
const PODLESS: Duration = Duration::from_secs(3);

/// One Job.
pub(super) struct Stage<'a> {
    pub(super) inner: &'a Inner,
    pub(super) kube: &'a Kube,
    /// As it was claimed.
    pub(super) job: &'a Job,
    pub(super) wanted: PodJob,
    pub(super) lease: Duration,
    pub(super) start_within: Duration,
    /// Whether its pods only read for the one that comes behind them: then the claim stays
    /// with this process.
    pub(super) shards: bool,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StageEnd {
    /// All pods ended well.
    Complete,
    /// Not all.
    Died { reason: String, no_room: bool },
    /// The job is no longer held by this claim, by the state's word.
    NotOurs(&'static str),
    /// Somebody cancelled the job, and nobody else could hear of it.
    Cancelled,
    /// No pod started; the Job is removed.
    NotStarted(String),
}

impl Stage<'_> {
    /// Makes the Job and follows it to its end.
    pub(super) async fn run(&self) -> Result<StageEnd, KubeError> {
        let (namespace, name) = (&self.wanted.namespace, self.wanted.name());
        job::make(self.kube, &self.wanted).await?;
        tracing::info!(job = %self.job.key, %namespace, kubernetes_job = %name, "made");
        let mut signs = std::pin::pin!(follow(self.kube, namespace, &name));
        let mut look = tokio::time::interval(LOOK.min(self.lease / 3));
        let began = Instant::now();
        let mut pods = Pods::default();
        let mut troubled = false;
        let mut job_gone = false;
        loop {
            tokio::select! {
                sign = signs.next() => match sign {
                    Some(Sign::Pod(pod)) => {
                        troubled = false;
                        pods.take(&pod);
                        if pods.stuck
                            && !pods.started
                            && let Some(end) = self.not_started(&mut pods).await
                        {
                            return Ok(end);
                        }
                    }
                    Some(Sign::PodGone(pod)) => pods.gone(&pod),
                    Some(Sign::PodsThere(names)) => {
                        troubled = false;
                        pods.there(&names);
                    }
                    Some(Sign::Job(job)) => match job_end(&job) {
                        None => troubled = false,
                        Some(JobEnd::Complete) => return Ok(StageEnd::Complete),
                        Some(JobEnd::Failed(words)) => return Ok(died(pods, words)),
                    },
                    // Its pods clean up yet, and may end the work well.
                    Some(Sign::JobGone) => job_gone = true,
                    Some(Sign::Trouble(error)) => {
                        // Once is enough to say so.
                        if !std::mem::replace(&mut troubled, true) {
                            tracing::warn!(%error, "pods cannot be followed; trying on");
                        }
                    }
                    None => tokio::time::sleep(LOOK).await,
                },
                _ = look.tick() => {
                    if let Some(end) = self.look(&mut pods).await {
                        return Ok(end);
                    }
                    if let Some(end) = self.waited(&mut pods, began, troubled).await {
                        return Ok(end);
                    }
                }
            }
            if job_gone && pods.seen && pods.all_over() {
                return Ok(died(pods, "somebody removed its Job".to_owned()));
            }
        }
    }

    /// Whether it was waited long enough for pods that do not come.
    async fn waited(&self, pods: &mut Pods, began: Instant, troubled: bool) -> Option<StageEnd> {
        if pods.started {
            let idle = pods.idle_since(Instant::now(), self.inner.clock.now());
            if self.shards && idle.is_some_and(|since| since.elapsed() > self.start_within) {
                self.remove().await;
                let (reason, no_room) = (pods.not_all(), false);
                return Some(StageEnd::Died { reason, no_room });
            }
            return None;
        }
        if pods.none_yet() && began.elapsed() > PODLESS {
            let (namespace, name) = (&self.wanted.namespace, self.wanted.name());
            if let Ok(Some(words)) = refused_pods(self.kube, namespace, &name).await {
                let lasting = words.contains("exceeded quota") || words.contains("forbidden");
                pods.waits_for = Some(words);
                if lasting {
                    return self.not_started(pods).await;
                }
            }
        }
        if began.elapsed() <= self.start_within {
            return None;
        }
        if self.shards && (troubled || !pods.seen) {
            // They may be at work: nobody sees them, and nobody has to.
            self.remove().await;
            let reason = "the pods of the shards cannot be seen".to_owned();
            let no_room = false;
            return Some(StageEnd::Died { reason, no_room });
        }
        self.not_started(pods).await
    }

    /// Looks after the claim: gives signs of life as long as no pod does, and sees whether it
    /// is still ours.
    async fn look(&self, pods: &mut Pods) -> Option<StageEnd> {
        let inner = self.inner;
        if !self.shards {
            let now = match inner.state.job(self.job.id).await {
                Ok(now) => now,
                Err(error) => {
                    silent(&error);
                    return None;
                }
            };
            if !is_ours(now.as_ref(), self.job) {
                return Some(StageEnd::NotOurs(
                    now.map_or("gone", |now| now.status.as_str()),
                ));
            }
            pods.started |= is_taken_over(now.as_ref(), self.job);
            if pods.started {
                return None;
            }
        }
        let now = inner.clock.now();
        let progress = if self.shards && pods.started {
            JobProgress {
                phase: "shards".to_owned(),
                done: pods.ended_well(),
                total: self.wanted.indexed.map(|indexed| u64::from(indexed.pods)),
                unit: "shards".to_owned(),
                at: now,
            }
        } else {
            JobProgress {
                phase: "waits for its pod".to_owned(),
                done: 0,
                total: None,
                unit: String::new(),
                at: now,
            }
        };
        let beat = inner
            .state
            .heartbeat(&self.job.fence(), now, self.lease, Some(progress))
            .await;
        match beat {
            Ok(Heartbeat::Held) => None,
            Ok(Heartbeat::CancelAsked) => {
                self.remove().await;
                Some(StageEnd::Cancelled)
            }
            // Its pod may have been quick, or another daemon has it.
            Ok(Heartbeat::Lost) => Some(StageEnd::NotOurs("held by somebody else, or over")),
            Err(error) => {
                silent(&error);
                None
            }
        }
    }

    /// Gives the wait for a pod up and removes the Job, unless a pod has taken the work over
    /// that nobody here has seen.
    async fn not_started(&self, pods: &mut Pods) -> Option<StageEnd> {
        if !self.shards && !self.take_back(pods).await {
            return None;
        }
        self.remove().await;
        let reason = pods.waits_for.take().unwrap_or_else(|| {
            format!(
                "it did not within {} s, and Kubernetes does not say why",
                self.start_within.as_secs()
            )
        });
        Some(StageEnd::NotStarted(reason))
    }

    /// Takes the claim out of the reach of a pod that starts yet. `false` when one was faster,
    /// or nobody can tell.
    async fn take_back(&self, pods: &mut Pods) -> bool {
        let inner = self.inner;
        let (fence, now) = (self.job.fence(), inner.clock.now());
        let back = inner
            .state
            .take_over(&fence, self.job.holder, Uuid::now_v7(), now, self.lease)
            .await;
        match back {
            Ok(Some(_)) => true,
            Ok(None) => {
                pods.started = true;
                false
            }
            Err(error) => {
                silent(&error);
                false
            }
        }
    }

    async fn remove(&self) {
        let removed = job::remove(self.kube, &self.wanted.namespace, &self.wanted.name()).await;
        if let Err(error) = removed {
            tracing::warn!(%error, "left behind until the next attempt removes it");
        }
    }
}

fn silent(error: &StateError) {
    tracing::warn!(%error, "the claim of a pod cannot be looked after");
}

fn died(pods: Pods, words: String) -> StageEnd {
    let (reason, no_room) = pods.died.unwrap_or((words, false));
    StageEnd::Died { reason, no_room }
}

/// Whether a pod has taken the work over: it holds the job by the claim's own fence.
fn is_taken_over(now: Option<&Job>, claimed: &Job) -> bool {
    is_ours(now, claimed) && now.is_some_and(|now| now.holder != claimed.holder)
}

/// Whether a job is still held by the claim.
pub(super) fn is_ours(now: Option<&Job>, claimed: &Job) -> bool {
    now.is_some_and(|now| {
        now.token == claimed.token && now.status == crate::state::JobStatus::Running
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::Utc;
    use serde_json::json;

    use super::*;
    use crate::config::StateUrl;
    use crate::daemon::clock::SystemClock;
    use crate::kubernetes::Access;
    use crate::state::{Budgets, ClaimRequest, JobKind, NewJob, State};

    const LEASE: Duration = Duration::from_mins(1);

    /// A claimed job, and an API server that nobody reaches: no pod of it is ever seen.
    async fn blind(keep: &std::path::Path) -> (Inner, Kube, Job) {
        let url = StateUrl::sqlite(keep.join("state.sqlite"));
        let state = State::open(&url).await.unwrap();
        let now = Utc::now();
        let new = NewJob {
            key: "one".to_owned(),
            kind: JobKind::Verify,
            schedule: None,
            cluster: "orders".to_owned(),
            copy: "primary".to_owned(),
            bucket: String::new(),
            tier: None,
            due_at: now,
            run_after: now,
            deadline: None,
            priority: 5,
            late: false,
            scratch_bytes: 0,
            max_attempts: 3,
            spec: json!({"job": "verify"}),
        };
        state.enqueue(&[new]).await.unwrap();
        let claim = ClaimRequest {
            holder: Uuid::now_v7(),
            now,
            lease: LEASE,
            budgets: Budgets::NONE,
            allow: JobKind::ALL.to_vec(),
        };
        let job = state.claim(&claim).await.unwrap().unwrap();
        let file = keep.join("kubeconfig");
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "none",
            "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:9"}}],
            "users": [{"name": "none", "user": {}}],
            "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
        });
        std::fs::write(&file, kubeconfig.to_string()).unwrap();
        let access = Access {
            kubeconfig: Some(file),
            context: None,
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kube = Kube::connect(&access).await.unwrap();
        let inner = Inner {
            state,
            clock: Arc::new(SystemClock::default()),
            kube: tokio::sync::Mutex::default(),
        };
        (inner, kube, job)
    }

    fn stage<'a>(inner: &'a Inner, kube: &'a Kube, job: &'a Job) -> Stage<'a> {
        Stage {
            inner,
            kube,
            job,
            wanted: PodJob {
                namespace: "walproof".to_owned(),
                job: job.id,
                token: job.token,
                part: String::new(),
                kind: "verify".to_owned(),
                cluster: "orders".to_owned(),
                template: job::built_in("walproof:1"),
                image: None,
                arguments: Vec::new(),
                files: std::collections::BTreeMap::new(),
                ttl: LEASE,
                grace: LEASE,
                indexed: None,
            },
            lease: LEASE,
            start_within: Duration::ZERO,
            shards: false,
        }
    }

    #[tokio::test]
    async fn work_is_not_given_away_under_a_pod_that_nobody_sees() {
        let keep = tempfile::tempdir().unwrap();
        let (inner, kube, job) = blind(keep.path()).await;
        let stage = stage(&inner, &kube, &job);
        let mut pods = Pods::default();
        assert_eq!(stage.look(&mut pods).await, None);
        assert!(!pods.started);
        let (state, fence, pod) = (&inner.state, job.fence(), Uuid::now_v7());
        let taken = state.take_over(&fence, job.holder, pod, Utc::now(), LEASE);
        assert!(taken.await.unwrap().is_some());
        // Between two looks, and by a look.
        assert_eq!(stage.not_started(&mut Pods::default()).await, None);
        assert_eq!(stage.look(&mut pods).await, None);
        assert!(pods.started);
        let now = state.job(job.id).await.unwrap().unwrap();
        assert_eq!(now.holder, Some(pod), "it holds it as before");
    }

    #[tokio::test]
    async fn a_pod_that_starts_after_it_was_given_up_finds_nothing_to_take_over() {
        let keep = tempfile::tempdir().unwrap();
        let (inner, kube, job) = blind(keep.path()).await;
        let stage = stage(&inner, &kube, &job);
        let ended = stage.not_started(&mut Pods::default()).await;
        assert!(matches!(ended, Some(StageEnd::NotStarted(_))), "{ended:?}");
        let (fence, pod) = (job.fence(), Uuid::now_v7());
        let late = inner
            .state
            .take_over(&fence, job.holder, pod, Utc::now(), LEASE);
        assert!(late.await.unwrap().is_none());
    }
}
