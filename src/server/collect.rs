//! From the state to plain facts.

use chrono::{DateTime, Utc};

use super::facts::{ClusterFacts, CopyFacts, CopyRole, FleetFacts, ObjectiveFacts};
use crate::config::{Cluster, Config, Period};
use crate::state::{HistoryFilter, State, StateError};

/// Asks the state how the clusters of the configuration stand. Queries that are few and
/// whose answers grow with the configuration, not with time.
pub async fn collect(
    state: &State,
    config: &Config,
    now: DateTime<Utc>,
) -> Result<FleetFacts, StateError> {
    let filter = HistoryFilter {
        limit: 1,
        ..HistoryFilter::default()
    };
    state.history(&filter).await?;
    Ok(FleetFacts {
        at: now,
        clusters: promised(config),
        ..FleetFacts::default()
    })
}

/// What the configuration alone says: clusters, copies and what was promised.
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
        })
        .collect()
}

fn objectives(config: &Config, cluster: &Cluster) -> ObjectiveFacts {
    let tier = config.tier_of(cluster);
    let seconds = |period: Option<Period>| period.map(Period::as_secs);
    ObjectiveFacts {
        rpo: seconds(tier.rpo),
        rto: seconds(tier.rto),
        retention: seconds(tier.retention),
        backup_age: seconds(tier.max_backup_age),
        ..ObjectiveFacts::default()
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
