//! What can stand in the way of a restore, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::finding::{Code, Finding};
use crate::storage::StorageError;

/// Why a restore was not done. The kinds are told apart by [`Self::is_refusal`],
/// [`Self::is_unreachable`], [`Self::is_cancelled`] and [`Self::finding`].
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The directory to fill is not one that may be filled.
    #[error("refuse to restore into {}: {reason}", path.display())]
    Destination {
        /// The directory.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// Where tablespaces go was said wrongly.
    #[error("tablespace {name}: {reason}")]
    Tablespace {
        /// The oid or name as given.
        name: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// No such backup, or one that cannot be restored from here.
    #[error("backup {id}: {reason}")]
    Backup {
        /// The id as given.
        id: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The files cannot be given to the user who is to run the server.
    #[error(
        "there is no user {name:?} on this machine to own the restored files; PostgreSQL does not run as root, so name one"
    )]
    Owner {
        /// The name.
        name: String,
    },
    /// An archive names something that must not be created.
    #[error(
        "refuse to extract {object}: member {member:?}: {reason}; nothing outside the destination was touched"
    )]
    UnsafeMember {
        /// The archive's key.
        object: String,
        /// The member's name as written, lossily as text.
        member: String,
        /// Why it is refused.
        reason: String,
    },
    /// An archive cannot be read to its end, or what it must hold is not there.
    #[error("{object} is damaged: {what}; restore from another backup")]
    Damaged {
        /// The archive's key, or the backup.
        object: String,
        /// What is wrong.
        what: String,
    },
    /// The backup lacks `backup_label`.
    #[error(
        "backup {backup} has no backup_label: recovery would start from the wrong place; restore from another backup"
    )]
    LabelMissing {
        /// The backup.
        backup: String,
    },
    /// The files and their description do not belong together.
    #[error("backup {backup} contradicts its description: {what}; restore from another backup")]
    Contradictory {
        /// The backup.
        backup: String,
        /// What differs.
        what: String,
    },
    /// The store did not give what it should.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// This machine did not do what it should.
    #[error("{operation} {}: {source}; {}", path.display(), local_hint(source))]
    Local {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// The file system is too small.
    #[error(
        "{} has {available} bytes free, the backup needs at least {needed}; free some room or choose another directory (--ignore-free-space where the file system compresses)",
        path.display()
    )]
    NoRoom {
        /// A directory on that file system.
        path: PathBuf,
        /// What is free there, in bytes.
        available: u64,
        /// What is needed there, in bytes.
        needed: u64,
    },
    /// Somebody asked to stop. What had been created is removed.
    #[error("interrupted; what had been restored so far was removed")]
    Cancelled,
    /// A worker died, which it never should.
    #[error("a worker of the restore died: {0}; report this as a defect of walproof")]
    Worker(String),
}

fn local_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room or choose another directory"
        }
        io::ErrorKind::PermissionDenied => "check who owns the directory",
        io::ErrorKind::ReadOnlyFilesystem => "choose a directory that can be written to",
        io::ErrorKind::NotFound => "create the directory above it first",
        _ => "check the path and the file system",
    }
}

impl RestoreError {
    /// Something this machine did not do.
    pub(crate) fn local(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Local {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether walproof refused for safety (exit code 4).
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Destination { .. } | Self::UnsafeMember { .. })
    }

    /// Whether storage or this machine prevented it, so that nothing is known of the
    /// backup (exit code 3).
    pub const fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Storage(_) | Self::Local { .. } | Self::NoRoom { .. } | Self::Worker(_)
        )
    }

    /// Whether what was asked for was wrong (exit code 2).
    pub const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Tablespace { .. } | Self::Backup { .. } | Self::Owner { .. }
        )
    }

    /// Whether somebody asked to stop (exit code 130).
    pub const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// What it says about the backup, when the backup is at fault (exit code 1).
    pub fn finding(&self) -> Option<Finding> {
        match self {
            Self::UnsafeMember {
                object,
                member,
                reason,
            } => Some(Finding::new(
                Code::BackupMemberUnsafe,
                object,
                format!("member {member:?}: {reason}"),
            )),
            Self::Damaged { object, what } => Some(Finding::new(Code::BackupDamaged, object, what)),
            Self::LabelMissing { backup } => Some(Finding::new(
                Code::BackupLabelMissing,
                backup,
                "none of the archives holds a backup_label",
            )),
            Self::Contradictory { backup, what } => {
                Some(Finding::new(Code::BackupInfoContradictory, backup, what))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_maps_to_one_exit_code() {
        let damaged = RestoreError::Damaged {
            object: "base/x/data.tar".into(),
            what: "cut".into(),
        };
        assert_eq!(damaged.finding().unwrap().code, Code::BackupDamaged);
        assert!(!damaged.is_refusal() && !damaged.is_unreachable());
        let full = RestoreError::local(
            "write",
            Path::new("/x"),
            io::Error::from(io::ErrorKind::StorageFull),
        );
        assert!(full.is_unreachable() && full.finding().is_none());
        assert!(full.to_string().contains("make room"), "{full}");
        let hostile = RestoreError::UnsafeMember {
            object: "o".into(),
            member: "../x".into(),
            reason: "climbs".into(),
        };
        assert!(hostile.is_refusal());
        assert_eq!(hostile.finding().unwrap().code, Code::BackupMemberUnsafe);
    }
}
