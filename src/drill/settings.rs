//! The settings of a drill's server that go beyond those of every restored server: what a
//! person may tune, what keeps the scratch place clean, and who may connect.

use std::collections::BTreeMap;

use super::preload::Preload;

/// Settings that a drill definition may change. Everything else stays walproof's, since it
/// keeps the server apart from the world or decides how recovery ends.
pub const TUNABLE: &[&str] = &[
    "autovacuum",
    "checkpoint_completion_target",
    "checkpoint_timeout",
    "effective_cache_size",
    "effective_io_concurrency",
    "fsync",
    "full_page_writes",
    "hash_mem_multiplier",
    "huge_pages",
    "io_method",
    "io_workers",
    "jit",
    "log_min_messages",
    "logical_decoding_work_mem",
    "maintenance_io_concurrency",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "max_wal_size",
    "min_wal_size",
    "random_page_cost",
    "recovery_init_sync_method",
    "recovery_prefetch",
    "seq_page_cost",
    "shared_buffers",
    "shared_memory_type",
    "synchronous_commit",
    "temp_buffers",
    "track_io_timing",
    "wal_buffers",
    "wal_decode_buffer_size",
    "work_mem",
];

/// A setting that a drill definition may not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// The name is not tunable.
    #[error(
        "setting {name:?} cannot be changed for a drill, because it may reach outside the scratch \
         directory or change how recovery ends; allowed are {}", TUNABLE.join(", ")
    )]
    NotTunable {
        /// The name as given.
        name: String,
    },
    /// The value has characters that no setting needs.
    #[error("the value of setting {name:?} holds a control character")]
    OddValue {
        /// The setting.
        name: String,
    },
}

/// Checks a definition's settings.
pub fn check_tuning(settings: &BTreeMap<String, String>) -> Result<(), SettingError> {
    for (name, value) in settings {
        if !TUNABLE.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(SettingError::NotTunable { name: name.clone() });
        }
        if value.chars().any(char::is_control) {
            return Err(SettingError::OddValue { name: name.clone() });
        }
    }
    Ok(())
}

/// What a drill's server is told beside the settings that every restored server gets
/// ([`crate::restore::configuration`]).
pub fn extra(
    major: u32,
    preload: &Preload,
    tuning: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        all.insert(name.to_owned(), value.to_owned());
    };
    // Small and quiet; a definition may tune these.
    set("shared_buffers", "128MB");
    set("huge_pages", "off");
    set("autovacuum", "off");
    set("max_wal_size", "4GB");
    set("fsync", "on");
    for (name, value) in tuning {
        set(&name.to_ascii_lowercase(), value);
    }
    for (name, value) in &preload.settings {
        set(name, value);
    }
    // Files in the scratch directory instead of shared memory that a killed server would
    // leave behind.
    set("dynamic_shared_memory_type", "mmap");
    set("max_standby_archive_delay", "1s");
    set("hot_standby_feedback", "off");
    // Not for slots: replaying a subscriber's commits needs a place for each of its
    // replication origins, or recovery ends with an error.
    set("max_replication_slots", "256");
    if major >= 18 {
        set("max_active_replication_origins", "256");
    }
    if major >= 17 {
        set("summarize_wal", "off");
    }
    // A log that can be read.
    set("log_line_prefix", "%m [%p] ");
    // The log is kept with the record: no DETAIL lines, which quote rows.
    set("log_error_verbosity", "terse");
    set("log_statement", "none");
    set("log_min_error_statement", "panic");
    set("cluster_name", "walproof drill");
    all.into_iter().collect()
}

/// The text of `pg_hba.conf`: only the socket, only the drill's own user. Root is told
/// from others by the kernel; an unprivileged walproof shares its user with the server, so
/// the directory's permissions are the guard.
pub fn client_authentication(by_peer: bool) -> &'static str {
    if by_peer {
        "local all all peer map=walproof\n"
    } else {
        "local all all trust\n"
    }
}

/// The text of `pg_ident.conf` for [`client_authentication`] by peer.
pub fn identity_map(system_user: &str, role: &str) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    format!("walproof {} {}\n", quoted(system_user), quoted(role))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_settings_are_tunable() {
        let check = |name: &str, value: &str| {
            check_tuning(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
        };
        assert_eq!(check("Shared_Buffers", "1GB"), Ok(()));
        for name in [
            "archive_mode",
            "archive_command",
            "primary_conninfo",
            "restore_command",
            "listen_addresses",
            "recovery_target_lsn",
            "include",
            "cron.host",
            "shared_preload_libraries",
            "hba_file",
            "data_directory",
            "log_line_prefix",
        ] {
            let refused = check(name, "x");
            assert!(
                matches!(refused, Err(SettingError::NotTunable { .. })),
                "{name}"
            );
        }
        let sneaky = check("work_mem", "1MB\narchive_mode = on");
        assert!(matches!(sneaky, Err(SettingError::OddValue { .. })));
    }

    #[test]
    fn a_definition_tunes_memory_but_not_what_the_drill_rests_on() {
        let tuning = BTreeMap::from([
            ("SHARED_BUFFERS".to_owned(), "1GB".to_owned()),
            ("fsync".to_owned(), "off".to_owned()),
        ]);
        let value = |major: u32, name: &str| {
            extra(major, &Preload::default(), &tuning)
                .into_iter()
                .find(|(found, _)| found == name)
                .map(|(_, value)| value)
        };
        assert_eq!(value(15, "shared_buffers").as_deref(), Some("1GB"));
        assert_eq!(value(15, "fsync").as_deref(), Some("off"));
        assert_eq!(value(15, "log_line_prefix").as_deref(), Some("%m [%p] "));
        assert_eq!(value(17, "max_active_replication_origins"), None);
        assert_eq!(
            value(18, "max_active_replication_origins").as_deref(),
            Some("256")
        );
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(
            identity_map("root", "a\"b"),
            "walproof \"root\" \"a\"\"b\"\n"
        );
    }
}
