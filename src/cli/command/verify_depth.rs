//! How deeply `walproof verify` looks, and how much it reads.

use clap::{Args, ValueEnum};

use crate::config::{ByteSize, Period};
use crate::operation::DepthWish;
use crate::verify::RequestedDepth;
use crate::verify::rotation::Subset;

/// How deeply a repository is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DepthArg {
    /// Names and sizes, and the WAL around the tip and around gaps.
    Listed,
    /// What is new or changed, and a part of the rest, to the last byte.
    Sampled,
    /// Everything, to the last byte.
    Read,
}

/// How deeply, and how much. They win over the tier's.
#[derive(Args, Clone, Debug, Default)]
pub struct DepthArgs {
    /// How deeply to look; unless told otherwise as the tier says, else listed
    #[arg(help_heading = "Depth", long, value_name = "DEPTH")]
    pub depth: Option<DepthArg>,
    /// Read everything again within this time: with --depth sampled a share each run, what
    /// was read longest ago first (default 30d); with --depth read all that was not read
    /// within it, which goes on with an interrupted run
    #[arg(
        help_heading = "Depth",
        long,
        value_name = "PERIOD",
        conflicts_with = "subset"
    )]
    pub reread_within: Option<Period>,
    /// Read only this part, such as 1/7 on Mondays; the parts stay the same from night to night
    #[arg(help_heading = "Depth", long, value_name = "PART/PARTS")]
    pub subset: Option<Subset>,
    /// Read at most this much, as stored, such as 50GiB; what matters most is read first
    #[arg(help_heading = "Depth", long, value_name = "SIZE")]
    pub max_bytes: Option<ByteSize>,
    /// Read only what fits into this time at the rate of the last run, such as 1h
    #[arg(help_heading = "Depth", long, value_name = "PERIOD")]
    pub max_time: Option<Period>,
    /// Take objects that changed for what they hold now; they are told a last time
    #[arg(help_heading = "Depth", long)]
    pub accept_changed: bool,
    /// Forget what has been gone from the repository for longer than this, such as 90d
    #[arg(help_heading = "Depth", long, value_name = "PERIOD")]
    pub forget_absent: Option<Period>,
}

impl DepthArgs {
    /// The same as plain data.
    pub fn wish(&self) -> DepthWish {
        DepthWish {
            depth: self.depth.map(|depth| match depth {
                DepthArg::Listed => RequestedDepth::Listed,
                DepthArg::Sampled => RequestedDepth::Sampled,
                DepthArg::Read => RequestedDepth::Read,
            }),
            reread_within: self.reread_within,
            subset: self.subset,
            max_bytes: self.max_bytes,
            max_time: self.max_time,
            accept_changed: self.accept_changed,
            forget_absent: self.forget_absent,
        }
    }
}
