//! One attempt at a job: the executor works, signs of life go to the state, and what is left
//! is let go.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use super::clock::{Awake, Clock};
use super::executor::{Assignment, Executor, Finished};
use super::plan::Plan;
use super::retry;
use super::watcher::Watcher;
use crate::operation::JobSpec;
use crate::state::{Heartbeat, Job, Release, State, StateErrorKind};

/// What a worker needs.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) state: State,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) executor: Arc<dyn Executor>,
    /// Becomes true when the daemon is to stop.
    pub(super) stop: watch::Receiver<bool>,
}

/// Why an attempt was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Somebody cancelled the job.
    Cancelled,
    /// The daemon stops.
    Stopping,
    /// The job belongs to somebody else, or may.
    Lost,
}

/// Works on a claimed job to the end of the attempt. Never fails: what goes wrong is logged,
/// and a job that cannot be let go comes back by the end of its lease.
pub(super) async fn work(tools: Tools, plan: Arc<Plan>, job: Job, awake: Awake) -> Awake {
    let key = job.key.clone();
    let lease = plan.config.daemon.lease();
    let spec: JobSpec = match serde_json::from_value(job.spec.clone()) {
        Ok(spec) => spec,
        Err(error) => {
            tracing::error!(job = %key, %error, "a job that this version does not understand");
            let error = format!("not understood by this version of walproof: {error}");
            let release = Release::Failed { error };
            let_go(&tools, &job, lease, &release).await;
            return awake;
        }
    };
    tracing::info!(job = %key, attempt = job.attempts, late = job.late, "begins");
    let watcher = Arc::new(Watcher::new(Arc::clone(&tools.clock), &key));
    let (cancel, cancellation) = watch::channel(false);
    let working = tools.executor.perform(Assignment {
        job: job.clone(),
        spec,
        config: Arc::clone(&plan.config),
        cancellation,
        observer: Arc::<Watcher>::clone(&watcher),
        awake,
    });
    if tools.executor.lives_on(&job, &plan.config) {
        return elsewhere(&tools, &job, lease, working).await;
    }
    let (finished, told) = beside(&tools, &job, lease, &watcher, &cancel, working).await;
    settle(&tools, &job, lease, &finished, told).await;
    finished.awake
}

/// Hears how an attempt ends that lives on without this process. When the daemon stops it is
/// left alone.
async fn elsewhere(
    tools: &Tools,
    job: &Job,
    lease: Duration,
    working: impl Future<Output = Finished>,
) -> Awake {
    let mut stop = tools.stop.clone();
    let finished = tokio::select! {
        biased;
        finished = working => finished,
        () = stopped(&mut stop) => {
            tracing::info!(job = %job.key, "goes on in its pod without this daemon");
            return tools.clock.awake();
        }
    };
    let told = finished.cancelled.then_some(Told::Cancelled);
    settle(tools, job, lease, &finished, told).await;
    finished.awake
}

/// Lets the executor work, and meanwhile gives signs of life and hears of cancellation.
async fn beside(
    tools: &Tools,
    job: &Job,
    lease: Duration,
    watcher: &Watcher,
    cancel: &watch::Sender<bool>,
    working: impl Future<Output = Finished>,
) -> (Finished, Option<Told>) {
    let mut told = None;
    let mut working = std::pin::pin!(working);
    let mut stop = tools.stop.clone();
    let mut held_until = tools.clock.now() + lease;
    let mut beat = tools.clock.sleep(lease / 3);
    loop {
        let ask = tokio::select! {
            finished = &mut working => return (finished, told),
            awake = &mut beat => {
                let ask = heartbeat(tools, job, lease, watcher, &mut held_until).await;
                beat = tools.clock.sleep(lease / 3);
                drop(awake);
                ask
            }
            () = stopped(&mut stop), if told.is_none() => Some(Told::Stopping),
        };
        if let Some(ask) = ask
            && told != Some(Told::Lost)
        {
            if told.is_none() {
                tracing::info!(job = %job.key, reason = ?ask, "asked to stop");
            }
            told = Some(ask);
            let _ = cancel.send(true);
        }
    }
}

/// Waits until the daemon is to stop; for ever if nobody can ask any more.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn heartbeat(
    tools: &Tools,
    job: &Job,
    lease: Duration,
    watcher: &Watcher,
    held_until: &mut DateTime<Utc>,
) -> Option<Told> {
    let now = tools.clock.now();
    let beat = tools
        .state
        .heartbeat(&job.fence(), now, lease, watcher.newest())
        .await;
    match beat {
        Ok(Heartbeat::Held) => {
            *held_until = now + lease;
            None
        }
        Ok(Heartbeat::CancelAsked) => {
            *held_until = now + lease;
            Some(Told::Cancelled)
        }
        Ok(Heartbeat::Lost) => {
            tracing::warn!(job = %job.key, "belongs to somebody else by now: stopping");
            Some(Told::Lost)
        }
        Err(error) => {
            tracing::warn!(job = %job.key, %error, "no sign of life could be given");
            // From now on another daemon may have it. What is written would be refused.
            (tools.clock.now() > *held_until).then_some(Told::Lost)
        }
    }
}

/// Lets a job go that was not done.
async fn settle(
    tools: &Tools,
    job: &Job,
    lease: Duration,
    finished: &Finished,
    told: Option<Told>,
) {
    let Some(class) = finished.trouble else {
        tracing::info!(job = %job.key, summary = %finished.summary, "done");
        return;
    };
    let release = match told {
        Some(Told::Lost) => return,
        Some(Told::Cancelled) => Release::Cancelled,
        Some(Told::Stopping) => Release::GivenBack,
        None => match retry::after(class, job.attempts.max(1), job.id) {
            retry::Verdict::Leave => return,
            retry::Verdict::Failed => Release::Failed {
                error: finished.summary.clone(),
            },
            retry::Verdict::Again(pause) => Release::Retry {
                run_after: tools.clock.now() + TimeDelta::from_std(pause).unwrap_or_default(),
                error: finished.summary.clone(),
            },
        },
    };
    tracing::warn!(
        job = %job.key,
        class = class.as_str(),
        attempt = job.attempts,
        of = job.max_attempts,
        summary = %finished.summary,
        ?release,
        "not done"
    );
    let_go(tools, job, lease, &release).await;
}

/// Lets a job go, trying for the length of a lease if the state does not answer.
async fn let_go(tools: &Tools, job: &Job, lease: Duration, release: &Release) {
    let until = tools.clock.now() + lease;
    loop {
        let now = tools.clock.now();
        match tools.state.release(&job.fence(), now, release).await {
            Ok(status) => {
                tracing::debug!(job = %job.key, status = status.as_str(), "let go");
                return;
            }
            Err(error) if error.kind == StateErrorKind::Fenced => {
                tracing::info!(job = %job.key, "belongs to somebody else by now");
                return;
            }
            Err(error) if now < until => {
                tracing::warn!(job = %job.key, %error, "could not be let go; trying again");
                let _awake = tools.clock.sleep(Duration::from_secs(1)).await;
            }
            Err(error) => {
                tracing::error!(job = %job.key, %error, "could not be let go; it comes back when its lease ends");
                return;
            }
        }
    }
}
