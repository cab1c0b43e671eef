//! Does every database open?

use std::time::Duration;

use super::sql::{ask, ask_value, query_error, refused, session_settings};
use super::{Answered, CheckOutcome};
use crate::drill::environments::local::Server;

/// The names of all databases that allow connections. What an interrupted `DROP DATABASE`
/// has left (`DATCONNLIMIT_INVALID_DB` in `src/include/catalog/pg_database.h`) can be opened
/// by nobody, at the source neither.
pub async fn databases(server: &Server, timeout: Duration) -> Result<Vec<String>, Answered> {
    let mut connection = server
        .connect_anywhere(&session_settings(timeout))
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

/// Opens every database and counts its relations.
pub async fn check(server: &Server, timeout: Duration) -> Answered {
    let names = match databases(server, timeout).await {
        Ok(names) => names,
        Err(answered) => return answered,
    };
    let mut unproven = None;
    for name in &names {
        let answered = match server.connect(name, &session_settings(timeout)).await {
            Err(error) => refused(name, &error),
            Ok(mut connection) => {
                let counted =
                    ask_value(&mut connection, "SELECT count(*) FROM pg_catalog.pg_class").await;
                match counted {
                    Ok(_) => continue,
                    Err(error) => query_error(&error),
                }
            }
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
