//! What the last words of a server that gave up mean.

use super::course::Stop;
use super::restored::is_environment;
use crate::finding::{Code, Finding};

/// Whether the server's last words are about this machine or walproof's own settings, not
/// about the backup.
pub(super) fn blames_machine(words: &str) -> bool {
    is_environment(words)
        || [
            "No space left on device",
            "Cannot allocate memory",
            "could not map anonymous shared memory",
            "could not create shared memory",
            "could not create semaphores",
            "could not create any Unix-domain sockets",
            "could not bind",
            "Permission denied",
            "Too many open files",
            "Read-only file system",
            "unrecognized configuration parameter",
            "invalid value for parameter",
            "could not access the server configuration file",
            "could not load",
            "database files are incompatible with server",
            "wrong permissions",
            "has group or world access",
            "has invalid permissions",
            "has wrong ownership",
            "could not fork",
        ]
        .iter()
        .any(|known| words.contains(known))
}

/// What the end of a server in recovery means, by the words with which it gave up. `status`
/// is said when there are none.
pub(super) fn gave_up(fatal: &[String], status: &str) -> Stop {
    let words = fatal
        .iter()
        .find(|words| !words.starts_with("the database system is"))
        .cloned()
        .unwrap_or_else(|| format!("the server ended without words ({status})"));
    if fatal.is_empty() || fatal.iter().any(|words| blames_machine(words)) {
        return Stop::Unproven(format!("the restored server ended: {words}"));
    }
    let early = words.contains("recovery ended before configured recovery target was reached");
    let code = if early {
        Code::RecoveryEndedEarly
    } else {
        Code::RecoveryFailed
    };
    Stop::failed(Finding::new(code, "restored server", words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_blamed_for_what_is_its_own() {
        for words in [
            "could not map anonymous shared memory: Cannot allocate memory",
            "could not write to file \"base/1\": No space left on device",
            "could not load library \"/x/timescaledb.so\": undefined symbol",
            "could not access file \"$libdir/timescaledb\": No such file or directory",
            "database files are incompatible with server",
        ] {
            assert!(blames_machine(words), "{words}");
        }
        for words in [
            "recovery ended before configured recovery target was reached",
            "could not locate a valid checkpoint record",
            "WAL was generated with wal_level=minimal, cannot continue recovering",
            "WAL ends before consistent recovery point",
            "could not open file \"base/5/16384\": No such file or directory",
        ] {
            assert!(!blames_machine(words), "{words}");
        }
    }
}
