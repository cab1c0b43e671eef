//! From the configuration and the state to the fleet.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::judge::{CLOCK_TOLERANCE, CopyProofs, LOOK_COUNTS, judge};
use super::report::{
    ClusterStatus, CopyRole, CopyStatus, DrillStatus, ExposureStatus, Fleet, FleetCounts,
    IncidentStatus, JobUnderWay, LedgerHead, NextRun, ReplicationStatus, SCHEMA,
    VerificationStatus,
};
use crate::config::{Cluster, Config, Due, Period};
use crate::evidence::Verdict;
use crate::operation::standing::{DrillStanding, ReplicateStanding, VerifyStanding};
use crate::operation::{Failure, source};
use crate::state::{
    Incident, IncidentFilter, Job, JobFilter, RunKind, ScheduleRow, Standing, StandingFilter, State,
};

/// At most so many jobs and incidents are asked for.
const LIMIT: u32 = 10_000;

/// Every guarded cluster, the worst first.
///
/// Memory: what the state keeps of each copy, at most 24 KiB, and 10,000 incidents and jobs.
pub async fn fleet(config: &Config, state: &State, now: DateTime<Utc>) -> Result<Fleet, Failure> {
    let known = Known::read(state, None).await?;
    let clusters = config
        .clusters
        .iter()
        .map(|cluster| known.status(config, cluster, now))
        .collect();
    report(state, clusters, now).await
}

/// One guarded cluster.
pub async fn cluster(
    config: &Config,
    state: &State,
    name: &str,
    now: DateTime<Utc>,
) -> Result<Fleet, Failure> {
    let cluster = source::find(name, config)?;
    let known = Known::read(state, Some(name)).await?;
    let clusters = vec![known.status(config, cluster, now)];
    report(state, clusters, now).await
}

async fn report(
    state: &State,
    mut clusters: Vec<ClusterStatus>,
    now: DateTime<Utc>,
) -> Result<Fleet, Failure> {
    clusters.sort_by_cached_key(|cluster| {
        let rank = match cluster.verdict {
            Verdict::Failed => 0_u8,
            Verdict::Unproven => 1,
            Verdict::Proven => 2,
        };
        let worst = cluster.incidents.first().map(|incident| incident.severity);
        let exposure = cluster.primary().and_then(|copy| copy.exposure);
        (
            rank,
            Reverse(worst),
            Reverse(cluster.overdue.len()),
            Reverse(exposure.map_or(i64::MAX, |exposure| exposure.seconds)),
            cluster.name.clone(),
        )
    });
    let of = |verdict| {
        let those = clusters.iter().filter(|cluster| cluster.verdict == verdict);
        those.count() as u64
    };
    Ok(Fleet {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: now,
        counts: FleetCounts {
            clusters: clusters.len() as u64,
            proven: of(Verdict::Proven),
            failed: of(Verdict::Failed),
            unproven: of(Verdict::Unproven),
        },
        ledger: state
            .entry_head()
            .await?
            .map(|(sequence, sha256)| LedgerHead { sequence, sha256 }),
        clusters,
    })
}

/// What the state keeps, by cluster.
#[derive(Default)]
struct Known {
    standings: BTreeMap<String, Vec<Standing>>,
    incidents: BTreeMap<String, Vec<Incident>>,
    schedules: BTreeMap<String, Vec<ScheduleRow>>,
    jobs: BTreeMap<String, Vec<Job>>,
}

impl Known {
    async fn read(state: &State, cluster: Option<&str>) -> Result<Self, Failure> {
        let named = cluster.map(str::to_owned);
        let mut known = Self::default();
        let filter = StandingFilter {
            cluster: named.clone(),
            ..StandingFilter::default()
        };
        for standing in state.standings(&filter).await? {
            let of = known.standings.entry(standing.cluster.clone()).or_default();
            of.push(standing);
        }
        let filter = IncidentFilter {
            cluster: named.clone(),
            limit: LIMIT,
            ..IncidentFilter::default()
        };
        for incident in state.incidents(true, &filter).await? {
            let of = known.incidents.entry(incident.cluster.clone()).or_default();
            of.push(incident);
        }
        for row in state.schedules(cluster).await? {
            known
                .schedules
                .entry(row.cluster.clone())
                .or_default()
                .push(row);
        }
        let filter = JobFilter {
            cluster: named,
            open: true,
            limit: LIMIT,
            ..JobFilter::default()
        };
        for job in state.jobs(&filter).await? {
            known.jobs.entry(job.cluster.clone()).or_default().push(job);
        }
        Ok(known)
    }

    fn status(&self, config: &Config, cluster: &Cluster, now: DateTime<Utc>) -> ClusterStatus {
        let due = config.tier_of(cluster).due.unwrap_or_default();
        let copies = self.copies(cluster, due, now);
        let mut incidents = self
            .incidents
            .get(&cluster.name)
            .cloned()
            .unwrap_or_default();
        incidents.sort_by_key(|incident| (Reverse(incident.severity), incident.opened_at));
        let proofs: Vec<CopyProofs<'_>> = copies
            .iter()
            .map(|copy| CopyProofs {
                copy: &copy.copy,
                role: copy.role,
                verify: copy.verification.as_ref().map(|proof| &proof.standing),
                replicate: copy.replication.as_ref().map(|proof| &proof.standing),
                drill: copy.drill.as_ref().map(|proof| &proof.standing),
            })
            .collect();
        let judged = judge(due, &proofs, &incidents, now);
        let schedules = self.schedules.get(&cluster.name);
        let mut next_runs: Vec<NextRun> = schedules.into_iter().flatten().map(next_run).collect();
        next_runs.sort_by_key(|run| run.at);
        let jobs = self.jobs.get(&cluster.name);
        ClusterStatus {
            name: cluster.name.clone(),
            description: cluster.description.clone(),
            tier: cluster.tier.clone(),
            owner: cluster.owner.clone(),
            verdict: judged.verdict,
            reasons: judged.reasons,
            last_proof: judged.last_proof,
            overdue: judged.overdue,
            incidents: incidents
                .into_iter()
                .map(|incident| incident_status(incident, config))
                .collect(),
            next_runs,
            jobs: jobs.into_iter().flatten().map(under_way).collect(),
            copies,
        }
    }

    fn copies(&self, cluster: &Cluster, due: Due, now: DateTime<Utc>) -> Vec<CopyStatus> {
        let mut copies: Vec<CopyStatus> = cluster
            .copies()
            .enumerate()
            .map(|(index, (label, repository))| {
                let location = repository.url.to_string();
                let newest = |kind: RunKind| {
                    let standings = self.standings.get(&cluster.name)?;
                    // What was said of another place does not count for this one.
                    standings.iter().find(|standing| {
                        standing.kind == kind
                            && standing.copy == label
                            && standing.location == location
                    })
                };
                let verification =
                    newest(RunKind::Verify).and_then(|standing| verification(standing, due, now));
                CopyStatus {
                    role: if index == 0 {
                        CopyRole::Primary
                    } else {
                        CopyRole::Replica
                    },
                    exposure: verification
                        .as_ref()
                        .and_then(|seen| exposure(&seen.standing, due, now)),
                    lag_seconds: None,
                    verification,
                    replication: newest(RunKind::Replicate)
                        .and_then(|standing| replication(standing, due, now)),
                    drill: newest(RunKind::Drill).and_then(|standing| drill(standing, now)),
                    copy: label,
                    location,
                }
            })
            .collect();
        lags(&mut copies);
        copies
    }
}

fn age(now: DateTime<Utc>, at: DateTime<Utc>) -> i64 {
    now.signed_duration_since(at).num_seconds()
}

fn verification(standing: &Standing, due: Due, now: DateTime<Utc>) -> Option<VerificationStatus> {
    let seen = VerifyStanding::read(standing.body.clone())?;
    Some(VerificationStatus {
        at: seen.checked_at,
        age_seconds: age(now, seen.checked_at),
        due_seconds: due.verify.map(Period::as_secs),
        run_id: standing.run_id.to_string(),
        exit_code: standing.exit_code,
        standing: seen,
    })
}

fn replication(standing: &Standing, due: Due, now: DateTime<Utc>) -> Option<ReplicationStatus> {
    let done = ReplicateStanding::read(standing.body.clone())?;
    Some(ReplicationStatus {
        at: done.finished_at,
        age_seconds: age(now, done.finished_at),
        due_seconds: due.replicate.map(Period::as_secs),
        run_id: standing.run_id.to_string(),
        exit_code: standing.exit_code,
        standing: done,
    })
}

fn drill(standing: &Standing, now: DateTime<Utc>) -> Option<DrillStatus> {
    let done = DrillStanding::read_at(standing.body.clone(), &standing.location)?;
    Some(DrillStatus {
        at: done.started_at,
        age_seconds: age(now, done.started_at),
        run_id: standing.run_id.to_string(),
        exit_code: standing.exit_code,
        standing: done,
    })
}

/// What would be lost now, as far as a look tells.
fn exposure(seen: &VerifyStanding, due: Due, now: DateTime<Utc>) -> Option<ExposureStatus> {
    let since = seen.tip_commit_at?;
    let counts = due.verify.map_or(LOOK_COUNTS, Period::as_chrono);
    let look = now.signed_duration_since(seen.checked_at);
    Some(ExposureStatus {
        seconds: age(now, since),
        since,
        source: seen.tip_source,
        looked_at: seen.checked_at,
        look_age_seconds: look.num_seconds(),
        stale: look > counts || look < -CLOCK_TOLERANCE,
        rpo_seconds: seen.rpo_ms.map(|limit| limit / 1_000),
    })
}

/// How far each replica is behind the primary, by the newest looks at both. Not known where
/// the replica was looked at before the primary: what came between would look like lag.
fn lags(copies: &mut [CopyStatus]) {
    let Some((primary, replicas)) = copies.split_first_mut() else {
        return;
    };
    let Some(ahead) = primary.exposure else {
        return;
    };
    for replica in replicas {
        let Some(behind) = replica.exposure else {
            continue;
        };
        let lag = ahead
            .since
            .signed_duration_since(behind.since)
            .num_seconds();
        if lag <= 0 {
            replica.lag_seconds = Some(0);
        } else if behind.looked_at >= ahead.looked_at {
            replica.lag_seconds = Some(lag);
        }
    }
}

fn next_run(row: &ScheduleRow) -> NextRun {
    NextRun {
        schedule: row.schedule.clone(),
        kind: row.kind,
        at: row.next_due,
        last_due: row.last_due,
    }
}

fn under_way(job: &Job) -> JobUnderWay {
    JobUnderWay {
        id: job.id.to_string(),
        kind: job.kind,
        copy: job.copy.clone(),
        status: job.status,
        due_at: job.due_at,
        started_at: job.started_at,
        attempts: job.attempts,
        progress: job.progress.clone(),
        error: job.error.clone(),
    }
}

fn incident_status(incident: Incident, config: &Config) -> IncidentStatus {
    let base = config
        .notifications
        .as_ref()
        .and_then(|notifications| notifications.runbooks.as_ref())
        .map_or("runbooks", |base| base.as_str().trim_end_matches('/'));
    IncidentStatus {
        id: incident.id.to_string(),
        runbook: format!("{base}/{}.md", incident.code),
        code: incident.code,
        severity: incident.severity,
        kind: incident.kind,
        copy: incident.copy,
        object: incident.object,
        message: incident.message,
        count: incident.count,
        opened_at: incident.opened_at,
        last_seen_at: incident.last_seen_at,
    }
}
