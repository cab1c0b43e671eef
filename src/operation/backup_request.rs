//! A base backup by CloudNativePG, from the wish to the proof that it is usable.
//!
//! The operator calls a backup completed when its archives are stored. Whether the WAL that
//! makes it consistent has arrived as well, nobody but a look into the repository tells.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::source::Source;
use super::{Failure, FailureClass, recording};
use crate::codec::Codec;
use crate::config::KubernetesCluster;
use crate::drill::Cancellation;
use crate::drill::environments::cnpg::snapshot_base;
use crate::kubernetes::cnpg::request::{self, BackupEnd};
use crate::kubernetes::cnpg::{
    self, Archive, Backup, BackupMethod, SourceCluster, resources, snapshot_faults,
};
use crate::kubernetes::{Kube, KubeError, KubeErrorKind};
use crate::postgres::{SegmentName, WalFileName};
use crate::repository::barman_cloud::keys::wal_key;
use crate::repository::{self, Repository};
use crate::state::Outcome;
use crate::storage::Store;
use crate::verify::{BackupReport, VerifyError, VerifyOptions, verify_catalog};

/// How often the repository is looked into for the last segment of a backup.
const BEAT: Duration = Duration::from_secs(2);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupWish {
    /// The Cluster.
    pub cluster: KubernetesCluster,
    /// How it is taken; `None`: as the Cluster archives.
    pub method: Option<BackupMethod>,
    /// How far it is followed.
    pub until: Until,
    /// How long all of it may take.
    pub limit: Duration,
}

/// How far a backup is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The API has taken the `Backup`.
    Asked,
    /// The operator calls it completed.
    Completed,
    /// The repository holds all that it needs.
    Verified,
}

/// Where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupStep {
    /// A `Backup` of this name was created.
    Asked(String),
    /// The operator's phase.
    Phase(String),
    /// It is completed; this segment must arrive in the repository yet.
    Archiving(String),
}

/// What came of a backup that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct BackupRequestReport {
    /// The contract, `walproof.backup-request/v1`.
    pub schema: String,
    /// The version of walproof that wrote it.
    pub version: String,
    /// The guarded cluster's name.
    pub cluster: String,
    /// The Cluster's namespace.
    pub namespace: String,
    /// The Cluster's name in Kubernetes.
    pub resource: String,
    /// The name of the `Backup`.
    pub backup: String,
    /// `plugin`, `barmanObjectStore` or `volumeSnapshot`.
    pub method: String,
    /// The operator's last phase.
    pub phase: String,
    /// How far it came.
    pub state: BackupState,
    /// The id in the repository, or the name of the set of snapshots.
    pub backup_id: Option<String>,
    /// When it was asked for.
    pub asked_at: DateTime<Utc>,
    /// When it began, by the operator.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended, by the operator.
    pub stopped_at: Option<DateTime<Utc>>,
    /// The first WAL segment that it needs.
    pub begin_wal: Option<String>,
    /// The last WAL segment that it needs.
    pub end_wal: Option<String>,
    /// Where it becomes consistent.
    pub end_lsn: Option<String>,
    /// The repository's URL.
    pub location: String,
    /// The stored size of its archives in bytes, where it lies in the repository.
    pub stored_bytes: Option<u64>,
    /// Why it is no usable backup, in words.
    pub reasons: Vec<String>,
    /// Milliseconds from the wish until it was completed.
    pub completed_milliseconds: Option<u64>,
    /// Milliseconds from the wish until it was known to be usable.
    pub verified_milliseconds: Option<u64>,
}

/// How far a backup came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackupState {
    /// The operator knows of it.
    Asked,
    /// The operator has given it up.
    Failed,
    /// The operator was still at it when the time was over.
    Unfinished,
    /// The operator calls it completed.
    Completed,
    /// The operator calls it completed, and it cannot be used.
    Unusable,
    /// All that it needs lies in the repository.
    Verified,
}

impl BackupState {
    /// The word used in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Failed => "failed",
            Self::Unfinished => "unfinished",
            Self::Completed => "completed",
            Self::Unusable => "unusable",
            Self::Verified => "verified",
        }
    }

    /// The exit code of a command that ends so: a backup that failed or cannot be used is a
    /// problem; of one that is still under way nothing is known.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Asked | Self::Completed | Self::Verified => 0,
            Self::Failed | Self::Unusable => 1,
            Self::Unfinished => 3,
        }
    }
}

impl BackupRequestReport {
    /// The contract.
    pub const SCHEMA: &'static str = "walproof.backup-request/v1";

    fn of(source: &Source, wish: &BackupWish, backup: &Backup, asked_at: DateTime<Utc>) -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: source.name.clone(),
            namespace: wish.cluster.namespace.clone(),
            resource: wish.cluster.name.clone(),
            backup: backup.name.clone(),
            method: backup.method.as_str().to_owned(),
            phase: backup.phase.clone(),
            state: BackupState::Asked,
            backup_id: backup.backup_id.clone(),
            asked_at,
            started_at: backup.started_at,
            stopped_at: backup.stopped_at,
            begin_wal: backup.begin_wal.clone(),
            end_wal: backup.end_wal.clone(),
            end_lsn: backup.end_lsn.clone(),
            location: source.location.to_string(),
            stored_bytes: None,
            reasons: Vec::new(),
            completed_milliseconds: None,
            verified_milliseconds: None,
        }
    }

    /// In one line.
    pub fn summary(&self) -> String {
        let id = self.backup_id.as_deref().unwrap_or(&self.backup);
        match self.reasons.first() {
            Some(reason) => format!("{id} {}: {reason}", self.state.as_str()),
            None => format!("{id} {}", self.state.as_str()),
        }
    }
}

/// How a request is recorded: what came of it, or why nothing was asked for.
pub fn outcome_of(result: &Result<BackupRequestReport, Failure>) -> Outcome {
    match result {
        Ok(report) => recording::outcome(
            None,
            report.state.exit_code(),
            report.summary(),
            &[],
            (BackupRequestReport::SCHEMA, report),
        ),
        Err(failure) => recording::failed(failure),
    }
}

/// Asks for a backup and follows it as far as wished.
///
/// When it is stopped or its time is over, the operator goes on: a `Backup` is never deleted.
pub async fn request(
    kube: &Kube,
    source: &Source,
    wish: &BackupWish,
    tell: &(dyn Fn(BackupStep) + Send + Sync),
    stop: &Cancellation,
) -> Result<BackupRequestReport, Failure> {
    tokio::select! {
        biased;
        result = Box::pin(work(kube, source, wish, tell)) => result,
        () = stop.cancelled() => Err(Failure::interrupted()
            .with_hint("a Backup that was created goes on; `kubectl get backups` shows it")),
    }
}

async fn work(
    kube: &Kube,
    source: &Source,
    wish: &BackupWish,
    tell: &(dyn Fn(BackupStep) + Send + Sync),
) -> Result<BackupRequestReport, Failure> {
    let begin = Instant::now();
    let cluster = read_cluster(kube, &wish.cluster).await?;
    let method = method(&cluster, wish.method)?;
    let asked_at = Utc::now();
    let KubernetesCluster { namespace, name } = &wish.cluster;
    let backup = request::name(name, asked_at, Uuid::now_v7());
    let manifest = request::manifest(namespace, &backup, name, method);
    let made = request::create(kube, namespace, &backup, manifest).await?;
    tell(BackupStep::Asked(backup.clone()));
    let mut report = BackupRequestReport::of(source, wish, &made, asked_at);
    if wish.until == Until::Asked {
        return Ok(report);
    }

    let phase = |seen: &Backup| {
        if !seen.phase.is_empty() {
            tell(BackupStep::Phase(seen.phase.clone()));
        }
    };
    let end = request::follow(kube, namespace, &backup, wish.limit, &phase).await?;
    let seen = match &end {
        BackupEnd::Completed(seen) | BackupEnd::Failed(seen) | BackupEnd::Unfinished(seen) => seen,
        BackupEnd::Gone => {
            return Err(Failure::new(
                FailureClass::Capacity,
                format_args!("follow backup {namespace}/{backup}: somebody deleted it"),
            )
            .with_hint("whether its archives were stored, `walproof verify` tells"));
        }
    };
    report = BackupRequestReport::of(source, wish, seen, asked_at);
    match end {
        BackupEnd::Failed(seen) => {
            report.state = BackupState::Failed;
            report.reasons = vec![why_failed(&seen)];
            report.reasons.extend(troubles(kube, &wish.cluster).await);
            return Ok(report);
        }
        BackupEnd::Unfinished(seen) => {
            report.state = BackupState::Unfinished;
            report.reasons = vec![why_unfinished(&seen, wish.limit)];
            report.reasons.extend(troubles(kube, &wish.cluster).await);
            return Ok(report);
        }
        BackupEnd::Completed(_) | BackupEnd::Gone => {}
    }
    report.state = BackupState::Completed;
    report.completed_milliseconds = Some(milliseconds(begin));
    if wish.until == Until::Completed {
        return Ok(report);
    }
    let reasons = verify(kube, source, seen, wish, begin, &mut report, tell).await?;
    if reasons.is_empty() {
        report.state = BackupState::Verified;
        report.verified_milliseconds = Some(milliseconds(begin));
    } else {
        report.state = BackupState::Unusable;
        report.reasons = reasons;
    }
    Ok(report)
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn read_cluster(kube: &Kube, wanted: &KubernetesCluster) -> Result<SourceCluster, Failure> {
    let KubernetesCluster { namespace, name } = wanted;
    let action = || format!("read cluster {namespace}/{name}");
    let found = resources::read(kube, &resources::cluster(), namespace, name).await?;
    let manifest = found.ok_or_else(|| {
        KubeError::new(
            KubeErrorKind::NotFound,
            action(),
            format!("there is no such Cluster in {}", kube.server()),
        )
    })?;
    SourceCluster::parse(manifest).map_err(|error| {
        Failure::from(KubeError::new(
            KubeErrorKind::Other,
            action(),
            error.to_string(),
        ))
    })
}

/// The method, if the Cluster can do it.
fn method(cluster: &SourceCluster, wanted: Option<BackupMethod>) -> Result<BackupMethod, Failure> {
    let by_archive = match &cluster.archive {
        Archive::Plugin { .. } => Some(BackupMethod::Plugin),
        Archive::InTree { .. } => Some(BackupMethod::InTree),
        Archive::Unknown { .. } | Archive::None => None,
    };
    let named = format!("Cluster {}/{}", cluster.namespace, cluster.name);
    match wanted {
        Some(BackupMethod::VolumeSnapshot) if cluster.snapshot_class.is_none() => Err(
            Failure::configuration(format_args!("{named} takes no volume snapshots")).with_hint(
                "set its spec.backup.volumeSnapshot.className, or choose another --method",
            ),
        ),
        Some(method) if method != BackupMethod::VolumeSnapshot && by_archive != Some(method) => {
            Err(Failure::configuration(format_args!(
                "{named} archives in the form `{}`, not `{}`",
                cluster.archive.form(),
                method.as_str()
            ))
            .with_hint("leave --method out to take the one that the Cluster archives by"))
        }
        Some(method) => Ok(method),
        None => by_archive.ok_or_else(|| {
            Failure::configuration(format_args!(
                "{named} archives nowhere that is known (`{}`)",
                cluster.archive.form()
            ))
            .with_hint("give it an ObjectStore through the Barman Cloud plugin first")
        }),
    }
}

fn why_failed(backup: &Backup) -> String {
    match &backup.error {
        Some(error) => format!("the operator says {}: {error}", quoted(&backup.phase)),
        None => format!(
            "the operator says {} and not why; see the logs of the instance's pod",
            quoted(&backup.phase)
        ),
    }
}

fn why_unfinished(backup: &Backup, limit: Duration) -> String {
    let phase = if backup.phase.is_empty() {
        "no phase: the operator has not looked at it".to_owned()
    } else {
        format!("the phase {}", quoted(&backup.phase))
    };
    let error = backup
        .error
        .as_ref()
        .map_or_else(String::new, |error| format!(" ({error})"));
    format!(
        "after {} s it is in {phase}{error}; it goes on without us",
        limit.as_secs()
    )
}

fn quoted(phase: &str) -> String {
    format!("`{phase}`")
}

/// What the Cluster says that may be the cause. That it cannot be read now is no news.
async fn troubles(kube: &Kube, wanted: &KubernetesCluster) -> Vec<String> {
    let Ok(cluster) = read_cluster(kube, wanted).await else {
        return Vec::new();
    };
    let mut troubles = Vec::new();
    if cluster.hibernated {
        troubles.push("the Cluster is hibernated: no instance runs".to_owned());
    } else if !cluster.ready {
        troubles.push(format!(
            "the Cluster is not ready: {}",
            cluster.phase.as_deref().unwrap_or("no phase")
        ));
    }
    if cluster.archiving == Some(false) {
        troubles.push(format!(
            "its WAL is not archived: {}",
            cluster.archiving_problem.as_deref().unwrap_or("no reason")
        ));
    }
    troubles
}

/// Why the backup cannot be used; empty when it can.
async fn verify(
    kube: &Kube,
    source: &Source,
    backup: &Backup,
    wish: &BackupWish,
    begin: Instant,
    report: &mut BackupRequestReport,
    tell: &(dyn Fn(BackupStep) + Send + Sync),
) -> Result<Vec<String>, Failure> {
    let store = source.open()?;
    if let Some(segment) = backup.end_wal.as_deref() {
        tell(BackupStep::Archiving(segment.to_owned()));
        let patience = wish.limit.saturating_sub(begin.elapsed());
        if !arrives(&store, segment, patience).await? {
            let mut reasons = vec![format!(
                "{segment}, the last WAL segment that it needs, is not in {} after {} s",
                source.location,
                wish.limit.as_secs()
            )];
            reasons.extend(troubles(kube, &wish.cluster).await);
            return Ok(reasons);
        }
    }
    let repository = repository::open(store);
    if backup.method == BackupMethod::VolumeSnapshot {
        return snapshots(kube, source, &wish.cluster, backup, &repository).await;
    }
    let Some(id) = backup.backup_id.as_deref() else {
        return Ok(vec!["the operator says no backup id".to_owned()]);
    };
    let catalog = repository.catalog().await.map_err(VerifyError::from)?;
    let options = super::verify::options(source, &source.tier);
    let verified = verify_catalog(&repository, &catalog, &options, &|_| {}).await?;
    let Some(found) = verified.backups.iter().find(|found| found.id == id) else {
        return Ok(vec![format!(
            "there is no base backup {id} in {}: is that where the Cluster archives?",
            source.location
        )]);
    };
    report.stored_bytes = Some(found.stored_bytes);
    Ok(unusable(found))
}

fn unusable(backup: &BackupReport) -> Vec<String> {
    if backup.usable {
        return Vec::new();
    }
    if backup.reasons.is_empty() {
        return vec!["it cannot be used for the current timeline".to_owned()];
    }
    backup.reasons.clone()
}

/// Waits until a segment is in the repository, under whatever codec.
async fn arrives(store: &Store, segment: &str, patience: Duration) -> Result<bool, Failure> {
    let name: SegmentName = segment.parse().map_err(|_| {
        Failure::new(
            FailureClass::Capacity,
            format_args!("the operator calls {segment:?} a WAL segment, which it is not"),
        )
    })?;
    let begin = Instant::now();
    loop {
        for codec in Codec::ALL {
            let key = wal_key(WalFileName::Segment(name), codec);
            if store.head(&key).await?.is_some() {
                return Ok(true);
            }
        }
        let left = patience.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return Ok(false);
        }
        tokio::time::sleep(BEAT.min(left)).await;
    }
}

/// Why volume snapshots cannot be used, by themselves or for the WAL that they need.
async fn snapshots(
    kube: &Kube,
    source: &Source,
    cluster: &KubernetesCluster,
    backup: &Backup,
    repository: &Repository,
) -> Result<Vec<String>, Failure> {
    let there = cnpg::volume_snapshots(kube, Some(&backup.namespace)).await?;
    let faults = snapshot_faults(backup, &there.items);
    if !faults.is_empty() {
        return Ok(faults);
    }
    let cluster = read_cluster(kube, cluster).await?;
    let catalog = repository.catalog().await.map_err(VerifyError::from)?;
    let Some(base) = snapshot_base(backup, &cluster, &catalog) else {
        return Ok(vec![
            "the Backup does not say where it begins and ends".to_owned(),
        ]);
    };
    let options = VerifyOptions {
        beside: vec![base],
        ..super::verify::options(source, &source.tier)
    };
    let verified = verify_catalog(repository, &catalog, &options, &|_| {}).await?;
    let found = verified.backups.iter().find(|one| one.id == backup.name);
    Ok(found.map_or_else(Vec::new, unusable))
}

#[cfg(test)]
#[path = "backup_request_tests.rs"]
mod tests;
