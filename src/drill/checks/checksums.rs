//! Every page's checksum, by `pg_checksums`, after the server was stopped in order.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::{Answered, CheckOutcome, bounded};
use crate::drill::environments::local::ServerPlan;
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

/// Runs `pg_checksums --check` on a data directory that no server uses.
pub async fn check(plan: &ServerPlan, enabled: bool, timeout: Duration) -> Answered {
    let expected = "every page's checksum is right";
    if !enabled {
        return Answered::unproven("the cluster was made without data checksums")
            .expecting(expected);
    }
    let Some(program) = plan.binaries.program("pg_checksums") else {
        return Answered::unproven(format!(
            "there is no program `pg_checksums` in {}",
            plan.binaries.directory.display()
        ))
        .expecting(expected);
    };
    let running = Command::new(program)
        .arg("--check")
        .arg("-D")
        .arg(&plan.data)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(timeout, running).await {
        Err(_) => Answered::unproven("pg_checksums took too long"),
        Ok(Err(error)) => Answered::unproven(format!("cannot start pg_checksums: {error}")),
        Ok(Ok(output)) => {
            let stderr = output.stderr.get(..output.stderr.len().min(64 << 10));
            let words = String::from_utf8_lossy(stderr.unwrap_or_default());
            judge(output.status.code(), &words)
        }
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
