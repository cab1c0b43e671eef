//! One Job of Kubernetes, from its making to its end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;

use super::Inner;
use crate::kubernetes::job::{
    self, JobEnd, PodJob, PodStand, Sign, follow, job_end, pod_stand, refused_pods,
};
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

/// What is known of its pods.
#[derive(Debug, Default)]
struct Pods {
    stands: BTreeMap<String, PodStand>,
    /// Whether one ever started.
    started: bool,
    /// How the newest one that did not end well ended.
    died: Option<(String, bool)>,
    /// What the newest one waits for.
    waits_for: Option<String>,
    stuck: bool,
}

impl Pods {
    fn take(&mut self, pod: &k8s_openapi::api::core::v1::Pod) {
        let stand = pod_stand(pod);
        match &stand {
            PodStand::Coming { reason, stuck } => {
                self.waits_for.clone_from(reason);
                self.stuck = *stuck;
            }
            PodStand::Started => self.started = true,
            PodStand::Ended {
                well,
                reason,
                no_room,
            } => {
                self.started = true;
                if !well {
                    self.died = Some((reason.clone(), *no_room));
                }
            }
        }
        if let Some(name) = &pod.metadata.name {
            self.stands.insert(name.clone(), stand);
        }
    }
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
        loop {
            tokio::select! {
                sign = signs.next() => match sign {
                    Some(Sign::Pod(pod)) => {
                        troubled = false;
                        pods.take(&pod);
                        if pods.stuck && !pods.started {
                            return Ok(self.not_started(pods.waits_for).await);
                        }
                    }
                    Some(Sign::PodGone(pod)) => pods.take(&pod),
                    Some(Sign::Job(job)) => match job_end(&job) {
                        None => troubled = false,
                        Some(JobEnd::Complete) => return Ok(StageEnd::Complete),
                        Some(JobEnd::Failed(words)) => return Ok(died(pods, words)),
                    },
                    Some(Sign::JobGone) => {
                        return Ok(died(pods, "somebody removed its Job".to_owned()));
                    }
                    Some(Sign::Trouble(error)) => {
                        // Once is enough to say so.
                        if !std::mem::replace(&mut troubled, true) {
                            tracing::warn!(%error, "pods cannot be followed; trying on");
                        }
                    }
                    None => tokio::time::sleep(LOOK).await,
                },
                _ = look.tick() => {
                    if let Some(end) = self.look(&pods).await {
                        return Ok(end);
                    }
                    if pods.started {
                        continue;
                    }
                    if pods.stands.is_empty() && began.elapsed() > PODLESS {
                        let refused = refused_pods(self.kube, namespace, &name).await;
                        if let Ok(Some(words)) = refused {
                            let lasting =
                                words.contains("exceeded quota") || words.contains("forbidden");
                            pods.waits_for = Some(words);
                            if lasting {
                                return Ok(self.not_started(pods.waits_for).await);
                            }
                        }
                    }
                    if began.elapsed() > self.start_within {
                        return Ok(self.not_started(pods.waits_for).await);
                    }
                }
            }
        }
    }

    /// Looks after the claim: gives signs of life as long as no pod does, and sees whether it
    /// is still ours.
    async fn look(&self, pods: &Pods) -> Option<StageEnd> {
        let inner = self.inner;
        if pods.started && !self.shards {
            return match inner.state.job(self.job.id).await {
                Ok(now) if is_ours(now.as_ref(), self.job) => None,
                Ok(now) => Some(StageEnd::NotOurs(
                    now.map_or("gone", |now| now.status.as_str()),
                )),
                Err(error) => {
                    silent(&error);
                    None
                }
            };
        }
        let now = inner.clock.now();
        let ended = |stand: &&PodStand| matches!(stand, PodStand::Ended { well: true, .. });
        let progress = if self.shards && pods.started {
            JobProgress {
                phase: "shards".to_owned(),
                done: pods.stands.values().filter(ended).count() as u64,
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

    async fn not_started(&self, reason: Option<String>) -> StageEnd {
        self.remove().await;
        StageEnd::NotStarted(reason.unwrap_or_else(|| {
            format!(
                "it did not within {} s, and Kubernetes does not say why",
                self.start_within.as_secs()
            )
        }))
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

/// Whether a job is still held by the claim.
pub(super) fn is_ours(now: Option<&Job>, claimed: &Job) -> bool {
    now.is_some_and(|now| {
        now.token == claimed.token && now.status == crate::state::JobStatus::Running
    })
}
