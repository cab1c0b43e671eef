//! Why a target cannot be recovered to, in words that say what to choose instead.

use chrono::{DateTime, SecondsFormat, Utc};

use super::target::Target;
use crate::finding::{Code, Finding};
use crate::postgres::{Lsn, TimelineId};
use crate::verify::VerifyError;

/// A target that was not resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Recovery would not stop at the target.
    #[error("target {target} is not reachable from backup {backup}: {why}")]
    TargetUnreachable {
        /// The target.
        target: Target,
        /// The backup.
        backup: String,
        /// Why, and what to choose instead.
        why: String,
        /// Whether an older backup could still reach it.
        may_lie_before: bool,
        /// What is wrong with the WAL.
        findings: Vec<Finding>,
    },
    /// The target lies before the backup is consistent.
    #[error(
        "target {target} lies before backup {backup} is consistent, at {consistent_at}{}; choose an older backup or a later target",
        ended(*time)
    )]
    BeforeConsistency {
        /// The target.
        target: Target,
        /// The backup.
        backup: String,
        /// Where it is consistent.
        consistent_at: Lsn,
        /// When it ended.
        time: Option<DateTime<Utc>>,
    },
    /// The WAL ends before the backup is consistent.
    #[error("backup {backup} never becomes consistent: {why}; choose another backup")]
    NotConsistent {
        /// The backup.
        backup: String,
        /// Why the WAL ends.
        why: String,
        /// What is wrong with the WAL.
        findings: Vec<Finding>,
    },
    /// Replay would create a tablespace at its place on the source.
    #[error(
        "refuse to replay up to {target}: the record at {lsn} creates tablespace {oid} at {location}, which is production's place on its own host; take a base backup that begins after it, or choose a target before {lsn}"
    )]
    TablespaceCreated {
        /// The target.
        target: Target,
        /// Where the record begins.
        lsn: Lsn,
        /// On which timeline.
        timeline: TimelineId,
        /// The tablespace.
        oid: u32,
        /// The directory that replay would link to.
        location: String,
    },
    /// No backup can be used.
    #[error("no base backup to restore from: {0}")]
    NoBackup(String),
    /// The timeline cannot be followed.
    #[error(
        "timeline {timeline} cannot be followed: {why}; `walproof verify` shows the timelines of this repository"
    )]
    Timeline {
        /// The timeline.
        timeline: TimelineId,
        /// Why not.
        why: String,
    },
    /// The newest timeline cannot be followed, and staying on an older one would silently
    /// bring back what production has abandoned.
    #[error(
        "timeline {timeline} has WAL or backups here, but no usable history file shows the way to it: recovery would silently stay on an abandoned branch; copy {} from pg_wal of the primary or a standby, or name a timeline explicitly",
        timeline.history_file_name()
    )]
    HistoryMissing {
        /// The timeline that cannot be reached.
        timeline: TimelineId,
        /// Its history file's key and what is wrong with it, if there is one.
        unreadable: Option<(String, String)>,
    },
    /// Nothing but a history file speaks for the newest timeline, while an older one goes
    /// on past it.
    #[error(
        "timeline {newest} has a history file here and nothing else, while timeline {other} goes on past the point where {newest} branched off: which of them production is on cannot be told; ask it (`SELECT timeline_id FROM pg_control_checkpoint()`) and name that timeline explicitly"
    )]
    TimelineContested {
        /// The newest timeline.
        newest: TimelineId,
        /// The one that goes on.
        other: TimelineId,
    },
    /// The store or this machine failed; nothing is known of the target.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// Somebody asked to stop.
    #[error("interrupted while reading WAL")]
    Cancelled,
}

fn ended(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(String::new, |time| {
        format!(
            " (it ended at {})",
            time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
        )
    })
}

impl ResolveError {
    /// Whether walproof refused for safety (exit code 4).
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::TablespaceCreated { .. })
    }

    /// Whether storage or this machine prevented it, so that nothing is known (exit
    /// code 3).
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Verify(_))
    }

    /// Whether what was asked for was wrong (exit code 2).
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Timeline { .. })
    }

    /// Whether somebody asked to stop (exit code 130).
    pub const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// What it says about the repository: the cause first, then what else was found.
    pub fn findings(&self) -> Vec<Finding> {
        let target_unreachable = |target: &Target| {
            Finding::new(
                Code::TargetUnreachable,
                target.to_string(),
                self.to_string(),
            )
        };
        match self {
            Self::TargetUnreachable {
                target, findings, ..
            } => std::iter::once(target_unreachable(target))
                .chain(findings.iter().cloned())
                .collect(),
            Self::BeforeConsistency { target, .. } => vec![target_unreachable(target)],
            Self::NotConsistent {
                backup, findings, ..
            } => std::iter::once(Finding::new(
                Code::BackupWalMissing,
                backup,
                self.to_string(),
            ))
            .chain(findings.iter().cloned())
            .collect(),
            Self::TablespaceCreated {
                lsn,
                timeline,
                location,
                oid,
                ..
            } => vec![
                Finding::new(
                    Code::WalTablespaceCreated,
                    location,
                    format!("tablespace {oid} is created at {location} by the record at {lsn}"),
                )
                .with_wal(*timeline, *lsn, *lsn),
            ],
            Self::NoBackup(why) => {
                vec![Finding::new(Code::RepositoryWithoutBackup, "base", why)]
            }
            Self::HistoryMissing {
                timeline,
                unreadable,
            } => vec![match unreadable {
                Some((key, why)) => {
                    Finding::new(Code::HistoryUnreadable, key, format!("{self} ({why})"))
                }
                None => Finding::new(
                    Code::HistoryMissing,
                    timeline.history_file_name(),
                    self.to_string(),
                ),
            }],
            Self::Timeline { .. }
            | Self::TimelineContested { .. }
            | Self::Verify(_)
            | Self::Cancelled => Vec::new(),
        }
    }
}
