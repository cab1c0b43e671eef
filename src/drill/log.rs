//! Reading the restored server's log.
//!
//! walproof sets `log_line_prefix = '%m [%p] '`, `log_timezone = 'UTC'` and
//! `lc_messages = 'C'`, so lines have one shape. The log tells how far recovery has come;
//! it never decides where it ended: its "last completed transaction" line names the
//! previous commit after a stop by LSN, or even an abort.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDateTime, Utc};

use crate::postgres::{Lsn, TimelineId};

/// Lines are cut to this many bytes.
const LINE_LIMIT: usize = 8 << 10;

/// One line of the server's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written.
    pub time: DateTime<Utc>,
    /// The process that wrote it.
    pub pid: i32,
    /// `LOG`, `WARNING`, `FATAL`, `PANIC`, `HINT`, …
    pub severity: String,
    /// The rest.
    pub message: String,
}

/// What a line means for a drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// The base backup's files are consistent from here on.
    Consistent(Lsn),
    /// A segment or history file was taken from the archive.
    Restored(String),
    /// Read-only connections are accepted.
    AcceptsReadOnly,
    /// Everything is accepted; the server has left recovery.
    Ready,
    /// Recovery has reached its target and waits there.
    Paused,
    /// A setting is lower than on the source; recovery cannot go on.
    SettingTooLow(String),
    /// Recovery stops at its target.
    Stopping(String),
    /// Recovery has ended; the start of the last record that was replayed.
    RedoDone(Lsn),
    /// The new timeline.
    Timeline(TimelineId),
    /// Recovery has ended well.
    RecoveryComplete,
    /// The server, or its recovery, gave up.
    Fatal(String),
}

impl LogLine {
    /// Takes a line apart; `None` for one of another shape (a continuation, or another
    /// program's words).
    pub fn parse(line: &str) -> Option<Self> {
        let (stamp, rest) = line.split_once(" UTC [")?;
        let time = NaiveDateTime::parse_from_str(stamp, "%Y-%m-%d %H:%M:%S%.3f").ok()?;
        let (pid, rest) = rest.split_once("] ")?;
        let (severity, message) = rest.split_once(":  ")?;
        let legal = !severity.is_empty()
            && severity
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        legal.then_some(Self {
            time: time.and_utc(),
            pid: pid.parse().ok()?,
            severity: severity.to_owned(),
            message: message.trim_end().to_owned(),
        })
    }

    /// What the line means, if it means something to a drill. Words as in
    /// `src/backend/access/transam/{xlog,xlogrecovery}.c` of versions 13 to 18.
    pub fn event(&self) -> Option<LogEvent> {
        let message = self.message.as_str();
        let after = |words: &str| message.strip_prefix(words);
        if matches!(self.severity.as_str(), "FATAL" | "PANIC") {
            return Some(LogEvent::Fatal(message.to_owned()));
        }
        if self.severity == "WARNING"
            && message.contains("not possible because of insufficient parameter settings")
        {
            return Some(LogEvent::SettingTooLow(message.to_owned()));
        }
        if let Some(lsn) = after("consistent recovery state reached at ") {
            return lsn.parse().ok().map(LogEvent::Consistent);
        }
        if let Some(rest) = after("restored log file \"") {
            let name = rest.split('"').next().unwrap_or_default();
            return Some(LogEvent::Restored(name.to_owned()));
        }
        if let Some(rest) = after("redo done at ") {
            let lsn = rest.split(' ').next().unwrap_or_default();
            return lsn.parse().ok().map(LogEvent::RedoDone);
        }
        if let Some(number) = after("selected new timeline ID: ") {
            return number
                .parse()
                .ok()
                .map(|id| LogEvent::Timeline(TimelineId(id)));
        }
        if message.starts_with("recovery stopping ") {
            return Some(LogEvent::Stopping(message.to_owned()));
        }
        match message {
            "database system is ready to accept connections" => Some(LogEvent::Ready),
            // 13 says `read only`, later versions `read-only`.
            "database system is ready to accept read-only connections"
            | "database system is ready to accept read only connections" => {
                Some(LogEvent::AcceptsReadOnly)
            }
            "archive recovery complete" => Some(LogEvent::RecoveryComplete),
            // Not `recovery has paused`: that is a pause for settings that are too low.
            "pausing at the end of recovery" => Some(LogEvent::Paused),
            _ => None,
        }
    }
}

/// Follows a log as it grows. Memory: one read of 64 KiB and one line of 8 KiB.
#[derive(Debug)]
pub struct LogFollower {
    path: PathBuf,
    offset: u64,
    partial: Vec<u8>,
}

impl LogFollower {
    /// Follows `path` from its beginning. The file may not exist yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            offset: 0,
            partial: Vec::new(),
        }
    }

    /// Hands over every line that has been completed since the last call. Blocking, but
    /// short; a log that cannot be read yields nothing.
    pub fn poll(&mut self, mut visit: impl FnMut(LogLine)) {
        let Ok(mut file) = File::open(&self.path) else {
            return;
        };
        if file.seek(SeekFrom::Start(self.offset)).is_err() {
            return;
        }
        let mut buffer = vec![0; 64 << 10];
        // At most 4 MiB a call, so that a flood of lines cannot hold the drill up.
        for _ in 0..64 {
            let Ok(count) = file.read(&mut buffer) else {
                return;
            };
            if count == 0 {
                return;
            }
            self.offset = self
                .offset
                .saturating_add(u64::try_from(count).unwrap_or(0));
            for byte in buffer.iter().take(count) {
                if *byte == b'\n' {
                    if let Some(line) = LogLine::parse(&String::from_utf8_lossy(&self.partial)) {
                        visit(line);
                    }
                    self.partial.clear();
                } else if self.partial.len() < LINE_LIMIT {
                    self.partial.push(*byte);
                }
            }
        }
    }
}

/// The last `limit` bytes of a log, from the beginning of a line on.
pub fn tail(path: &Path, limit: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(limit);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if start == 0 {
        return Ok(text);
    }
    Ok(text
        .split_once('\n')
        .map_or(String::new(), |(_, rest)| rest.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn event(text: &str) -> Option<LogEvent> {
        LogLine::parse(&format!("2026-11-21 18:00:00.123 UTC [42] {text}"))?.event()
    }

    #[test]
    fn lines_that_matter_are_understood() {
        let lsn = |text: &str| text.parse::<Lsn>().unwrap();
        for (text, expected) in [
            (
                "LOG:  consistent recovery state reached at 0/2000100",
                LogEvent::Consistent(lsn("0/2000100")),
            ),
            (
                "LOG:  restored log file \"000000010000000000000003\" from archive",
                LogEvent::Restored("000000010000000000000003".into()),
            ),
            (
                "LOG:  redo done at 0/50001A8 system usage: CPU: user: 0.01 s, system: 0.02 s, elapsed: 0.25 s",
                LogEvent::RedoDone(lsn("0/50001A8")),
            ),
            (
                "LOG:  selected new timeline ID: 3",
                LogEvent::Timeline(TimelineId(3)),
            ),
            (
                "LOG:  database system is ready to accept read only connections",
                LogEvent::AcceptsReadOnly,
            ),
            (
                "LOG:  database system is ready to accept read-only connections",
                LogEvent::AcceptsReadOnly,
            ),
            (
                "LOG:  database system is ready to accept connections",
                LogEvent::Ready,
            ),
            (
                "LOG:  archive recovery complete",
                LogEvent::RecoveryComplete,
            ),
            ("LOG:  pausing at the end of recovery", LogEvent::Paused),
            (
                "FATAL:  recovery ended before configured recovery target was reached",
                LogEvent::Fatal(
                    "recovery ended before configured recovery target was reached".into(),
                ),
            ),
            (
                "PANIC:  could not locate a valid checkpoint record",
                LogEvent::Fatal("could not locate a valid checkpoint record".into()),
            ),
            (
                "WARNING:  hot standby is not possible because of insufficient parameter settings",
                LogEvent::SettingTooLow(
                    "hot standby is not possible because of insufficient parameter settings".into(),
                ),
            ),
        ] {
            assert_eq!(event(text), Some(expected), "{text}");
        }
        assert_eq!(
            event("LOG:  last completed transaction was at log time 2026-11-21"),
            None
        );
        assert_eq!(event("DETAIL:  FATAL:  not one"), None);
        assert_eq!(LogLine::parse("walproof confine: FATAL:  no"), None);
    }

    #[test]
    fn a_growing_log_is_followed_line_by_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut follower = LogFollower::new(file.path());
        let mut write = file.reopen().unwrap();
        let mut poll = || {
            let mut seen = Vec::new();
            follower.poll(|line| seen.push(line.message));
            seen
        };
        write
            .write_all(b"2026-11-21 18:00:00.123 UTC [42] LOG:  fir")
            .unwrap();
        assert_eq!(poll(), Vec::<String>::new());
        write.write_all(b"st\n\tcontinued\n").unwrap();
        assert_eq!(poll(), ["first"]);
        let long = format!(
            "2026-11-21 18:00:00.123 UTC [42] LOG:  {}\n",
            "x".repeat(100_000)
        );
        write.write_all(long.as_bytes()).unwrap();
        let lengths: Vec<usize> = poll().iter().map(String::len).collect();
        assert!(lengths[0] < LINE_LIMIT, "{lengths:?}");
    }

    #[test]
    fn a_tail_begins_with_a_whole_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "first\nsecond\nthird\n").unwrap();
        assert_eq!(tail(file.path(), 100).unwrap(), "first\nsecond\nthird\n");
        assert_eq!(tail(file.path(), 9).unwrap(), "third\n");
    }
}
