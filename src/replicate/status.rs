//! How one copy stands: what can be recovered from it, how its bucket is set up, whether its
//! objects are locked.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::lock_trial::{LockTrial, try_lock};
use super::posture::{self, Expected};
use crate::finding::{Code, Finding, Severity};
use crate::postgres::{Lsn, SegmentNumber, TimelineId, WalFileName};
use crate::repository::{Catalog, Repository};
use crate::storage::{LockMode, Posture, StorageError};
use crate::verify::path::SegmentPath;
use crate::verify::report::settle;
use crate::verify::{
    Exposure, Timelines, VerifyError, VerifyOptions, VerifyReport, verify_catalog,
};

/// What a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The repository that the backup tool writes.
    Primary,
    /// A copy of it.
    Replica,
}

/// What a copy is told to be, and what is to be looked at.
#[derive(Clone, Debug)]
pub struct LookOptions {
    /// How it is verified; at depth `listed`.
    pub verify: VerifyOptions,
    /// Whether what is copied here is to be locked, and how strictly.
    pub locked: Option<LockMode>,
    /// Whether to try the lock. Never done with a primary.
    pub try_lock: bool,
}

/// What a copy holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Holdings {
    /// Objects listed.
    pub objects: u64,
    /// Their bytes as stored.
    pub bytes: u64,
    /// Base backups of any status.
    pub backups: u64,
    /// Base backups that can be used.
    pub usable_backups: u64,
    /// The newest usable base backup.
    pub newest_backup: Option<String>,
    /// When it ended.
    pub newest_backup_end: Option<DateTime<Utc>>,
    /// The earliest moment that can be recovered.
    pub recoverable_from: Option<DateTime<Utc>>,
    /// The latest one: the last commit.
    pub recoverable_to: Option<DateTime<Utc>>,
    /// The timeline at the archive tip.
    pub tip_timeline: Option<TimelineId>,
    /// The archive tip.
    pub tip_lsn: Option<Lsn>,
    /// Stretches in which recovery is not possible though it should be.
    pub holes: u64,
}

/// How far a copy is behind the primary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Lag {
    /// From the last commit of the copy to the last one of the primary. `None` if one of the
    /// two is not known.
    pub seconds: Option<i64>,
    /// WAL segments from the copy's archive tip to the primary's.
    pub segments: u64,
    /// The same in bytes of WAL.
    pub bytes: u64,
    /// Usable base backups of the primary that the copy does not hold as usable ones.
    pub backups: u64,
    /// Since when the oldest WAL that the copy lacks has lain at the primary.
    pub waiting_since: Option<DateTime<Utc>>,
}

/// A run that said something of a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProofRun {
    /// The run.
    pub id: String,
    /// When it began.
    pub at: DateTime<Utc>,
    /// Its verdict, if it had one: `proven`, `failed`, `unproven`.
    pub verdict: Option<String>,
    /// Its outcome in one line.
    pub summary: String,
}

/// The newest runs that said something of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Proofs {
    /// The newest drill that proved it.
    pub proven: Option<ProofRun>,
    /// The newest drill, whatever it came to.
    pub drill: Option<ProofRun>,
    /// The newest verification.
    pub verification: Option<ProofRun>,
    /// The newest comparison with the primary; of a replica.
    pub comparison: Option<ProofRun>,
}

impl Proofs {
    /// Whether the newest drill is a proof. An older one that was says nothing of today.
    pub fn is_proven(&self) -> bool {
        let newest = self.drill.as_ref();
        newest.is_some_and(|drill| drill.verdict.as_deref() == Some("proven"))
    }
}

/// One copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CopyStatus {
    /// Its name.
    pub copy: String,
    /// What it is.
    pub role: Role,
    /// Its URL.
    pub location: String,
    /// Where in the world it lies, if that was told.
    pub place: Option<String>,
    /// On what it lies.
    pub media: String,
    /// Why it could not be looked at.
    pub error: Option<String>,
    /// What it holds; `None` if it could not be looked at.
    pub holds: Option<Holdings>,
    /// What would be lost if nothing but it was left now.
    pub exposure: Option<Exposure>,
    /// How far it is behind the primary; of a replica, if both could be looked at.
    pub lag: Option<Lag>,
    /// How far behind it may be, in seconds.
    pub lag_objective: Option<i64>,
    /// What earlier runs said of it.
    pub proofs: Proofs,
    /// How its bucket is set up; `None` if that could not be asked.
    pub posture: Option<Posture>,
    /// Why the bucket could not be asked.
    pub posture_error: Option<String>,
    /// How strictly what is copied here is to be locked.
    pub locked: Option<LockMode>,
    /// What trying the lock showed, if it was tried.
    pub lock_trial: Option<LockTrial>,
    /// Why it could not be tried.
    pub lock_trial_error: Option<String>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// What looking at a copy gave.
#[derive(Debug)]
pub struct Looked {
    catalog: Catalog,
    report: VerifyReport,
    posture: Result<Posture, String>,
    lock_trial: Option<Result<LockTrial, String>>,
    lock: Option<LockMode>,
    findings: Vec<Finding>,
}

/// Looks at a copy: lists and verifies it at depth `listed`, asks for the bucket's settings,
/// and tries the lock if asked to.
///
/// # Errors
/// It could not be listed. What the bucket does not tell is no error.
pub async fn look(repository: &Repository, options: &LookOptions) -> Result<Looked, VerifyError> {
    let catalog = repository.catalog().await?;
    let report = verify_catalog(repository, &catalog, &options.verify, &|_| {}).await?;
    let store = repository.store();
    let cause = |error: StorageError| error.to_string();
    let posture = store.posture().await.map_err(cause);
    let lock_trial = if options.try_lock {
        let mode = options.locked.unwrap_or(LockMode::Governance);
        Some(try_lock(store, mode).await.map_err(cause))
    } else {
        None
    };
    let location = store.location();
    let expected = Expected {
        prefix: location.prefix(),
        location: &catalog.location,
        retention: options.verify.retention,
        between_backups: options.verify.max_backup_age,
        locked: options.locked.is_some(),
        scheme: location.scheme().as_str(),
    };
    let mut findings = Vec::new();
    if let Ok(posture) = &posture {
        findings.extend(posture::findings(posture, &expected, options.verify.now));
    }
    if let Some(Ok(trial)) = &lock_trial
        && options.locked.is_some()
        && !trial.proven
    {
        findings.insert(0, not_locked(&catalog.location, trial));
    }
    Ok(Looked {
        catalog,
        report,
        posture,
        lock_trial,
        lock: options.locked,
        findings,
    })
}

fn not_locked(location: &str, trial: &LockTrial) -> Finding {
    use super::lock_trial::Attempt;
    let words = match (&trial.overwrite, &trial.delete) {
        (Attempt::NotTried { why }, Attempt::NotTried { .. }) => {
            format!("an object could not be written with a retention: {why}")
        }
        (Attempt::Succeeded, _) => {
            "an object was written with a retention and then overwritten".to_owned()
        }
        (_, Attempt::Succeeded) => {
            "an object was written with a retention and then deleted".to_owned()
        }
        (Attempt::NotTried { why }, _) | (_, Attempt::NotTried { why }) => {
            format!("it could not be tried to the end: {why}")
        }
        _ => "the trial proved nothing".to_owned(),
    };
    Finding::new(Code::CopyNotLocked, location, words)
}

impl Looked {
    /// What the copy holds.
    pub fn holdings(&self) -> Holdings {
        let report = &self.report;
        let newest = report
            .backups
            .iter()
            .filter(|backup| backup.usable)
            .max_by_key(|backup| backup.end_time);
        let tip = report.tip.as_ref();
        Holdings {
            objects: report.counts.objects,
            bytes: report.counts.bytes,
            backups: report.counts.backups,
            usable_backups: report.counts.usable_backups,
            newest_backup: newest.map(|backup| backup.id.clone()),
            newest_backup_end: newest.and_then(|backup| backup.end_time),
            recoverable_from: report.windows.iter().filter_map(|w| w.begin_time).min(),
            recoverable_to: report.exposure.map(|exposure| exposure.since),
            tip_timeline: tip.map(|tip| tip.timeline),
            tip_lsn: tip.map(|tip| tip.lsn),
            holes: report.holes.len() as u64,
        }
    }

    /// Puts what was seen into a copy's status.
    pub fn fill(self, status: &mut CopyStatus) {
        status.holds = Some(self.holdings());
        status.exposure = self.report.exposure;
        match self.posture {
            Ok(posture) => status.posture = Some(posture),
            Err(error) => status.posture_error = Some(error),
        }
        match self.lock_trial {
            Some(Ok(trial)) => status.lock_trial = Some(trial),
            Some(Err(error)) => status.lock_trial_error = Some(error),
            None => {}
        }
        status.locked = self.lock;
        status.findings.extend(self.findings);
        status.findings.extend(self.report.findings);
        status.findings = settle(std::mem::take(&mut status.findings));
    }

    /// How far this copy is behind another one.
    pub fn behind(&self, primary: &Self) -> Option<Lag> {
        let (there, here) = (primary.report.tip.as_ref()?, self.report.tip.as_ref()?);
        let size = primary.report.segment_size;
        let bytes = there.lsn.saturating_since(here.lsn);
        let segment = |lsn| size.segment_before(lsn).0;
        let segments = segment(there.lsn).saturating_sub(segment(here.lsn));
        let seconds = match (there.commit, here.commit) {
            _ if bytes == 0 => Some(0),
            (Some(there), Some(here)) => Some((there.time - here.time).num_seconds().max(0)),
            _ => None,
        };
        let backups = primary
            .report
            .backups
            .iter()
            .filter(|backup| backup.usable)
            .filter(|backup| {
                let held = |own: &crate::verify::BackupReport| own.usable && own.id == backup.id;
                // What a copy's own policy has removed is not missing.
                let oldest = self.report.backups.first();
                let expired = oldest.is_some_and(|oldest| backup.id < oldest.id);
                !expired && !self.report.backups.iter().any(held)
            })
            .count() as u64;
        Some(Lag {
            seconds,
            segments,
            bytes,
            backups,
            waiting_since: None,
        })
    }

    /// Since when the first segment that a copy lacks has lain here.
    pub async fn waiting_since(
        &self,
        repository: &Repository,
        copy: &Self,
    ) -> Result<Option<DateTime<Utc>>, StorageError> {
        let (Some(tip), Some(own)) = (&copy.report.tip, &self.report.tip) else {
            return Ok(None);
        };
        let wal = &self.catalog.wal;
        let path = SegmentPath::new(&Timelines::of(&self.catalog).current, wal.segment_size);
        let have = wal.segment_size.segment_before(tip.lsn);
        let end = wal.segment_size.segment_before(own.lsn);
        for number in (have.next().0..=end.0).take(2).map(SegmentNumber) {
            let name = WalFileName::Segment(wal.name(path.timeline_of(number), number));
            for object in repository.wal_objects(&self.catalog, name) {
                if let Some(entry) = repository.store().head(&object.key).await? {
                    return Ok(Some(entry.last_modified));
                }
            }
        }
        Ok(None)
    }
}

/// Whether a copy is farther behind than it may be. What waits at the primary counts from
/// when it was stored there: a segment that was just archived is not late, however old its
/// first commit is.
pub fn late(status: &CopyStatus, now: DateTime<Utc>) -> Option<Finding> {
    let objective = status.lag_objective?;
    let lag = status.lag.as_ref()?;
    let behind = match (lag.waiting_since, lag.seconds) {
        (Some(since), _) => (now - since).num_seconds().max(0),
        (None, seconds) => seconds.unwrap_or_default(),
    };
    if behind <= objective || (lag.bytes == 0 && lag.backups == 0) {
        return None;
    }
    let words = |seconds: i64| {
        crate::verify::words::length(chrono::TimeDelta::try_seconds(seconds).unwrap_or_default())
    };
    let commits = lag.seconds.map_or_else(String::new, |seconds| {
        format!(", the last {} of commits", words(seconds))
    });
    Some(
        Finding::new(
            Code::CopyLag,
            &status.location,
            format!(
                "{} of WAL ({}){commits} has been waiting for {}; it may be {} behind",
                crate::verify::words::count(lag.segments.max(1), "segment"),
                crate::verify::words::bytes(lag.bytes),
                words(behind),
                words(objective)
            ),
        )
        .with_time(lag.waiting_since, Some(now)),
    )
}

impl CopyStatus {
    /// Whether it was looked at and something can be restored from it.
    pub fn restores(&self) -> bool {
        self.holds
            .as_ref()
            .is_some_and(|holds| holds.usable_backups > 0)
    }

    /// The severity of its worst finding.
    pub fn worst_severity(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_newest_drill_that_proved_it_is_proof() {
        let drill = |verdict: Option<&str>| ProofRun {
            id: "1".to_owned(),
            at: DateTime::UNIX_EPOCH,
            verdict: verdict.map(str::to_owned),
            summary: String::new(),
        };
        let proven = Some(drill(Some("proven")));
        for (newest, expected) in [
            (proven.clone(), true),
            (Some(drill(Some("failed"))), false),
            (Some(drill(Some("unproven"))), false),
            (Some(drill(None)), false),
            (None, false),
        ] {
            let proofs = Proofs {
                proven: proven.clone(),
                drill: newest,
                ..Proofs::default()
            };
            assert_eq!(proofs.is_proven(), expected, "{proofs:?}");
        }
    }
}
