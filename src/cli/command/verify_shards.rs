//! `walproof verify --shard` and `--shards`: one repository read by several processes.

use std::process::Stdio;

use clap::Args;
use serde::Serialize;
use tokio::process::Command;

use super::verify_depth::{DepthArg, DepthArgs};
use crate::cli::{Context, ExitCode, Failure};
use crate::config::{Config, VerificationDepth};
use crate::drill::Cancellation;
use crate::operation::shards::{Campaign, read_shard};
use crate::operation::source::Source;
use crate::verify::read::ShardRead;
use crate::verify::rotation::Subset;

/// Dividing the reading of depth `read`.
#[derive(Args, Clone, Debug, Default)]
pub struct ShardArgs {
    /// With --depth read: read in so many processes at once, then conclude. One that was
    /// killed is gone on with. Unless told otherwise as the tier says
    #[arg(help_heading = "Depth", long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256), conflicts_with_all = ["shard", "no_state", "reread_within", "subset"])]
    pub shards: Option<u32>,
    /// Read only this one of several parts, such as 1/4, and keep what came of it in the state
    /// database for `verify --depth read --shards 4`, which concludes
    #[arg(help_heading = "Depth", long, value_name = "PART/PARTS", conflicts_with_all = ["no_state", "reread_within", "subset", "segments", "accept_changed", "forget_absent"])]
    pub shard: Option<Subset>,
}

impl ShardArgs {
    /// Into how many parts the reading of a place is divided.
    pub fn asked(&self, source: &Source, depth: &DepthArgs) -> u32 {
        let tier = source.tier.verification.as_ref();
        let by_tier = tier.and_then(|tier| tier.depth) == Some(VerificationDepth::Read);
        let read = match depth.depth {
            Some(depth) => depth == DepthArg::Read,
            None => by_tier,
        };
        let shards = self.shards.or_else(|| {
            // Who limits the reading does not want it divided.
            let limited = depth.reread_within.is_some();
            tier.filter(|_| !limited).and_then(|tier| tier.shards)
        });
        if read { shards.unwrap_or(1) } else { 1 }
    }
}

/// What a shard did, as JSON.
#[derive(Serialize)]
struct Told<'a> {
    schema: &'static str,
    shard: String,
    reads: &'a [ShardRead],
}

/// Reads one part.
pub(super) async fn run_one(
    shard: Subset,
    sources: &[Source],
    config: &Config,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let state = context.state(config).await?;
    let stop = Cancellation::from(context.interrupt.clone());
    let mut done = Vec::new();
    for source in sources {
        let read = read_shard(source, &state, Campaign::Hand, shard, &|_| {}, &stop).await;
        done.push(read?);
    }
    state.close().await;
    tell(shard, &done, context)?;
    Ok(ExitCode::Done)
}

/// Tells what a shard did.
pub(super) fn tell(shard: Subset, done: &[ShardRead], context: &Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(&Told {
            schema: "walproof.verify-shard/v1",
            shard: shard.to_string(),
            reads: done,
        });
    }
    let lines: Vec<String> = done
        .iter()
        .map(|read| {
            format!(
                "shard {shard}: {} segments and {} base backups read, {} and {} had been before, {} segments and {} base backups left to who concludes\n",
                read.segments, read.bases, read.segments_before, read.bases_before, read.segments_left, read.bases_left
            )
        })
        .collect();
    context.output.text(&lines.concat())
}

/// Starts a process for each part of a copy and waits for all. What one of them did not read
/// is read by who concludes.
pub(super) async fn run_all(shards: u32, copy: &str, context: &Context) -> Result<(), Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::unproven(format_args!("find walproof's own program: {error}")))?;
    let arguments = own_arguments(std::env::args().skip(1));
    let mut running = Vec::new();
    for part in 1..=shards {
        let mut command = Command::new(&program);
        command
            .args(&arguments)
            .args(["--shard", &format!("{part}/{shards}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        if !arguments
            .iter()
            .any(|argument| argument == "--copy" || argument.starts_with("--copy="))
            && !copy.is_empty()
        {
            command.args(["--copy", copy]);
        }
        let child = command.spawn().map_err(|error| {
            Failure::unproven(format_args!(
                "start the reading of shard {part}/{shards}: {error}"
            ))
        })?;
        running.push((part, child));
    }
    for (part, mut child) in running {
        let ended = child.wait().await;
        if !matches!(&ended, Ok(status) if status.success()) {
            let how = match ended {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
            context.progress.print(&format!(
                "{} shard {part}/{shards} did not come to its end ({how}); what it left is read now\n",
                context.error_palette.yellow("note:")
            ));
        }
    }
    Ok(())
}

/// The command line without what asks for shards, lists segments or changes the ledger: that
/// is for who concludes.
fn own_arguments(all: impl Iterator<Item = String>) -> Vec<String> {
    const ALONE: [&str; 2] = ["--segments", "--accept-changed"];
    const WITH_VALUE: [&str; 2] = ["--shards", "--forget-absent"];
    let mut own = Vec::new();
    let mut all = all;
    while let Some(argument) = all.next() {
        if WITH_VALUE.contains(&argument.as_str()) {
            let _ = all.next();
            continue;
        }
        let names = |known: &&str| {
            argument
                .strip_prefix(*known)
                .is_some_and(|rest| rest.starts_with('='))
        };
        if ALONE.contains(&argument.as_str()) || WITH_VALUE.iter().any(names) {
            continue;
        }
        own.push(argument);
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_asked_as_the_whole_was() {
        let all = "--config a.yaml verify orders --depth read --shards 4 --segments --copy second --shards=2 --forget-absent 9d";
        let own = own_arguments(all.split(' ').map(str::to_owned));
        assert_eq!(
            own.join(" "),
            "--config a.yaml verify orders --depth read --copy second"
        );
    }
}
