//! `walproof replicate status`: all copies of a cluster, and whether 3-2-1 holds.

use chrono::Utc;
use clap::Args;
use futures::future::join_all;

use super::verify::FailOn;
use crate::cli::render::replicate_status as render;
use crate::cli::source::{SourceArgs, StoreArgs, resolve_all};
use crate::cli::{Context, ExitCode, Failure};
use crate::config::{LockMode, Period, RepositoryConfig};
use crate::evidence::Verdict;
use crate::finding::Severity;
use crate::operation::source::Source;
use crate::operation::verify;
use crate::replicate::statement::{StatusReport, media_of, place_of};
use crate::replicate::status::{
    CopyStatus, LookOptions, Looked, ProofRun, Proofs, Role, late, look,
};
use crate::repository::{self, Repository};
use crate::state::{HistoryFilter, Run, RunKind, State};
use crate::storage::{self, Scheme};

/// Show every copy of a cluster: what it holds, how far behind, how safe; does 3-2-1 hold?
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Show every copy of a cluster: what can be recovered from it, the exposure, how far it is behind the primary (in seconds of commits, segments and bytes), when it was last proven, how its bucket is set up, and whether 3-2-1 holds: three copies with the database itself, two kinds of media, one elsewhere.\n\nEvery copy is verified at depth `listed`, the primary first. A copy that cannot be reached is shown as that and does not count.\n\nSettings of a bucket are what its API tells: versions, object lock, lifecycle rules that would eat the archive, public access, encryption. What it does not tell is shown as not told, never as good. --try-lock tries whether locked objects are locked: it writes a tiny object of its own into each replica with a retention of a day, then overwrites and deletes it.\n\nSay `place` and `media` for each copy in the configuration, and `lag` under a replica's `replication` for how far behind it may be.",
    after_long_help = "Examples:\n  walproof replicate status orders\n  walproof replicate status orders --try-lock\n  walproof replicate status orders --output json | jq '.statement'\n\nExit codes: 0 no finding at or above --fail-on; 1 there is one; 3 a copy could not be looked at."
)]
pub struct StatusArgs {
    /// A cluster's name from the configuration
    #[arg(value_name = "CLUSTER")]
    pub cluster: String,
    /// Try on each replica whether locked objects can be overwritten or deleted
    #[arg(long)]
    pub try_lock: bool,
    /// Exit with 1 when there is a finding of at least this severity
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    pub fail_on: FailOn,
    /// Show at most this many findings as text; JSON always has all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
}

/// One copy before it is looked at.
struct Copy {
    source: Source,
    config: RepositoryConfig,
    role: Role,
}

impl Copy {
    fn status(&self) -> CopyStatus {
        let replication = self.config.replication.as_ref();
        CopyStatus {
            copy: self.source.copy.clone(),
            role: self.role,
            location: self.source.location.to_string(),
            place: place_of(&self.config),
            media: media_of(&self.config),
            error: None,
            holds: None,
            exposure: None,
            lag: None,
            lag_objective: replication
                .filter(|_| self.role == Role::Replica)
                .and_then(|replication| replication.lag)
                .map(|lag| Period::as_chrono(lag).num_seconds()),
            proofs: Proofs::default(),
            posture: None,
            posture_error: None,
            locked: self.locked(),
            lock_trial: None,
            lock_trial_error: None,
            findings: Vec::new(),
        }
    }

    fn locked(&self) -> Option<storage::LockMode> {
        let retention = self.config.replication.as_ref()?.retention.as_ref()?;
        Some(match retention.mode {
            LockMode::Governance => storage::LockMode::Governance,
            LockMode::Compliance => storage::LockMode::Compliance,
        })
    }

    /// What would be lost together with it.
    fn bucket(&self) -> String {
        let (location, options) = (&self.source.location, &self.source.options);
        if location.scheme() == Scheme::File {
            return location.to_string();
        }
        let endpoint = options.endpoint.as_deref().unwrap_or_default();
        format!(
            "{}://{} {endpoint}",
            location.scheme().as_str(),
            location.bucket()
        )
    }

    async fn look(&self, try_lock: bool) -> Result<(Repository, Looked), Failure> {
        let store = self.source.open()?;
        let repository = repository::open(store);
        let options = LookOptions {
            verify: verify::options(&self.source, &self.source.tier),
            locked: self.locked(),
            try_lock: try_lock && self.role == Role::Replica,
        };
        let looked = look(&repository, &options).await?;
        Ok((repository, looked))
    }
}

/// Runs `replicate status`.
pub(super) async fn run(args: StatusArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.known_config().await?;
    if args.cluster.contains("://") {
        return Err(Failure::usage("the status is that of a cluster, not of a URL")
            .with_hint("name the cluster and its replicas in the configuration; `walproof verify` looks at a URL"));
    }
    let sources = resolve_all(
        &SourceArgs {
            source: args.cluster.clone(),
            copy: None,
            store: StoreArgs::default(),
        },
        &config,
    )?;
    let copies: Vec<Copy> = sources
        .into_iter()
        .enumerate()
        .filter_map(|(index, source)| {
            let cluster = source.cluster.as_ref()?;
            let (_, config) = cluster.copies().nth(index)?;
            Some(Copy {
                config: config.clone(),
                role: if index == 0 {
                    Role::Primary
                } else {
                    Role::Replica
                },
                source,
            })
        })
        .collect();
    let state = match context.state(&config).await {
        Ok(state) => Some(state),
        Err(failure) => {
            context.progress.print(&format!(
                "{} without the history: {}\n",
                context.error_palette.yellow("note:"),
                failure.message
            ));
            None
        }
    };
    let spinner = context
        .progress
        .spinner(&format!("looking at {}", args.cluster));
    let report = gather(&args, &copies, state.as_ref()).await;
    spinner.finish_and_clear();
    if let Some(state) = state {
        state.close().await;
    }
    let report = report?;
    if context.output.is_json() {
        context.output.json(&report)?;
    } else {
        let style = context.output.style();
        context
            .output
            .text(&render::render(&report, style, args.limit))?;
    }
    let problem = report
        .worst_severity()
        .is_some_and(|worst| worst >= Severity::from(args.fail_on));
    Ok(if problem {
        ExitCode::Problem
    } else if report.is_whole() {
        ExitCode::Done
    } else {
        ExitCode::Unproven
    })
}

async fn gather(
    args: &StatusArgs,
    copies: &[Copy],
    state: Option<&State>,
) -> Result<StatusReport, Failure> {
    let mut statuses: Vec<CopyStatus> = copies.iter().map(Copy::status).collect();
    if let Some(state) = state {
        for status in &mut statuses {
            status.proofs = proofs(state, &status.location).await?;
        }
    }
    // The primary first: what is archived meanwhile must not look like lag.
    let mut looked = Vec::with_capacity(copies.len());
    if let Some((primary, replicas)) = copies.split_first() {
        looked.push(primary.look(false).await);
        let replicas = replicas.iter().map(|replica| replica.look(args.try_lock));
        looked.extend(join_all(replicas).await);
    }
    let mut looked = looked.into_iter();
    let primary = looked.next();
    let now = Utc::now();
    for (status, result) in statuses.iter_mut().skip(1).zip(looked) {
        match result {
            Ok((_, copy)) => {
                if let Some(Ok((repository, primary))) = &primary {
                    status.lag = copy.behind(primary);
                    // Without it the lag in commits still stands.
                    let since = primary.waiting_since(repository, &copy).await;
                    if let (Some(lag), Ok(since)) = (&mut status.lag, since) {
                        lag.waiting_since = since;
                    }
                    let late = late(status, now);
                    status.findings.extend(late);
                }
                copy.fill(status);
            }
            Err(failure) => status.error = Some(failure.message),
        }
    }
    match (statuses.first_mut(), primary) {
        (Some(status), Some(Ok((_, primary)))) => primary.fill(status),
        (Some(status), Some(Err(failure))) => status.error = Some(failure.message),
        _ => {}
    }
    let buckets: Vec<String> = copies.iter().map(Copy::bucket).collect();
    Ok(StatusReport::new(
        args.cluster.clone(),
        now,
        statuses,
        &buckets,
    ))
}

/// The newest runs of each kind about a place.
async fn proofs(state: &State, location: &str) -> Result<Proofs, Failure> {
    let newest = async |kind: RunKind, verdict: Option<Verdict>| -> Result<_, Failure> {
        let runs = state
            .history(&HistoryFilter {
                source: Some(location.to_owned()),
                kind: Some(kind),
                verdict,
                limit: 1,
                ..HistoryFilter::default()
            })
            .await?;
        Ok(runs.into_iter().next().map(proof))
    };
    Ok(Proofs {
        proven: newest(RunKind::Drill, Some(Verdict::Proven)).await?,
        drill: newest(RunKind::Drill, None).await?,
        verification: newest(RunKind::Verify, None).await?,
        comparison: newest(RunKind::Compare, None).await?,
    })
}

fn proof(run: Run) -> ProofRun {
    ProofRun {
        id: run.id.to_string(),
        at: run.started_at,
        verdict: run.verdict.map(|verdict| verdict.as_str().to_owned()),
        summary: run.summary,
    }
}
