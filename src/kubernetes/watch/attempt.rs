//! One pod of the recovery Job: what its log and its end say about why it failed. Pure.
//!
//! The blame is the point. PostgreSQL's last words are the same when the archive ends,
//! when a segment is missing in its middle, when the store goes away during replay and
//! when its credentials expire: `recovery ended before configured recovery target was
//! reached`. What the last segment that was asked for met decides.

use super::lines::{self, Said};
use super::observation::PostgresLine;
use super::trouble::{Trouble, TroubleClass};
use super::words;

/// What the last WAL segment that was asked for met.
#[derive(Clone, Debug, PartialEq)]
enum LastWal {
    Delivered(String),
    Missing(String),
    Failed { name: Option<String>, words: String },
}

/// How a pod's container ended, as the API tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct End {
    /// The exit code of the container that failed.
    pub(super) code: Option<i64>,
    /// `Error`, `OOMKilled`, …
    pub(super) reason: String,
    /// The pod's own reason and message: `Evicted`, `NodeLost`, …
    pub(super) pod_reason: String,
    /// Its words.
    pub(super) pod_message: String,
}

/// The evidence of one pod. Bounded: one text of at most 1000 characters a field.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempt {
    catalog: Option<usize>,
    base_restored: bool,
    consistent: bool,
    last_wal: Option<LastWal>,
    tool: Option<String>,
    error: Option<String>,
    fatal: Option<PostgresLine>,
    broken_record: Option<String>,
    missing_library: Option<String>,
    out_of_disk: Option<String>,
    out_of_memory: Option<String>,
}

impl Attempt {
    /// Takes a line as it was written: a full volume is complained of by everybody.
    pub(super) fn hear(&mut self, raw: &str) {
        if self.out_of_disk.is_none() && words::is_out_of_disk(raw) {
            self.out_of_disk = Some(lines::plain(raw));
        }
    }

    /// Takes what a line said.
    pub(super) fn take(&mut self, said: &Said) {
        match said {
            Said::Postgres { line, backend } => self.take_postgres(line, backend),
            Said::Catalog(count) => self.catalog = Some(*count),
            Said::CatalogAsked
            | Said::WalAsked(_)
            | Said::BackupFound(_)
            | Said::RestoreStarted => {}
            Said::BaseRestored => self.base_restored = true,
            Said::WalRestored(name) => {
                self.last_wal = Some(LastWal::Delivered(name.clone()));
                self.tool = None;
            }
            Said::WalMissing(name) => self.last_wal = Some(LastWal::Missing(name.clone())),
            Said::WalFailed { name, words } => self.take_failed(name.as_ref(), words),
            Said::Tool(words) => self.tool = Some(words.clone()),
            // The first error is the cause, the ones after it repeat it from further away.
            Said::Error(words) => {
                self.error.get_or_insert_with(|| words.clone());
            }
        }
    }

    fn take_failed(&mut self, name: Option<&String>, words: &str) {
        // The plugin's summary comes after the tool's own words, which say more.
        let known = match self.last_wal.take() {
            Some(LastWal::Failed {
                name: earlier,
                words,
            }) if name.is_none() || earlier.is_none() || name == earlier.as_ref() => {
                Some((earlier, words))
            }
            _ => None,
        };
        let (name, words) = match known {
            Some((earlier, known)) => (
                name.cloned().or(earlier),
                if says_more(&known, words) {
                    known
                } else {
                    words.to_owned()
                },
            ),
            None => (name.cloned(), words.to_owned()),
        };
        self.last_wal = Some(LastWal::Failed { name, words });
    }

    fn take_postgres(&mut self, line: &PostgresLine, backend: &str) {
        let message = line.message.as_str();
        if let Some(rest) = message.strip_prefix("restored log file \"")
            && let Some(name) = words::segment_in(rest)
        {
            // The plugin's lines come by another way and may be ahead of PostgreSQL's.
            let ahead = matches!(&self.last_wal,
                Some(LastWal::Missing(other) | LastWal::Failed { name: Some(other), .. })
                    if other.as_str() > name);
            if !ahead {
                self.last_wal = Some(LastWal::Delivered(name.to_owned()));
            }
            return;
        }
        if message.starts_with("consistent recovery state reached") {
            self.consistent = true;
        }
        if self.out_of_memory.is_none() && message.contains("was terminated by signal 9") {
            self.out_of_memory = Some(words::short(message));
        }
        if line.severity == "WARNING" && message.contains("insufficient parameter settings") {
            self.missing_library = Some(words::short(&with_detail(line)));
        }
        if backend == "startup" && line.severity == "LOG" && words::is_broken_record(message) {
            self.broken_record = Some(words::short(message));
        }
        // A client that comes too early is told `FATAL: the database system is starting up`.
        let server = matches!(backend, "startup" | "postmaster" | "checkpointer" | "");
        let client = matches!(line.sql_state.as_deref(), Some("57P03" | "57P01" | "28000"));
        if server && !client && matches!(line.severity.as_str(), "FATAL" | "PANIC") {
            self.fatal.get_or_insert_with(|| line.clone());
        }
    }

    /// Whether the log says anything about a failure.
    pub(super) fn explains(&self) -> bool {
        self.fatal.is_some()
            || self.error.is_some()
            || self.tool.is_some()
            || self.out_of_disk.is_some()
            || self.out_of_memory.is_some()
    }

    /// Why it failed. `newest_wal` is the newest segment that the archive held when the
    /// drill was admitted, where it is known: a segment below it that is not there is a
    /// hole, not the archive's end.
    pub(super) fn verdict(&self, pod: &str, end: &End, newest_wal: Option<&str>) -> Trouble {
        let (class, words, missing_wal) = self.judge(end, newest_wal);
        Trouble {
            class,
            object: format!("pod {pod}"),
            words: words::short(&words),
            hint: words::hint(class).to_owned(),
            missing_wal,
            fatal: false,
        }
    }

    fn judge(&self, end: &End, newest: Option<&str>) -> (TroubleClass, String, Option<String>) {
        use TroubleClass as Class;
        if let Some(trouble) = of_end(end) {
            return (trouble.0, trouble.1, None);
        }
        if let Some(words) = &self.out_of_disk {
            return (Class::OutOfDisk, words.clone(), None);
        }
        if let Some(words) = &self.out_of_memory {
            return (Class::OutOfMemory, words.clone(), None);
        }
        if let Some(line) = &self.fatal {
            return self.judge_fatal(line, newest);
        }
        let error = self.error.as_deref().unwrap_or_default();
        let first_wal = error.contains("first needed WAL");
        if first_wal && error.contains("WAL not found") {
            let name = words::segment_in(error).map(str::to_owned);
            let words = format!(
                "the archive does not have {}, the first segment that the base backup needs",
                name.as_deref().unwrap_or("a segment")
            );
            return (Class::WalMissing, words, name);
        }
        if first_wal && let Some(LastWal::Failed { words, .. }) = &self.last_wal {
            return (of_delivery(words), words.clone(), None);
        }
        if error.contains("no backup found") || error.contains("no target backup found") {
            let words = match self.catalog {
                Some(0) => format!("{error}; the catalog is empty"),
                Some(count) => format!("{error}; the catalog holds {count}"),
                None => error.to_owned(),
            };
            return (Class::BackupNotFound, words, None);
        }
        if let Some(words) = &self.tool {
            if let Some(class) = words::of_store(words) {
                return (class, words.clone(), None);
            }
            if words::is_damaged(words) {
                return (Class::RecoveryFailed, words.clone(), None);
            }
        }
        let words = match (&self.tool, error) {
            (Some(tool), "") => tool.clone(),
            (Some(tool), error) => format!("{error}: {tool}"),
            (None, "") => of_exit(end),
            (None, error) => error.to_owned(),
        };
        let class = words::of_store(&words)
            .or_else(|| words::of_postgres(&words))
            .or_else(|| of_manager(&words))
            .unwrap_or(Class::Unexplained);
        (class, words, None)
    }

    fn judge_fatal(
        &self,
        line: &PostgresLine,
        newest: Option<&str>,
    ) -> (TroubleClass, String, Option<String>) {
        use TroubleClass as Class;
        let said = format!("{}: {}", line.severity, with_detail(line));
        if let Some(words) = &self.missing_library {
            return (Class::Unfit, format!("{words}; {said}"), None);
        }
        if let Some(class) = words::of_postgres(&with_detail(line)) {
            return (class, said, None);
        }
        match &self.last_wal {
            Some(LastWal::Failed { name, words }) => {
                let name = name.as_deref().unwrap_or("a WAL segment");
                let words = format!("{name} could not be fetched: {words}; {said}");
                return (of_delivery(&words), words, None);
            }
            Some(LastWal::Missing(name)) => {
                let words = format!("{said}; the archive does not have {name}");
                let hole = newest.is_some_and(|newest| is_held(name, newest));
                // Before it is consistent the base backup itself lacks what was written
                // while it was taken. PostgreSQL says the same words then.
                let ended = line.message.contains("recovery ended before") && self.consistent;
                let class = if hole || !ended {
                    Class::WalMissing
                } else {
                    Class::TargetNotReached
                };
                return (class, words, Some(name.clone()));
            }
            Some(LastWal::Delivered(_)) | None => {}
        }
        if let Some(record) = &self.broken_record {
            return (Class::RecoveryFailed, format!("{said}; {record}"), None);
        }
        // With nothing asked for and not had, it is what the backup holds; but before a
        // single file of it was restored it cannot be.
        if self.base_restored || self.last_wal.is_some() {
            (Class::RecoveryFailed, said, None)
        } else {
            (Class::Unexplained, said, None)
        }
    }
}

/// Why a segment was not delivered. What nobody can place is the way to it, not the WAL.
fn of_delivery(words: &str) -> TroubleClass {
    if words::is_out_of_disk(words) {
        TroubleClass::OutOfDisk
    } else if words::is_damaged(words) {
        TroubleClass::RecoveryFailed
    } else {
        words::of_store(words).unwrap_or(TroubleClass::StoreUnreachable)
    }
}

/// What the instance manager complains of without a tool or PostgreSQL.
fn of_manager(words: &str) -> Option<TroubleClass> {
    let any = |known: &[&str]| known.iter().any(|known| words.contains(known));
    if any(&[
        "API server connectivity",
        "failed to get server groups",
        "failed to get API group resources",
        "dial tcp",
    ]) {
        // Every pod of CloudNativePG talks to the API server.
        return Some(TroubleClass::PolicyDenied);
    }
    if any(&["secrets \"", "missing secret", "while getting secret"]) {
        return Some(TroubleClass::Credentials);
    }
    any(&["not found", "plugin"]).then_some(TroubleClass::PluginUnknown)
}

fn of_end(end: &End) -> Option<(TroubleClass, String)> {
    if end.reason == "OOMKilled" {
        return Some((
            TroubleClass::OutOfMemory,
            "the container was killed for its memory (OOMKilled)".to_owned(),
        ));
    }
    if end.pod_reason.is_empty() {
        return None;
    }
    let words = format!("{}: {}", end.pod_reason, end.pod_message);
    let lower = words.to_lowercase();
    let class = if lower.contains("ephemeral") || lower.contains("disk") {
        TroubleClass::OutOfDisk
    } else if lower.contains("memory") {
        TroubleClass::OutOfMemory
    } else {
        TroubleClass::PodLost
    };
    Some((class, words))
}

fn of_exit(end: &End) -> String {
    match end.code {
        Some(code) => format!("the container ended with exit code {code} and said nothing"),
        None => "the pod failed and said nothing".to_owned(),
    }
}

fn with_detail(line: &PostgresLine) -> String {
    match &line.detail {
        Some(detail) => format!("{} ({detail})", line.message),
        None => line.message.clone(),
    }
}

/// Whether the earlier words name the cause better than the later ones.
fn says_more(earlier: &str, later: &str) -> bool {
    let specific = |words: &str| {
        words::is_damaged(words) || words::of_store(words).is_some() || words::is_out_of_disk(words)
    };
    specific(earlier) || !specific(later)
}

/// Whether an archive whose newest segment is `newest` must have `name`, whatever their
/// timelines.
fn is_held(name: &str, newest: &str) -> bool {
    match (name.get(8..), newest.get(8..)) {
        (Some(name), Some(newest)) => name <= newest,
        _ => false,
    }
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
