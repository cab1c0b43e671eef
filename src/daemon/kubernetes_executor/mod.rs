//! Jobs performed in pods: one Job of Kubernetes for each claim.
//!
//! The pod runs `walproof job perform` with the claim's fence: it gives the signs of life,
//! writes the records and lets the job go, as this process would. This process makes the Job,
//! holds the claim until the pod has started, and hears how it ended. It is not needed in
//! between: a daemon that stops, dies or is replaced leaves the pods alone.

mod course;
mod pods;
mod stage;

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use self::course::Course;
use super::clock::Clock;
use super::executor::{Assignment, Executor, Finished};
use super::in_process::InProcess;
use crate::config::{Config, ExecutorKind};
use crate::kubernetes::{Access, Kube, KubeError, KubeErrorKind};
use crate::operation::{FailureClass, secrets};
use crate::state::{Job, JobKind, State};

/// Performs jobs in pods.
#[derive(Clone)]
pub struct KubernetesExecutor(Arc<Inner>);

struct Inner {
    state: State,
    clock: Arc<dyn Clock>,
    /// The way to the API by the configuration that held last.
    kube: Mutex<Option<(Access, Kube)>>,
}

impl KubernetesExecutor {
    /// Records in this state, which the pods reach too.
    pub fn new(state: State, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            state,
            clock,
            kube: Mutex::new(None),
        }))
    }
}

impl Inner {
    async fn kube(&self, config: &Config) -> Result<Kube, KubeError> {
        let access = secrets::access_of(&config.kubernetes);
        let mut known = self.kube.lock().await;
        if let Some((of, kube)) = known.as_ref()
            && *of == access
        {
            return Ok(kube.clone());
        }
        let kube = Kube::connect(&access).await?;
        *known = Some((access, kube.clone()));
        Ok(kube)
    }
}

impl Executor for KubernetesExecutor {
    fn perform(&self, assignment: Assignment) -> BoxFuture<'static, Finished> {
        let inner = Arc::clone(&self.0);
        async move {
            let course = Box::pin(course::run(&inner, &assignment)).await;
            let (trouble, summary, cancelled) = match course {
                Course::Settled(summary) => (None, summary, false),
                Course::Cancelled => (Some(FailureClass::Interrupted), "cancelled".into(), true),
                Course::Trouble(class, summary) => (Some(class), summary, false),
            };
            Finished {
                trouble,
                summary,
                cancelled,
                awake: assignment.awake,
            }
        }
        .boxed()
    }

    fn lives_on(&self, _job: &Job, _config: &Config) -> bool {
        true
    }
}

/// Performs each job as the configuration that holds for it says.
pub struct ByConfiguration {
    here: InProcess,
    pods: KubernetesExecutor,
}

impl ByConfiguration {
    /// Records in this state.
    pub fn new(state: State, clock: Arc<dyn Clock>) -> Self {
        Self {
            here: InProcess::new(state.clone()),
            pods: KubernetesExecutor::new(state, clock),
        }
    }
}

impl Executor for ByConfiguration {
    fn perform(&self, assignment: Assignment) -> BoxFuture<'static, Finished> {
        if self.lives_on(&assignment.job, &assignment.config) {
            self.pods.perform(assignment)
        } else {
            self.here.perform(assignment)
        }
    }

    /// A report is a file beside the daemon, and a sweep is about the daemon's own machine:
    /// these are done here, whoever performs all others.
    fn lives_on(&self, job: &Job, config: &Config) -> bool {
        config.daemon.executor == ExecutorKind::Kubernetes
            && !matches!(job.kind, JobKind::Report | JobKind::Sweep)
    }
}

/// What becomes of a job when the API does not do what it should.
const fn class_of(kind: KubeErrorKind) -> FailureClass {
    match kind {
        KubeErrorKind::Unreachable | KubeErrorKind::Timeout | KubeErrorKind::Conflict => {
            FailureClass::Storage { transient: true }
        }
        KubeErrorKind::Quota | KubeErrorKind::AlreadyExists => FailureClass::Capacity,
        KubeErrorKind::Invalid | KubeErrorKind::Configuration => FailureClass::Configuration,
        KubeErrorKind::Unauthorized
        | KubeErrorKind::Forbidden
        | KubeErrorKind::NotFound
        | KubeErrorKind::Other => FailureClass::Credentials,
    }
}
