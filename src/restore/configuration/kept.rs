//! What of the backup's own configuration is kept, and what is set aside and why.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::conf_file::ConfSetting;

/// Settings whose values are taken over: they shape answers to queries and act on nothing.
const KEPT: &[&str] = &[
    "bytea_output",
    "datestyle",
    "default_text_search_config",
    "intervalstyle",
    "max_connections",
    "max_locks_per_transaction",
    "max_pred_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
    "search_path",
    "timezone",
    "track_commit_timestamp",
    "wal_level",
    "wal_log_hints",
];

/// Settings that act on the world outside the data directory, and what they would do.
const ACTING: &[(&str, &str)] = &[
    (
        "archive_cleanup_command",
        "deletes WAL from the archive it names",
    ),
    ("archive_command", "writes into the archive of the source"),
    ("archive_library", "writes into the archive of the source"),
    ("archive_mode", "lets the restored server archive"),
    ("config_file", "replaces the configuration"),
    ("cron.database_name", "runs scheduled jobs"),
    ("data_directory", "points to another data directory"),
    ("dynamic_library_path", "loads code from elsewhere"),
    (
        "event_source",
        "writes to the system's log under the source's name",
    ),
    ("external_pid_file", "writes a file outside"),
    ("hba_file", "reads access rules from elsewhere"),
    ("ident_file", "reads access rules from elsewhere"),
    ("include", "reads further configuration"),
    ("include_dir", "reads further configuration"),
    ("include_if_exists", "reads further configuration"),
    ("krb_server_keyfile", "reads a key from elsewhere"),
    (
        "listen_addresses",
        "offers the restored server on the network",
    ),
    ("local_preload_libraries", "loads code into every session"),
    ("log_directory", "writes logs outside"),
    ("log_filename", "writes logs outside"),
    ("oauth_validator_libraries", "loads code"),
    ("port", "takes the source's port"),
    ("primary_conninfo", "connects to the source as its standby"),
    ("primary_slot_name", "uses a replication slot of the source"),
    (
        "promote_trigger_file",
        "promotes when a file outside appears",
    ),
    ("recovery_end_command", "runs a command"),
    ("recovery_target", "changes where recovery ends"),
    ("recovery_target_action", "changes what follows recovery"),
    ("recovery_target_inclusive", "changes where recovery ends"),
    ("recovery_target_lsn", "changes where recovery ends"),
    ("recovery_target_name", "changes where recovery ends"),
    ("recovery_target_time", "changes where recovery ends"),
    ("recovery_target_timeline", "changes where recovery ends"),
    ("recovery_target_xid", "changes where recovery ends"),
    ("restore_command", "fetches WAL in another way"),
    ("session_preload_libraries", "loads code into every session"),
    (
        "shared_preload_libraries",
        "loads code that may act on the world outside",
    ),
    ("ssl_ca_file", "reads a file from elsewhere"),
    ("ssl_cert_file", "reads a file from elsewhere"),
    ("ssl_crl_dir", "reads files from elsewhere"),
    ("ssl_crl_file", "reads a file from elsewhere"),
    ("ssl_dh_params_file", "reads a file from elsewhere"),
    ("ssl_key_file", "reads a key from elsewhere"),
    ("ssl_passphrase_command", "runs a command"),
    ("stats_temp_directory", "writes files outside"),
    (
        "synchronous_standby_names",
        "lets commits wait for the source's standbys",
    ),
    (
        "syslog_ident",
        "writes to the system's log under the source's name",
    ),
    (
        "unix_socket_directories",
        "offers the restored server under the source's socket",
    ),
];

/// Values taken over from the backup's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeptSettings(pub BTreeMap<String, String>);

impl KeptSettings {
    /// A number among them, for the settings that must not fall.
    pub fn number(&self, name: &str) -> Option<i32> {
        self.0.get(name)?.parse().ok()
    }
}

/// A setting that is not in force. Its value is not repeated: it may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SetAsideSetting {
    /// The name.
    pub name: String,
    /// The file it stood in, as it is named in the backup.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What it would do.
    pub effect: String,
}

/// The backup's own configuration, judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SettingsReview {
    /// Values taken over.
    pub kept: KeptSettings,
    /// Settings that would act outside, and are not in force.
    pub set_aside: Vec<SetAsideSetting>,
    /// How many further settings (memory, logging, planner, …) are not in force either.
    pub others: usize,
    /// `shared_preload_libraries` as the source had it; judge it with
    /// [`review_preload`](super::review_preload).
    pub shared_preload_libraries: Option<String>,
}

/// Judges the assignments of the backup's configuration files, given in the order in
/// which the source read them: the last of one name wins.
pub fn review_settings(files: &[(String, Vec<ConfSetting>)]) -> SettingsReview {
    let mut review = SettingsReview::default();
    for (file, settings) in files {
        for setting in settings {
            let name = setting.name.as_str();
            let plain = !setting.value.chars().any(char::is_control);
            if name == "shared_preload_libraries" {
                review.shared_preload_libraries = Some(setting.value.clone());
            }
            if KEPT.contains(&name) && plain {
                review.kept.0.insert(name.to_owned(), setting.value.clone());
            } else if let Some((_, effect)) = ACTING
                .iter()
                .find(|(acting, _)| *acting == name)
                .filter(|_| !setting.value.is_empty())
            {
                review.set_aside.push(SetAsideSetting {
                    name: name.to_owned(),
                    file: file.clone(),
                    line: setting.line,
                    effect: (*effect).to_owned(),
                });
            } else {
                review.others += 1;
            }
        }
    }
    review
}

#[cfg(test)]
mod tests {
    use super::super::parse_conf;
    use super::*;

    #[test]
    fn values_are_kept_named_or_counted() {
        let review = review_settings(&[
            (
                "postgresql.conf".to_owned(),
                parse_conf(
                    "max_connections = 250\ntimezone = 'Europe/Vienna'\nshared_buffers = 4GB\n\
                     archive_cleanup_command = 'pg_archivecleanup /archive %r'\n\
                     shared_preload_libraries = 'pg_cron'\nprimary_slot_name = ''\n",
                ),
            ),
            (
                "postgresql.auto.conf".to_owned(),
                parse_conf("max_connections = '300'\nprimary_conninfo = 'password=hidden'\n"),
            ),
        ]);
        assert_eq!(review.kept.number("max_connections"), Some(300));
        assert_eq!(review.kept.0["timezone"], "Europe/Vienna");
        let names: Vec<&str> = review
            .set_aside
            .iter()
            .map(|setting| setting.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "archive_cleanup_command",
                "shared_preload_libraries",
                "primary_conninfo"
            ]
        );
        assert_eq!(review.others, 2);
        assert_eq!(review.shared_preload_libraries.as_deref(), Some("pg_cron"));
        let text = serde_json::to_string(&review).unwrap();
        assert!(
            !text.contains("hidden") && !text.contains("/archive"),
            "{text}"
        );
    }

    #[test]
    fn a_value_that_could_begin_a_line_is_not_kept() {
        let review = review_settings(&[(
            "postgresql.conf".to_owned(),
            parse_conf(r"timezone = 'UTC\narchive_mode = on'"),
        )]);
        assert!(review.kept.0.is_empty());
    }

    #[test]
    fn no_setting_is_both_kept_and_acting() {
        for (name, _) in ACTING {
            assert!(!KEPT.contains(name), "{name}");
        }
    }
}
