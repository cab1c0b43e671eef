//! What becomes of each member of a base backup: written, set aside, or left out.

use std::path::PathBuf;

use crate::codec::archive::{MemberKind, SafePath};

/// Where configuration that came with the backup is kept, below the data directory.
pub const SET_ASIDE: &str = "walproof_set_aside";

/// The mark of a restore that has not finished, below the data directory.
pub const UNFINISHED: &str = "walproof_unfinished";

/// Top-level files that would steer the restored server. They are never in force:
/// configuration may run commands or write outside (`archive_cleanup_command`), signal
/// files start a standby of production, a `tablespace_map` makes recovery link to the
/// source's directories, the others belong to a server that is not this one.
const STEERING: &[&str] = &[
    "postgresql.conf",
    "postgresql.auto.conf",
    "postgresql.auto.conf.tmp",
    "pg_hba.conf",
    "pg_ident.conf",
    "standby.signal",
    "recovery.signal",
    "recovery.conf",
    "recovery.done",
    "postmaster.pid",
    "postmaster.opts",
    "current_logfiles",
    "current_logfiles.tmp",
    "tablespace_map",
    "tablespace_map.old",
    "backup_label.old",
];

/// Directories whose contents a base backup never needs, the same that `pg_basebackup`
/// leaves out (`excludeDirContents` in `src/backend/backup/basebackup.c`), and `pg_wal`,
/// which recovery must be given by the archive.
const EMPTIED: &[&str] = &[
    "pg_wal",
    "pg_xlog",
    "pg_replslot",
    "pg_stat_tmp",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_subtrans",
];

/// Names in the data directory that are links on many servers. The link itself is not
/// restored; a file behind one is refused like any other escape.
const KNOWN_LINKS: &[&str] = &["pg_wal", "pg_xlog", "log", "pg_log"];

/// Directories that a server needs even when the archive has no member for them.
pub const STANDARD_DIRECTORIES: &[&str] = &[
    "base",
    "global",
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_logical/mappings",
    "pg_logical/snapshots",
    "pg_multixact",
    "pg_multixact/members",
    "pg_multixact/offsets",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal",
    "pg_wal/archive_status",
    "pg_xact",
];

/// What becomes of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Written at its own path.
    Write,
    /// Kept below [`SET_ASIDE`] under this name.
    SetAside(PathBuf),
    /// Not written; counted.
    LeaveOut,
    /// Refused, with the reason.
    Refuse(&'static str),
}

/// Decides for a member of the data directory. `separate` are the oids of tablespaces
/// that have archives of their own.
pub(crate) fn place_data(path: &SafePath, kind: MemberKind, separate: &[u32]) -> Placement {
    let first = path.first().to_str().unwrap_or_default();
    match kind {
        MemberKind::SymbolicLink => place_link(path, first),
        MemberKind::HardLink => Placement::Refuse("hard links are not restored"),
        MemberKind::Special(_) => Placement::Refuse("only files and directories are restored"),
        MemberKind::Directory | MemberKind::File if first == SET_ASIDE => Placement::LeaveOut,
        MemberKind::Directory | MemberKind::File if first == UNFINISHED => Placement::LeaveOut,
        // The server asks of a signal file only whether its name is there
        // (`readRecoverySignalFile` in `src/backend/access/transam/xlogrecovery.c`).
        MemberKind::Directory | MemberKind::File
            if STEERING.contains(&first) && !(kind == MemberKind::File && path.is_top_level()) =>
        {
            Placement::Refuse("a directory stands where a server has a file")
        }
        MemberKind::Directory | MemberKind::File if behind_tablespace(path, separate) => match kind
        {
            MemberKind::Directory if path.as_path().components().count() == 2 => {
                Placement::LeaveOut
            }
            _ => Placement::Refuse(
                "it lies behind the link of a tablespace that has an archive of its own",
            ),
        },
        MemberKind::Directory if path.is_top_level() => Placement::Write,
        MemberKind::Directory | MemberKind::File if EMPTIED.contains(&first) => {
            if path.is_top_level() {
                Placement::Refuse("a file stands where a server has a directory")
            } else {
                Placement::LeaveOut
            }
        }
        MemberKind::File if path.is_top_level() && STEERING.contains(&first) => {
            Placement::SetAside(PathBuf::from(first))
        }
        MemberKind::Directory | MemberKind::File => Placement::Write,
    }
}

/// Decides for a member of a tablespace's archive: nothing there is left out.
pub(crate) fn place_tablespace(kind: MemberKind) -> Placement {
    match kind {
        MemberKind::Directory | MemberKind::File => Placement::Write,
        MemberKind::SymbolicLink | MemberKind::HardLink => {
            Placement::Refuse("links are not restored")
        }
        MemberKind::Special(_) => Placement::Refuse("only files and directories are restored"),
    }
}

fn place_link(path: &SafePath, first: &str) -> Placement {
    let known = path.is_top_level() && (KNOWN_LINKS.contains(&first) || STEERING.contains(&first));
    let tablespace = first == "pg_tblspc" && tablespace_oid(path).is_some();
    if known || (tablespace && path.as_path().components().count() == 2) {
        Placement::LeaveOut
    } else {
        Placement::Refuse("links are not restored")
    }
}

fn tablespace_oid(path: &SafePath) -> Option<u32> {
    let mut parts = path.as_path().iter();
    if parts.next()?.to_str()? != "pg_tblspc" {
        return None;
    }
    parts.next()?.to_str()?.parse().ok()
}

fn behind_tablespace(path: &SafePath, separate: &[u32]) -> bool {
    tablespace_oid(path).is_some_and(|oid| separate.contains(&oid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, kind: MemberKind) -> Placement {
        let path = SafePath::check(name.as_bytes()).unwrap().unwrap();
        place_data(&path, kind, &[16384])
    }

    #[test]
    fn data_is_written_and_configuration_is_not() {
        use MemberKind::{Directory, File};
        for name in [
            "PG_VERSION",
            "base/1/1259",
            "global/pg_control",
            "backup_label",
        ] {
            assert_eq!(place(name, File), Placement::Write, "{name}");
        }
        assert_eq!(place("pg_wal", Directory), Placement::Write);
        for name in STEERING {
            assert_eq!(
                place(name, File),
                Placement::SetAside(PathBuf::from(name)),
                "{name}"
            );
        }
        // A directory of such a name would steer the server as well.
        for name in STEERING {
            let behind = format!("{name}/x");
            for (path, kind) in [(*name, Directory), (&behind, File), (&behind, Directory)] {
                assert!(
                    matches!(place(path, kind), Placement::Refuse(_)),
                    "{path} {kind:?}"
                );
            }
        }
        // Only at the top do these names mean anything to the server.
        assert_eq!(place("base/1/postgresql.conf", File), Placement::Write);
    }

    #[test]
    fn wal_slots_and_transient_state_are_left_out() {
        for name in [
            "pg_wal/000000010000000000000002",
            "pg_wal/archive_status/000000010000000000000002.done",
            "pg_replslot/production/state",
            "pg_stat_tmp/global.stat",
            "walproof_set_aside/postgresql.conf",
        ] {
            assert_eq!(place(name, MemberKind::File), Placement::LeaveOut, "{name}");
        }
        assert!(matches!(
            place("pg_wal", MemberKind::File),
            Placement::Refuse(_)
        ));
    }

    #[test]
    fn links_are_left_out_where_servers_have_them_and_refused_elsewhere() {
        for name in ["pg_wal", "pg_tblspc/16384", "log", "postgresql.conf"] {
            assert_eq!(
                place(name, MemberKind::SymbolicLink),
                Placement::LeaveOut,
                "{name}"
            );
        }
        for name in [
            "base",
            "x",
            "pg_tblspc/evil",
            "base/1/1259",
            "pg_tblspc/1/2",
        ] {
            assert!(
                matches!(place(name, MemberKind::SymbolicLink), Placement::Refuse(_)),
                "{name}"
            );
        }
        for name in ["pg_wal", "x"] {
            assert!(matches!(
                place(name, MemberKind::HardLink),
                Placement::Refuse(_)
            ));
        }
        assert!(matches!(
            place("x", MemberKind::Special("a FIFO")),
            Placement::Refuse(_)
        ));
    }

    #[test]
    fn a_file_behind_a_tablespace_link_is_refused_and_one_in_place_is_not() {
        assert!(matches!(
            place("pg_tblspc/16384/PG_15_202209061/5/1", MemberKind::File),
            Placement::Refuse(_)
        ));
        assert_eq!(
            place("pg_tblspc/16384", MemberKind::Directory),
            Placement::LeaveOut
        );
        assert_eq!(
            place("pg_tblspc/16999/PG_15_202209061/5/1", MemberKind::File),
            Placement::Write
        );
    }
}
