//! Processes by identity: a number alone may have been given to somebody else since.

use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process: its number and its start time in clock ticks since boot, as field 22 of
/// `/proc/<pid>/stat` tells it (proc(5)). Both together are unique until the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process number.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
}

/// Field 22 of a stat line. The second field, the program's name in parentheses, may
/// itself hold blanks and parentheses, so counting begins behind the last one.
fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    // `rest` begins with field 3.
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

impl ProcessId {
    /// The process with this number, if there is one.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self {
            pid,
            start_time: start_time(&stat)?,
        })
    }

    /// This process.
    pub fn own() -> Option<Self> {
        Self::of(i32::try_from(std::process::id()).ok()?)
    }

    /// Whether exactly this process still runs (a zombie does not).
    pub fn is_alive(self) -> bool {
        if Self::of(self.pid) != Some(self) {
            return false;
        }
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.trim_start().chars().next());
        !matches!(state, None | Some('Z' | 'X'))
    }

    /// Sends a signal, but only if exactly this process still runs. Returns whether it
    /// was sent.
    pub fn signal(self, signal: Signal) -> bool {
        self.is_alive() && kill(Pid::from_raw(self.pid), signal).is_ok()
    }

    /// The file name of the program it runs.
    pub fn program(self) -> Option<String> {
        let path = std::fs::read_link(format!("/proc/{}/exe", self.pid)).ok()?;
        let name = path.file_name()?.to_str()?;
        // A program that was replaced on disk is shown with this mark.
        Some(name.trim_end_matches(" (deleted)").to_owned())
    }

    /// The directory it works in.
    pub fn working_directory(self) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/cwd", self.pid)).ok()
    }

    /// Its arguments.
    pub fn arguments(self) -> Vec<String> {
        std::fs::read(format!("/proc/{}/cmdline", self.pid))
            .unwrap_or_default()
            .split(|byte| *byte == 0)
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect()
    }

    /// Whether it is a PostgreSQL server (or our confining step before one) that works
    /// for this data directory: by its working directory, or by its arguments.
    pub fn serves(self, data: &Path) -> bool {
        let program = self.program().unwrap_or_default();
        if !matches!(program.as_str(), "postgres" | "walproof") {
            return false;
        }
        self.working_directory().is_some_and(|place| place == data)
            || self.arguments().windows(2).any(
                |pair| matches!(pair, [flag, value] if flag == "-D" && Path::new(value) == data),
            )
    }
}

/// The identifier of this boot of the system.
pub fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 10 20";
        assert_eq!(start_time(stat), Some(987_654));
        assert_eq!(start_time("42 (a"), None);
    }

    #[test]
    fn this_process_lives_and_another_start_time_is_another_process() {
        let own = ProcessId::own().unwrap();
        assert!(own.is_alive());
        let other = ProcessId {
            start_time: own.start_time + 1,
            ..own
        };
        assert!(!other.is_alive());
        assert!(!other.signal(Signal::SIGKILL));
    }

    #[test]
    fn a_dead_child_is_not_alive_even_before_it_is_waited_for() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let id = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(id.is_alive());
        assert!(!id.serves(Path::new("/")), "sleep is no server");
        assert!(id.signal(Signal::SIGKILL));
        while id.is_alive() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!id.is_alive());
    }
}
