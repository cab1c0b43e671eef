//! Does every database open, and is every relation there?

use std::time::Duration;

use super::answer::Answer;
use super::sql::{ask, query_error, refused, session_settings};
use super::{Answered, CheckOutcome, bounded};
use crate::drill::restored::{Restored, connect_anywhere};
use crate::finding::{Code, Finding};

/// The names of all databases that allow connections. What an interrupted `DROP DATABASE`
/// has left (`DATCONNLIMIT_INVALID_DB` in `src/include/catalog/pg_database.h`) can be opened
/// by nobody, at the source neither.
pub async fn databases(server: &dyn Restored, timeout: Duration) -> Result<Vec<String>, Answered> {
    let mut connection = connect_anywhere(server, &session_settings(timeout))
        .await
        .map_err(|error| refused("postgres", &error))?;
    let answer = ask(
        &mut connection,
        "SELECT datname FROM pg_catalog.pg_database \
         WHERE datallowconn AND datconnlimit <> -2 ORDER BY datname",
    )
    .await
    .map_err(|error| query_error(&error))?;
    Ok(answer
        .rows
        .into_iter()
        .filter_map(|row| row.into_iter().next().flatten())
        .collect())
}

/// Relations without their file, at most the first few, and how many there are: a base
/// backup that lacks one replays without an error. Relations of other sessions and those
/// whose access method is an extension's, which may keep no file, are left out.
const WITHOUT_FILE: &str = "SELECT c.oid::pg_catalog.regclass::pg_catalog.text, \
     pg_catalog.count(*) OVER () FROM pg_catalog.pg_class c \
     WHERE c.relkind IN ('r', 'i', 'm', 't', 'S') AND c.relpersistence <> 't' \
     AND c.relam < 16384 AND pg_catalog.pg_relation_filepath(c.oid) IS NOT NULL \
     AND (pg_catalog.pg_stat_file(pg_catalog.pg_relation_filepath(c.oid), true)).size IS NULL \
     ORDER BY c.oid LIMIT 3";

/// What relations without a file mean.
fn judge(database: &str, answer: Answer) -> Option<Answered> {
    let count = answer.rows.first()?.get(1)?.clone()?;
    let names: Vec<String> = answer
        .rows
        .into_iter()
        .filter_map(|row| row.into_iter().next().flatten())
        .collect();
    let message = format!(
        "relations of database {database:?} without a file ({count}): {}{}",
        names.join(", "),
        if count.parse() == Ok(names.len()) {
            ""
        } else {
            ", …"
        }
    );
    let mut answered = Answered::failed(message.clone());
    answered.findings.push(Finding::new(
        Code::CorruptionFound,
        database,
        bounded(&message),
    ));
    Some(answered)
}

/// Opens every database and looks for the files of its relations.
pub async fn check(server: &dyn Restored, timeout: Duration) -> Answered {
    let names = match databases(server, timeout).await {
        Ok(names) => names,
        Err(answered) => return answered,
    };
    let mut unproven = None;
    for name in &names {
        let answered = match server.connect(name, &session_settings(timeout)).await {
            Err(error) => refused(name, &error),
            Ok(mut connection) => match ask(&mut connection, WITHOUT_FILE).await {
                Ok(answer) => match judge(name, answer) {
                    Some(answered) => answered,
                    None => continue,
                },
                Err(error) => query_error(&error),
            },
        };
        match answered.outcome {
            CheckOutcome::Failed => return answered.seeing(name),
            _ => unproven = Some(answered.seeing(name)),
        }
    }
    unproven
        .unwrap_or_else(|| {
            Answered::new(CheckOutcome::Passed).seeing(&format!("{} databases", names.len()))
        })
        .expecting("every database opens")
}
