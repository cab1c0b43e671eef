//! What the configuration alone says: clusters, copies, and what was promised.

use super::facts::{ClusterFacts, CopyFacts, CopyRole, ObjectiveFacts};
use crate::config::{Cluster, Config, Period};

/// Every cluster of the configuration, with nothing known of it yet.
pub(super) fn promised(config: &Config) -> Vec<ClusterFacts> {
    config
        .clusters
        .iter()
        .map(|cluster| ClusterFacts {
            name: cluster.name.clone(),
            tier: cluster.tier.clone().unwrap_or_default(),
            owner: cluster.owner.clone().unwrap_or_default(),
            objectives: objectives(config, cluster),
            copies: copies(cluster),
            ..ClusterFacts::default()
        })
        .collect()
}

fn objectives(config: &Config, cluster: &Cluster) -> ObjectiveFacts {
    let tier = config.tier_of(cluster);
    let due = tier.due.unwrap_or_default();
    let seconds = |period: Option<Period>| period.map(Period::as_secs);
    ObjectiveFacts {
        rpo: seconds(tier.rpo),
        rto: seconds(tier.rto),
        retention: seconds(tier.retention),
        backup_age: seconds(tier.max_backup_age),
        verify_due: seconds(due.verify),
        replicate_due: seconds(due.replicate),
        drill_due: seconds(due.drill),
    }
}

fn copies(cluster: &Cluster) -> Vec<CopyFacts> {
    cluster
        .copies()
        .enumerate()
        .map(|(index, (name, repository))| CopyFacts {
            name,
            role: if index == 0 {
                CopyRole::Primary
            } else {
                CopyRole::Replica
            },
            lag_limit: repository
                .replication
                .as_ref()
                .and_then(|replication| replication.lag)
                .map(Period::as_secs),
            ..CopyFacts::default()
        })
        .collect()
}
