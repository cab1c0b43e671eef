//! Proofs that a tier wants by now and that were not made, whatever the schedules say.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::{Config, Period};
use crate::evidence::ledger::{Body, MissedBody, MissedReason, NoticedBody};
use crate::evidence::{EntryKind, NewEntry};
use crate::finding::Code;
use crate::state::{
    Incident, IncidentChanges, IncidentFilter, IncidentKey, IncidentKind, JobFilter, JobKind,
    NewIncident, Proof, RunKind, State, StateError,
};

/// The kinds of proofs that a tier can want.
const KINDS: [(RunKind, JobKind, EntryKind, Code); 4] = [
    (
        RunKind::Verify,
        JobKind::Verify,
        EntryKind::Verify,
        Code::VerificationOverdue,
    ),
    (
        RunKind::Replicate,
        JobKind::Replicate,
        EntryKind::Replicate,
        Code::ReplicationOverdue,
    ),
    (
        RunKind::Drill,
        JobKind::Drill,
        EntryKind::Drill,
        Code::DrillOverdue,
    ),
    (
        RunKind::Capture,
        JobKind::Capture,
        EntryKind::Capture,
        Code::DefinitionStale,
    ),
];

/// A proof that a tier wants, and the newest one that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    cluster: String,
    /// Empty for a drill, which is about the cluster.
    copy: String,
    kind: RunKind,
    /// How old the newest may get.
    within: TimeDelta,
    newest: Option<DateTime<Utc>>,
}

impl Wanted {
    /// The end of the newest period that has passed without a proof, counted from the newest
    /// proof or from `since`; `None` while it is not overdue.
    fn overdue(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let from = self.newest.unwrap_or(since);
        let within = self.within.num_milliseconds().max(1);
        let periods = (now - from).num_milliseconds() / within;
        (periods >= 1)
            .then(|| from.checked_add_signed(TimeDelta::milliseconds(periods * within)))
            .flatten()
    }
}

/// Everything that the tiers want, with the newest proofs.
fn wanted(config: &Config, proofs: &[Proof]) -> Vec<Wanted> {
    let mut places: BTreeMap<(&str, String), String> = BTreeMap::new();
    for cluster in &config.clusters {
        for (label, repository) in cluster.copies() {
            places.insert((cluster.name.as_str(), label), repository.url.to_string());
        }
    }
    let mut newest: BTreeMap<(&str, &str, RunKind), DateTime<Utc>> = BTreeMap::new();
    for proof in proofs {
        // What was said of another place, or of a copy that is gone, does not count.
        let place = places.get(&(proof.cluster.as_str(), proof.copy.clone()));
        if place != Some(&proof.location) {
            continue;
        }
        let copy = match proof.kind {
            RunKind::Drill => "",
            _ => proof.copy.as_str(),
        };
        let at = newest
            .entry((proof.cluster.as_str(), copy, proof.kind))
            .or_insert(proof.at);
        *at = proof.at.max(*at);
    }
    let mut wanted = Vec::new();
    for cluster in &config.clusters {
        let Some(due) = config.tier_of(cluster).due else {
            continue;
        };
        let mut push = |copy: &str, kind: RunKind, within: Option<Period>| {
            if let Some(within) = within {
                wanted.push(Wanted {
                    cluster: cluster.name.clone(),
                    copy: copy.to_owned(),
                    kind,
                    within: within.as_chrono(),
                    newest: newest.get(&(cluster.name.as_str(), copy, kind)).copied(),
                });
            }
        };
        for (index, (label, _)) in cluster.copies().enumerate() {
            push(&label, RunKind::Verify, due.verify);
            if index > 0 {
                push(&label, RunKind::Replicate, due.replicate);
                if cluster.kubernetes.is_some() {
                    push(&label, RunKind::Capture, due.capture);
                }
            }
        }
        push("", RunKind::Drill, due.drill);
    }
    wanted
}

/// Looks for overdue proofs, notes them and opens incidents; closes those that are no longer
/// so. `since` is when the first of it could have been wanted: since when there is a ledger.
///
/// Gives how many are overdue.
pub(super) async fn look(
    state: &State,
    config: &Config,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<u64, StateError> {
    let any = config.tiers.values().any(|tier| tier.due.is_some());
    let mut open = BTreeMap::new();
    for (.., code) in KINDS {
        let filter = IncidentFilter {
            code: Some(code.as_str().to_owned()),
            ..IncidentFilter::default()
        };
        for incident in state.incidents(true, &filter).await? {
            let key = (
                incident.cluster.clone(),
                incident.copy.clone(),
                incident.code.clone(),
            );
            open.insert(key, incident);
        }
    }
    if !any && open.is_empty() {
        return Ok(0);
    }
    let proofs = state.proofs().await?;
    let mut overdue = 0;
    for wanted in wanted(config, &proofs) {
        let Some((_, job, entry, code)) = KINDS.into_iter().find(|(kind, ..)| *kind == wanted.kind)
        else {
            continue;
        };
        let key = (
            wanted.cluster.clone(),
            wanted.copy.clone(),
            code.as_str().to_owned(),
        );
        let Some(period_end) = wanted.overdue(since, now) else {
            continue;
        };
        let known = open.remove(&key);
        if known.is_none() && wanted.newest.is_none() && is_coming(state, &wanted, job, now).await?
        {
            continue;
        }
        overdue += 1;
        note(
            state,
            &wanted,
            (entry, code),
            known.as_ref(),
            period_end,
            now,
        )
        .await?;
    }
    // The entry of a run closes what it proves again, that of a configuration what it no
    // longer wants. What is left crossed one of those.
    for incident in open.values() {
        over(state, incident, now).await?;
    }
    Ok(overdue)
}

/// Which of these incidents a configuration ends: overdue proofs that its tiers do not want,
/// or not yet.
pub(super) fn ended<'a>(
    config: &Config,
    incidents: &'a [Incident],
    proofs: &[Proof],
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Vec<&'a Incident> {
    let wanted = wanted(config, proofs);
    incidents
        .iter()
        .filter(|incident| {
            let kind = KINDS
                .iter()
                .find_map(|(kind, .., code)| (code.as_str() == incident.code).then_some(*kind));
            kind.is_some_and(|kind| {
                !wanted.iter().any(|wanted| {
                    wanted.kind == kind
                        && wanted.cluster == incident.cluster
                        && wanted.copy == incident.copy
                        && wanted.overdue(since, now).is_some()
                })
            })
        })
        .collect()
}

/// Whether the first proof of its kind is on its way: its schedule was never due, or its job
/// waits or runs. Nobody is woken for a cluster that is new.
async fn is_coming(
    state: &State,
    wanted: &Wanted,
    kind: JobKind,
    now: DateTime<Utc>,
) -> Result<bool, StateError> {
    let rows = state.schedules(Some(&wanted.cluster)).await?;
    let mut of_kind = rows.iter().filter(|row| row.kind == kind).peekable();
    if of_kind.peek().is_some() && of_kind.all(|row| row.last_due.is_none()) {
        return Ok(true);
    }
    let jobs = state
        .jobs(&JobFilter {
            cluster: Some(wanted.cluster.clone()),
            kind: Some(kind),
            open: true,
            ..JobFilter::default()
        })
        .await?;
    Ok(jobs
        .iter()
        .any(|job| job.attempts <= 1 && now - job.due_at < wanted.within))
}

/// Notes an overdue proof, once for each period that passes without one.
async fn note(
    state: &State,
    wanted: &Wanted,
    (kind, code): (EntryKind, Code),
    known: Option<&Incident>,
    period_end: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), StateError> {
    if known.is_some_and(|incident| incident.last_seen_at >= period_end) {
        return Ok(());
    }
    let body = Body::Missed(Box::new(MissedBody {
        job: kind,
        schedule: None,
        key: None,
        due_at: period_end,
        first_due_at: None,
        moments: 1,
        reason: MissedReason::Overdue,
        newest_at: wanted.newest,
        opened: Vec::new(),
        closed: Vec::new(),
    }));
    let message = match wanted.newest {
        Some(newest) => format!(
            "the newest {kind} is from {}, and the tier wants one every {}",
            newest.format("%Y-%m-%d %H:%M UTC"),
            in_words(wanted.within),
        ),
        None => format!(
            "there was never a {kind} that could check, and the tier wants one every {}",
            in_words(wanted.within),
        ),
    };
    tracing::warn!(cluster = %wanted.cluster, copy = %wanted.copy, code = %code, "{message}");
    let incident = NewIncident {
        cluster: wanted.cluster.clone(),
        copy: wanted.copy.clone(),
        kind: IncidentKind::Schedule,
        scope: String::new(),
        code: code.as_str().to_owned(),
        severity: code.severity(),
        object: wanted.cluster.clone(),
        message,
        by: None,
    };
    let entry = match NewEntry::new(now, &body) {
        Ok(entry) => entry.about(&wanted.cluster, &wanted.copy),
        Err(error) => {
            tracing::error!(cluster = %wanted.cluster, %error, "an overdue proof cannot be written down");
            return Ok(());
        }
    };
    let changes = IncidentChanges {
        opens: vec![incident],
        ..IncidentChanges::default()
    };
    state.note(&entry, &changes, now).await.map(|_| ())
}

/// Notes that a proof is no longer overdue.
async fn over(state: &State, incident: &Incident, now: DateTime<Utc>) -> Result<(), StateError> {
    let key = IncidentKey::from(incident);
    tracing::info!(cluster = %key.cluster, copy = %key.copy, code = %key.code, "no longer overdue");
    let body = Body::Noticed(Box::new(NoticedBody::new("a proof is no longer overdue")));
    let entry = match NewEntry::new(now, &body) {
        Ok(entry) => entry.about(&incident.cluster, &incident.copy),
        Err(error) => {
            tracing::error!(cluster = %key.cluster, %error, "the end of an overdue proof cannot be written down");
            return Ok(());
        }
    };
    let changes = IncidentChanges {
        closes: vec![key],
        ..IncidentChanges::default()
    };
    state.notice(&entry, &changes, now).await.map(|_| ())
}

fn in_words(within: TimeDelta) -> String {
    u64::try_from(within.num_seconds())
        .ok()
        .and_then(Period::from_secs)
        .map_or_else(|| within.to_string(), |period| period.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn proof(copy: &str, kind: RunKind, when: &str, verdict: Option<Verdict>) -> Proof {
        Proof {
            cluster: "orders".to_owned(),
            copy: copy.to_owned(),
            kind,
            location: match copy {
                "primary" => "file:///a".to_owned(),
                _ => "file:///b".to_owned(),
            },
            at: at(when),
            verdict,
        }
    }

    #[test]
    fn each_copy_is_wanted_and_a_drill_of_any() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("walproof.yaml");
        std::fs::write(
            &file,
            "version: 1\ntiers:\n  gold: {due: {verify: 1h, replicate: 2h, drill: 1d}}\n  none: {}\nclusters:\n- {name: orders, tier: gold, primary: {url: 'file:///a'}, replicas: [{name: far, url: 'file:///b'}]}\n- {name: free, tier: none, primary: {url: 'file:///c'}}\n",
        )
        .unwrap();
        let config = crate::config::load(&file).unwrap();
        let proofs = [
            proof("primary", RunKind::Verify, "2026-11-22T01:00:00Z", None),
            proof(
                "far",
                RunKind::Drill,
                "2026-11-21T01:00:00Z",
                Some(Verdict::Failed),
            ),
            proof(
                "primary",
                RunKind::Drill,
                "2026-11-20T01:00:00Z",
                Some(Verdict::Proven),
            ),
        ];
        let wanted = wanted(&config, &proofs);
        let told: Vec<(&str, RunKind, Option<DateTime<Utc>>)> = wanted
            .iter()
            .map(|wanted| (wanted.copy.as_str(), wanted.kind, wanted.newest))
            .collect();
        assert_eq!(
            told,
            [
                ("primary", RunKind::Verify, Some(at("2026-11-22T01:00:00Z"))),
                ("far", RunKind::Verify, None),
                ("far", RunKind::Replicate, None),
                ("", RunKind::Drill, Some(at("2026-11-21T01:00:00Z"))),
            ]
        );
    }

    #[test]
    fn a_definition_is_wanted_beside_each_replica_of_what_lives_in_kubernetes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("walproof.yaml");
        std::fs::write(
            &file,
            "version: 1\ntiers:\n  gold: {due: {capture: 1d}}\nclusters:\n- {name: orders, tier: gold, kubernetes: {namespace: shop, name: orders}, primary: {url: 'file:///a'}, replicas: [{name: far, url: 'file:///b'}]}\n- {name: elsewhere, tier: gold, primary: {url: 'file:///c'}, replicas: [{name: far, url: 'file:///d'}]}\n",
        )
        .unwrap();
        let config = crate::config::load(&file).unwrap();
        let proofs = [proof("far", RunKind::Capture, "2026-11-22T01:00:00Z", None)];
        let wanted = wanted(&config, &proofs);
        assert_eq!(wanted.len(), 1);
        assert_eq!(
            (wanted[0].cluster.as_str(), wanted[0].copy.as_str()),
            ("orders", "far")
        );
        assert_eq!(wanted[0].newest, Some(at("2026-11-22T01:00:00Z")));
        assert!(
            wanted[0]
                .overdue(at("2026-11-01T00:00:00Z"), at("2026-11-23T01:00:01Z"))
                .is_some()
        );
    }

    #[test]
    fn another_place_makes_no_proof() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("walproof.yaml");
        std::fs::write(
            &file,
            "version: 1\ntiers:\n  gold: {due: {verify: 1h, drill: 1d}}\nclusters:\n- {name: orders, tier: gold, primary: {url: 'file:///a'}}\n",
        )
        .unwrap();
        let config = crate::config::load(&file).unwrap();
        let told = |proofs: &[Proof]| -> Vec<Option<DateTime<Utc>>> {
            let wanted = wanted(&config, proofs);
            wanted.iter().map(|wanted| wanted.newest).collect()
        };
        let verified = proof("primary", RunKind::Verify, "2026-11-22T01:00:00Z", None);
        let drilled = proof(
            "primary",
            RunKind::Drill,
            "2026-11-21T01:00:00Z",
            Some(Verdict::Proven),
        );
        let proofs = [verified, drilled];
        let here = [
            Some(at("2026-11-22T01:00:00Z")),
            Some(at("2026-11-21T01:00:00Z")),
        ];
        assert_eq!(told(&proofs), here);
        // The copy was moved: nothing that was proven before is a proof of it.
        let moved = proofs.map(|proof| Proof {
            location: "file:///elsewhere".to_owned(),
            ..proof
        });
        assert_eq!(told(&moved), [None, None]);
    }

    #[tokio::test]
    async fn what_becomes_overdue_and_what_no_longer_is_has_an_entry_each() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("walproof.yaml");
        let clusters = "clusters:\n- {name: orders, tier: gold, primary: {url: 'file:///a'}}\n";
        let config = |due: &str| {
            let text = format!("version: 1\ntiers: {{gold: {{due: {due}}}}}\n{clusters}");
            std::fs::write(&file, text).unwrap();
            crate::config::load(&file).unwrap()
        };
        let url = crate::config::StateUrl::sqlite(directory.path().join("state.sqlite"));
        let state = State::open(&url).await.unwrap();
        let (since, now) = (at("2026-11-20T01:00:00Z"), at("2026-11-22T01:00:00Z"));
        let daily = config("{drill: 1d}");
        // Said once in each period.
        for minutes in [0, 1] {
            let now = now + TimeDelta::minutes(minutes);
            assert_eq!(look(&state, &daily, since, now).await.unwrap(), 1);
        }
        let entries = state.entries(0, 10).await.unwrap();
        assert_eq!(entries.len(), 1);
        let opened = entries[0].content().unwrap();
        assert_eq!(opened.kind, EntryKind::Missed);
        assert_eq!(opened.body["opened"][0]["code"], "drill-overdue");
        // Neither an answer nor a change of the configuration has closed it.
        let monthly = config("{drill: 30d}");
        for _ in 0..2 {
            assert_eq!(look(&state, &monthly, since, now).await.unwrap(), 0);
        }
        let entries = state.entries(1, 10).await.unwrap();
        assert_eq!(entries.len(), 1);
        let closed = entries[0].content().unwrap();
        assert_eq!(closed.kind, EntryKind::Noticed);
        assert_eq!(
            closed.body["closed"][0]["id"],
            opened.body["opened"][0]["id"]
        );
        let open = state.incidents(true, &IncidentFilter::default()).await;
        assert_eq!(open.unwrap(), []);
    }

    #[test]
    fn it_is_told_once_for_each_period_that_passed() {
        let wanted = |newest: Option<&str>| Wanted {
            cluster: "orders".to_owned(),
            copy: String::new(),
            kind: RunKind::Drill,
            within: TimeDelta::hours(1),
            newest: newest.map(at),
        };
        let since = at("2026-11-22T00:00:00Z");
        let proven = wanted(Some("2026-11-22T03:00:00Z"));
        assert_eq!(proven.overdue(since, at("2026-11-22T03:59:59Z")), None);
        for (now, end) in [
            ("2026-11-22T04:00:00Z", "2026-11-22T04:00:00Z"),
            ("2026-11-22T04:59:00Z", "2026-11-22T04:00:00Z"),
            ("2026-11-22T05:10:00Z", "2026-11-22T05:00:00Z"),
        ] {
            assert_eq!(proven.overdue(since, at(now)), Some(at(end)), "{now}");
        }
        let never = wanted(None);
        assert_eq!(never.overdue(since, at("2026-11-22T00:30:00Z")), None);
        assert!(never.overdue(since, at("2026-11-22T01:00:00Z")).is_some());
        assert_eq!(in_words(TimeDelta::hours(25)), "1d1h");
    }
}
