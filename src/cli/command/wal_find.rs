//! `walproof wal find`: the position just before something happened.

use clap::Args;
use serde::Serialize;

use crate::cli::render::wal as render;
use crate::cli::target::moment;
use crate::cli::wal_range::WalRangeArgs;
use crate::cli::{Context, ExitCode, Failure, relation_names};
use crate::config::Period;
use crate::verify::wal_story::{
    RelationNames, RelationSelector, Search, SearchReport, WalkReport, Wanted,
};

/// Arguments of `wal find`.
#[derive(Args, Clone, Debug)]
pub struct FindArgs {
    /// Where to look.
    #[command(flatten)]
    pub range: WalRangeArgs,
    /// What to look for.
    #[command(flatten)]
    pub wanted: WantedArgs,
    /// How far from the moment of --around
    #[arg(
        help_heading = "What to look for",
        long,
        value_name = "PERIOD",
        default_value = "10s"
    )]
    pub within: Period,
    /// A running server whose catalog names the relations, as postgres://user@host/database;
    /// the password comes from PGPASSWORD or a password file
    #[arg(long, value_name = "URL")]
    pub catalog: Option<String>,
    /// Show at most this many hits as text, the newest; JSON has up to 10,000
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
}

/// What to look for: one of these.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct WantedArgs {
    /// When a relation's file was dropped, truncated or rewritten: public.invoices (needs
    /// --catalog), a file number, DATABASE_OID/FILE, or nothing for every relation
    #[arg(help_heading = "What to look for", long, value_name = "RELATION", num_args = 0..=1, default_missing_value = "")]
    pub dropped: Option<String>,
    /// Named restore points: of this name, or all
    #[arg(help_heading = "What to look for", long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    pub restore_point: Option<String>,
    /// Commits around a moment: 2026-11-21T02:40:00Z, or -1h for that long ago
    #[arg(
        help_heading = "What to look for",
        long,
        value_name = "TIME",
        allow_hyphen_values = true
    )]
    pub around: Option<String>,
    /// The end of one transaction
    #[arg(help_heading = "What to look for", long, value_name = "XID")]
    pub xid: Option<u32>,
}

/// Runs `wal find`.
pub(super) async fn run(args: FindArgs, context: &Context) -> Result<ExitCode, Failure> {
    let names = match &args.catalog {
        Some(url) => relation_names::read(url).await?,
        None => RelationNames::default(),
    };
    let wanted = wanted(&args, &names)?;
    let mut search = Search::new(wanted.clone(), names);
    let walked = args
        .range
        .walk(context, &mut |record, bounds| {
            search.take(record, |time| bounds.hold(time));
        })
        .await?;
    let found = search.finish();
    if context.output.is_json() {
        context.output.json(&Document {
            schema: "walproof.wal-find/v1",
            source: &walked.source,
            timeline: walked.timeline.0,
            read: &walked.report,
            found: &found,
        })?;
    } else {
        let style = context.output.style();
        context
            .output
            .text(&render::find(&walked, &wanted, &found, args.limit, style))?;
    }
    Ok(if found.count > 0 {
        ExitCode::Done
    } else {
        ExitCode::Problem
    })
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    source: &'a str,
    timeline: u32,
    read: &'a WalkReport,
    found: &'a SearchReport,
}

fn wanted(find: &FindArgs, names: &RelationNames) -> Result<Wanted, Failure> {
    let args = &find.wanted;
    if let Some(text) = &args.dropped {
        if text.is_empty() {
            return Ok(Wanted::Drops(Vec::new()));
        }
        let selector: RelationSelector = text.parse().map_err(Failure::usage)?;
        return match selector {
            RelationSelector::File { database, relation } => {
                Ok(Wanted::Drops(vec![(database, relation)]))
            }
            RelationSelector::Name(name) if find.catalog.is_none() => Err(Failure::usage(format_args!(
                "which file {name} had cannot be told from WAL alone"
            ))
            .with_hint(
                "give --catalog with a server restored to a moment when it existed; or look at every drop with --dropped and no name",
            )),
            RelationSelector::Name(name) => {
                let files = names.files(&name);
                if files.is_empty() {
                    return Err(Failure::usage(format_args!(
                        "the catalog knows no relation {name}"
                    ))
                    .with_hint(
                        "connect to its own database, on a server restored to a moment when it existed",
                    ));
                }
                Ok(Wanted::Drops(
                    files
                        .into_iter()
                        .map(|(database, relation)| (Some(database), relation))
                        .collect(),
                ))
            }
        };
    }
    if let Some(name) = &args.restore_point {
        return Ok(Wanted::RestorePoints(
            Some(name.clone()).filter(|name| !name.is_empty()),
        ));
    }
    if let Some(xid) = args.xid {
        return Ok(Wanted::Transaction(xid));
    }
    let text = args.around.as_deref().unwrap_or_default();
    Ok(Wanted::Around {
        time: moment("--around", text)?,
        within: find.within.as_chrono(),
    })
}
