//! `pg_amcheck` over the restored databases.

use std::fmt::Write as _;
use std::time::Duration;

use super::sql::{ask_value, query_error, refused, session_settings};
use super::{Answered, CheckOutcome, bounded};
use crate::drill::restored::Restored;
use crate::finding::{Code, Finding};

/// At most this many findings are made of one run.
const FINDING_LIMIT: usize = 20;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// The databases; empty for all.
    pub databases: &'a [String],
    /// The tables; empty for all.
    pub tables: &'a [String],
    /// Whether every row must be found in its indexes.
    pub heapallindexed: bool,
    /// How many connections work at once.
    pub jobs: u32,
}

/// The complaints in the program's output: one line each, with the details that follow
/// folded in.
fn complaints(output: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in output.lines().filter(|line| !line.trim().is_empty()) {
        match (
            line.starts_with(' ') || line.starts_with('\t'),
            found.last_mut(),
        ) {
            (true, Some(last)) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => found.push(line.trim().to_owned()),
        }
    }
    found
}

/// Whether a complaint is about time or room, not about the relation: the words of
/// `query_canceled`, `lock_not_available` and the class of insufficient resources.
fn is_shortage(complaint: &str) -> bool {
    [
        "ERROR:  canceling statement due to",
        "ERROR:  out of memory",
        "ERROR:  out of shared memory",
        "No space left on device",
    ]
    .iter()
    .any(|words| complaint.contains(words))
}

/// Judges how the program ended: 0 nothing found, 2 corruption, anything else it could
/// not do its work (`src/bin/pg_amcheck/pg_amcheck.c`).
fn judge(code: Option<i32>, stdout: &str, stderr: &str, collations_differ: bool) -> Answered {
    match code {
        Some(0) => Answered::new(CheckOutcome::Passed).seeing("nothing found"),
        Some(2) => {
            // It counts a relation whose query was ended as a damaged one.
            let (ended, found): (Vec<_>, Vec<_>) = complaints(stdout)
                .into_iter()
                .partition(|line| is_shortage(line));
            if let Some(first) = ended.first().filter(|_| found.is_empty()) {
                return Answered::unproven(
                    "relations could not be looked through; give the check more time or room",
                )
                .seeing(first);
            }
            let only_indexes =
                !found.is_empty() && found.iter().all(|line| line.starts_with("btree index"));
            let first = found.first().map_or("corruption", String::as_str);
            if only_indexes && collations_differ {
                return Answered::unproven(
                    "only indexes differ, and this machine sorts text by another collation \
                     version than the source: check on a machine with the same one",
                )
                .seeing(first);
            }
            let mut answered =
                Answered::failed(format!("{} places are damaged", found.len())).seeing(first);
            answered.findings = found
                .iter()
                .take(FINDING_LIMIT)
                .map(|line| {
                    let object = line.split('"').nth(1).unwrap_or("database");
                    Finding::new(Code::CorruptionFound, object, bounded(line))
                })
                .collect();
            answered
        }
        _ => Answered::unproven(format!(
            "pg_amcheck could not do its work: {}",
            bounded(stderr.lines().next().unwrap_or("no words"))
        )),
    }
}

/// Whether this machine's collations have other versions than those the database's text
/// indexes were built with.
async fn collations_differ(
    connection: &mut sqlx::PgConnection,
    major: u32,
) -> Result<bool, sqlx::Error> {
    let mut sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_collation WHERE collversion <> \
                   pg_catalog.pg_collation_actual_version(oid))"
        .to_owned();
    if major >= 15 {
        sql.push_str(
            " OR EXISTS (SELECT FROM pg_catalog.pg_database WHERE datcollversion <> \
             pg_catalog.pg_database_collation_actual_version(oid))",
        );
    }
    Ok(ask_value(connection, &sql).await?.as_deref() == Some("t"))
}

/// Makes sure that the extension is there in each database, in the scratch copy only.
async fn prepare(
    server: &dyn Restored,
    scope: &Scope<'_>,
    timeout: Duration,
) -> Result<bool, Answered> {
    let names = if scope.databases.is_empty() {
        super::connect::databases(server, timeout).await?
    } else {
        scope.databases.to_vec()
    };
    let mut differ = false;
    for name in &names {
        let limit = format!("{}ms", timeout.as_millis().max(1));
        let settings = [
            ("statement_timeout", limit),
            ("default_transaction_read_only", "off".to_owned()),
            // Nothing of the restored database runs on behalf of our statement.
            ("session_replication_role", "replica".to_owned()),
        ];
        let mut connection = server
            .connect(name, &settings)
            .await
            .map_err(|error| refused(name, &error))?;
        let state = ask_value(
            &mut connection,
            "SELECT CASE WHEN installed_version IS NULL THEN 'missing' ELSE 'there' END \
             FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck'",
        )
        .await
        .map_err(|error| query_error(&error))?;
        match state.as_deref() {
            Some("there") => {}
            Some(_) => {
                let created = ask_value(
                    &mut connection,
                    "CREATE EXTENSION IF NOT EXISTS amcheck WITH SCHEMA pg_catalog",
                );
                created.await.map_err(|error| query_error(&error))?;
            }
            None => {
                return Err(Answered::unproven(
                    "the extension `amcheck` is not installed on this machine; install \
                     PostgreSQL's contrib modules",
                ));
            }
        }
        differ |= collations_differ(&mut connection, server.major())
            .await
            .map_err(|error| query_error(&error))?;
    }
    Ok(differ)
}

fn arguments(scope: &Scope<'_>) -> Vec<String> {
    let mut arguments = vec![
        "--no-password".to_owned(),
        format!("--jobs={}", scope.jobs.clamp(1, 64)),
    ];
    if scope.heapallindexed {
        arguments.push("--heapallindexed".to_owned());
    }
    arguments.extend(scope.tables.iter().map(|table| format!("--table={table}")));
    if scope.databases.is_empty() {
        arguments.push("--all".to_owned());
    }
    // Patterns match names in quotes literally.
    let quoted = |name: &String| format!("--database=\"{}\"", name.replace('"', "\"\""));
    arguments.extend(scope.databases.iter().map(quoted));
    arguments
}

/// Runs `pg_amcheck`.
pub async fn check(server: &dyn Restored, scope: &Scope<'_>, timeout: Duration) -> Answered {
    let expected = "no damaged table or index";
    let differ = match prepare(server, scope, timeout).await {
        Ok(differ) => differ,
        Err(answered) => return answered.expecting(expected),
    };
    let mut options = String::from("-c session_preload_libraries= -c local_preload_libraries=");
    for (name, value) in session_settings(timeout) {
        let _ = write!(options, " -c {name}={value}");
    }
    match server
        .pg_amcheck(&arguments(scope), &options, timeout)
        .await
    {
        Ok(end) => judge(end.code, &end.stdout, &end.stderr, differ),
        Err(words) => Answered::unproven(words),
    }
    .expecting(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAP: &str = "heap table \"shop.public.orders\", block 0, offset 2:\n    line pointer redirection to item at offset 0 precedes minimum offset 1\n";
    const INDEX: &str = "btree index \"shop.public.orders_pkey\":\n    ERROR:  item order invariant violated for index \"orders_pkey\"\n    DETAIL:  Lower index tid=(1,2)\n";

    const SLOW: &str = "btree index \"shop.public.orders_pkey\":\n    ERROR:  canceling statement due to statement timeout\n";

    #[test]
    fn the_ways_it_ends_are_told_apart() {
        use CheckOutcome::{Failed, Passed, Unproven};
        let outcome = |code, out: &str, differ| judge(code, out, "pg_amcheck: error: x", differ);
        assert_eq!(outcome(Some(0), "", false).outcome, Passed);
        let heap = outcome(Some(2), HEAP, false);
        assert_eq!((heap.outcome, heap.findings.len()), (Failed, 1));
        assert_eq!(heap.findings[0].object, "shop.public.orders");
        assert!(heap.findings[0].message.contains("line pointer"));
        assert_eq!(outcome(Some(2), INDEX, false).outcome, Failed);
        assert_eq!(outcome(Some(2), INDEX, true).outcome, Unproven);
        let both = format!("{HEAP}{INDEX}");
        assert_eq!(outcome(Some(2), &both, true).outcome, Failed);
        let slow = outcome(Some(2), SLOW, false);
        assert_eq!((slow.outcome, slow.findings.len()), (Unproven, 0));
        let half = outcome(Some(2), &format!("{SLOW}{HEAP}"), false);
        assert_eq!((half.outcome, half.findings.len()), (Failed, 1));
        assert_eq!(outcome(Some(1), "", false).outcome, Unproven);
        assert_eq!(outcome(None, "", false).outcome, Unproven);
    }
}
