//! `walproof replicate expire`: what a copy need not keep any more.

use clap::Args;

use crate::cli::recording::{Recording, failed, outcome};
use crate::cli::render::replicate_expire as render;
use crate::cli::source::{SourceArgs, StoreArgs, resolve, resolve_all};
use crate::cli::{Context, ExitCode, Failure};
use crate::config::{Config, Period, Replication};
use crate::finding::Finding;
use crate::operation::source::Source;
use crate::operation::verify;
use crate::replicate::expire::{
    ExpireError, ExpireLedger, ExpireOptions, ExpireOutcome, ExpirePlan, ExpirePolicy,
    ExpireReport, execute, plan,
};
use crate::repository::{self, Repository};
use crate::state::{Outcome, RunKind, State};
use crate::verify::words;

/// How many remembered objects with damage are asked for.
const REMEMBERED: u32 = 10_000;

/// Remove from a copy what its policy no longer keeps; shows the plan unless confirmed
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Remove from a copy what its policy no longer keeps: whole base backups, and the WAL that only they need. Without --confirm nothing is removed: the plan is shown, with its digest.\n\nEvery moment within --keep stays recoverable: the newest usable base backup from before it stays, with all WAL since its begin. Base backups with a keep annotation stay (`full` with all WAL since, `standalone` with the WAL that makes them consistent), unfinished ones while they may still be running, and at least --minimum-redundancy usable ones, however old. Timeline histories always stay. If no usable base backup would remain, nothing is removed at all.\n\n--confirm DIGEST removes exactly the plan with that digest, marker of each base backup first, WAL last, oldest first; it is refused if the plan is another one by now. Wherever that is cut, what still has its marker can be restored. What the store refuses to remove (object lock) is told and stays.\n\nOnly copies are expired, never a primary repository: that is the work of the tool that writes it.",
    after_long_help = "Examples:\n  walproof replicate expire orders\n  walproof replicate expire orders --copy far --keep 90d --minimum-redundancy 3\n  walproof replicate expire orders --confirm 3f9a0c71d2be\n  walproof replicate expire s3://far/orders --this-is-a-copy --keep 30d\n  walproof replicate expire orders --output json | jq '.plan.backups[] | select(.stays | not)'\n\nExit codes: 0 plan shown, or all of it removed; 1 something stayed that was to go; 3 could not look or remove; 4 refused: a primary, another plan by now, or nothing usable would remain."
)]
pub struct ExpireArgs {
    /// A cluster's name from the configuration, or a copy's URL
    #[arg(value_name = "CLUSTER|URL")]
    pub source: String,
    /// Which replica of the cluster [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
    /// Every moment this far back stays recoverable, such as 30d [default: as configured]
    #[arg(long, value_name = "PERIOD")]
    pub keep: Option<Period>,
    /// At least so many usable base backups stay [default: as configured, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub minimum_redundancy: Option<u32>,
    /// Remove what the plan with this digest says; its first 12 digits suffice
    #[arg(long, value_name = "DIGEST")]
    pub confirm: Option<String>,
    /// Of a URL that the configuration does not know: it is a copy, and no tool writes to it
    #[arg(long)]
    pub this_is_a_copy: bool,
    /// Show at most this many base backups of each kind as text; JSON always has all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// How to reach the store.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// A copy that may be expired.
struct Target {
    source: Source,
    /// The repository that it is a copy of, if the configuration knows it.
    primary: Option<Source>,
    replication: Replication,
}

/// Runs `replicate expire`.
pub(super) async fn run(args: ExpireArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.known_config().await?;
    let target = target(&args, &config)?;
    let policy = policy(&args, &target)?;
    let Some(confirmed) = &args.confirm else {
        let state = known_state(&config, context).await;
        let (_, _, plan) = look(&target, policy, state.as_ref(), context).await?;
        let report = ExpireReport::new(plan, None);
        show(&report, &args, context)?;
        return Ok(if report.plan.objection.is_some() {
            ExitCode::Refused
        } else {
            ExitCode::Done
        });
    };
    let recording = Recording::try_begin(RunKind::Expire, &target.source, &config, context).await;
    let state = recording.as_ref().map(Recording::state);
    let result = carry_out(&target, policy, confirmed, state, context).await;
    if let Some(recording) = recording {
        let outcome = match &result {
            Ok((report, code)) => outcome_of(report, *code),
            Err(failure) => failed(failure),
        };
        recording.finish(&outcome).await?;
    }
    let (report, code) = result?;
    show(&report, &args, context)?;
    Ok(code)
}

async fn carry_out(
    target: &Target,
    policy: ExpirePolicy,
    confirmed: &str,
    state: Option<&State>,
    context: &Context,
) -> Result<(ExpireReport, ExitCode), Failure> {
    let (repository, ledger, plan) = look(target, policy, state, context).await?;
    plan.confirm(confirmed)?;
    let spinner = context.progress.spinner("removing");
    let all = plan.objects.len();
    let tell = |looked_at: u64| spinner.set_message(format!("removing {looked_at} of {all}"));
    let result = execute(&repository, &plan, confirmed, ledger.as_ref(), &tell).await;
    spinner.finish_and_clear();
    let done = result?;
    let code = code_of(&done);
    Ok((ExpireReport::new(plan, Some(done)), code))
}

/// The state, if it can be had: what earlier runs know of damage and of what was removed.
async fn known_state(config: &Config, context: &Context) -> Option<State> {
    match context.state(config).await {
        Ok(state) => Some(state),
        Err(failure) => {
            context.progress.print(&format!(
                "{} without what earlier runs know: {}\n",
                context.error_palette.yellow("note:"),
                failure.message
            ));
            None
        }
    }
}

async fn look(
    target: &Target,
    policy: ExpirePolicy,
    state: Option<&State>,
    context: &Context,
) -> Result<(Repository, Option<ExpireLedger>, ExpirePlan), Failure> {
    let source = &target.source;
    let repository = repository::open(source.open()?);
    let mut remembered: Vec<Finding> = Vec::new();
    let mut ledger = None;
    if let Some(state) = state {
        let marked = state.objects_marked(&repository.name(), REMEMBERED).await?;
        remembered.extend(marked.into_iter().flat_map(|object| object.findings));
        if let Some(primary) = &target.primary {
            let primary = repository::open(primary.open()?);
            let pair = state.copy_pair(&primary.name(), &repository.name()).await?;
            ledger = Some(ExpireLedger::new(state.clone(), pair));
        }
    }
    let options = ExpireOptions {
        cluster: source.cluster.as_ref().map(|cluster| cluster.name.clone()),
        copy: Some(source.copy.clone()).filter(|copy| !copy.is_empty()),
        policy,
        verify: verify::options(source, &source.tier),
        remembered,
    };
    let spinner = context
        .progress
        .spinner(&format!("listing {}", source.location));
    let plan = plan(&repository, &options, ledger.as_ref()).await;
    spinner.finish_and_clear();
    Ok((repository, ledger, plan?))
}

fn policy(args: &ExpireArgs, target: &Target) -> Result<ExpirePolicy, Failure> {
    let keep = args.keep.or(target.replication.keep).ok_or_else(|| {
        Failure::usage("nothing says how long this copy keeps what it holds").with_hint(
            "give --keep 30d, or `keep` under the replica's `replication` in the configuration",
        )
    })?;
    let minimum = args
        .minimum_redundancy
        .or(target.replication.minimum_redundancy);
    Ok(ExpirePolicy {
        keep,
        minimum_redundancy: minimum.unwrap_or(1).max(1),
    })
}

/// The copy that is meant. A primary is refused, however it is named.
fn target(args: &ExpireArgs, config: &Config) -> Result<Target, Failure> {
    let source_args = SourceArgs {
        source: args.source.clone(),
        copy: args.copy.clone(),
        store: args.store.clone(),
    };
    let target = if args.source.contains("://") {
        at_url(args, resolve(&source_args, config)?, config)?
    } else {
        in_cluster(args, &source_args, config)?
    };
    let location = &target.source.location;
    for cluster in &config.clusters {
        let primary = &cluster.primary.url;
        let overlaps = location.scheme() == primary.scheme()
            && location.bucket() == primary.bucket()
            && (within(location.prefix(), primary.prefix())
                || within(primary.prefix(), location.prefix()));
        // A bucket of the same name at another endpoint is another bucket.
        let mut options = cluster.primary.options_without_secrets();
        // An endpoint that cannot be resolved is taken for the same.
        let _ = StoreArgs::default().reach().apply(primary, &mut options);
        if overlaps && options.endpoint == target.source.options.endpoint {
            return Err(a_primary(&format!(
                "{location} is or holds the primary repository of cluster `{}`",
                cluster.name
            )));
        }
    }
    Ok(target)
}

fn within(inner: &str, outer: &str) -> bool {
    outer.is_empty()
        || inner == outer
        || inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.starts_with('/'))
}

fn a_primary(what: &str) -> Failure {
    Failure::refused(what).with_hint(
        "walproof never removes anything from a primary: set the retention of the tool that writes it",
    )
}

/// A URL: a replica that the configuration knows, or what is said to be a copy.
fn at_url(args: &ExpireArgs, source: Source, config: &Config) -> Result<Target, Failure> {
    for cluster in &config.clusters {
        for (label, repository) in cluster.copies().skip(1) {
            if repository.url == source.location {
                let by_name = SourceArgs {
                    source: cluster.name.clone(),
                    copy: None,
                    store: StoreArgs::default(),
                };
                return Ok(Target {
                    source: Source {
                        name: cluster.name.clone(),
                        copy: label,
                        cluster: Some(cluster.clone()),
                        tier: config.tier_of(cluster),
                        ..source
                    },
                    primary: Some(resolve(&by_name, config)?),
                    replication: repository.replication.clone().unwrap_or_default(),
                });
            }
        }
    }
    if !args.this_is_a_copy {
        return Err(Failure::refused(format_args!(
            "nothing says that {} is a copy",
            source.location
        ))
        .with_hint(
            "name a cluster and its replica, or say --this-is-a-copy if no tool writes there",
        ));
    }
    Ok(Target {
        source,
        primary: None,
        replication: Replication::default(),
    })
}

fn in_cluster(args: &ExpireArgs, all: &SourceArgs, config: &Config) -> Result<Target, Failure> {
    let every = SourceArgs {
        copy: None,
        ..all.clone()
    };
    let mut copies = resolve_all(&every, config)?.into_iter();
    let primary = copies.next();
    if let (Some(primary), Some(wanted)) = (&primary, &args.copy)
        && primary.copy == *wanted
    {
        return Err(a_primary(&format!(
            "`{wanted}` is the primary repository of cluster `{}`",
            primary.name
        )));
    }
    let replicas: Vec<Source> = copies.collect();
    let names: Vec<&str> = replicas.iter().map(|one| one.copy.as_str()).collect();
    let wanted = match (&args.copy, names.as_slice()) {
        (Some(wanted), _) => wanted.as_str(),
        (None, [only]) => only,
        (None, []) => {
            return Err(
                Failure::usage(format_args!("cluster `{}` has no replicas", args.source))
                    .with_hint(
                        "only copies are expired; name them under `replicas` in the configuration",
                    ),
            );
        }
        (None, _) => {
            return Err(Failure::usage("which copy?")
                .with_hint(format_args!("name one with --copy: {}", names.join(", "))));
        }
    };
    let source = replicas
        .iter()
        .find(|one| one.copy == wanted)
        .cloned()
        .ok_or_else(|| {
            Failure::usage(format_args!(
                "cluster `{}` has no replica `{wanted}`",
                args.source
            ))
            .with_hint(format_args!("replicas: {}", names.join(", ")))
        })?;
    let replication = source
        .cluster
        .as_ref()
        .and_then(|cluster| {
            let (_, repository) = cluster.copies().find(|(label, _)| *label == source.copy)?;
            repository.replication.clone()
        })
        .unwrap_or_default();
    Ok(Target {
        source,
        primary,
        replication,
    })
}

fn show(report: &ExpireReport, args: &ExpireArgs, context: &Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(report);
    }
    let text = render::render(report, context.output.style(), args.limit);
    context.output.text(&text)
}

const fn code_of(done: &ExpireOutcome) -> ExitCode {
    if done.is_complete() {
        ExitCode::Done
    } else if done.refused > 0 || done.changed > 0 {
        ExitCode::Problem
    } else {
        ExitCode::Unproven
    }
}

fn outcome_of(report: &ExpireReport, code: ExitCode) -> Outcome {
    let done = report.outcome.clone().unwrap_or_default();
    let stayed = done.refused + done.changed + done.failed + done.spared;
    let summary = format!(
        "{} removed, {}, {stayed} stayed",
        words::count(done.removed, "object"),
        words::bytes(done.removed_bytes)
    );
    outcome(None, code, summary, &[], (&report.schema, report))
}

impl From<ExpireError> for Failure {
    fn from(error: ExpireError) -> Self {
        match error {
            ExpireError::Storage(error) => error.into(),
            ExpireError::Repository(error) => error.into(),
            ExpireError::Verify(error) => error.into(),
            ExpireError::State(error) => error.into(),
            error @ ExpireError::Task(_) => Self::unproven(error),
            error @ ExpireError::OtherPlan { .. } => Self::refused(error)
                .with_hint("look at the plan again, without --confirm, and confirm that one"),
            error @ ExpireError::NoDigest(_) => Self::usage(error),
            error @ ExpireError::Objection(_) => Self::refused(error)
                .with_hint("`walproof verify` of this copy says what is wrong with it"),
        }
    }
}
