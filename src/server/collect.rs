//! From the state to plain facts.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use serde::de::DeserializeOwned;

use super::facts::{
    ClusterFacts, CopyFacts, FindingFacts, FleetFacts, JobFacts, NotificationFacts, ProofFacts,
    RecordFacts, RunFacts,
};
use super::promised::promised;
use super::standing;
use crate::config::Config;
use crate::evidence::{EntryKind, Verdict};
use crate::operation::standing::{DrillStanding, ReplicateStanding, VerifyStanding};
use crate::state::{
    DeliveryOutcome, EntryCount, Incident, IncidentFilter, RunKind, Standing, StandingFilter,
    State, StateError,
};

/// The kinds of runs that prove something of a copy.
const PROOFS: [RunKind; 4] = [
    RunKind::Verify,
    RunKind::Replicate,
    RunKind::Compare,
    RunKind::Drill,
];

/// The kinds for which a run without an answer is counted.
const ASKED: [(EntryKind, &str); 3] = [
    (EntryKind::Verify, "verify"),
    (EntryKind::Replicate, "replicate"),
    (EntryKind::Drill, "drill"),
];

/// The code of the finding that says that the ledger breaks.
const RECORDS_BROKEN: &str = "records-broken";

/// Asks the state how the clusters of the configuration stand. A few queries whose answers
/// grow with the configuration, not with time: standings and counts are one per copy and
/// kind, and of incidents only the open ones are read, at most 10,000.
pub async fn collect(
    state: &State,
    config: &Config,
    now: DateTime<Utc>,
) -> Result<FleetFacts, StateError> {
    let mut fleet = FleetFacts {
        at: now,
        clusters: promised(config),
        ..FleetFacts::default()
    };
    let mut places: HashMap<String, usize> = HashMap::new();
    for (index, cluster) in fleet.clusters.iter().enumerate() {
        places.insert(cluster.name.clone(), index);
    }
    let locations = locations(config);
    // By kind, so that the bodies of one kind alone are held at a time.
    for kind in PROOFS {
        let filter = StandingFilter {
            kind: Some(kind),
            ..StandingFilter::default()
        };
        for standing in state.standings(&filter).await? {
            // What was said of another place does not count for the one that has its name by
            // now.
            let key = (standing.cluster.clone(), standing.copy.clone());
            if locations.get(&key) != Some(&standing.location) {
                continue;
            }
            let cluster = places.get(&standing.cluster);
            let cluster = cluster.and_then(|index| fleet.clusters.get_mut(*index));
            let copy =
                cluster.and_then(|it| it.copies.iter_mut().find(|copy| copy.name == standing.copy));
            if let Some(copy) = copy {
                stand(copy, &standing);
            }
        }
    }
    for cluster in &mut fleet.clusters {
        lags(cluster);
    }
    let incidents = state.incidents(true, &IncidentFilter::default()).await?;
    fleet.records.broken = incidents.iter().any(|it| it.code == RECORDS_BROKEN);
    find(&mut fleet, &incidents);
    count(&mut fleet, &state.entry_counts().await?);
    fleet.jobs = state
        .job_counts()
        .await?
        .into_iter()
        .map(|count| JobFacts {
            kind: count.kind.as_str(),
            status: count.status.as_str(),
            count: count.jobs,
        })
        .collect();
    fleet.records = RecordFacts {
        head: state.entry_head().await?.map_or(0, |(head, _)| head),
        ..fleet.records
    };
    for count in state.delivery_counts().await? {
        let NotificationFacts { waiting, given_up } = &mut fleet.notifications;
        match count.outcome {
            None => *waiting += count.count,
            Some(DeliveryOutcome::GivenUp) => *given_up += count.count,
            Some(DeliveryOutcome::Sent | DeliveryOutcome::Superseded) => {}
        }
    }
    Ok(fleet)
}

/// Where each copy of each cluster lies.
fn locations(config: &Config) -> HashMap<(String, String), String> {
    let clusters = config.clusters.iter();
    clusters
        .flat_map(|cluster| {
            cluster.copies().map(|(copy, repository)| {
                let location = repository.url.to_string();
                ((cluster.name.clone(), copy), location)
            })
        })
        .collect()
}

/// Puts a standing to its copy.
fn stand(copy: &mut CopyFacts, standing: &Standing) {
    let mut proof = ProofFacts {
        kind: standing.kind.as_str(),
        answered_at: Some(standing.at),
        verdict: standing.verdict,
        exit_code: standing.exit_code,
    };
    match standing.kind {
        RunKind::Verify => {
            if let Some(body) = body::<VerifyStanding>(standing) {
                copy.verification = Some(standing::verification(&body));
            }
        }
        RunKind::Replicate => {
            if let Some(body) = body::<ReplicateStanding>(standing) {
                copy.replica = Some(standing::replica(&body));
            }
        }
        RunKind::Drill => {
            if let Some(body) = body::<DrillStanding>(standing) {
                let body = body.of_place(&standing.location);
                if body.verdict == Verdict::Unproven {
                    // It gave no answer; the newest that is known to have given one.
                    proof.answered_at = body.last_proven.as_ref().map(|proven| proven.at);
                }
                copy.drill = Some(standing::drill(&body));
            }
        }
        _ => {}
    }
    copy.proofs.push(proof);
}

/// What an older or newer version wrote and this one cannot read is left out.
fn body<T: DeserializeOwned>(standing: &Standing) -> Option<T> {
    T::deserialize(&standing.body)
        .inspect_err(|error| {
            tracing::debug!(run = %standing.run_id, %error, "a standing cannot be read");
        })
        .ok()
}

/// How far each replica is behind: from the primary's tip to the replica's own, or to the
/// moment as of which a replication had nothing left to copy, whichever is later.
fn lags(cluster: &mut ClusterFacts) {
    let tips = cluster
        .copies
        .iter()
        .map(|copy| copy.verification.as_ref().and_then(|it| it.tip_at));
    let tips: Vec<Option<DateTime<Utc>>> = tips.collect();
    let Some(Some(primary)) = tips.first().copied() else {
        return;
    };
    for (copy, tip) in cluster.copies.iter_mut().zip(tips).skip(1) {
        let complete = copy.replica.as_ref().and_then(|replica| {
            // Nothing was left to copy then.
            replica.lag_ms.filter(|lag| *lag == 0)?;
            replica.compared_at
        });
        if let Some(held) = tip.max(complete) {
            let lag = primary.signed_duration_since(held).max(TimeDelta::zero());
            let replica = copy.replica.get_or_insert_default();
            replica.lag_ms = u64::try_from(lag.num_milliseconds()).ok();
        }
    }
}

/// Puts open incidents to their copies: one per code, with the gravest severity, over those
/// who noticed it. What names no copy stays with its cluster or the fleet; what is of a
/// cluster that the configuration does not name is left out.
fn find(fleet: &mut FleetFacts, incidents: &[Incident]) {
    let mut found: BTreeMap<(&str, &str, &str), FindingFacts> = BTreeMap::new();
    for incident in incidents {
        let key = (
            incident.cluster.as_str(),
            incident.copy.as_str(),
            incident.code.as_str(),
        );
        let finding = found.entry(key).or_insert_with(|| FindingFacts {
            code: incident.code.clone(),
            severity: incident.severity,
            count: 0,
            opened_at: incident.opened_at,
        });
        finding.severity = finding.severity.max(incident.severity);
        finding.count = finding.count.saturating_add(incident.count);
        finding.opened_at = finding.opened_at.min(incident.opened_at);
    }
    let mut places: HashMap<String, &mut ClusterFacts> = HashMap::new();
    for cluster in &mut fleet.clusters {
        places.insert(cluster.name.clone(), cluster);
    }
    for ((cluster, copy, _), finding) in found {
        if cluster.is_empty() {
            fleet.findings.push(finding);
        } else if let Some(cluster) = places.get_mut(cluster) {
            match cluster.copies.iter_mut().find(|it| it.name == copy) {
                Some(copy) => copy.findings.push(finding),
                None if copy.is_empty() => cluster.findings.push(finding),
                None => {}
            }
        }
    }
}

/// Counts what the ledger holds.
fn count(fleet: &mut FleetFacts, counts: &[EntryCount]) {
    let mut runs: BTreeMap<(EntryKind, &str), u64> = BTreeMap::new();
    let mut due: HashMap<&str, [u64; 3]> = HashMap::new();
    let mut unanswered: HashMap<&str, [u64; ASKED.len()]> = HashMap::new();
    for count in counts {
        let add = |to: Option<&mut u64>| {
            if let Some(to) = to {
                *to = to.saturating_add(count.entries);
            }
        };
        let cluster = count.cluster.as_str();
        let number = match count.kind {
            EntryKind::Missed => 0,
            EntryKind::Late => 1,
            EntryKind::Skipped => 2,
            kind => {
                if count.outcome.is_empty() {
                    continue;
                }
                add(Some(runs.entry((kind, &count.outcome)).or_default()));
                let asked = ASKED.iter().position(|(asked, _)| *asked == kind);
                if let ("unproven" | "unchecked", Some(index)) = (count.outcome.as_str(), asked) {
                    add(unanswered.entry(cluster).or_default().get_mut(index));
                }
                continue;
            }
        };
        add(due.entry(cluster).or_default().get_mut(number));
    }
    fleet.runs = runs
        .into_iter()
        .map(|((kind, outcome), count)| RunFacts {
            kind: kind.as_str(),
            outcome: outcome.to_owned(),
            count,
        })
        .collect();
    for cluster in &mut fleet.clusters {
        let name = cluster.name.as_str();
        [cluster.missed, cluster.late, cluster.skipped] =
            due.get(name).copied().unwrap_or_default();
        let numbers = unanswered.get(name).copied().unwrap_or_default();
        cluster.unanswered = ASKED
            .map(|(_, kind)| kind)
            .into_iter()
            .zip(numbers)
            .collect();
    }
}
