//! A drill that is run once, outside of any schedule.

use chrono::{DateTime, Utc};

use super::outline::bucket;
use crate::config::Config;
use crate::operation::{JobSpec, definition_digest};
use crate::state::{JobKind, NewJob};

/// How often it is tried.
const ATTEMPTS: u32 = 4;
/// As a scheduled drill.
const PRIORITY: u8 = 4;

/// The job of a defined drill of one cluster, due now, under a key that makes it one of its
/// kind: of the definition as it is now, and of no later one under its name. `None` when the
/// configuration does not know the drill, the cluster or its copy.
pub fn once(
    config: &Config,
    drill: &str,
    cluster: &str,
    key: String,
    now: DateTime<Utc>,
) -> Option<NewJob> {
    let cluster = config.cluster(cluster)?;
    let definition = &config.drill(drill)?.definition;
    let wanted = definition.copy.as_ref();
    let (copy, repository) = cluster
        .copies()
        .find(|(label, _)| wanted.is_none_or(|wanted| wanted == label))?;
    let drills = u64::from(config.daemon.drills().max(1));
    let scratch = config.daemon.scratch;
    Some(NewJob {
        key,
        kind: JobKind::Drill,
        schedule: Some(drill.to_owned()),
        cluster: cluster.name.clone(),
        copy,
        bucket: bucket(repository),
        tier: cluster.tier.clone(),
        due_at: now,
        run_after: now,
        deadline: None,
        priority: PRIORITY,
        late: false,
        scratch_bytes: scratch.map_or(0, |size| size.bytes() / drills),
        max_attempts: ATTEMPTS,
        spec: serde_json::to_value(JobSpec::Drill {
            definition: Some(drill.to_owned()),
            digest: Some(definition_digest(definition)),
        })
        .ok()?,
    })
}
