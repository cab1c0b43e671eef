//! Claims jobs as long as there is room, and waits for their ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::bell::Bell;
use super::clock::Awake;
use super::plan::Plan;
use super::worker::{Tools, stopped, work};
use crate::config::Config;
use crate::operation::{JobSpec, definition_digest};
use crate::state::{ClaimRequest, Fence, Job, JobKind, Release};

/// Everything that a worker can do.
const KINDS: [JobKind; 7] = [
    JobKind::Verify,
    JobKind::Replicate,
    JobKind::Drill,
    JobKind::Report,
    JobKind::Sweep,
    JobKind::Capture,
    JobKind::Request,
];

/// Claims jobs and lets workers do them.
pub(super) struct Dispatch {
    pub(super) holder: Uuid,
    pub(super) tools: Tools,
    pub(super) plan: watch::Receiver<Arc<Plan>>,
    pub(super) bell: Arc<Bell>,
    /// Whether the configuration is whole: that of resources, too.
    pub(super) known: watch::Receiver<bool>,
    /// Whether resources come and go beside the files.
    pub(super) overlaid: bool,
}

/// A job about something that is not known here waits for this long: the resource that
/// declares it may be known to another daemon already.
const NOT_YET: TimeDelta = TimeDelta::seconds(5);
/// After this long it is begun all the same, so that it fails in words.
const PATIENCE: TimeDelta = TimeDelta::minutes(5);

impl Dispatch {
    /// Works until the daemon is to stop, and then as long as jobs need to end, at most
    /// `stop_within`. Jobs that have not ended by then are given back.
    pub(super) async fn run(self, mut awake: Awake) {
        let mut workers: JoinSet<(Uuid, Awake)> = JoinSet::new();
        let mut held: HashMap<Uuid, Fence> = HashMap::new();
        let mut stop = self.tools.stop.clone();
        while !*stop.borrow() {
            self.claim(&mut workers, &mut held, &mut awake).await;
            drop(awake);
            awake = tokio::select! {
                awake = self.bell.rung() => awake,
                Some(ended) = workers.join_next(), if !workers.is_empty() => {
                    over(ended, &mut held, || self.tools.clock.awake())
                }
                () = stopped(&mut stop) => self.tools.clock.awake(),
            };
        }
        self.end(workers, held).await;
    }

    /// Claims as long as there is room and something to do.
    async fn claim(
        &self,
        workers: &mut JoinSet<(Uuid, Awake)>,
        held: &mut HashMap<Uuid, Fence>,
        awake: &mut Awake,
    ) {
        let plan = Arc::clone(&self.plan.borrow());
        if !*self.known.borrow() {
            return;
        }
        while let Some(ended) = workers.try_join_next() {
            *awake = over(ended, held, || self.tools.clock.awake());
        }
        while workers.len() < plan.config.daemon.jobs() && !*self.tools.stop.borrow() {
            let now = self.tools.clock.now();
            if !plan.starts(now) {
                return;
            }
            let request = ClaimRequest {
                holder: self.holder,
                now,
                lease: plan.config.daemon.lease(),
                budgets: plan.budgets(),
                allow: KINDS.to_vec(),
            };
            let job = match self.tools.state.claim(&request).await {
                Ok(Some(job)) => job,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "no job could be claimed; the next tick tries again");
                    return;
                }
            };
            match known(&plan.config, &job) {
                Known::As => {}
                _ if self.overlaid && now - job.created_at < PATIENCE => {
                    self.put_off(&job, now).await;
                    continue;
                }
                Known::Otherwise => {
                    self.give_up(&job, now).await;
                    continue;
                }
                Known::Not => {}
            }
            held.insert(job.id, job.fence());
            self.begin(workers, &plan, job);
        }
    }

    /// Leaves a job to a daemon that knows more, or to itself a little later.
    async fn put_off(&self, job: &Job, now: DateTime<Utc>) {
        let run_after = now + NOT_YET;
        let release = Release::NotYet { run_after };
        tracing::info!(job = %job.key, cluster = %job.cluster, "given back: what it is about is not known here yet");
        if let Err(error) = self.tools.state.release(&job.fence(), now, &release).await {
            tracing::warn!(job = %job.key, %error, "left to the end of its lease");
        }
    }

    /// A drill of a definition that is another by now would prove what nobody asked it.
    async fn give_up(&self, job: &Job, now: DateTime<Utc>) {
        let release = Release::Failed {
            error: "the drill's definition has changed since it was asked for".to_owned(),
        };
        tracing::warn!(job = %job.key, cluster = %job.cluster, "not begun: the drill's definition has changed since it was asked for");
        if let Err(error) = self.tools.state.release(&job.fence(), now, &release).await {
            tracing::warn!(job = %job.key, %error, "left to the end of its lease");
        }
    }

    fn begin(&self, workers: &mut JoinSet<(Uuid, Awake)>, plan: &Arc<Plan>, job: Job) {
        let (tools, plan) = (self.tools.clone(), Arc::clone(plan));
        let awake = self.tools.clock.awake();
        let span = tracing::info_span!(
            "job",
            id = %job.id,
            kind = job.kind.as_str(),
            cluster = %job.cluster,
            copy = %job.copy,
            schedule = job.schedule.as_deref(),
        );
        workers.spawn(tracing::Instrument::instrument(
            async move { (job.id, work(tools, plan, job, awake).await) },
            span,
        ));
    }

    /// Waits for what runs, and gives back what does not end in time.
    async fn end(self, mut workers: JoinSet<(Uuid, Awake)>, mut held: HashMap<Uuid, Fence>) {
        let within = self.plan.borrow().config.daemon.stop_within();
        if !workers.is_empty() {
            tracing::info!(jobs = workers.len(), ?within, "waiting for jobs to end");
        }
        let all = async {
            while let Some(ended) = workers.join_next().await {
                drop(over(ended, &mut held, || self.tools.clock.awake()));
            }
        };
        if tokio::time::timeout(within, all).await.is_ok() {
            return;
        }
        workers.abort_all();
        for fence in held.into_values() {
            let now = self.tools.clock.now();
            let release = self.tools.state.release(&fence, now, &Release::GivenBack);
            let released = tokio::time::timeout(Duration::from_secs(5), release).await;
            if let Ok(Ok(_)) = released {
                tracing::warn!(job = %fence.job, "given back: it did not end in time");
            } else {
                tracing::warn!(job = %fence.job, "left to the end of its lease");
            }
        }
    }
}

/// How the configuration has what a job is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// As the job means it.
    As,
    /// Not at all.
    Not,
    /// Under the same name, and saying something else.
    Otherwise,
}

fn known(config: &Config, job: &Job) -> Known {
    if !job.cluster.is_empty() && config.cluster(&job.cluster).is_none() {
        return Known::Not;
    }
    match serde_json::from_value::<JobSpec>(job.spec.clone()) {
        Ok(JobSpec::Drill {
            definition: Some(name),
            digest,
        }) => match (config.drill(&name), digest) {
            (None, _) => Known::Not,
            (Some(drill), Some(digest)) if definition_digest(&drill.definition) != digest => {
                Known::Otherwise
            }
            (Some(_), _) => Known::As,
        },
        // What cannot be read is said so by whoever begins it.
        _ => Known::As,
    }
}

fn over(
    ended: Result<(Uuid, Awake), tokio::task::JoinError>,
    held: &mut HashMap<Uuid, Fence>,
    otherwise: impl Fn() -> Awake,
) -> Awake {
    match ended {
        Ok((id, awake)) => {
            held.remove(&id);
            awake
        }
        Err(error) => {
            if error.is_panic() {
                tracing::error!(%error, "a worker broke; its job comes back when its lease ends");
            }
            otherwise()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{DrillDefinition, LoadedDrill};
    use crate::daemon::schedule::once;

    #[test]
    fn a_drill_that_is_run_once_is_of_the_definition_that_was_asked_for() {
        let mut config = Config::default();
        let cluster = json!([{"name": "orders", "primary": {"url": "s3://backups/orders"}}]);
        config.clusters = serde_json::from_value(cluster).unwrap();
        config.drills.push(LoadedDrill {
            file: "d.yaml".into(),
            definition: DrillDefinition::plain("d"),
        });
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let new = once(&config, "d", "orders", "k".to_owned(), now).unwrap();
        let mut job: Job = serde_json::from_value(json!({
            "id": Uuid::nil(), "key": new.key, "kind": new.kind, "schedule": new.schedule,
            "cluster": new.cluster, "copy": new.copy, "bucket": new.bucket, "tier": null,
            "due_at": now, "run_after": now, "deadline": null, "priority": 4, "late": false,
            "scratch_bytes": 0, "max_attempts": 4, "spec": new.spec, "status": "running",
            "attempts": 1, "token": 1, "holder": null, "lease_until": null, "progress": null,
            "cancel_asked_at": null, "error": null, "run_id": null, "created_at": now,
            "started_at": null, "finished_at": null,
        }))
        .unwrap();
        assert_eq!(known(&config, &job), Known::As);
        // More clusters are the same drill.
        config.drills[0].definition.clusters = vec!["orders".to_owned()];
        assert_eq!(known(&config, &job), Known::As);
        config.drills[0].definition.checksums = true;
        assert_eq!(known(&config, &job), Known::Otherwise);
        // A job of an older version, or of a schedule, takes the name for what it means.
        job.spec = json!({"job": "drill", "definition": "d"});
        assert_eq!(known(&config, &job), Known::As);
        config.drills.clear();
        assert_eq!(known(&config, &job), Known::Not);
        job.cluster = "billing".to_owned();
        assert_eq!(known(&config, &job), Known::Not);
    }
}
