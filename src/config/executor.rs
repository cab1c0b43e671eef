//! Who performs the daemon's jobs, and how they are performed as Jobs of Kubernetes.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Period;

/// Who performs the daemon's jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutorKind {
    /// The daemon's own process.
    #[default]
    InProcess,
    /// A Job of Kubernetes for each claim. It needs a state in PostgreSQL, which the pods
    /// reach too.
    Kubernetes,
}

/// How jobs are performed as Jobs of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubernetesExecutor {
    /// A file with the pod template in YAML (`metadata` and `spec`), relative to this file.
    /// Its container `walproof`, else its first one, gets the arguments and the job's
    /// configuration; everything else is as it says.
    #[serde(default)]
    pub template: Option<PathBuf>,
    /// The image of the built-in template, or in place of the one in `template`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub image: Option<String>,
    /// The namespace of the Jobs. Default: the daemon's own.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub namespace: Option<String>,
    /// Jobs that are over are removed after this long. Default: 1h.
    #[serde(default)]
    pub ttl: Option<Period>,
    /// A pod that has not started after this long is removed with its Job, and the work
    /// waits for another attempt. Default: 5m.
    #[serde(default)]
    pub start_within: Option<Period>,
}

impl KubernetesExecutor {
    /// How long Jobs are kept that are over.
    pub fn ttl(&self) -> Duration {
        self.ttl.map_or(Duration::from_hours(1), Period::as_std)
    }

    /// How long a pod may take to start.
    pub fn start_within(&self) -> Duration {
        self.start_within
            .map_or(Duration::from_mins(5), Period::as_std)
    }
}
