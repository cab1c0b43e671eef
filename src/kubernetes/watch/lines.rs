//! Lines of the instance manager, the plugin and PostgreSQL. All are JSON, one object a
//! line: `level`, `ts`, `logger`, `msg`, and what belongs to the message; PostgreSQL's own
//! lines have `logger: postgres` and the fields of its CSV log in `record`.

use serde_json::Value;

use super::observation::{PodLine, PostgresLine};
use super::words;
use crate::kubernetes::time;

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    /// PostgreSQL, about itself.
    Postgres {
        line: PostgresLine,
        /// `startup`, `postmaster`, `checkpointer`, `client backend`, …
        backend: String,
    },
    /// The store is asked for its backups.
    CatalogAsked,
    /// The store is asked for a WAL segment.
    WalAsked(String),
    /// How many backups the catalog holds.
    Catalog(usize),
    /// The base backup was found.
    BackupFound(Option<String>),
    /// Barman begins to restore it.
    RestoreStarted,
    /// All its files are there.
    BaseRestored,
    /// A WAL segment was delivered.
    WalRestored(String),
    /// The store does not have a WAL segment.
    WalMissing(String),
    /// A WAL segment was not delivered for another reason.
    WalFailed { name: Option<String>, words: String },
    /// A tool of Barman complains.
    Tool(String),
    /// The instance manager or the plugin complains.
    Error(String),
}

impl Said {
    /// Whether it shows that the store answered, or that nobody waits for it any more.
    pub(super) fn is_answer(&self) -> bool {
        match self {
            Self::CatalogAsked | Self::WalAsked(_) | Self::RestoreStarted => false,
            // Checkpoints go on while a segment is waited for.
            Self::Postgres { line, .. } => {
                line.message.starts_with("restored log file") || line.severity == "FATAL"
            }
            _ => true,
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Reads a line of a recovery's pod; `None` for one that says nothing to us.
pub(super) fn read(line: &PodLine, in_job: bool) -> Option<Said> {
    let Ok(value) = serde_json::from_str::<Value>(&line.text) else {
        // A program that dies before it logs properly: a Go panic, the dynamic linker.
        return is_complaint(&line.text).then(|| Said::Error(words::short(&line.text)));
    };
    let message = text(&value, "msg");
    if let Some(record) = value.get("record") {
        return Some(postgres(record, in_job));
    }
    let logger = text(&value, "logger");
    let error = text(&value, "error");
    // The tools' standard error. With an in-tree recovery PostgreSQL itself runs
    // barman-cloud-wal-restore, whose words land beside PostgreSQL's own.
    if logger.starts_with("barman-cloud-") || logger == "postgres" {
        return tool(message);
    }
    if logger == "barman" {
        let complaint = text(&value, "stderr");
        let words = if complaint.is_empty() {
            error
        } else {
            complaint
        };
        return Some(Said::Tool(words::short(words::complaint(words))));
    }
    let name = || Some(text(&value, "walName").to_owned()).filter(|name| words::is_segment(name));
    match message {
        "Recovering from external cluster" | "Downloading backup catalog" => {
            return Some(Said::CatalogAsked);
        }
        "Restoring WAL file" => return name().map(Said::WalAsked),
        "Downloaded backup catalog" => {
            let count = value.get("backupCatalog").and_then(Value::as_array);
            return Some(Said::Catalog(count.map_or(0, Vec::len)));
        }
        "Target backup found" => {
            let id = value.pointer("/backup/backup_id").and_then(Value::as_str);
            return Some(Said::BackupFound(id.map(str::to_owned)));
        }
        "Recovering existing backup" => return Some(Said::BackupFound(None)),
        // The second is what a recovery from volume snapshots begins with.
        "Starting barman-cloud-restore" => return Some(Said::RestoreStarted),
        "Recovering from volume snapshot" | "Restore completed" => {
            return Some(Said::BaseRestored);
        }
        "Restored WAL file" | "Restored WAL file from spool (parallel)" => {
            return name().map(Said::WalRestored);
        }
        "WAL file not found in the recovery object store" => return name().map(Said::WalMissing),
        "Failed restoring WAL file (Postgres might retry)" => {
            return name().map(|name| Said::WalFailed {
                name: Some(name),
                words: words::short(error),
            });
        }
        _ => {}
    }
    // What every pod says when its containers are stopped.
    if message == "While terminating server" || error.is_empty() {
        return None;
    }
    (text(&value, "level") == "error").then(|| Said::Error(words::short(error)))
}

/// What a line says to a person, without its JSON.
pub(super) fn plain(line: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(line) else {
        return words::short(line);
    };
    let said = ["/record/message", "/stderr", "/error", "/msg"]
        .into_iter()
        .filter_map(|place| value.pointer(place).and_then(Value::as_str))
        .find(|text| !text.is_empty());
    words::short(words::complaint(said.unwrap_or(line)))
}

fn is_complaint(line: &str) -> bool {
    line.starts_with("panic:")
        || line.starts_with("fatal error:")
        || line.contains("error while loading shared libraries")
        || words::is_out_of_disk(line)
}

fn postgres(record: &Value, in_job: bool) -> Said {
    let optional = |key| Some(text(record, key).to_owned()).filter(|text| !text.is_empty());
    let time = text(record, "log_time").strip_suffix(" UTC");
    let time = time.and_then(|stamp| time::parse(&format!("{}Z", stamp.replacen(' ', "T", 1))));
    Said::Postgres {
        line: PostgresLine {
            severity: text(record, "error_severity").to_owned(),
            message: text(record, "message").to_owned(),
            detail: optional("detail"),
            hint: optional("hint"),
            sql_state: optional("sql_state_code"),
            time,
            in_job,
        },
        backend: text(record, "backend_type").to_owned(),
    }
}

/// `2026-11-22 08:43:17,056 [33] ERROR: WAL file … for server … does not exist`
fn tool(message: &str) -> Option<Said> {
    let (_, complaint) = message.split_once("] ERROR: ")?;
    if complaint.starts_with("WAL file ") && complaint.contains(" does not exist") {
        return words::segment_in(complaint).map(|name| Said::WalMissing(name.to_owned()));
    }
    let words = words::short(complaint);
    if complaint.starts_with("Failure downloading WAL ")
        || complaint.starts_with("Barman cloud WAL restore exception")
    {
        let name = words::segment_in(complaint).map(str::to_owned);
        return Some(Said::WalFailed { name, words });
    }
    Some(Said::Tool(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<Said> {
        let line = PodLine {
            pod: "drill-1-full-recovery-abcde".into(),
            container: "full-recovery".into(),
            time: None,
            text: text.into(),
        };
        read(&line, true)
    }

    #[test]
    fn postgres_speaks_through_the_instance_manager() {
        let Some(Said::Postgres { line, backend }) = said(
            r#"{"level":"info","ts":"2026-11-22T08:43:17.97Z","logger":"postgres","msg":"record","record":{"log_time":"2026-11-22 08:43:17.978 UTC","process_id":"34","error_severity":"FATAL","sql_state_code":"XX000","message":"recovery ended before configured recovery target was reached","backend_type":"startup"}}"#,
        ) else {
            panic!("not understood");
        };
        assert_eq!(backend, "startup");
        assert_eq!(line.severity, "FATAL");
        assert_eq!(line.detail, None);
        assert_eq!(
            line.time.unwrap().to_rfc3339(),
            "2026-11-22T08:43:17.978+00:00"
        );
    }

    #[test]
    fn a_segment_that_is_not_there_is_told_from_one_that_was_not_delivered() {
        assert_eq!(
            said(
                r#"{"level":"info","logger":"barman-cloud-wal-restore","msg":"2026-11-22 08:43:17,056 [33] ERROR: WAL file 000000010000000000000007 for server src does not exist","pipe":"stderr"}"#
            ),
            Some(Said::WalMissing("000000010000000000000007".into()))
        );
        // Every recovery looks for histories that nobody wrote.
        assert_eq!(
            said(
                r#"{"level":"info","logger":"barman-cloud-wal-restore","msg":"2026-11-22 08:43:17,056 [33] ERROR: WAL file 00000002.history for server src does not exist","pipe":"stderr"}"#
            ),
            None
        );
        assert_eq!(
            said(r#"{"level":"warning","msg":"Failed restoring WAL file (Postgres might retry)","walName":"000000010000000000000007","error":"connectivity failure while executing barman-cloud-wal-restore, retrying: connectivity failure"}"#),
            Some(Said::WalFailed {
                name: Some("000000010000000000000007".into()),
                words: "connectivity failure while executing barman-cloud-wal-restore, retrying: connectivity failure".into()
            })
        );
    }

    #[test]
    fn what_is_not_ours_is_passed_over() {
        for text in [
            "",
            "done",
            "[]",
            r#"{"level":"info","msg":"Starting webserver"}"#,
            r#"{"level":"error","msg":"While terminating server","error":"context canceled"}"#,
            r#"{"level":"info","logger":"postgres","msg":"2026-11-22 08:43:13.223 UTC [30] HINT:  Future log output will go to log destination \"csvlog\"."}"#,
        ] {
            assert_eq!(said(text), None, "{text}");
        }
        assert_eq!(
            said("panic: runtime error"),
            Some(Said::Error("panic: runtime error".into()))
        );
    }
}
