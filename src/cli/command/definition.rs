//! `walproof definition`: what a rebuild needs besides data.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use crate::cli::access::AccessArgs;
use crate::cli::recording::Recording;
use crate::cli::render::definition as render;
use crate::cli::source::StoreArgs;
use crate::cli::{Context, ExitCode, Failure};
use crate::config::{Config, Period};
use crate::kubernetes::definition::{Change, Content, Manifest, diff};
use crate::operation;
use crate::operation::definition::{
    CaptureReport, Place, Rebuild, RebuildWish, by_name, capture, list, live, newest, rebuild,
    replica, replicas,
};
use crate::replicate::definition::{
    Retention, StoredDefinition, folder, keep, list as stamps, remove,
};
use crate::state::RunKind;

/// What stays when nothing is said.
const NEWEST: usize = 10;

/// Keep what a rebuild needs besides data, and look at it
#[derive(Subcommand, Clone, Debug)]
pub enum DefinitionCommand {
    /// Capture a Cluster's definition and store it beside its replicas
    Capture(CaptureArgs),
    /// List the stored definitions of a cluster, every digest checked
    List(ListArgs),
    /// Show a stored definition, or make it ready for a rebuild at another site
    Show(ShowArgs),
    /// Show what changed between a stored definition and the live one, or another stored one
    Diff(DiffArgs),
    /// Remove stored definitions that the policy no longer keeps; shows them unless confirmed
    Expire(ExpireArgs),
}

/// Capture a Cluster's definition and store it beside its replicas
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Capture what a rebuild of a Cluster needs besides data: the Cluster, ScheduledBackups, ObjectStores, Poolers, Databases, Publications and Subscriptions, image catalogs, the ConfigMaps that they refer to, and the names (never the values) of Secrets and their keys. It is cleaned of what the API server and operators wrote, and stored below walproof/definitions/ of each replica, written once, with the digest of each file and of the whole. An unchanged definition is not stored again.\n\nWith `disaster_site` under the cluster's `kubernetes` it also looks whether copies of the Secrets, with the keys that are needed, lie where a rebuild would look for them. What could not be read is said and is unproven.\n\nThe primary repository is never written to.",
    after_long_help = "Examples:\n  walproof definition capture orders\n  walproof definition capture orders --copy far\n  walproof definition capture orders --output json | jq '.unread, .findings'\n\nExit codes: 0 captured; 1 captured, and something is wrong (a Secret is missing at the disaster site, a ConfigMap holds a password); 3 something could not be read; 4 refused: no replica."
)]
pub struct CaptureArgs {
    /// What, and beside which copy.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Which Kubernetes.
    #[command(flatten)]
    pub kubernetes: AccessArgs,
}

/// A cluster and a copy of it.
#[derive(Args, Clone, Debug)]
pub struct PlaceArgs {
    /// A cluster's name from the configuration
    #[arg(value_name = "CLUSTER")]
    pub cluster: String,
    /// Which replica [default: every one for a capture, else the first]
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
    /// How to reach the store.
    #[command(flatten)]
    pub store: StoreArgs,
}

impl PlaceArgs {
    fn one(&self, config: &Config) -> Result<Place, Failure> {
        let reach = self.store.reach();
        Ok(replica(
            config,
            &self.cluster,
            self.copy.as_deref(),
            &reach,
        )?)
    }
}

/// List the stored definitions of a cluster
#[derive(Args, Clone, Debug)]
#[command(
    after_long_help = "Examples:\n  walproof definition list orders\n  walproof definition list orders --copy far --output json | jq '.definitions[0]'\n\nExit codes: 0 every one is what was captured; 1 one is not, or there is none; 3 could not look."
)]
pub struct ListArgs {
    /// Which.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Show a stored definition
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Show a stored definition, every digest checked. Only the replica is asked, so it works when the cluster's site is lost.\n\nWith --to-yaml it is a stream that `kubectl apply --dry-run=server -f -` accepts, as it was declared. With --rebuild it is made ready for a rebuild of production at another site: in the order in which it is applied, with a Cluster that recovers from the replica and archives to a folder of its own, and with the Secrets to provide named.",
    after_long_help = "Examples:\n  walproof definition show orders\n  walproof definition show orders --to-yaml | kubectl apply --dry-run=server -f -\n  walproof definition show orders --rebuild --into ./rebuild\n  walproof definition show orders --rebuild --namespace orders-dr | less\n\nExit codes: 0 shown; 3 could not look, or nothing was captured; 4 refused: it is not what was captured."
)]
pub struct ShowArgs {
    /// Which.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// The beginning of its name or of its digest [default: the newest]
    #[arg(long, value_name = "DEFINITION")]
    pub at: Option<String>,
    /// As YAML, as it was declared
    #[arg(long, conflicts_with = "rebuild")]
    pub to_yaml: bool,
    /// As YAML that rebuilds production from the replica
    #[arg(long)]
    pub rebuild: bool,
    /// Write one file per object into this directory, which must be new or empty
    #[arg(long, value_name = "DIR", requires = "rebuild")]
    pub into: Option<PathBuf>,
    /// The namespace of the rebuild [default: that of the disaster site, else of the
    /// definition]
    #[arg(long, value_name = "NAME", requires = "rebuild")]
    pub namespace: Option<String>,
    /// The replica's endpoint as pods of the new site reach it [default: as walproof does]
    #[arg(long, value_name = "URL", requires = "rebuild")]
    pub pod_endpoint: Option<String>,
}

/// Show what changed
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Show what changed between two definitions, by object and path: from the newest stored one to the live one unless --from and --to say otherwise.",
    after_long_help = "Examples:\n  walproof definition diff orders\n  walproof definition diff orders --from 20261121T0130\n  walproof definition diff orders --from 3f9a0c71 --to 8ab2\n\nExit codes: 0 the same; 1 they differ; 3 could not look."
)]
pub struct DiffArgs {
    /// Which.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// The stored one to begin from, by the beginning of its name or digest [default: the
    /// newest]
    #[arg(long, value_name = "DEFINITION")]
    pub from: Option<String>,
    /// The stored one to end at [default: the live one]
    #[arg(long, value_name = "DEFINITION")]
    pub to: Option<String>,
    /// Which Kubernetes.
    #[command(flatten)]
    pub kubernetes: AccessArgs,
}

/// Remove stored definitions
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Remove stored definitions that the policy no longer keeps. The newest stay, and every one that held at some moment within --keep: a rebuild to a moment has the definition of that moment. Without --confirm nothing is removed.",
    after_long_help = "Examples:\n  walproof definition expire orders\n  walproof definition expire orders --keep 90d --newest 20 --confirm\n\nExit codes: 0 shown, or removed; 1 something stayed that was to go; 3 could not look or remove; 4 refused: no replica."
)]
pub struct ExpireArgs {
    /// Which.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// At least so many stay, the newest
    #[arg(long, value_name = "N", default_value_t = NEWEST)]
    pub newest: usize,
    /// Every one that held within this time stays [default: the replica's `keep`, else the
    /// tier's retention, else 30d]
    #[arg(long, value_name = "PERIOD")]
    pub keep: Option<Period>,
    /// Remove them
    #[arg(long)]
    pub confirm: bool,
}

/// Runs `definition`.
pub async fn run(command: DefinitionCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        DefinitionCommand::Capture(args) => captures(&args, context).await,
        DefinitionCommand::List(args) => lists(&args, context).await,
        DefinitionCommand::Show(args) => shows(&args, context).await,
        DefinitionCommand::Diff(args) => diffs(&args, context).await,
        DefinitionCommand::Expire(args) => expires(&args, context).await,
    }
}

#[derive(Serialize)]
struct Captures<'a> {
    schema: &'static str,
    reports: &'a [CaptureReport],
}

async fn captures(args: &CaptureArgs, context: &Context) -> Result<ExitCode, Failure> {
    let mut config = context.known_config().await?;
    args.kubernetes.apply(&mut config);
    let reach = args.place.store.reach();
    let copy = args.place.copy.as_deref();
    let places = replicas(&config, &args.place.cluster, copy, &reach)?;
    let mut reports = Vec::new();
    let mut worst = 0;
    for place in &places {
        let spinner = context
            .progress
            .spinner(&format!("capturing for {}", place.source.copy));
        let recording =
            Recording::try_begin(RunKind::Capture, &place.source, &config, context).await;
        let (recording, state) = Recording::split(recording);
        let captured = Box::pin(capture(place, &config, recording)).await;
        spinner.finish_and_clear();
        if let Some(state) = state {
            state.close().await;
        }
        let captured = captured?;
        // 1 before 3: a problem that was found is more than a place that was not seen.
        worst = match (worst, captured.report.exit_code()) {
            (1, _) | (_, 1) => 1,
            (one, other) => one.max(other),
        };
        reports.push(captured.report);
    }
    if context.output.is_json() {
        match reports.as_slice() {
            [only] => context.output.json(only)?,
            all => context.output.json(&Captures {
                schema: "walproof.definition-captures/v1",
                reports: all,
            })?,
        }
    } else {
        let style = context.output.style();
        let texts: Vec<String> = reports
            .iter()
            .map(|report| render::capture(report, style))
            .collect();
        context.output.text(&texts.join("\n"))?;
    }
    Ok(ExitCode::of(worst))
}

async fn lists(args: &ListArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.known_config().await?;
    let report = list(&args.place.one(&config)?).await?;
    if context.output.is_json() {
        context.output.json(&report)?;
    } else {
        context
            .output
            .text(&render::list(&report, context.output.style()))?;
    }
    Ok(ExitCode::of(report.exit_code()))
}

async fn stored(place: &Place, wanted: Option<&str>) -> Result<StoredDefinition, Failure> {
    Ok(match wanted {
        Some(wanted) => by_name(place, wanted).await?,
        None => newest(place).await?,
    })
}

/// A stored definition. JSON: `walproof.definition-show/v1`.
#[derive(Serialize)]
struct Shown<'a> {
    schema: &'static str,
    cluster: &'a str,
    copy: &'a str,
    location: String,
    definition: String,
    manifest: &'a Manifest,
    objects: Vec<&'a Value>,
}

async fn shows(args: &ShowArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.known_config().await?;
    let place = args.place.one(&config)?;
    let found = stored(&place, args.at.as_deref()).await?;
    if args.rebuild {
        return show_rebuild(args, &place, &found, context);
    }
    if args.to_yaml {
        context.output.text(&render::yaml(&found.content))?;
        return Ok(ExitCode::Done);
    }
    if context.output.is_json() {
        let name = &place.cluster.name;
        let below = format!("{}/{}", folder(name), found.stamp);
        context.output.json(&Shown {
            schema: "walproof.definition-show/v1",
            cluster: name,
            copy: &place.source.copy,
            location: place.source.location.join(&below).to_string(),
            definition: found.stamp.to_string(),
            manifest: &found.manifest,
            objects: found
                .content
                .objects
                .iter()
                .map(|object| &object.manifest)
                .collect(),
        })?;
    } else {
        context
            .output
            .text(&render::show(&found, context.output.style()))?;
    }
    Ok(ExitCode::Done)
}

fn show_rebuild(
    args: &ShowArgs,
    place: &Place,
    found: &StoredDefinition,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let options = &place.source.options;
    let site = place.cluster.kubernetes.as_ref();
    let wish = RebuildWish {
        location: &place.source.location,
        endpoint: args
            .pod_endpoint
            .clone()
            .or_else(|| options.endpoint.clone()),
        region: options.region.clone(),
        own_authority: options.ca_file.is_some() || options.ca_pem.is_some(),
        namespace: args
            .namespace
            .clone()
            .or_else(|| site.and_then(|guarded| guarded.disaster_site.as_ref()?.namespace.clone())),
        now: chrono::Utc::now(),
    };
    let made = rebuild(found, &wish)?;
    match &args.into {
        None if context.output.is_json() => context.output.json(&serde_json::json!({
            "schema": "walproof.definition-rebuild/v1",
            "definition": found.stamp.to_string(),
            "files": made.files,
            "secrets": made.secrets,
            "notes": made.notes,
        }))?,
        None => context.output.text(&made.to_stream())?,
        Some(directory) => {
            write(&made, directory)?;
            context.output.text(&made.preface())?;
        }
    }
    Ok(ExitCode::Done)
}

/// One file per object and a README, into a directory that holds nothing yet.
fn write(made: &Rebuild, directory: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::from(operation::Failure::new(
            operation::FailureClass::Capacity,
            format_args!("write the rebuild into {}: {error}", directory.display()),
        ))
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    if std::fs::read_dir(directory)
        .map_err(failed)?
        .next()
        .is_some()
    {
        return Err(
            Failure::usage(format_args!("{} is not empty", directory.display()))
                .with_hint("name a new directory: nothing is overwritten"),
        );
    }
    std::fs::write(directory.join("README"), made.preface()).map_err(failed)?;
    for file in &made.files {
        std::fs::write(directory.join(&file.file), &file.text).map_err(failed)?;
    }
    Ok(())
}

/// What differs. JSON: `walproof.definition-diff/v1`.
#[derive(Serialize)]
struct Differences {
    schema: &'static str,
    cluster: String,
    copy: String,
    from: String,
    to: String,
    same: bool,
    changes: Vec<Change>,
}

async fn diffs(args: &DiffArgs, context: &Context) -> Result<ExitCode, Failure> {
    let mut config = context.known_config().await?;
    args.kubernetes.apply(&mut config);
    let place = args.place.one(&config)?;
    let before = stored(&place, args.from.as_deref()).await?;
    let (to, after): (String, Content) = match &args.to {
        Some(wanted) => {
            let found = by_name(&place, wanted).await?;
            (found.stamp.to_string(), found.content)
        }
        None => ("live".to_owned(), live(&place, &config).await?),
    };
    let changes = diff(&before.content, &after);
    let report = Differences {
        schema: "walproof.definition-diff/v1",
        cluster: place.cluster.name.clone(),
        copy: place.source.copy.clone(),
        from: before.stamp.to_string(),
        to,
        same: changes.is_empty(),
        changes,
    };
    if context.output.is_json() {
        context.output.json(&report)?;
    } else {
        let style = context.output.style();
        let text = render::diff(&report.from, &report.to, &report.changes, style);
        context.output.text(&text)?;
    }
    Ok(if report.same {
        ExitCode::Done
    } else {
        ExitCode::of(1)
    })
}

/// What goes. JSON: `walproof.definition-expire/v1`.
#[derive(Serialize)]
struct Expired {
    schema: &'static str,
    cluster: String,
    copy: String,
    confirmed: bool,
    stays: usize,
    goes: Vec<String>,
    objects_removed: u64,
    refused: Vec<String>,
}

async fn expires(args: &ExpireArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.known_config().await?;
    let place = args.place.one(&config)?;
    let name = &place.cluster.name;
    let replication = place
        .cluster
        .replicas
        .iter()
        .find(|replica| replica.url == place.source.location)
        .and_then(|replica| replica.replication.as_ref());
    let within = args
        .keep
        .or_else(|| replication.and_then(|replication| replication.keep))
        .or(place.source.tier.retention)
        .map_or(chrono::TimeDelta::days(30), Period::as_chrono);
    let store = place.open()?;
    let all = stamps(&store, name)
        .await
        .map_err(operation::Failure::from)?;
    let retention = Retention {
        newest: args.newest,
        within,
    };
    let goes = keep(&all, retention, chrono::Utc::now());
    let mut report = Expired {
        schema: "walproof.definition-expire/v1",
        cluster: name.clone(),
        copy: place.source.copy.clone(),
        confirmed: args.confirm,
        stays: all.len() - goes.len(),
        goes: goes.iter().map(ToString::to_string).collect(),
        objects_removed: 0,
        refused: Vec::new(),
    };
    if args.confirm {
        for stamp in &goes {
            let removed = remove(&store, name, stamp)
                .await
                .map_err(operation::Failure::from)?;
            report.objects_removed += removed.objects;
            report.refused.extend(removed.refused);
        }
    }
    if context.output.is_json() {
        context.output.json(&report)?;
    } else {
        let mut lines = vec![format!(
            "{name}/{}: {} stay, {} go",
            report.copy,
            report.stays,
            report.goes.len()
        )];
        lines.extend(report.goes.iter().map(|stamp| format!("  {stamp}")));
        lines.extend(report.refused.iter().map(|why| format!("  stayed: {why}")));
        if report.confirmed {
            lines.push(format!("{} objects removed", report.objects_removed));
        } else if !report.goes.is_empty() {
            lines.push("nothing was removed; --confirm removes them".to_owned());
        }
        lines.push(String::new());
        context.output.text(&lines.join("\n"))?;
    }
    Ok(ExitCode::of(u8::from(!report.refused.is_empty())))
}
