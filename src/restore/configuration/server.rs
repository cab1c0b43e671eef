//! The text of `postgresql.conf` and `pg_hba.conf` for a restored server.

use std::fmt::Write as _;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conf_file::quote_value;
use super::kept::KeptSettings;
use crate::postgres::RequiredSettings;
use crate::postgres::{Lsn, TimelineId};

/// What the server does once it has reached the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecoveryAction {
    /// Opens for writing on a new timeline.
    #[default]
    Promote,
    /// Stays read-only at the target until `pg_wal_replay_resume()`.
    Pause,
    /// Shuts down at the target; `recovery.signal` stays.
    Shutdown,
}

impl RecoveryAction {
    /// The value of `recovery_target_action`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Pause => "pause",
            Self::Shutdown => "shutdown",
        }
    }
}

impl std::str::FromStr for RecoveryAction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "promote" => Ok(Self::Promote),
            "pause" => Ok(Self::Pause),
            "shutdown" => Ok(Self::Shutdown),
            _ => Err(format!(
                "not a recovery action: {text:?} (expected promote, pause or shutdown)"
            )),
        }
    }
}

/// Where recovery ends and what feeds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverySettings {
    /// The shell command with `%f` and `%p`.
    pub restore_command: String,
    /// The start of the last record that is applied.
    pub target_lsn: Lsn,
    /// The timeline to end on, always explicit.
    pub timeline: TimelineId,
    /// What follows.
    pub action: RecoveryAction,
}

/// Everything that the text depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// The PostgreSQL major version that will read it.
    pub major: u32,
    /// The least values for recovery.
    pub required: RequiredSettings,
    /// Values taken over from the backup's configuration.
    pub kept: KeptSettings,
    /// Where recovery ends.
    pub recovery: RecoverySettings,
    /// Directory of the server's socket; `None` for none at all.
    pub socket_directory: Option<PathBuf>,
    /// The port, which also names the socket.
    pub port: u16,
    /// Libraries to load at start, already judged.
    pub preload: Vec<String>,
    /// Further settings of the caller, applied last but for the safety block.
    pub extra: Vec<(String, String)>,
}

/// Who may connect to a restored server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAccess {
    /// Over the socket, as the database role named like the system's user.
    SocketPeer,
    /// Over the socket without a password: only for a socket in a private directory.
    SocketTrust,
}

/// The access rules: never over the network, never replication.
pub fn pg_hba_conf(access: ClientAccess) -> String {
    let method = match access {
        ClientAccess::SocketPeer => "peer",
        ClientAccess::SocketTrust => "trust",
    };
    format!(
        "# Written by walproof. The rules of the source are in walproof_set_aside/.\n\
         # TYPE  DATABASE     USER  METHOD\n\
         local   replication  all   reject\n\
         local   all          all   {method}\n"
    )
}

/// The whole `postgresql.conf`. Later lines win in PostgreSQL: the safety block is last,
/// so that nothing above it can weaken it.
pub fn postgresql_conf(settings: &ServerSettings) -> String {
    let mut text = String::from(
        "# Written by walproof for a restored server. The configuration that came with the\n\
         # backup is in walproof_set_aside/ and is not in force.\n",
    );
    let mut block = |title: &str, assignments: &[(&str, String)]| {
        let _ = writeln!(text, "\n# {title}");
        for (name, value) in assignments {
            let _ = writeln!(text, "{name} = {}", quote_value(value));
        }
    };
    let kept: Vec<(&str, String)> = settings
        .kept
        .0
        .iter()
        // The required values say these better, and recovery decides the WAL level.
        .filter(|(name, _)| !REQUIRED.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    if !kept.is_empty() {
        block("Taken over from the source.", &kept);
    }
    block(
        "At least what the source had, else recovery pauses or stops.",
        &effective(settings).assignments(),
    );
    let extra: Vec<(&str, String)> = settings
        .extra
        .iter()
        .filter(|(name, _)| is_setting_name(name))
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    if !extra.is_empty() {
        block("Asked for by the caller.", &extra);
    }
    block("Recovery.", &recovery(settings));
    block(
        "Safety: no archiving, no connection outwards, no code of the source.",
        &safety(settings),
    );
    text
}

/// Kept settings that have a better source.
const REQUIRED: &[&str] = &[
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
    "track_commit_timestamp",
    "wal_level",
];

/// The required values, or the configured ones where those are higher: a change that the
/// control file does not know yet may follow.
fn effective(settings: &ServerSettings) -> RequiredSettings {
    let mut required = settings.required;
    let number = |name: &str| settings.kept.number(name).unwrap_or(0);
    required.raise(RequiredSettings {
        max_connections: number("max_connections"),
        max_worker_processes: number("max_worker_processes"),
        max_wal_senders: number("max_wal_senders"),
        max_prepared_transactions: number("max_prepared_transactions"),
        max_locks_per_transaction: number("max_locks_per_transaction"),
        track_commit_timestamp: false,
    });
    required
}

fn recovery(settings: &ServerSettings) -> Vec<(&'static str, String)> {
    let RecoverySettings {
        restore_command,
        target_lsn,
        timeline,
        action,
    } = &settings.recovery;
    vec![
        ("restore_command", restore_command.clone()),
        ("recovery_target_lsn", target_lsn.to_string()),
        ("recovery_target_inclusive", "on".to_owned()),
        ("recovery_target_timeline", timeline.to_string()),
        ("recovery_target_action", action.as_str().to_owned()),
        ("hot_standby", "on".to_owned()),
    ]
}

fn safety(settings: &ServerSettings) -> Vec<(&'static str, String)> {
    let text = |value: &str| value.to_owned();
    let sockets = settings
        .socket_directory
        .as_ref()
        .map_or_else(String::new, |directory| {
            // The value is a list: a name with a comma must be quoted within it.
            format!(
                "\"{}\"",
                directory.display().to_string().replace('"', "\"\"")
            )
        });
    let mut all = vec![
        ("archive_mode", text("off")),
        ("archive_command", text("")),
        ("archive_cleanup_command", text("")),
        ("recovery_end_command", text("")),
        ("primary_conninfo", text("")),
        ("primary_slot_name", text("")),
        ("synchronous_standby_names", text("")),
        ("max_logical_replication_workers", text("0")),
        ("wal_level", text("replica")),
        ("shared_preload_libraries", settings.preload.join(",")),
        ("session_preload_libraries", text("")),
        ("local_preload_libraries", text("")),
        ("listen_addresses", text("")),
        ("unix_socket_directories", sockets),
        ("unix_socket_permissions", text("0700")),
        ("port", settings.port.to_string()),
        ("ssl", text("off")),
        ("logging_collector", text("off")),
        ("log_destination", text("stderr")),
        ("lc_messages", text("C")),
        ("log_timezone", text("UTC")),
    ];
    if settings.major >= 15 {
        all.push(("archive_library", text("")));
    }
    if (12..16).contains(&settings.major) {
        all.push(("promote_trigger_file", text("")));
    }
    if settings.major >= 17 {
        all.push(("event_triggers", text("off")));
        all.push(("sync_replication_slots", text("off")));
    }
    all
}

/// Names that can stand on the left of an assignment; others would be syntax.
fn is_setting_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
        && !name.starts_with("include")
}

#[cfg(test)]
mod tests {
    use super::super::parse_conf;
    use super::*;

    fn settings() -> ServerSettings {
        ServerSettings {
            major: 15,
            required: RequiredSettings {
                max_connections: 200,
                ..RequiredSettings::default()
            },
            kept: KeptSettings(
                [
                    ("timezone", "Europe/Vienna"),
                    ("max_connections", "150"),
                    ("max_wal_senders", "20"),
                    ("wal_level", "logical"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ),
            recovery: RecoverySettings {
                restore_command: "/opt/it's/walproof wal fetch %f %p".to_owned(),
                target_lsn: Lsn::new(0x300_0028),
                timeline: TimelineId(2),
                action: RecoveryAction::Pause,
            },
            socket_directory: Some("/scratch/a b".into()),
            port: 5432,
            preload: vec!["pg_stat_statements".to_owned()],
            extra: vec![
                ("autovacuum".to_owned(), "off".to_owned()),
                ("archive_mode".to_owned(), "on".to_owned()),
                ("include 'x'\nfoo".to_owned(), "bar".to_owned()),
            ],
        }
    }

    /// What PostgreSQL would make of the text: the last assignment wins.
    fn in_force(text: &str, name: &str) -> Option<String> {
        parse_conf(text)
            .into_iter()
            .rfind(|setting| setting.name == name)
            .map(|setting| setting.value)
    }

    #[test]
    fn the_text_says_what_was_asked_and_the_safety_block_wins() {
        let text = postgresql_conf(&settings());
        for (name, value) in [
            ("timezone", "Europe/Vienna"),
            ("max_connections", "200"),
            ("max_wal_senders", "20"),
            ("wal_level", "replica"),
            ("autovacuum", "off"),
            ("archive_mode", "off"),
            ("restore_command", "/opt/it's/walproof wal fetch %f %p"),
            ("recovery_target_lsn", "0/3000028"),
            ("recovery_target_inclusive", "on"),
            ("recovery_target_timeline", "2"),
            ("recovery_target_action", "pause"),
            ("primary_conninfo", ""),
            ("listen_addresses", ""),
            ("unix_socket_directories", "\"/scratch/a b\""),
            ("shared_preload_libraries", "pg_stat_statements"),
            ("archive_library", ""),
        ] {
            assert_eq!(in_force(&text, name).as_deref(), Some(value), "{name}");
        }
        assert!(!text.contains("include"), "{text}");
        assert_eq!(in_force(&text, "event_triggers"), None);
    }

    #[test]
    fn each_major_gets_only_settings_it_knows() {
        let text = |major| {
            postgresql_conf(&ServerSettings {
                major,
                ..settings()
            })
        };
        for (major, name, known) in [
            (14, "archive_library", false),
            (15, "archive_library", true),
            (15, "promote_trigger_file", true),
            (16, "promote_trigger_file", false),
            (16, "event_triggers", false),
            (17, "event_triggers", true),
        ] {
            assert_eq!(
                in_force(&text(major), name).is_some(),
                known,
                "{name} in {major}"
            );
        }
    }

    #[test]
    fn access_is_by_socket_only() {
        let text = pg_hba_conf(ClientAccess::SocketPeer);
        assert!(text.contains("all   peer") && !text.contains("host"));
        assert!(pg_hba_conf(ClientAccess::SocketTrust).contains("all   trust"));
    }
}
