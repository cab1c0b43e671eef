//! Base backups that are volume snapshots of a Cluster, for a repository that has none.

use super::source::Source;
use crate::config::KubernetesCluster;
use crate::drill::environments::cnpg::snapshot_backups;
use crate::kubernetes::cnpg::{SourceCluster, resources};
use crate::kubernetes::{Kube, KubeError, KubeErrorKind};
use crate::repository::{BaseBackup, Repository};

/// The volume snapshots of the Cluster whose WAL lies here; none for a place of which the
/// configuration knows no Cluster. `None`, told to the log, where Kubernetes could not be
/// asked: what the repository lacks, it lacks all the same.
pub(super) async fn beside(source: &Source, repository: &Repository) -> Option<Vec<BaseBackup>> {
    let Some(cluster) = &source.cluster else {
        return Some(Vec::new());
    };
    // A copy is for the day on which the Cluster and its volumes are gone.
    let is_primary = cluster
        .copies()
        .next()
        .is_some_and(|(label, _)| label == source.copy);
    let Some(wanted) = cluster.kubernetes.as_ref().filter(|_| is_primary) else {
        return Some(Vec::new());
    };
    match ask(source, &wanted.resource(), repository).await {
        Ok(found) => Some(found),
        Err(error) => {
            tracing::warn!(%error, "look for base backups by volume snapshots");
            None
        }
    }
}

async fn ask(
    source: &Source,
    wanted: &KubernetesCluster,
    repository: &Repository,
) -> Result<Vec<BaseBackup>, KubeError> {
    let other = |error: String| KubeError::new(KubeErrorKind::Other, "read the source", error);
    let kube = Kube::connect(&source.kubernetes).await?;
    let (namespace, name) = (&wanted.namespace, &wanted.name);
    let Some(manifest) = resources::read(&kube, &resources::cluster(), namespace, name).await?
    else {
        return Ok(Vec::new());
    };
    let cluster = SourceCluster::parse(manifest).map_err(|error| other(error.to_string()))?;
    let catalog = repository
        .catalog()
        .await
        .map_err(|error| other(error.to_string()))?;
    snapshot_backups(&kube, &cluster, &catalog).await
}
