//! Queries: sent as text, answered as text, in sessions that cannot write.

use std::time::Duration;

use futures::StreamExt;
use sqlx::postgres::{PgConnection, PgDatabaseError};
use sqlx::{AssertSqlSafe, Row as _, ValueRef};

use super::answer::{Answer, Row};
use super::{Answered, CheckOutcome, bounded};
use crate::drill::restored::{ConnectError, Restored, is_environment};
use crate::finding::{Code, Finding};

/// At most this many rows of an answer are read.
const ROW_LIMIT: usize = 1_000;
/// At most this many bytes of an answer are kept.
const BYTE_LIMIT: usize = 1 << 20;

/// The settings of a session that asks: nothing is written, and nothing takes for ever.
pub fn session_settings(timeout: Duration) -> Vec<(&'static str, String)> {
    let limit = format!("{}ms", timeout.as_millis().max(1));
    vec![
        ("default_transaction_read_only", "on".to_owned()),
        ("statement_timeout", limit.clone()),
        ("lock_timeout", limit),
    ]
}

/// Asks one question. Every value comes back as PostgreSQL prints it (simple query
/// protocol, `DateStyle = ISO`, `TimeZone = UTC`). Bounded: [`ROW_LIMIT`] rows and
/// [`BYTE_LIMIT`] bytes; what is beyond is not kept, and the answer says so.
pub async fn ask(connection: &mut PgConnection, sql: &str) -> Result<Answer, sqlx::Error> {
    let mut answer = Answer::default();
    let mut bytes = 0_usize;
    let mut rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch(connection);
    while let Some(row) = rows.next().await {
        let row = row?;
        if answer.rows.len() >= ROW_LIMIT || bytes >= BYTE_LIMIT {
            // The rest is read and dropped, so that an error further on is still seen.
            answer.more = true;
            continue;
        }
        let mut values = Row::with_capacity(row.len());
        for index in 0..row.len() {
            let value = row.try_get_raw(index)?;
            if value.is_null() {
                values.push(None);
                continue;
            }
            let raw = value.as_bytes().map_err(sqlx::Error::Decode)?;
            bytes = bytes.saturating_add(raw.len());
            let kept = raw.get(..raw.len().min(BYTE_LIMIT)).unwrap_or_default();
            values.push(Some(String::from_utf8_lossy(kept).into_owned()));
        }
        answer.rows.push(values);
    }
    Ok(answer)
}

/// Asks for a single value; `None` for NULL or no row.
pub async fn ask_value(
    connection: &mut PgConnection,
    sql: &str,
) -> Result<Option<String>, sqlx::Error> {
    let answer = ask(connection, sql).await?;
    Ok(answer
        .rows
        .into_iter()
        .next()
        .and_then(|row| row.into_iter().next())
        .flatten())
}

/// What a refused connection means for a check.
pub fn refused(database: &str, error: &ConnectError) -> Answered {
    match error {
        ConnectError::Role { .. } | ConnectError::Environment { .. } | ConnectError::NotYet(_) => {
            Answered::unproven(error.to_string())
        }
        ConnectError::Refused { code, message, .. } => match code.as_deref() {
            // too_many_connections and other shortages
            Some(code) if code.starts_with("53") => Answered::unproven(error.to_string()),
            Some("3D000") => {
                Answered::failed(format!("the restored server has no database {database:?}"))
            }
            Some(code) => with_corruption(code, message, Answered::failed(error.to_string())),
            None => Answered::unproven(error.to_string()),
        },
    }
}

fn with_corruption(code: &str, message: &str, mut answered: Answered) -> Answered {
    // Internal errors, corrupted data and indexes, files that are not there or unreadable
    // (`src/backend/utils/errcodes.txt`).
    if code.starts_with("XX") || matches!(code, "58P01" | "58030") {
        answered.findings.push(Finding::new(
            Code::CorruptionFound,
            "database",
            bounded(message),
        ));
    }
    answered
}

/// Sorts a query's error by who is to blame.
pub fn query_error(error: &sqlx::Error) -> Answered {
    let Some(refusal) = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
    else {
        return Answered::unproven(format!("the connection broke: {error}"));
    };
    judge_error(refusal.code(), refusal.message())
}

fn judge_error(code: &str, message: &str) -> Answered {
    let told = bounded(&format!("{message} (SQLSTATE {code})"));
    if is_environment(message) {
        return Answered::unproven(format!("this machine lacks something: {told}"));
    }
    match code {
        "57014" | "55P03" => Answered::unproven(format!("the query took too long: {told}")),
        "25006" => Answered::unproven(format!("checks must not write: {told}")),
        // What the check asks for is not in the restored database.
        "42P01" | "42703" | "3F000" => Answered::failed(told),
        _ if code.starts_with("42") => {
            Answered::unproven(format!("the query itself is wrong: {told}"))
        }
        _ if code.starts_with("53") || code.starts_with("57") => Answered::unproven(told),
        _ => with_corruption(code, message, Answered::failed(told)),
    }
}

/// Runs a query check.
pub async fn check(
    server: &dyn Restored,
    database: &str,
    sql: &str,
    expectation: &super::Expectation,
    moments: &super::answer::Moments,
    timeout: Duration,
) -> Answered {
    let settings = session_settings(timeout);
    let mut connection = match server.connect(database, &settings).await {
        Ok(connection) => connection,
        Err(error) => return refused(database, &error).expecting(expectation.to_string()),
    };
    match ask(&mut connection, sql).await {
        Ok(answer) => super::answer::judge(&answer, expectation, moments),
        Err(error) => query_error(&error).expecting(expectation.to_string()),
    }
}

/// An identifier in quotes.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether an outcome is a pass.
pub fn passed(answered: &Answered) -> bool {
    answered.outcome == CheckOutcome::Passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_blamed_on_whom_they_belong_to() {
        use CheckOutcome::{Failed, Unproven};
        for (code, message, outcome, corruption) in [
            (
                "57014",
                "canceling statement due to statement timeout",
                Unproven,
                false,
            ),
            (
                "25006",
                "cannot execute INSERT in a read-only transaction",
                Unproven,
                false,
            ),
            ("42P01", "relation \"orders\" does not exist", Failed, false),
            (
                "42601",
                "syntax error at or near \"selekt\"",
                Unproven,
                false,
            ),
            (
                "53100",
                "could not extend file: No space left on device",
                Unproven,
                false,
            ),
            (
                "XX001",
                "invalid page in block 3 of relation base/5/16384",
                Failed,
                true,
            ),
            (
                "XX002",
                "index \"i\" contains unexpected zero page",
                Failed,
                true,
            ),
            (
                "58P01",
                "could not open file \"base/5/16384\": No such file or directory",
                Failed,
                true,
            ),
            (
                "58P01",
                "could not access file \"$libdir/postgis-3\": No such file",
                Unproven,
                false,
            ),
            ("22012", "division by zero", Failed, false),
        ] {
            let judged = judge_error(code, message);
            assert_eq!(judged.outcome, outcome, "{code} {message}");
            assert_eq!(!judged.findings.is_empty(), corruption, "{code} {message}");
        }
    }

    #[test]
    fn identifiers_cannot_break_out() {
        assert_eq!(quote_identifier("a\"; drop"), "\"a\"\"; drop\"");
    }
}
