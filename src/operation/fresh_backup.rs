//! The policy that lets CloudNativePG take a base backup when a verification found none that
//! can be used.
//!
//! It is the end of the verification's job, in a run of its own. Whatever becomes of it, what
//! the verification found stays as it was found: only the next one can see a backup.

use std::sync::OnceLock;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::backup_request::{self, BackupStep, BackupWish, Until};
use super::secrets::access_of;
use super::source::Source;
use super::{Failure, Leaves, Recording, Surroundings};
use crate::config::{FreshBackup, KubernetesCluster, Period};
use crate::drill::Cancellation;
use crate::kubernetes::cnpg::{self, Backup};
use crate::kubernetes::names::{MANAGED_BY, WALPROOF};
use crate::kubernetes::{Kube, KubeError};
use crate::state::{HistoryFilter, RunKind, RunStatus, State};

/// How often it may ask when nothing is said.
const EVERY: Duration = Duration::from_hours(6);
/// A backup is followed at most this long: meanwhile the cluster's next verification waits.
const FOLLOWED: Duration = Duration::from_mins(30);
/// WAL of a backup that ended so recently may still be on its way.
const SETTLES: TimeDelta = TimeDelta::minutes(10);
/// So many runs are looked through for one that asked.
const RUNS: u32 = 500;

/// What may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    cluster: KubernetesCluster,
    every: TimeDelta,
    followed: Duration,
}

impl Policy {
    /// The policy for a place: none but for the primary copy of a cluster that has one.
    pub(super) fn of(source: &Source) -> Option<Self> {
        let cluster = source.cluster.as_ref()?;
        let guarded = cluster.kubernetes.as_ref()?;
        let (primary, _) = cluster.copies().next()?;
        if guarded.fresh_backup != FreshBackup::WhenNoneUsable || source.copy != primary {
            return None;
        }
        let due = source.tier.due.and_then(|due| due.verify);
        Some(Self {
            cluster: guarded.resource(),
            every: guarded.fresh_backup_every.map_or_else(
                || TimeDelta::from_std(EVERY).unwrap_or_default(),
                Period::as_chrono,
            ),
            // The next verification must not become overdue by it.
            followed: due.map_or(FOLLOWED, |due| FOLLOWED.min(due.as_std() / 2)),
        })
    }

    /// Why none is asked for now, if there is a reason.
    fn objection(&self, complete: bool, backups: &[Backup], now: DateTime<Utc>) -> Option<String> {
        if !complete {
            let words = "the verification could not ask for volume snapshots; the next one may";
            return Some(words.to_owned());
        }
        let young = |at: Option<DateTime<Utc>>| at.is_none_or(|at| now - at < self.every);
        let own = || {
            backups
                .iter()
                .filter(|backup| backup.cluster == self.cluster.name)
        };
        let under_way = own()
            .filter(|backup| !backup.is_completed() && !backup.is_failed())
            .find(|backup| young(backup.created_at));
        if let Some(backup) = under_way {
            let phase = match backup.phase.as_str() {
                "" => "without a phase yet",
                phase => phase,
            };
            return Some(format!("{} is under way ({phase})", backup.name));
        }
        let settling = own()
            .filter(|backup| backup.is_completed())
            .find(|backup| backup.stopped_at.is_some_and(|at| now - at < SETTLES));
        if let Some(backup) = settling {
            return Some(format!(
                "{} is completed, and what it needs may still be on its way",
                backup.name
            ));
        }
        let asked = own()
            .filter(|backup| is_ours(backup) && young(backup.created_at))
            .max_by_key(|backup| backup.created_at)?;
        Some(self.too_soon(&format!("{} was asked for", asked.name), asked.created_at))
    }

    fn too_soon(&self, what: &str, at: Option<DateTime<Utc>>) -> String {
        let at = at.map_or_else(String::new, |at| {
            format!(" at {}", at.format("%Y-%m-%d %H:%M:%S UTC"))
        });
        let every = crate::verify::words::length(self.every);
        format!("{what}{at}, and at most one is in {every}")
    }

    /// The newest run within the time of the policy that asked for a backup, or may have.
    async fn run(
        &self,
        state: &State,
        source: &Source,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Failure> {
        let filter = HistoryFilter {
            source: Some(source.name.clone()),
            kind: Some(RunKind::Backup),
            since: now.checked_sub_signed(self.every),
            limit: RUNS,
            ..HistoryFilter::default()
        };
        for run in state.history(&filter).await? {
            let at = run.started_at;
            // What ended without a report has asked for nothing; how an interrupted one
            // ended nobody knows.
            if run.status != RunStatus::Finished || state.drill(run).await?.report.is_some() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}

/// Whether walproof asked for it.
fn is_ours(backup: &Backup) -> bool {
    let labels = backup.manifest.pointer("/metadata/labels");
    labels.and_then(|labels| labels.get(MANAGED_BY)?.as_str()) == Some(WALPROOF)
}

/// Whether to ask.
enum Decision {
    Ask(Kube),
    Not(String),
}

async fn decide(
    policy: &Policy,
    source: &Source,
    complete: bool,
    around: &Surroundings,
) -> Result<Decision, Failure> {
    let now = Utc::now();
    if let Some(at) = policy.run(&around.state, source, now).await? {
        return Ok(Decision::Not(
            policy.too_soon("one was asked for", Some(at)),
        ));
    }
    let look = async {
        let kube = Kube::connect(&access_of(&around.config.kubernetes)).await?;
        let listed = cnpg::backups(&kube, Some(&policy.cluster.namespace)).await?;
        Ok::<_, KubeError>((kube, listed))
    };
    let stop = Cancellation::from(around.cancellation.clone());
    let (kube, listed) = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(Failure::interrupted()),
        looked = look => looked?,
    };
    Ok(match policy.objection(complete, &listed.items, now) {
        Some(words) => Decision::Not(words),
        None => Decision::Ask(kube),
    })
}

/// Asks for a backup of a place in which a verification found none, unless one was asked for
/// lately, and follows it for a while. A verification that was not `complete`
/// ([`Verified::complete`](super::verify::Verified)) may have overlooked one: then nothing is
/// asked for. Gives what happened in a few words.
///
/// Ends the job, unless it `goes_on`.
///
/// # Errors
///
/// Only that it cannot be recorded. What is wrong with the backup is in the words, and in the
/// history.
pub(super) async fn ask(
    policy: &Policy,
    source: &Source,
    complete: bool,
    goes_on: bool,
    around: &Surroundings,
) -> Result<String, Failure> {
    let kube = match decide(policy, source, complete, around).await {
        Ok(Decision::Not(why)) => {
            if let Some(fence) = around.fence.filter(|_| !goes_on) {
                around.state.finish_job(&fence, Utc::now(), &[]).await?;
            }
            let words = format!("no usable backup, and none is asked for: {why}");
            around.observer.note(&words);
            return Ok(words);
        }
        Ok(Decision::Ask(kube)) => Ok(kube),
        Err(failure) => Err(failure),
    };
    let origin = around.origin(goes_on);
    let recording = Recording::begin(&around.state, RunKind::Backup, source, origin).await?;
    let wish = BackupWish {
        cluster: policy.cluster.clone(),
        method: None,
        until: Until::Verified,
        limit: policy.followed,
    };
    let observer = &around.observer;
    let asked = OnceLock::new();
    let tell = |step: BackupStep| {
        observer.note(&match step {
            BackupStep::Asked(name) => {
                let name = asked.get_or_init(|| name);
                format!("no usable backup: asked for {name}")
            }
            BackupStep::Phase(phase) => format!("the operator says of the backup: {phase}"),
            BackupStep::Archiving(segment) => format!("waiting for {segment} in the archive"),
        });
    };
    let stop = Cancellation::from(around.cancellation.clone());
    let result = match kube {
        Ok(kube) => Box::pin(backup_request::request(&kube, source, &wish, &tell, &stop)).await,
        Err(failure) => Err(failure),
    };
    let mut outcome = backup_request::outcome_of(&result);
    let words = match (result, asked.get()) {
        (Ok(report), _) => format!(
            "no usable backup: asked for {}: {}",
            report.backup,
            report.summary()
        ),
        (Err(failure), Some(name)) => {
            outcome.summary = format!("asked for {name}: {}", outcome.summary);
            format!("no usable backup: asked for {name}, and following it failed: {failure}")
        }
        (Err(failure), None) => {
            format!("no usable backup, and asking for one failed: {failure}")
        }
    };
    recording.finish(&outcome, Leaves::default()).await?;
    observer.note(&words);
    Ok(words)
}

#[cfg(test)]
#[path = "fresh_backup_tests.rs"]
mod tests;
