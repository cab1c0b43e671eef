//! PostgreSQL's own programs, run against a restored server or its files.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::ServerPlan;
use super::server::PORT;
use crate::drill::restored::ProgramEnd;

/// At most this much of a program's output is kept.
const OUTPUT_LIMIT: usize = 64 << 10;

/// Reads all, keeps the first [`OUTPUT_LIMIT`] bytes.
async fn drain(mut stream: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 8 << 10];
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        let room = OUTPUT_LIMIT.saturating_sub(kept.len());
        kept.extend(buffer.iter().take(count.min(room)));
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Finds a program beside the server's.
fn program(plan: &ServerPlan, name: &str, comes_with: &str) -> Result<Command, String> {
    let binaries = &plan.binaries;
    let path = binaries.program(name).ok_or_else(|| {
        format!(
            "there is no program `{name}` in {}{comes_with}",
            binaries.directory.display()
        )
    })?;
    let mut command = Command::new(path);
    command.env_clear().env("LC_ALL", "C");
    Ok(command)
}

/// Runs a program to its end.
async fn run(mut command: Command, name: &str, limit: Duration) -> Result<ProgramEnd, String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start {name}: {error}"))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(format!("{name} has no output"));
    };
    let work = async { tokio::join!(drain(stdout), drain(stderr), child.wait()) };
    let (stdout, stderr, status) = tokio::time::timeout(limit, work)
        .await
        .map_err(|_| format!("{name} took too long"))?;
    Ok(ProgramEnd {
        code: status.ok().and_then(|status| status.code()),
        stdout,
        stderr,
    })
}

/// Runs `pg_amcheck` over the socket.
pub(super) async fn amcheck(
    plan: &ServerPlan,
    arguments: &[String],
    options: &str,
    limit: Duration,
) -> Result<ProgramEnd, String> {
    let mut command = program(
        plan,
        "pg_amcheck",
        " (it comes with PostgreSQL 14 and later, in the client package)",
    )?;
    command
        .arg(format!("--host={}", plan.sockets.display()))
        .arg(format!("--port={PORT}"))
        .arg(format!("--username={}", plan.superuser))
        .args(arguments)
        .env("PGOPTIONS", options)
        .env("PGCONNECT_TIMEOUT", "30");
    run(command, "pg_amcheck", limit).await
}

/// Runs `pg_checksums --check` on a data directory that no server uses.
pub(super) async fn checksums(plan: &ServerPlan, limit: Duration) -> Result<ProgramEnd, String> {
    let mut command = program(plan, "pg_checksums", "")?;
    command.arg("--check").arg("-D").arg(&plan.data);
    run(command, "pg_checksums", limit).await
}
