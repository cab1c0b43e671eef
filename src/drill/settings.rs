//! The settings of a restored server: those that recovery needs, those that a person may
//! tune, and none of those that came with the backup.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::postgres::{Lsn, TimelineId};

/// Settings that must be at least as high as on the source at every moment of the replayed
/// range: lower, and recovery pauses for ever (`CheckRequiredParameterValues` in
/// `src/backend/access/transam/xlogrecovery.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequiredSettings {
    /// `max_connections`
    pub max_connections: u32,
    /// `max_worker_processes`
    pub max_worker_processes: u32,
    /// `max_wal_senders`
    pub max_wal_senders: u32,
    /// `max_prepared_transactions`
    pub max_prepared_transactions: u32,
    /// `max_locks_per_transaction`
    pub max_locks_per_transaction: u32,
}

impl Default for RequiredSettings {
    /// PostgreSQL's own defaults.
    fn default() -> Self {
        Self {
            max_connections: 100,
            max_worker_processes: 8,
            max_wal_senders: 10,
            max_prepared_transactions: 0,
            max_locks_per_transaction: 64,
        }
    }
}

impl RequiredSettings {
    /// The higher of both, setting by setting.
    #[must_use]
    pub fn at_least(self, other: Self) -> Self {
        Self {
            max_connections: self.max_connections.max(other.max_connections),
            max_worker_processes: self.max_worker_processes.max(other.max_worker_processes),
            max_wal_senders: self.max_wal_senders.max(other.max_wal_senders),
            max_prepared_transactions: self
                .max_prepared_transactions
                .max(other.max_prepared_transactions),
            max_locks_per_transaction: self
                .max_locks_per_transaction
                .max(other.max_locks_per_transaction),
        }
    }

    /// Names and values.
    pub const fn pairs(self) -> [(&'static str, u32); 5] {
        [
            ("max_connections", self.max_connections),
            ("max_worker_processes", self.max_worker_processes),
            ("max_wal_senders", self.max_wal_senders),
            ("max_prepared_transactions", self.max_prepared_transactions),
            ("max_locks_per_transaction", self.max_locks_per_transaction),
        ]
    }
}

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

/// Everything that walproof's own `postgresql.conf` says.
#[derive(Clone, Debug)]
pub struct ServerSettings<'a> {
    /// The server's major version.
    pub major: u32,
    /// What recovery needs at least.
    pub required: RequiredSettings,
    /// Libraries loaded at start.
    pub preload: &'a [String],
    /// Settings that come with those libraries, to keep them quiet.
    pub preload_settings: &'a [(String, String)],
    /// Where the server's socket lies.
    pub sockets: &'a Path,
    /// How WAL is fetched; with `%f` and `%p`.
    pub restore_command: &'a str,
    /// The begin of the last record that is replayed.
    pub stop_record: Lsn,
    /// The timeline that recovery follows.
    pub timeline: TimelineId,
    /// Checked tuning.
    pub tuning: &'a BTreeMap<String, String>,
}

/// A value in quotes, as `postgresql.conf` wants it (`GUC_scanstr` in
/// `src/backend/utils/misc/guc-file.l`).
pub fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

impl ServerSettings<'_> {
    /// The text of `postgresql.conf`.
    pub fn text(&self) -> String {
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
        for (name, value) in self.tuning {
            set(&name.to_ascii_lowercase(), value);
        }
        for (name, value) in self.preload_settings {
            set(name, value);
        }
        for (name, value) in self.required.pairs() {
            set(name, &value.to_string());
        }
        // Files in the scratch directory instead of shared memory that a killed server
        // would leave behind.
        set("dynamic_shared_memory_type", "mmap");
        // Recovery.
        set("restore_command", self.restore_command);
        set("recovery_target_lsn", &self.stop_record.to_string());
        set("recovery_target_inclusive", "on");
        set("recovery_target_timeline", &self.timeline.to_string());
        set("recovery_target_action", "pause");
        set("hot_standby", "on");
        set("max_standby_archive_delay", "1s");
        set("wal_level", "replica");
        // Apart from the world.
        set("listen_addresses", "");
        set("unix_socket_directories", &self.sockets.display().to_string());
        set("unix_socket_permissions", "0700");
        set("ssl", "off");
        set("archive_mode", "off");
        set("archive_command", "");
        set("archive_cleanup_command", "");
        set("recovery_end_command", "");
        set("primary_conninfo", "");
        set("primary_slot_name", "");
        set("hot_standby_feedback", "off");
        set("max_logical_replication_workers", "0");
        set("session_preload_libraries", "");
        set("local_preload_libraries", "");
        set("shared_preload_libraries", &self.preload.join(","));
        // Not for slots: replaying a subscriber's commits needs a place for each of its
        // replication origins, or recovery ends with an error.
        set("max_replication_slots", "256");
        if self.major >= 18 {
            set("max_active_replication_origins", "256");
        }
        if self.major >= 15 {
            set("archive_library", "");
        }
        if self.major >= 17 {
            set("event_triggers", "off");
            set("sync_replication_slots", "off");
            set("summarize_wal", "off");
        }
        // A log that can be read.
        set("log_destination", "stderr");
        set("logging_collector", "off");
        set("log_line_prefix", "%m [%p] ");
        set("log_timezone", "UTC");
        set("timezone", "UTC");
        set("lc_messages", "C");
        set("log_statement", "none");
        set("log_min_error_statement", "panic");
        set("cluster_name", "walproof drill");
        let mut text = String::from("# Written by walproof for one drill. Nothing of the source's configuration is used.\n");
        for (name, value) in all {
            text.push_str(&format!("{name} = {}\n", quote(&value)));
        }
        text
    }
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

    fn text(tuning: &[(&str, &str)], required: RequiredSettings, major: u32) -> String {
        let tuning = tuning
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        ServerSettings {
            major,
            required,
            preload: &["pg_stat_statements".to_owned()],
            preload_settings: &[],
            sockets: Path::new("/scratch/s"),
            restore_command: "'/bin/walproof' wal fetch \"%f\" '%p'",
            stop_record: "0/3000028".parse().unwrap(),
            timeline: TimelineId(2),
            tuning: &tuning,
        }
        .text()
    }

    #[test]
    fn the_highest_value_of_each_setting_counts() {
        let control = RequiredSettings {
            max_connections: 50,
            max_wal_senders: 20,
            ..RequiredSettings::default()
        };
        let raised = RequiredSettings {
            max_connections: 300,
            max_wal_senders: 10,
            max_prepared_transactions: 7,
            ..RequiredSettings::default()
        };
        let merged = control.at_least(raised);
        assert_eq!(
            merged,
            RequiredSettings {
                max_connections: 300,
                max_worker_processes: 8,
                max_wal_senders: 20,
                max_prepared_transactions: 7,
                max_locks_per_transaction: 64,
            }
        );
        assert_eq!(merged, raised.at_least(control));
        assert!(text(&[], merged, 15).contains("max_connections = '300'\n"));
    }

    #[test]
    fn what_keeps_the_server_apart_is_always_there_once() {
        for major in 13..=18 {
            let text = text(&[("shared_buffers", "1GB")], RequiredSettings::default(), major);
            for line in [
                "archive_mode = 'off'",
                "archive_command = ''",
                "archive_cleanup_command = ''",
                "recovery_end_command = ''",
                "primary_conninfo = ''",
                "listen_addresses = ''",
                "max_logical_replication_workers = '0'",
                "recovery_target_lsn = '0/3000028'",
                "recovery_target_inclusive = 'on'",
                "recovery_target_timeline = '2'",
                "recovery_target_action = 'pause'",
                "shared_buffers = '1GB'",
                "shared_preload_libraries = 'pg_stat_statements'",
                "restore_command = '''/bin/walproof'' wal fetch \"%f\" ''%p'''",
            ] {
                let count = text.lines().filter(|found| *found == line).count();
                assert_eq!(count, 1, "{line} in version {major}");
            }
            assert_eq!(text.contains("event_triggers = 'off'"), major >= 17);
            assert_eq!(text.contains("archive_library = ''"), major >= 15);
        }
    }

    #[test]
    fn only_harmless_settings_are_tunable() {
        let check = |name: &str, value: &str| {
            check_tuning(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
        };
        assert_eq!(check("Shared_Buffers", "1GB"), Ok(()));
        for name in ["archive_mode", "archive_command", "primary_conninfo", "restore_command",
                     "listen_addresses", "recovery_target_lsn", "include", "cron.host",
                     "shared_preload_libraries", "hba_file", "data_directory"] {
            assert!(matches!(check(name, "x"), Err(SettingError::NotTunable { .. })), "{name}");
        }
        assert!(matches!(check("work_mem", "1MB\narchive_mode = on"), Err(SettingError::OddValue { .. })));
    }

    #[test]
    fn values_cannot_leave_their_quotes() {
        assert_eq!(quote("it's a \\ path"), "'it''s a \\\\ path'");
        assert_eq!(identity_map("root", "a\"b"), "walproof \"root\" \"a\"\"b\"\n");
    }
}
