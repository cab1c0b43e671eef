//! `walproof request`: a restore to a moment beside production, for as long as it is leased.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use clap::{Args, Subcommand};

use super::drill_run::Watcher;
use crate::cli::access::AccessArgs;
use crate::cli::render::request as render;
use crate::cli::{Context, ExitCode, Failure, TargetArgs};
use crate::config::{self, Config, Period, TargetText};
use crate::drill::Cancellation;
use crate::drill::environments::cnpg::LoginRole;
use crate::operation::drill::system_user;
use crate::operation::request::{
    self, Ending, LIST_SCHEMA, RequestAccess, RequestList, RequestReport, RequestSpec, SecretPlace,
    Wanted,
};
use crate::operation::{FailureClass, Origin};
use crate::state::{Request, RequestFilter, State};

/// How long `end` waits for whoever restores to have cleaned up.
const STOPS_WITHIN: Duration = Duration::from_mins(10);
/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// Restore to a moment beside production, use it for a while, give it back
#[derive(Subcommand, Clone, Debug)]
pub enum RequestCommand {
    /// Ask for a restore: in the foreground, or by the daemon
    #[command(
        long_about = "Restore a cluster to a moment in a namespace of its own in Kubernetes, prove that recovery ended exactly there, and leave it for as long as it is leased.\n\nBefore anything is made the repository is asked whether the moment can be had; if not, the nearest moments on both sides are told. Nobody but walproof reaches the restored database until it is proven; then the pods of the namespaces that --access names do, to port 5432 alone. It reaches nothing but its object store, the API server and DNS.\n\nAt the end of its lease everything is removed by the daemon, or by `walproof drill sweep` where none runs.",
        after_long_help = "Examples:\n  walproof request create orders --target-time 2026-11-21T02:40:00Z --reason INC-4711\n  walproof request create orders --target-time -1h --access shop --lease 2h\n  walproof request create orders --target-lsn 0/7000148 --exclusive --read-only\n  walproof request create orders --target-xid 745 --secret-in shop\n  walproof request create orders --target-time -1h --queue\n  walproof request create orders --target-time -1h --dry-run\n\nExit codes: 0 ready (or queued); 1 refused because the moment cannot be had, or what was restored is wrong; 3 could not be restored or proven; 4 refused for safety; 130 interrupted and cleaned up."
    )]
    Create(Box<CreateArgs>),
    /// List requests: those of which something is or may be left, or all that are kept
    #[command(
        long_about = "List requests, newest first: those of which something is or may be left, or with --all every one that is kept.",
        after_long_help = "Examples:\n  walproof request list\n  walproof request list --all --cluster orders\n  walproof request list --output json | jq '.requests[] | {id, status, expires_at}'"
    )]
    List(ListArgs),
    /// Show one request, and how to connect
    #[command(
        long_about = "Show one request: where it stands, until when it stays, and how to connect. No secret is shown, only where it lies.",
        after_long_help = "Examples:\n  walproof request show 0199c1f2\n  walproof request show 0199c1f2 --output json"
    )]
    Show(ShowArgs),
    /// Make a lease longer or shorter
    #[command(
        long_about = "Make a lease longer, up to the most that was said when it was asked for, or shorter. A lease is counted from when the restored database was ready.",
        after_long_help = "Examples:\n  walproof request extend 0199c1f2 --by 2h\n  walproof request extend 0199c1f2 --lease 8h"
    )]
    Extend(ExtendArgs),
    /// End a request before its lease does, and remove everything
    #[command(
        long_about = "End a request before its lease does. What waits is cancelled, what is being restored is stopped, what is there is removed, and that it is gone is waited for.",
        after_long_help = "Examples:\n  walproof request end 0199c1f2\n  walproof request end 0199c1f2 --reason 'the orders are back'\n\nExit codes: 0 gone; 3 something is left, which is tried again."
    )]
    End(EndArgs),
}

/// Arguments of `request create`.
#[derive(Args, Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct CreateArgs {
    /// A cluster's name from the configuration
    #[arg(value_name = "CLUSTER")]
    pub cluster: String,
    /// Which of its copies: primary, replica-1 or the copy's name [default: primary]
    #[arg(long, value_name = "COPY")]
    pub copy: Option<String>,
    /// How far.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The base backup: its id, or auto for the newest that reaches the target
    #[arg(long, value_name = "ID", default_value = "auto")]
    pub backup: String,
    /// What for: an incident's number, a sentence. For the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Who asks, for the record [default: the user who runs walproof]
    #[arg(long, value_name = "NAME")]
    pub initiator: Option<String>,
    /// Stays for so long, from when it is ready [default: `requests.lease`, else 4h]
    #[arg(help_heading = "Lease", long, value_name = "PERIOD")]
    pub lease: Option<Period>,
    /// May be extended to so long [default: `requests.max_lease`, else 24h]
    #[arg(help_heading = "Lease", long, value_name = "PERIOD")]
    pub max_lease: Option<Period>,
    /// Let the pods of this namespace in; may be given several times [default: nobody, so that
    /// it is reached through the API server alone]
    #[arg(help_heading = "Access", long = "access", value_name = "NAMESPACE")]
    pub access: Vec<String>,
    /// Put a Secret with all that is needed to connect into this namespace, too
    #[arg(help_heading = "Access", long, value_name = "NAMESPACE")]
    pub secret_in: Option<String>,
    /// Hand over the superuser instead of the owner of the application's database
    #[arg(help_heading = "Access", long)]
    pub superuser: bool,
    /// Transactions only read, unless a session says otherwise
    #[arg(help_heading = "Access", long)]
    pub read_only: bool,
    /// The drill whose `cnpg` block says how it is restored [default: the only one of the
    /// cluster in the environment cnpg]
    #[arg(long, value_name = "NAME", conflicts_with = "definition")]
    pub drill: Option<String>,
    /// A file with a drill definition whose `cnpg` block and checks hold
    #[arg(long, value_name = "FILE")]
    pub definition: Option<std::path::PathBuf>,
    /// Give up after this time
    #[arg(long, value_name = "PERIOD")]
    pub timeout: Option<Period>,
    /// Which Kubernetes.
    #[command(flatten)]
    pub kubernetes: AccessArgs,
    /// Let the daemon restore it, and do not wait
    #[arg(long, conflicts_with = "dry_run")]
    pub queue: bool,
    /// Show the plan, and touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `request list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Only of this cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Those of which nothing is left, too
    #[arg(long)]
    pub all: bool,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub limit: u32,
}

/// Arguments of `request show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The request's id or its beginning
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Arguments of `request extend`.
#[derive(Args, Clone, Debug)]
#[group(id = "how", required = true, multiple = false, args = ["by", "lease"])]
pub struct ExtendArgs {
    /// The request's id or its beginning
    #[arg(value_name = "ID")]
    pub id: String,
    /// So much longer than now
    #[arg(long, value_name = "PERIOD")]
    pub by: Option<Period>,
    /// So long, from when it was ready
    #[arg(long, value_name = "PERIOD")]
    pub lease: Option<Period>,
    /// Which Kubernetes.
    #[command(flatten)]
    pub kubernetes: AccessArgs,
}

/// Arguments of `request end`.
#[derive(Args, Clone, Debug)]
pub struct EndArgs {
    /// The request's id or its beginning
    #[arg(value_name = "ID")]
    pub id: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "it was ended by hand")]
    pub reason: String,
    /// Which Kubernetes.
    #[command(flatten)]
    pub kubernetes: AccessArgs,
}

/// Runs a `request` command.
pub async fn run(command: RequestCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        RequestCommand::Create(args) => Box::pin(create(&args, context)).await,
        RequestCommand::List(args) => list(args, context).await,
        RequestCommand::Show(args) => {
            let state = context.state(&context.config()?).await?;
            let found = find(&args.id, &state).await;
            state.close().await;
            tell(&RequestReport::of(&found?, None), context)?;
            Ok(ExitCode::Done)
        }
        RequestCommand::Extend(args) => extend(&args, context).await,
        RequestCommand::End(args) => Box::pin(end(&args, context)).await,
    }
}

/// What the arguments ask for.
fn wanted(args: &CreateArgs) -> Result<Wanted, Failure> {
    let target = args.target.target()?.unwrap_or(TargetText::Tip);
    let mut spec = RequestSpec::to(target);
    spec.timeline = args.target.timeline()?;
    spec.backup.clone_from(&args.backup);
    spec.reason.clone_from(&args.reason);
    spec.timeout = args.timeout;
    spec.drill.clone_from(&args.drill);
    if let Some(file) = &args.definition {
        let definition = config::load_drill(file)?.definition;
        spec.cnpg = Some(definition.cnpg.unwrap_or_default());
        spec.checks = definition.checks;
    }
    spec.access = RequestAccess {
        namespaces: args.access.iter().cloned().collect::<BTreeSet<_>>(),
        role: if args.superuser {
            LoginRole::Superuser
        } else {
            LoginRole::Owner
        },
        read_only: args.read_only,
        secret: args.secret_in.as_ref().map(|namespace| SecretPlace {
            namespace: namespace.clone(),
            // Unique: several may be asked for into the same namespace.
            name: format!(
                "walproof-{}-{}",
                args.cluster,
                Utc::now().format("%y%m%d%H%M%S")
            )
            .to_ascii_lowercase()
            .replace('_', "-"),
        }),
    };
    Ok(Wanted {
        cluster: args.cluster.clone(),
        copy: args.copy.clone(),
        spec,
        lease: args.lease,
        max_lease: args.max_lease,
        by: args.initiator.clone().unwrap_or_else(system_user),
        key: None,
    })
}

async fn create(args: &CreateArgs, context: &Context) -> Result<ExitCode, Failure> {
    let mut config = context.known_config().await?;
    args.kubernetes.apply(&mut config);
    let wanted = wanted(args)?;
    let cancellation = Cancellation::from(context.interrupt.clone());
    if args.dry_run {
        let plan = request::plan(&config, &wanted, cancellation).await?;
        if context.output.is_json() {
            context.output.json(&plan)?;
        } else {
            context
                .output
                .text(&render::plan(&plan, context.output.style()))?;
        }
        return Ok(if plan.refused.is_none() {
            ExitCode::Done
        } else {
            ExitCode::Problem
        });
    }
    let state = context.state(&config).await?;
    let asked = request::ask(&state, &config, wanted, args.queue).await?;
    if args.queue {
        state.close().await;
        tell(&RequestReport::of(&asked.request, None), context)?;
        return Ok(ExitCode::Done);
    }
    let watcher = Arc::new(Watcher::new(
        context.progress.clone(),
        !context.output.is_json(),
        context.output.style(),
    ));
    let mut origin = Origin::by_hand();
    origin.asked.initiator.clone_from(&asked.request.asked_by);
    let restored = Box::pin(request::restore(
        &state,
        &config,
        &asked.request,
        origin,
        watcher,
        cancellation,
    ))
    .await;
    state.close().await;
    let restored = restored?;
    tell(&restored.report, context)?;
    Ok(ExitCode::of(restored.exit_code))
}

fn tell(report: &RequestReport, context: &Context) -> Result<(), Failure> {
    if context.output.is_json() {
        context.output.json(report)?;
    } else {
        let text = render::report(report, Utc::now(), context.output.style());
        context.output.text(&text)?;
    }
    Ok(())
}

async fn list(args: ListArgs, context: &Context) -> Result<ExitCode, Failure> {
    let state = context.state(&context.config()?).await?;
    let filter = RequestFilter {
        cluster: args.cluster,
        open: !args.all,
        limit: args.limit,
        ..RequestFilter::default()
    };
    let found = state.requests(&filter).await;
    state.close().await;
    let requests: Vec<RequestReport> = found?
        .iter()
        .map(|request| RequestReport::of(request, None))
        .collect();
    if context.output.is_json() {
        context.output.json(&RequestList {
            schema: LIST_SCHEMA.to_owned(),
            requests,
        })?;
    } else {
        let text = render::list(&requests, Utc::now(), filter.open, context.output.style());
        context.output.text(&text)?;
    }
    Ok(ExitCode::Done)
}

async fn find(id: &str, state: &State) -> Result<Request, Failure> {
    let filter = RequestFilter {
        id: Some(id.to_owned()),
        limit: 10,
        ..RequestFilter::default()
    };
    let mut found = state.requests(&filter).await?;
    if found.len() > 1 {
        let ids: Vec<String> = found.iter().map(|one| one.id.to_string()).collect();
        return Err(Failure::usage(format_args!(
            "several requests begin with `{id}`: {}",
            ids.join(", ")
        ))
        .with_hint("write more of the id"));
    }
    found.pop().ok_or_else(|| {
        Failure::usage(format_args!("there is no request `{id}`"))
            .with_hint("`walproof request list --all` lists them; --state names another database")
    })
}

async fn extend(args: &ExtendArgs, context: &Context) -> Result<ExitCode, Failure> {
    let mut config = context.known_config().await?;
    args.kubernetes.apply(&mut config);
    let state = context.state(&config).await?;
    let changed = extended(args, &config, &state).await;
    state.close().await;
    tell(&RequestReport::of(&changed?, None), context)?;
    Ok(ExitCode::Done)
}

async fn extended(args: &ExtendArgs, config: &Config, state: &State) -> Result<Request, Failure> {
    let found = find(&args.id, state).await?;
    let lease = match (args.lease, args.by) {
        (Some(lease), _) => Some(lease),
        (None, Some(by)) => Period::from_secs(found.lease_seconds.saturating_add(by.as_secs())),
        (None, None) => None,
    }
    .ok_or_else(|| Failure::usage("say --by or --lease"))?;
    Ok(request::extend(state, config, &found, lease, &system_user()).await?)
}

async fn end(args: &EndArgs, context: &Context) -> Result<ExitCode, Failure> {
    let mut config = context.known_config().await?;
    args.kubernetes.apply(&mut config);
    let state = context.state(&config).await?;
    let spinner = context.progress.spinner("ending the request");
    let ended = Box::pin(ended(args, &config, &state)).await;
    spinner.finish_and_clear();
    state.close().await;
    let (request, code) = match ended? {
        Ending::Gone(request) => (request, ExitCode::Done),
        Ending::Stopping(request) | Ending::Left(request, _) => (request, ExitCode::Unproven),
    };
    tell(&RequestReport::of(&request, None), context)?;
    Ok(code)
}

/// Ends it, and waits for whoever restores it to have cleaned up.
async fn ended(args: &EndArgs, config: &Config, state: &State) -> Result<Ending, Failure> {
    let found = find(&args.id, state).await?;
    let by = system_user();
    let until = std::time::Instant::now() + STOPS_WITHIN;
    loop {
        match Box::pin(request::end(state, config, &found, &args.reason, &by)).await {
            Ok(Ending::Stopping(_)) if std::time::Instant::now() < until => {
                tokio::time::sleep(LOOK).await;
            }
            Ok(ending) => return Ok(ending),
            Err(failure) if failure.class == FailureClass::State => return Err(failure.into()),
            Err(failure) => {
                return Err(Failure::from(failure).with_hint(
                    "the wish is kept: the daemon goes on with it, and so does this command",
                ));
            }
        }
    }
}
