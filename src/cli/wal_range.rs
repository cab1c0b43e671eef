//! Which stretch of WAL a command goes over.

use clap::Args;

use chrono::{DateTime, Utc};

use super::source::{SourceArgs, resolve};
use super::target::{moment, timeline};
use super::{Context, Failure, interrupted};
use crate::postgres::wal::WalRecord;
use crate::postgres::{Lsn, TimelineId};
use crate::repository::{self, Catalog};
use crate::verify::objects;
use crate::verify::wal_range::RangeProgress;
use crate::verify::wal_story::{WalkReport, WalkRequest, walk};
use crate::verify::{Timelines, words};

/// Where to look, and from where to where.
#[derive(Args, Clone, Debug)]
pub struct WalRangeArgs {
    /// Where the archive is.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Begin here: 2026-11-21T02:00:00Z, -2h, or a position as 16/B374D848
    /// [default: the oldest WAL]
    #[arg(
        help_heading = "Range",
        long,
        value_name = "TIME|LSN",
        allow_hyphen_values = true
    )]
    pub from: Option<String>,
    /// End here [default: the newest WAL]
    #[arg(
        help_heading = "Range",
        long,
        value_name = "TIME|LSN",
        allow_hyphen_values = true
    )]
    pub to: Option<String>,
    /// Follow this timeline instead of the current one: a number, or eight hexadecimal digits
    /// as in file names
    #[arg(help_heading = "Range", long, value_name = "TIMELINE")]
    pub timeline: Option<String>,
}

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Lsn(Lsn),
    Time(DateTime<Utc>),
}

fn end(flag: &str, text: Option<&String>) -> Result<Option<End>, Failure> {
    let Some(text) = text else {
        return Ok(None);
    };
    if text.contains('/') {
        let lsn = text
            .parse()
            .map_err(|error| Failure::usage(format_args!("{flag}: {error}")))?;
        return Ok(Some(End::Lsn(lsn)));
    }
    moment(flag, text).map(|time| Some(End::Time(time)))
}

/// A range that was gone over.
#[derive(Debug)]
pub struct Walked {
    /// The cluster's name or the URL, to be used again on the command line.
    pub source: String,
    /// The timeline that was followed.
    pub timeline: TimelineId,
    /// Whether it was asked for.
    pub timeline_given: bool,
    /// What was read.
    pub report: WalkReport,
    /// Commits before this moment do not count.
    pub since: Option<DateTime<Utc>>,
    /// Commits after this moment do not count.
    pub until: Option<DateTime<Utc>>,
}

impl WalRangeArgs {
    /// Goes over the range and hands every record to `visit`.
    pub async fn walk(
        &self,
        context: &Context,
        visit: &mut (dyn FnMut(&WalRecord<'_>, Bounds) + Send),
    ) -> Result<Walked, Failure> {
        let from = end("--from", self.from.as_ref())?;
        let to = end("--to", self.to.as_ref())?;
        let config = context.config_for(&self.source.source).await?;
        let source = resolve(&self.source, &config)?;
        let repository = repository::open(source.open()?);
        let spinner = context.progress.spinner("listing");
        let catalog = repository.catalog().await;
        spinner.finish_and_clear();
        let catalog = catalog?;
        let asked = self.timeline.as_deref();
        let timeline = asked
            .map(|text| timeline("--timeline", text))
            .transpose()?
            .map(TimelineId);
        let history = match timeline {
            Some(timeline) => catalog.wal.history(timeline).ok_or_else(|| {
                Failure::usage(format_args!(
                    "the way to timeline {timeline} is not known: its history file is missing or unreadable"
                ))
            })?,
            None => Timelines::of(&catalog).current,
        };
        if catalog.wal.timelines.is_empty() {
            return Err(
                Failure::unproven(format_args!("there is no WAL at {}", source.location))
                    .with_hint("check bucket, prefix and server name; `walproof repository discover` lists what lies below a URL"),
            );
        }
        let bounds = Bounds {
            since: from.and_then(End::time),
            until: to.and_then(End::time),
        };
        let request = WalkRequest {
            from: match from {
                Some(End::Lsn(lsn)) => Some(lsn),
                Some(End::Time(time)) => before(&catalog, time),
                None => None,
            },
            to: match to {
                Some(End::Lsn(lsn)) => Some(lsn),
                _ => None,
            },
            system_id: objects::system_id(&catalog),
            history,
        };
        let bar = context.progress.count("reading WAL", 0);
        let mut interrupt = context.interrupt.clone();
        let told = |done: RangeProgress| {
            bar.set_length(done.of_segments);
            bar.set_position(done.segments);
            bar.set_message(format!("{} at {}", words::bytes(done.bytes), done.lsn));
        };
        let mut take = |record: &WalRecord<'_>| visit(record, bounds);
        let report = tokio::select! {
            report = walk(&repository, &catalog, &request, &told, &mut take) => report?,
            () = interrupted(&mut interrupt) => return Err(Failure::interrupted()),
        };
        bar.finish_and_clear();
        Ok(Walked {
            source: self.source.source.clone(),
            timeline: request.history.timeline,
            timeline_given: timeline.is_some(),
            report,
            since: bounds.since,
            until: bounds.until,
        })
    }
}

impl End {
    const fn time(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Time(time) => Some(time),
            Self::Lsn(_) => None,
        }
    }
}

/// Moments between which commits count; their order in the WAL may differ from that of
/// their times, so the bytes are read beyond them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// The earliest.
    pub since: Option<DateTime<Utc>>,
    /// The latest.
    pub until: Option<DateTime<Utc>>,
}

impl Bounds {
    /// Whether a moment lies between them.
    pub fn hold(self, time: DateTime<Utc>) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }
}

/// A position that was surely reached before a moment: the begin of the newest base backup
/// that had begun before it.
fn before(catalog: &Catalog, time: DateTime<Utc>) -> Option<Lsn> {
    catalog
        .backups
        .iter()
        .filter(|backup| backup.begin_time.is_some_and(|begin| begin <= time))
        .filter_map(|backup| backup.begin_lsn)
        .max()
}
