//! One drill, from a definition to its record.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::alone::{asked_by, others};
use super::drill_checks::checks_of;
use super::environment::environment;
use super::recording::{Leaves, Recording, outcome};
use super::source::Source;
use super::standing::{DrillStanding, ProofStanding};
use super::{Failure, FailureClass};
use crate::config::{Config, DrillDefinition, Period, Tier};
use crate::drill::record::RecordContext;
use crate::drill::{
    self, BackupChoice, Cancellation, DrillObserver, DrillOptions, DrillReport, Ending, Objectives,
};
use crate::evidence::ledger::DrillBody;
use crate::evidence::{Digest, DrillRecord, RecordFile, Trigger, sha256_hex};
use crate::finding::{Code, Finding};
use crate::postgres::TimelineId;
use crate::repository::{self, AloneAsked, Repository};
use crate::restore::Target;
use crate::state::{Outcome, RunKind, StandingFilter};
use crate::storage::WriteProbe;
use crate::verify::words;

/// What is asked of a drill.
#[derive(Clone, Debug)]
pub struct DrillRequest {
    /// What it restores, how far, and what it asks.
    pub definition: DrillDefinition,
    /// Whether the other copies must be out of reach.
    pub alone: AloneAsked,
    /// The timeline to follow; the current one if not given.
    pub timeline: Option<TimelineId>,
    /// Directory with PostgreSQL's programs; looked for if not given.
    pub binaries: Option<PathBuf>,
    /// walproof's own program, which the restored server calls for WAL; this process's own if
    /// not given.
    pub program: Option<PathBuf>,
    /// The system's user that runs the restored server.
    pub run_as: Option<String>,
    /// The moment of the assumed loss; when the drill starts if not given.
    pub lost_at: Option<DateTime<Utc>>,
    /// The objectives that hold.
    pub objectives: Tier,
    /// Where the limits come from, by `rpo` and `rto`.
    pub set_by: BTreeMap<String, String>,
    /// Whether a write to the repository is tried, which should be refused.
    pub probe_write: bool,
    /// Why it runs.
    pub trigger: Trigger,
    /// Who asked; the system's user who runs walproof if not given.
    pub initiator: Option<String>,
    /// When it was due; when it starts if not given.
    pub due_at: Option<DateTime<Utc>>,
    /// At most this much scratch disk, in bytes.
    pub scratch_limit: Option<u64>,
    /// Leaves the restored database for so long, where it runs in Kubernetes; wins over the
    /// definition.
    pub keep_for: Option<std::time::Duration>,
}

impl DrillRequest {
    /// A drill as its definition and a place's tier ask for it.
    pub fn of(definition: DrillDefinition, source: &Source) -> Self {
        let tier = source
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.tier.clone());
        let set_by = tier.map_or_else(BTreeMap::new, |tier| {
            ["rpo", "rto"]
                .into_iter()
                .map(|name| (name.to_owned(), format!("tier {tier}")))
                .collect()
        });
        Self {
            alone: asked_by(definition.alone),
            probe_write: definition.probe_write,
            definition,
            timeline: None,
            binaries: None,
            program: None,
            run_as: None,
            lost_at: None,
            objectives: source.tier.clone(),
            set_by,
            trigger: Trigger::Manual,
            initiator: None,
            due_at: None,
            scratch_limit: None,
            keep_for: None,
        }
    }
}

/// The definition of a drill of `source` (a cluster's name or a URL): the one that is named,
/// else the only one defined for the cluster, else a plain drill to the tip.
pub fn definition(
    config: &Config,
    source: &str,
    name: Option<&str>,
) -> Result<DrillDefinition, Failure> {
    if let Some(name) = name {
        let drill = config.drill(name).ok_or_else(|| {
            let names: Vec<&str> = config
                .drills
                .iter()
                .map(|drill| drill.definition.name.as_str())
                .collect();
            Failure::configuration(format_args!("there is no drill `{name}`")).with_hint(
                if names.is_empty() {
                    "the configuration defines none; --definition FILE names one".to_owned()
                } else {
                    format!("drills: {}", names.join(", "))
                },
            )
        })?;
        return Ok(drill.definition.clone());
    }
    let mut defined = config.drills_of(source);
    match (defined.next(), defined.next()) {
        (Some(only), None) => Ok(only.definition.clone()),
        (Some(first), Some(second)) => Err(Failure::configuration(format_args!(
            "several drills are defined for `{source}`: {}, {}",
            first.definition.name, second.definition.name
        ))
        .with_hint("choose one with --drill NAME")),
        _ => Ok(DrillDefinition::plain("plain")),
    }
}

/// Refuses a definition that is for other clusters than `source`.
pub fn check_definition(definition: &DrillDefinition, source: &str) -> Result<(), Failure> {
    let clusters = &definition.clusters;
    if source.contains("://")
        || clusters.is_empty()
        || clusters.iter().any(|cluster| cluster == source)
    {
        return Ok(());
    }
    Err(Failure::configuration(format_args!(
        "drill `{}` is not defined for cluster `{source}`",
        definition.name
    ))
    .with_hint(format_args!("it is for: {}", clusters.join(", "))))
}

/// A drill that may be planned or run.
#[derive(Clone, Debug)]
pub struct PreparedDrill<'a> {
    source: &'a Source,
    request: DrillRequest,
    /// As the drill room takes it.
    pub options: DrillOptions,
    /// The repository.
    pub repository: Repository,
}

/// A drill that was run.
#[derive(Clone, Debug)]
pub struct Drilled {
    /// Everything it did, saw and concluded.
    pub report: DrillReport,
    /// How it is recorded.
    pub outcome: Outcome,
    /// The file that holds its record.
    pub file: PathBuf,
}

/// Makes a drill ready: checks what is asked, and opens the repository.
pub fn prepare<'a>(
    source: &'a Source,
    request: DrillRequest,
    config: &Config,
) -> Result<PreparedDrill<'a>, Failure> {
    let options = options(&request, source, config)?;
    let repository = repository::open(source.open()?);
    Ok(PreparedDrill {
        source,
        request,
        options,
        repository,
    })
}

impl PreparedDrill<'_> {
    /// Tries to write to the repository, where that is asked for. Comes before anything is
    /// recorded: a probe that fails is no drill that was interrupted.
    pub async fn probe(&self) -> Result<Option<bool>, Failure> {
        // Pods with a role of their own are somebody else.
        let by_role = matches!(
            &self.options.environment,
            drill::EnvironmentOptions::Cnpg(cnpg) if !cnpg.overrides.service_account_annotations.is_empty()
        );
        Ok(if self.request.probe_write && !by_role {
            Some(self.repository.store().write_probe().await? == WriteProbe::Allowed)
        } else {
            None
        })
    }

    /// Runs it to its end, whatever that is, and records it. `writable` is what
    /// [`Self::probe`] gave.
    pub async fn run(
        mut self,
        writable: Option<bool>,
        recording: Recording,
        observer: Arc<dyn DrillObserver>,
        cancellation: Cancellation,
    ) -> Result<Drilled, Failure> {
        // One identity for run, scratch directory and kept files.
        self.options.id = recording.id();
        let mut report = Box::pin(drill::run(
            &self.options,
            &self.repository,
            observer,
            cancellation,
        ))
        .await;
        report.environment.repository_writable = writable;
        if writable == Some(true) {
            report.findings.push(Finding::new(
                Code::PrimaryWritable,
                self.source.location.to_string(),
                "a write that should have been refused went through, and was removed again",
            ));
        }
        self.keep(recording, report).await
    }

    /// Keeps the report and its record in the state database.
    async fn keep(&self, recording: Recording, report: DrillReport) -> Result<Drilled, Failure> {
        let context = self.record_context(&recording, &report);
        let record = drill::record::record(&report, context);
        let outcome = outcome(
            Some(report.verdict),
            report.exit_code(),
            summary(&report),
            &report.findings,
            (&report.schema, &report),
        );
        let leaves = self.leaves(&report, record, &recording, &outcome).await?;
        let file = recording
            .finish(&outcome, leaves)
            .await?
            .unwrap_or_default();
        Ok(Drilled {
            report,
            outcome,
            file,
        })
    }

    /// What a drill leaves: its record, its entry, and where the copy stands.
    async fn leaves(
        &self,
        report: &DrillReport,
        record: DrillRecord,
        recording: &Recording,
        outcome: &Outcome,
    ) -> Result<Leaves, Failure> {
        let file =
            RecordFile::new(&record).map_err(|error| Failure::new(FailureClass::Defect, error))?;
        let body = DrillBody::of_record(recording.run_body(outcome), &record, &file);
        let before = last_proven(recording).await?;
        let standing = DrillStanding::of(report, recording.location(), before);
        Ok(Leaves {
            body: serde_json::to_value(&body).ok(),
            // One that was stopped says nothing of the copy.
            standing: serde_json::to_value(&standing)
                .ok()
                .filter(|_| report.ending != Ending::Interrupted)
                .map(|body| (report.started_at, body)),
            scope: self.request.definition.name.clone(),
            record: Some(Box::new(record)),
            // What comes after the place where it ended was not looked at.
            partial: report.ending != Ending::Complete,
            again: report.trouble.is_some(),
            ..Leaves::default()
        })
    }

    fn record_context(&self, recording: &Recording, report: &DrillReport) -> RecordContext {
        let (request, cluster) = (&self.request, self.source.cluster.as_ref());
        let file_digest = |path: &Path| {
            let bytes = std::fs::read(path).ok()?;
            let name = path.file_name()?.to_str()?.to_owned();
            Some(Digest::of(name, &bytes))
        };
        RecordContext {
            run_id: recording.id(),
            definition_sha256: serde_json::to_vec(&request.definition)
                .ok()
                .map(|json| sha256_hex(&json)),
            trigger: request.trigger,
            initiator: request.initiator.clone().unwrap_or_else(system_user),
            due_at: request.due_at.unwrap_or(report.started_at),
            owner: cluster.and_then(|cluster| cluster.owner.clone()),
            tier: cluster.and_then(|cluster| cluster.tier.clone()),
            location: self.source.location.clone(),
            server_version: report
                .plan
                .as_ref()
                .and_then(|plan| plan.backup.server_version),
            host: host(),
            set_by: request.set_by.clone(),
            logs: report
                .environment
                .kept
                .iter()
                .filter_map(|path| file_digest(path))
                .collect(),
        }
    }
}

/// What the drills before this one proved of the same place. A copy that was moved begins
/// anew.
async fn last_proven(recording: &Recording) -> Result<Option<ProofStanding>, Failure> {
    let filter = StandingFilter {
        cluster: Some(recording.cluster().to_owned()),
        copy: Some(recording.copy().to_owned()),
        kind: Some(RunKind::Drill),
    };
    let before = recording.state().standings(&filter).await?;
    Ok(before
        .into_iter()
        .next()
        .filter(|standing| standing.location == recording.location())
        .and_then(|standing| DrillStanding::read_at(standing.body, recording.location()))
        .and_then(|standing| standing.last_proven))
}

/// A drill in one line, for the history.
pub fn summary(report: &DrillReport) -> String {
    let target = &report.target;
    match (report.reasons.first(), report.measurements.time_to_verified) {
        (Some(reason), _) => format!("{target}: {}", reason.text),
        (None, Some(time)) => format!("{target}: verified in {}", words::measured(time)),
        (None, None) => target.clone(),
    }
}

/// The system's user who runs walproof.
pub fn system_user() -> String {
    let own = nix::unistd::Uid::current();
    nix::unistd::User::from_uid(own)
        .ok()
        .flatten()
        .map_or_else(|| format!("uid {own}"), |user| user.name)
}

/// This machine's name.
pub fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

fn options(
    request: &DrillRequest,
    source: &Source,
    config: &Config,
) -> Result<DrillOptions, Failure> {
    // A minute for clocks that differ.
    if let Some(lost_at) = request.lost_at
        && lost_at > Utc::now() + chrono::TimeDelta::minutes(1)
    {
        return Err(Failure::configuration(format_args!(
            "--lost-at {} has not come yet",
            lost_at.format("%Y-%m-%dT%H:%M:%SZ")
        ))
        .with_hint(
            "name a moment in the past, or leave it out: then it is when the drill starts",
        ));
    }
    let (definition, tier) = (&request.definition, &request.objectives);
    let defaults = DrillOptions::default();
    Ok(DrillOptions {
        name: Some(definition.name.clone()),
        cluster: Some(source.name.clone()),
        copy: Some(source.copy.clone()).filter(|copy| !copy.is_empty()),
        alone: others(request.alone, source)?,
        initiator: request.initiator.clone(),
        backup: match definition.backup.as_str() {
            "auto" => BackupChoice::Auto,
            id => BackupChoice::Id(id.to_owned()),
        },
        target: Target::try_from(&definition.target)?,
        timeline: request.timeline,
        environment: environment(request, source, config)?,
        checks: checks_of(definition, source)?,
        objectives: Objectives {
            rpo: tier.rpo.map(Period::as_std),
            rto: tier.rto.map(Period::as_std),
        },
        lost_at: request.lost_at,
        limit: definition.timeout.map_or(defaults.limit, Period::as_std),
        keep: Some(config.state.directory().join("drills")),
        ..defaults
    })
}
