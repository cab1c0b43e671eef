//! `walproof wal show`: what the archive's WAL is made of.

use clap::Args;
use serde::Serialize;

use crate::cli::render::wal as render;
use crate::cli::wal_range::{WalRangeArgs, Walked};
use crate::cli::{Context, ExitCode, Failure};
use crate::verify::wal_story::{Bucket, WalStatistics, WalkReport};

/// The most buckets in the JSON document.
const BUCKETS: usize = 1_500;

/// Arguments of `wal show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// What to show.
    #[command(flatten)]
    pub range: WalRangeArgs,
}

/// Runs `wal show`.
pub(super) async fn run(args: ShowArgs, context: &Context) -> Result<ExitCode, Failure> {
    let mut statistics = WalStatistics::default();
    let walked = args
        .range
        .walk(context, &mut |record, bounds| {
            statistics.take(record, |time| bounds.hold(time));
        })
        .await?;
    if context.output.is_json() {
        context.output.json(&document(&walked, &statistics))?;
    } else {
        let style = context.output.style();
        context
            .output
            .text(&render::show(&walked, &statistics, style))?;
    }
    Ok(if walked.report.whole {
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
    statistics: &'a WalStatistics,
    bucket_seconds: i64,
    commits_over_time: Vec<Bucket>,
}

fn document<'a>(walked: &'a Walked, statistics: &'a WalStatistics) -> Document<'a> {
    let (bucket_seconds, commits_over_time) = statistics.over_time(BUCKETS);
    Document {
        schema: "walproof.wal-show/v1",
        source: &walked.source,
        timeline: walked.timeline.0,
        read: &walked.report,
        statistics,
        bucket_seconds,
        commits_over_time,
    }
}
