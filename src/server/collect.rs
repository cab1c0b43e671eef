//! From the state to plain facts.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use serde::de::DeserializeOwned;

use super::facts::{
    ClusterFacts, CopyFacts, CopyRole, FindingFacts, FleetFacts, JobFacts, NotificationFacts,
    ProofFacts, RecordFacts, RunFacts,
};
use super::promised::promised;
use super::standing;
use crate::config::Config;
use crate::evidence::EntryKind;
use crate::evidence::ledger::MissedReason;
use crate::finding::Code;
use crate::operation::standing::{DrillStanding, ReplicateStanding, VerifyStanding};
use crate::state::{
    DeliveryOutcome, EntryCount, Incident, IncidentFilter, IncidentKind, Proof, RunKind, Standing,
    StandingFilter, State, StateError,
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
const RECORDS_BROKEN: &str = Code::RecordsBroken.as_str();

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
    for proof in state.proofs().await? {
        let cluster = places.get(&proof.cluster);
        let cluster = cluster.and_then(|index| fleet.clusters.get_mut(*index));
        let copy = cluster.and_then(|it| it.copies.iter_mut().find(|copy| copy.name == proof.copy));
        if let Some(copy) = copy {
            answer(copy, &proof);
        }
    }
    for cluster in &mut fleet.clusters {
        lags(cluster);
    }
    let incidents = state.incidents(true, &IncidentFilter::default()).await?;
    find(&mut fleet, &incidents);
    fleet.records = records(state, &incidents).await?;
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

/// What is known of the ledger.
async fn records(state: &State, incidents: &[Incident]) -> Result<RecordFacts, StateError> {
    let followed_at = state.ledger_followed_at().await?;
    let broken = incidents.iter().any(|it| it.code == RECORDS_BROKEN);
    Ok(RecordFacts {
        head: state.entry_head().await?.map_or(0, |(head, _)| head),
        // Nobody knows that it holds before somebody has looked.
        broken: (broken || followed_at.is_some()).then_some(broken),
        followed_at,
    })
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
    copy.proofs.push(ProofFacts {
        kind: standing.kind.as_str(),
        answered_at: None,
        verdict: standing.verdict,
        exit_code: standing.exit_code,
    });
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
                copy.drill = Some(standing::drill(&body));
            }
        }
        _ => {}
    }
}

/// Puts the newest answer of a kind to its copy: what the newest run could not check does not
/// undo it.
fn answer(copy: &mut CopyFacts, newest: &Proof) {
    let kind = newest.kind.as_str();
    if let Some(proof) = copy.proofs.iter_mut().find(|proof| proof.kind == kind) {
        proof.answered_at = Some(newest.at);
        proof.verdict = newest.verdict;
    }
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
        let complete = copy
            .replica
            .as_ref()
            .and_then(|replica| replica.complete_at);
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
    let mut missed: Vec<(&Incident, Code)> = Vec::new();
    for incident in incidents {
        for code in [Code::ObjectiveMissedRpo, Code::ObjectiveMissedRto] {
            if incident.kind == IncidentKind::Drill && incident.code == code.as_str() {
                missed.push((incident, code));
            }
        }
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
    // A drill that could not measure does not undo that one before it missed an objective.
    for (incident, code) in missed {
        let cluster = places.get_mut(&incident.cluster);
        let copy =
            cluster.and_then(|it| it.copies.iter_mut().find(|copy| copy.name == incident.copy));
        if let Some(drill) = copy.and_then(|copy| copy.drill.as_mut()) {
            match code {
                Code::ObjectiveMissedRpo => drill.rpo_met = Some(false),
                _ => drill.rto_met = Some(false),
            }
        }
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
    let mut due: HashMap<&str, Due> = HashMap::new();
    let mut unanswered: HashMap<(&str, &str), [u64; ASKED.len()]> = HashMap::new();
    for count in counts {
        let add = |to: &mut u64, number: u64| *to = to.saturating_add(number);
        let due = due.entry(count.cluster.as_str()).or_default();
        match count.kind {
            // Of no schedule: that a proof is overdue has alerts of its own.
            EntryKind::Missed if count.outcome == MissedReason::Overdue.as_str() => {}
            EntryKind::Missed => add(&mut due.missed, count.moments),
            EntryKind::Late => {
                add(&mut due.late, count.entries);
                // What it passes over did not happen.
                let passed_over = count.moments.saturating_sub(count.entries);
                add(&mut due.missed, passed_over);
            }
            EntryKind::Skipped => add(&mut due.skipped, count.moments),
            _ if count.outcome.is_empty() => {}
            kind => {
                let run = runs.entry((kind, &count.outcome)).or_default();
                add(run, count.entries);
                let asked = ASKED.iter().position(|(asked, _)| *asked == kind);
                if let ("unproven" | "unchecked", Some(index)) = (count.outcome.as_str(), asked) {
                    let copy = (count.cluster.as_str(), count.copy.as_str());
                    if let Some(number) = unanswered.entry(copy).or_default().get_mut(index) {
                        add(number, count.entries);
                    }
                }
            }
        }
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
        let due = due.get(name).copied().unwrap_or_default();
        (cluster.missed, cluster.late, cluster.skipped) = (due.missed, due.late, due.skipped);
        for copy in &mut cluster.copies {
            let numbers = unanswered.get(&(name, copy.name.as_str())).copied();
            let kinds = ASKED.map(|(_, kind)| kind).into_iter();
            // Nothing is copied to a primary.
            let kinds = kinds.zip(numbers.unwrap_or_default());
            copy.unanswered = kinds
                .filter(|(kind, _)| copy.role == CopyRole::Replica || *kind != "replicate")
                .collect();
        }
    }
}

/// What was due in a cluster and did not happen as planned, in due moments.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    missed: u64,
    late: u64,
    skipped: u64,
}
