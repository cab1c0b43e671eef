//! Every page's checksum, by `pg_checksums`, after the server was stopped in order.

use std::time::Duration;

use super::{Answered, CheckOutcome, bounded};
use crate::drill::restored::Restored;
use crate::finding::{Code, Finding};

/// Judges the program's end: 0 all good, else its words decide.
fn judge(code: Option<i32>, output: &str) -> Answered {
    if code == Some(0) {
        return Answered::new(CheckOutcome::Passed).seeing("every page's checksum is right");
    }
    let bad: Vec<&str> = output
        .lines()
        .filter(|line| line.contains("checksum verification failed"))
        .collect();
    if let Some(first) = bad.first() {
        let mut answered = Answered::failed("pages have wrong checksums").seeing(first);
        answered.findings = bad
            .iter()
            .take(20)
            .map(|line| {
                let object = line.split('"').nth(1).unwrap_or("data directory");
                Finding::new(Code::CorruptionFound, object, bounded(line))
            })
            .collect();
        return answered;
    }
    let words = bounded(output.lines().next().unwrap_or("no words"));
    Answered::unproven(format!("pg_checksums could not do its work: {words}"))
}

/// Stops the server and runs `pg_checksums --check` on its data directory.
pub async fn check(server: &mut dyn Restored, enabled: bool, timeout: Duration) -> Answered {
    let expected = "every page's checksum is right";
    if !enabled {
        return Answered::unproven("the cluster was made without data checksums")
            .expecting(expected);
    }
    match server.pg_checksums(timeout).await {
        Ok(end) => judge(end.code, &end.stderr),
        Err(words) => Answered::unproven(words),
    }
    .expecting(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_pages_fail_and_other_trouble_is_unproven() {
        assert_eq!(judge(Some(0), "").outcome, CheckOutcome::Passed);
        let bad = "pg_checksums: error: checksum verification failed in file \"data/base/5/1259\", block 2: calculated checksum 1 but block contains 2\n";
        let failed = judge(Some(1), bad);
        assert_eq!(failed.outcome, CheckOutcome::Failed);
        assert_eq!(failed.findings[0].object, "data/base/5/1259");
        let other = judge(Some(1), "pg_checksums: error: cluster must be shut down\n");
        assert_eq!(other.outcome, CheckOutcome::Unproven);
    }
}
