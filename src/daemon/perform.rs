//! One claimed job, performed by a process that did not claim it: `walproof job perform` in
//! the pod that the daemon made for it.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use uuid::Uuid;

use super::clock::{Clock, SystemClock};
use super::executor::{Assignment, Executor, Finished};
use super::plan::Plan;
use super::worker::{Tools, stopped, work};
use super::{DaemonError, InProcess};
use crate::config::{Config, Environment};
use crate::drill::Cancellation;
use crate::drill::environments::local::binaries;
use crate::operation::shards::{Campaign, read_shard};
use crate::operation::source::{Reach, Source};
use crate::operation::{Failure, FailureClass, JobSpec};
use crate::state::{Fence, Heartbeat, Job, JobStatus, State};
use crate::verify::read::ShardRead;
use crate::verify::rotation::Subset;

/// Which claim is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The job and its fencing token.
    pub fence: Fence,
    /// Who must hold it now; whoever does, if it is left out. A pod that Kubernetes started
    /// twice finds that the first one holds it.
    pub holder: Option<Uuid>,
}

/// Performs a claimed job to the end of this attempt, as the daemon that claimed it would:
/// with signs of life, records and, at the end, letting it go. Gives the job as it is then;
/// `None` when the claim does not hold any more, and nothing was done.
///
/// When `stop` becomes true it cleans up and gives the job back.
pub async fn perform(
    state: &State,
    config: Config,
    handover: Handover,
    stop: watch::Receiver<bool>,
) -> Result<Option<Job>, DaemonError> {
    let clock = SystemClock::default();
    clock.put_right(state.clock_offset().await?);
    let clock: Arc<dyn Clock> = Arc::new(clock);
    let taken = state
        .take_over(
            &handover.fence,
            handover.holder,
            Uuid::now_v7(),
            clock.now(),
            config.daemon.lease(),
        )
        .await?;
    let Some(job) = taken else {
        return Ok(None);
    };
    let id = job.id;
    let tools = Tools {
        state: state.clone(),
        executor: Arc::new(InPod(InProcess::new(state.clone()))),
        clock: Arc::clone(&clock),
        stop,
    };
    let plan = Arc::new(Plan::of(Arc::new(config)));
    drop(work(tools, plan, job, clock.awake()).await);
    Ok(state.job(id).await?)
}

/// Reads one shard of a verification that somebody else claimed and concludes. Gives signs of
/// life by the claim's fence meanwhile, without holding it, so that the work of all shards goes
/// on when the daemon dies. What it came to is kept for the next attempt as well.
pub async fn perform_shard(
    state: &State,
    config: &Config,
    fence: Fence,
    shard: Subset,
    stop: watch::Receiver<bool>,
) -> Result<Option<Vec<ShardRead>>, Failure> {
    let clock = SystemClock::default();
    clock.put_right(state.clock_offset().await?);
    let job = state.job(fence.job).await?;
    let Some(job) = job.filter(|job| job.token == fence.token && job.status == JobStatus::Running)
    else {
        return Ok(None);
    };
    let (cancel, cancelled) = watch::channel(false);
    let lease = config.daemon.lease();
    let reach = Reach::default();
    let sources = if job.copy.is_empty() {
        Source::all_of_cluster(config, &job.cluster, &reach)?
    } else {
        vec![Source::of_cluster(
            config,
            &job.cluster,
            Some(&job.copy),
            &reach,
        )?]
    };
    let reading = async {
        let mut done = Vec::new();
        for source in &sources {
            let stop = Cancellation::from(cancelled.clone());
            let campaign = Campaign::Job(job.id);
            done.push(read_shard(source, state, campaign, shard, &|_| {}, &stop).await?);
        }
        Ok::<_, Failure>(done)
    };
    let mut reading = std::pin::pin!(reading);
    let mut asked = stop;
    loop {
        tokio::select! {
            done = &mut reading => return done.map(Some),
            () = stopped(&mut asked), if !*cancel.borrow() => {
                let _ = cancel.send(true);
            }
            () = tokio::time::sleep(lease / 3) => {
                match state.heartbeat(&fence, clock.now(), lease, None).await {
                    Ok(Heartbeat::Held) => {}
                    Ok(Heartbeat::Lost | Heartbeat::CancelAsked) => {
                        let _ = cancel.send(true);
                    }
                    Err(error) => tracing::warn!(%error, "no sign of life could be given"),
                }
            }
        }
    }
}

/// Performs jobs in this process, which is a pod of its own.
struct InPod(InProcess);

impl Executor for InPod {
    fn perform(&self, assignment: Assignment) -> BoxFuture<'static, Finished> {
        if is_local_drill(&assignment) && !binaries::any() {
            let Assignment { awake, .. } = assignment;
            return async move {
                Finished {
                    trouble: Some(FailureClass::Refused),
                    summary:
                        "a drill with `environment: local` needs PostgreSQL, and the image of \
                              this pod has none; drill with `environment: cnpg`, or name an image \
                              with PostgreSQL in the template of `daemon: {kubernetes: …}`"
                            .to_owned(),
                    cancelled: false,
                    awake,
                }
            }
            .boxed();
        }
        self.0.perform(assignment)
    }
}

fn is_local_drill(assignment: &Assignment) -> bool {
    let JobSpec::Drill { definition, .. } = &assignment.spec else {
        return false;
    };
    let config = &assignment.config;
    let of_cluster = || {
        let mut own = config.drills_of(&assignment.job.cluster);
        own.next().filter(|_| own.next().is_none())
    };
    let definition = match definition {
        Some(name) => config.drill(name),
        None => of_cluster(),
    };
    definition.is_none_or(|drill| drill.definition.environment == Environment::Local)
}
