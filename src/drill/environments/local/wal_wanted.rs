//! Whether recovery stopped for want of WAL, and why it did not get it.

use crate::drill::course::Stop;
use crate::finding::{Code, Finding};
use crate::restore::WalServer;

/// When recovery stopped because it was refused a file, that is the reason, not the
/// server's last words.
pub(super) fn why_wal(wal_server: Option<&WalServer>, stop: Stop) -> Stop {
    if matches!(stop, Stop::Interrupted | Stop::Refused { .. }) {
        return stop;
    }
    let Some(log) = wal_server.map(WalServer::log) else {
        return stop;
    };
    match log.stopped_by() {
        // Recovery always begins with a segment: if it wanted one and asked for none, it
        // could not ask. A server that ended before that has reasons of its own.
        None if log.served.is_empty() && log.refused.is_empty() && wanted_wal(&stop) => {
            Stop::Unproven(format!(
                "the restored server never asked walproof for WAL, so it cannot run {}; read the server log",
                "`walproof wal fetch`"
            ))
        }
        None => stop,
        // 201: storage or this machine did not answer.
        Some(refused) if refused.exit_code == 201 => {
            Stop::Unproven(format!("WAL file {}: {}", refused.name, refused.words))
        }
        Some(refused) => Stop::failed(Finding::new(
            Code::WalUnreadable,
            refused.name.clone(),
            refused.words.clone(),
        )),
    }
}

/// Whether the server's last words are about WAL that it did not get
/// (`RestoreArchivedFile` in `src/backend/access/transam/xlogarchive.c` and the reading of
/// the first checkpoint in `xlogrecovery.c`).
fn wanted_wal(stop: &Stop) -> bool {
    let about_wal =
        |words: &str| words.contains("from archive") || words.contains("checkpoint record");
    match stop {
        Stop::Unproven(words) => about_wal(words),
        Stop::Failed(findings) => findings.iter().any(|found| about_wal(&found.message)),
        Stop::Refused { .. } | Stop::Interrupted | Stop::Store(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ended_before_it_wanted_wal_keeps_its_own_words() {
        let failed = |words: &str| {
            wanted_wal(&Stop::failed(Finding::new(
                Code::RecoveryFailed,
                "restored server",
                words,
            )))
        };
        assert!(failed(
            "could not restore file \"000000010000000000000021\" from archive: child process exited with exit code 127"
        ));
        assert!(failed("could not locate required checkpoint record"));
        assert!(!failed("could not open file \"global/pg_filenode.map\""));
        assert!(!wanted_wal(&Stop::Unproven(
            "the restored server ended: could not map anonymous shared memory".to_owned()
        )));
    }
}
