//! What a base backup leaves out.
//!
//! The lists are those of `src/backend/backup/basebackup.c` (`excludeDirContents`,
//! `excludeFiles`) and of Barman (`barman/postgres_plumbing.py`). Barman's patterns reach
//! one level deep only, so that it carries along the state of replication slots and of
//! archiving; here everything below such a folder is left out.

/// Folders of the data directory that are kept empty.
const EMPTIED: [&str; 11] = [
    "pg_wal",
    "log",
    "pg_log",
    "pg_dynshmem",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_stat_tmp",
    "pg_snapshots",
    "pg_subtrans",
    // Restores make these links anew from the description.
    "pg_tblspc",
];

/// Files that are left out wherever they are.
const LEFT_OUT: [&str; 12] = [
    "postgresql.auto.conf.tmp",
    "current_logfiles.tmp",
    "postmaster.pid",
    "postmaster.opts",
    "recovery.conf",
    "recovery.signal",
    "standby.signal",
    "backup_label",
    "tablespace_map",
    "backup_manifest",
    "backup_label.old",
    "tablespace_map.old",
];

/// Whether the contents of a folder directly below the data directory are left out.
pub(super) fn is_emptied(top: &str) -> bool {
    EMPTIED.contains(&top)
}

/// Whether a file or folder of this name is left out; `parent` is its folder's name.
pub(super) fn is_left_out(parent: &str, name: &str) -> bool {
    LEFT_OUT.contains(&name)
        || name.starts_with("pgsql_tmp")
        || name.starts_with("pg_internal.init")
        || (!parent.is_empty()
            && parent.bytes().all(|byte| byte.is_ascii_digit())
            && is_temporary_relation(name))
}

/// `t<backend>_<relfilenode>` with an optional fork and segment
/// (`looks_like_temp_rel_name` in `src/backend/storage/file/fd.c`).
fn is_temporary_relation(name: &str) -> bool {
    let Some((backend, file)) = name.strip_prefix('t').and_then(|rest| rest.split_once('_')) else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (relation, rest) = file.split_at(
        file.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(file.len()),
    );
    let (fork, segment) = rest.split_once('.').unwrap_or((rest, "0"));
    digits(backend)
        && digits(relation)
        && matches!(fork, "" | "_fsm" | "_vm" | "_init")
        && digits(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_relations_are_left_out_and_others_kept() {
        for name in ["t3_16384", "t12_99_fsm", "t3_16384_vm.2", "t3_16384.1"] {
            assert!(is_left_out("16401", name), "{name}");
        }
        for name in [
            "16384",
            "16384_fsm",
            "t_16384",
            "t3_",
            "t3_16384_x",
            "t3_1.a",
            "table_1",
        ] {
            assert!(!is_left_out("16401", name), "{name}");
        }
        assert!(!is_left_out("global", "t3_16384"));
    }

    #[test]
    fn files_of_the_running_server_are_left_out() {
        for name in [
            "postmaster.pid",
            "pgsql_tmp",
            "pgsql_tmp123.0",
            "pg_internal.init",
            "pg_internal.init.77",
            "standby.signal",
        ] {
            assert!(is_left_out("base", name), "{name}");
        }
        for name in [
            "PG_VERSION",
            "postgresql.auto.conf",
            "pg_control",
            "pg_filenode.map",
        ] {
            assert!(!is_left_out("", name), "{name}");
        }
        assert!(is_emptied("pg_wal") && !is_emptied("pg_xact"));
    }
}
