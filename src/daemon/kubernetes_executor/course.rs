//! One attempt at a job in pods, from its configuration to its end.

use std::time::Duration;

use chrono::Utc;

use super::stage::{Stage, StageEnd, is_ours};
use super::{Inner, class_of};
use crate::config::{Config, KubernetesExecutor, VerificationDepth};
use crate::daemon::executor::Assignment;
use crate::kubernetes::KubeError;
use crate::kubernetes::job::{self, Indexed, PodJob};
use crate::operation::{FailureClass, JobSpec, sweep};
use crate::state::{Job, JobKind};

/// How often the pod of one shard is tried again before the finisher takes its part over.
const SHARD_AGAIN: u32 = 3;
/// Beyond what a job may take to stop, its pod has this long for the state.
const GRACE: Duration = Duration::from_secs(30);

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Course {
    /// The pod has let the job go, or marked it as done: nothing is to be done about it.
    Settled(String),
    /// Somebody cancelled the job before a pod could hear of it.
    Cancelled,
    /// It is to be let go, for this.
    Trouble(FailureClass, String),
}

/// One attempt.
pub(super) async fn run(inner: &Inner, assignment: &Assignment) -> Course {
    let Assignment {
        job, spec, config, ..
    } = assignment;
    let pods = config.daemon.kubernetes.clone().unwrap_or_default();
    let wanted = match wanted(job, config, &pods).await {
        Ok(wanted) => wanted,
        Err(cause) => return Course::Trouble(FailureClass::Configuration, cause),
    };
    let kube = match inner.kube(config).await {
        Ok(kube) => kube,
        Err(error) => return trouble(&error),
    };
    let wanted = PodJob {
        namespace: if wanted.namespace.is_empty() {
            kube.namespace().to_owned()
        } else {
            wanted.namespace
        },
        ..wanted
    };
    match job::remove_older(&kube, &wanted.namespace, job.id, job.token).await {
        Ok(0) => {}
        Ok(jobs) => tracing::info!(jobs, "removed what earlier attempts left"),
        Err(error) => tracing::warn!(%error, "what earlier attempts left is not removed"),
    }
    let stage = |wanted| Stage {
        inner,
        kube: &kube,
        job,
        wanted,
        lease: config.daemon.lease(),
        start_within: pods.start_within(),
        shards: false,
    };
    let shards = shards(spec, job, config);
    if shards > 1 {
        let mut read = stage(as_shards(&wanted, shards));
        read.shards = true;
        match Box::pin(read.run()).await {
            Ok(StageEnd::Complete) => {}
            // What they did not read the one that concludes reads itself.
            Ok(StageEnd::Died { reason, .. }) => {
                tracing::warn!(%reason, "not every shard came to its end");
            }
            Ok(other) => return conclude(inner, assignment, &wanted, other).await,
            Err(error) => {
                // Half of it may be there.
                let _ = job::remove(&kube, &wanted.namespace, &read.wanted.name()).await;
                return trouble(&error);
            }
        }
    }
    match Box::pin(stage(wanted.clone()).run()).await {
        Ok(end) => conclude(inner, assignment, &wanted, end).await,
        Err(error) => {
            // Half of it may be there.
            let _ = job::remove(&kube, &wanted.namespace, &wanted.name()).await;
            trouble(&error)
        }
    }
}

fn trouble(error: &KubeError) -> Course {
    Course::Trouble(class_of(error.kind), format!("{error}; {}", error.hint()))
}

/// What the end of a stage means for the job.
async fn conclude(
    inner: &Inner,
    assignment: &Assignment,
    wanted: &PodJob,
    end: StageEnd,
) -> Course {
    let (job, name) = (&assignment.job, wanted.name());
    match end {
        StageEnd::NotOurs(status) => Course::Settled(format!("its pod has let it go: {status}")),
        StageEnd::Cancelled => Course::Cancelled,
        StageEnd::NotStarted(reason) => Course::Trouble(
            FailureClass::Capacity,
            format!("its pod could not start: {reason}"),
        ),
        StageEnd::Complete => match inner.state.job(job.id).await {
            Ok(now) if !is_ours(now.as_ref(), job) => {
                let status = now.map_or("gone", |now| now.status.as_str());
                Course::Settled(format!("done by Job {name}: {status}"))
            }
            Ok(_) => Course::Trouble(
                FailureClass::Defect,
                format!("the pod of Job {name} ended without a word to the state"),
            ),
            Err(error) => Course::Trouble(FailureClass::State, error.to_string()),
        },
        StageEnd::Died { reason, no_room } => match inner.state.job(job.id).await {
            Ok(now) if !is_ours(now.as_ref(), job) => {
                let status = now.map_or("gone", |now| now.status.as_str());
                Course::Settled(format!("let go by Job {name}: {status}"))
            }
            Ok(_) => {
                clear(assignment);
                let class = if no_room {
                    FailureClass::Capacity
                } else {
                    FailureClass::Interrupted
                };
                Course::Trouble(class, format!("the pod of Job {name} died: {reason}"))
            }
            Err(error) => Course::Trouble(FailureClass::State, error.to_string()),
        },
    }
}

/// Removes what a drill whose pod died left in Kubernetes, beside everything else: its holder
/// is gone, which the sweep sees. What does not go now goes with the hourly sweep.
fn clear(assignment: &Assignment) {
    if assignment.job.kind != JobKind::Drill {
        return;
    }
    let config = assignment.config.clone();
    tokio::spawn(async move {
        match sweep::there(&config, Utc::now(), false).await {
            Ok(swept) => {
                for one in &swept.removed {
                    tracing::info!(namespace = %one.name, reason = %one.reason, "swept");
                }
            }
            Err(error) => tracing::warn!(%error, "what a dead drill left is not swept yet"),
        }
    });
}

/// The Job that does the work.
async fn wanted(job: &Job, config: &Config, pods: &KubernetesExecutor) -> Result<PodJob, String> {
    let template = match (&pods.template, &pods.image) {
        (Some(path), _) => {
            let path = path.clone();
            tokio::task::spawn_blocking(move || job::read(&path))
                .await
                .map_err(|error| error.to_string())?
                .map_err(|error| error.to_string())?
        }
        (None, Some(image)) => job::built_in(image),
        (None, None) => {
            return Err("`daemon.kubernetes` names neither a pod template nor an image".to_owned());
        }
    };
    let extracted = config
        .extract(&job.cluster)
        .map_err(|error| error.to_string())?;
    let mut arguments = vec![
        "job".to_owned(),
        "perform".to_owned(),
        "--job".to_owned(),
        job.id.to_string(),
        "--token".to_owned(),
        job.token.to_string(),
    ];
    if let Some(holder) = job.holder {
        arguments.extend(["--holder".to_owned(), holder.to_string()]);
    }
    Ok(PodJob {
        namespace: pods.namespace.clone().unwrap_or_default(),
        job: job.id,
        token: job.token,
        part: String::new(),
        kind: job.kind.as_str().to_owned(),
        cluster: job.cluster.clone(),
        template,
        image: pods.image.clone(),
        arguments,
        files: extracted.files,
        ttl: pods.ttl(),
        grace: config.daemon.stop_within() + GRACE,
        indexed: None,
    })
}

/// The Job that reads in parts before.
fn as_shards(wanted: &PodJob, shards: u32) -> PodJob {
    let mut arguments = wanted.arguments.clone();
    // Shards do not hold the job: nobody hands it over to them.
    arguments.truncate(6);
    arguments.extend(["--shards".to_owned(), shards.to_string()]);
    PodJob {
        part: "shards".to_owned(),
        arguments,
        indexed: Some(Indexed {
            pods: shards,
            again: SHARD_AGAIN,
        }),
        ..wanted.clone()
    }
}

/// Into how many parts the reading of a job is divided; 1 for what is not divided.
fn shards(spec: &JobSpec, job: &Job, config: &Config) -> u32 {
    let JobSpec::Verify { depth } = spec else {
        return 1;
    };
    let tier = config
        .cluster(&job.cluster)
        .map(|cluster| config.tier_of(cluster));
    let verification = tier.and_then(|tier| tier.verification).unwrap_or_default();
    if depth.or(verification.depth) == Some(VerificationDepth::Read) {
        verification.shards.unwrap_or(1)
    } else {
        1
    }
}
