//! Removing what dead drills left, on this machine and in Kubernetes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Failure, FailureClass};
use crate::config::{Config, Environment};
use crate::drill::environments::local::scratch::default_root;
use crate::drill::{self, SweepReport};
use crate::kubernetes::scratch::{self, SweptNamespaces};
use crate::kubernetes::{Access, Kube, KubeError, holder};

/// What a sweep did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Swept {
    /// On this machine.
    #[serde(flatten)]
    pub here: SweepReport,
    /// In Kubernetes; absent when no drill of the configuration runs there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<SweptNamespaces>,
}

impl Swept {
    /// How many things were removed.
    pub fn removed(&self) -> usize {
        let namespaces = self.kubernetes.as_ref();
        self.here.removed.len() + namespaces.map_or(0, |swept| swept.removed.len())
    }

    /// What should be gone and is not, each with the reason.
    pub fn failed(&self) -> Vec<String> {
        let here = self.here.failed.iter();
        let here = here.map(|left| format!("{}: {}", left.path.display(), left.reason));
        let there = self.kubernetes.iter().flat_map(|swept| &swept.failed);
        let there = there.map(|left| format!("namespace {}: {}", left.name, left.reason));
        here.chain(there).collect()
    }
}

/// Whether drills of the configuration run in Kubernetes.
pub fn uses_kubernetes(config: &Config) -> bool {
    let of_definition = config
        .drills
        .iter()
        .any(|drill| drill.definition.environment == Environment::Cnpg);
    let access = &config.kubernetes;
    let told = access.kubeconfig.is_some() || access.context.is_some();
    of_definition || told || config.clusters.iter().any(|it| it.kubernetes.is_some())
}

/// The directories in which drills of the configuration make their scratch directories.
pub fn roots(config: &Config) -> BTreeSet<PathBuf> {
    let named = config
        .drills
        .iter()
        .filter_map(|drill| drill.definition.scratch.clone());
    named.chain([default_root()]).collect()
}

/// Removes what dead drills left below `roots`; only says what it would remove when
/// `only_look`.
pub async fn here(
    roots: BTreeSet<PathBuf>,
    now: DateTime<Utc>,
    only_look: bool,
) -> Result<SweepReport, Failure> {
    tokio::task::spawn_blocking(move || {
        let mut all = SweepReport::default();
        for root in roots {
            let one = if only_look {
                drill::would_sweep(&root, now)
            } else {
                drill::sweep(&root, now)
            };
            all.removed.extend(one.removed);
            all.ended.extend(one.ended);
            all.kept.extend(one.kept);
            all.failed.extend(one.failed);
        }
        all
    })
    .await
    .map_err(|error| Failure::new(FailureClass::Defect, error))
}

/// Removes the namespaces that dead drills left; only says what it would remove when
/// `only_look`. `now` is this machine's clock, which is compared with the API server's.
pub async fn there(
    config: &Config,
    now: DateTime<Utc>,
    only_look: bool,
) -> Result<SweptNamespaces, KubeError> {
    let access = Access {
        kubeconfig: config.kubernetes.kubeconfig.clone(),
        context: config.kubernetes.context.clone(),
    };
    let kube = Kube::connect(&access).await?;
    // Of a holder on another machine only the namespace's own end of time tells.
    if only_look {
        scratch::would_sweep(&kube, now, holder::lives).await
    } else {
        scratch::sweep(&kube, now, holder::lives).await
    }
}
