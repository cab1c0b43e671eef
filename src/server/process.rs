//! The process as the kernel sees it, by the names that Prometheus knows.

use std::fs;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// Ticks per second in `/proc`: `USER_HZ`, which Linux fixes at 100 for programs.
const TICKS_PER_SECOND: u64 = 100;

/// What `/proc` says about this process; nothing where there is no `/proc`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessFacts {
    /// Processor time, user and system.
    pub cpu: Option<Duration>,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Reserved memory.
    pub virtual_bytes: Option<u64>,
    /// Open files and sockets.
    pub open_fds: Option<u64>,
    /// How many may be open.
    pub max_fds: Option<u64>,
    /// When it started.
    pub started_at: Option<DateTime<Utc>>,
}

impl ProcessFacts {
    /// Reads them; a few small files.
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The program's name stands in parentheses and may hold anything; after it field 3
        // (the state) begins. proc(5): utime 14, stime 15, starttime 22.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().collect())
            .unwrap_or_default();
        let field = |number: usize| -> Option<u64> { fields.get(number - 3)?.parse().ok() };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kilobytes = |name: &str| Some(1024 * first_number(&status, name)?);
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/stat").unwrap_or_default();
        Self {
            cpu: field(14)
                .zip(field(15))
                .map(|(user, system)| ticks(user + system)),
            resident_bytes: kilobytes("VmRSS:"),
            virtual_bytes: kilobytes("VmSize:"),
            open_fds: fs::read_dir("/proc/self/fd")
                .ok()
                .and_then(|entries| u64::try_from(entries.count()).ok()),
            max_fds: first_number(&limits, "Max open files"),
            started_at: first_number(&kernel, "btime")
                .zip(field(22))
                .and_then(|(boot, after)| {
                    let boot = DateTime::from_timestamp(i64::try_from(boot).ok()?, 0)?;
                    boot.checked_add_signed(chrono::TimeDelta::from_std(ticks(after)).ok()?)
                }),
        }
    }
}

const fn ticks(number: u64) -> Duration {
    Duration::from_millis(number.saturating_mul(1000 / TICKS_PER_SECOND))
}

/// The first number of the line that begins with `name`.
fn first_number(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let held = vec![1_u8; 8 << 20];
        let facts = ProcessFacts::read();
        assert!(facts.resident_bytes.unwrap() > u64::try_from(held.len()).unwrap());
        assert!(facts.virtual_bytes >= facts.resident_bytes);
        assert!(facts.open_fds.unwrap() >= 3);
        assert!(facts.max_fds >= facts.open_fds);
        assert!(facts.cpu.is_some());
        let age = Utc::now().signed_duration_since(facts.started_at.unwrap());
        assert!((-2..86_400).contains(&age.num_seconds()), "{age}");
    }
}
