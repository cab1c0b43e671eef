//! Where a cluster's definition is captured, and beside which copies it is kept.

use crate::config::{Cluster, Config, GuardedCluster};
use crate::operation::source::{Reach, Source, find};
use crate::operation::{Failure, FailureClass};
use crate::storage::Store;

/// A replica beside which a cluster's definitions are kept.
#[derive(Clone, Debug)]
pub struct Place {
    /// The replica.
    pub source: Source,
    /// The cluster.
    pub cluster: Cluster,
}

impl Place {
    /// Opens the replica to read.
    pub fn open(&self) -> Result<Store, Failure> {
        self.source.open()
    }

    /// Where the cluster lives in Kubernetes.
    pub fn guarded(&self) -> Result<&GuardedCluster, Failure> {
        self.cluster.kubernetes.as_ref().ok_or_else(|| {
            Failure::new(
                FailureClass::Configuration,
                format_args!(
                    "the configuration does not say where `{}` lives in Kubernetes",
                    self.cluster.name
                ),
            )
            .with_hint(
                "give the cluster `kubernetes: {namespace: …, name: …}`; `walproof kubernetes scan \
                 --write-config` prints it",
            )
        })
    }
}

/// The replicas of a cluster, or the one that is named. A primary is refused: it is never
/// written to, and is lost together with what the definition describes.
pub fn replicas(
    config: &Config,
    name: &str,
    copy: Option<&str>,
    reach: &Reach,
) -> Result<Vec<Place>, Failure> {
    let cluster = find(name, config)?.clone();
    let labels: Vec<String> = cluster.copies().map(|(label, _)| label).collect();
    // Before its credentials are read: they are nobody's business here.
    if copy.is_some() && copy == labels.first().map(String::as_str) {
        return Err(Failure::refused(format_args!(
            "definitions of `{name}` are not kept beside its primary repository"
        ))
        .with_hint("a primary is never written to: name a replica with --copy"));
    }
    let wanted: Vec<&str> = match copy {
        Some(copy) => vec![copy],
        None => labels.iter().skip(1).map(String::as_str).collect(),
    };
    let sources: Vec<Source> = wanted
        .into_iter()
        .map(|label| Source::of_cluster(config, name, Some(label), reach))
        .collect::<Result<_, _>>()?;
    if sources.is_empty() {
        return Err(Failure::refused(format_args!(
            "the definition of `{name}` has nowhere to be kept: the cluster has no replica"
        ))
        .with_hint(
            "a primary is never written to, and is lost with the site: add a copy under `replicas:`, \
             and fill it with `walproof replicate run`",
        ));
    }
    Ok(sources
        .into_iter()
        .map(|source| Place {
            source,
            cluster: cluster.clone(),
        })
        .collect())
}

/// The replica that is named, else the first.
pub fn replica(
    config: &Config,
    name: &str,
    copy: Option<&str>,
    reach: &Reach,
) -> Result<Place, Failure> {
    let mut all = replicas(config, name, copy, reach)?;
    // `replicas` never gives none.
    Ok(all.swap_remove(0))
}
