//! What custom resources add to the configuration, kept for commands beside the daemon.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::database::{transact, values};
use super::postgres::Postgres;
use super::schedules::hold_in;
use super::sqlite::Sqlite;
use super::{Lease, State, StateError, StateErrorKind};
use crate::config::{StateDatabase, StateUrl};

impl State {
    /// Keeps what resources declare now, in place of what was kept. Only the holder of the
    /// lease may; to anybody else it is an error ([`Fenced`](super::StateErrorKind::Fenced)).
    pub async fn keep_declared(
        &self,
        lease: &Lease,
        body: &Value,
        now: DateTime<Utc>,
    ) -> Result<(), StateError> {
        transact!(self, transaction => async {
            hold_in(&mut transaction, lease).await?;
            transaction
                .execute(
                    "INSERT INTO declared (id, at, body) VALUES (1, $1, $2) \
                     ON CONFLICT (id) DO UPDATE SET at = excluded.at, body = excluded.body",
                    values![now, body.to_string()],
                )
                .await
                .map(|_| ())
        })
    }
}

/// What was kept last; `None` where no controller ever kept anything, or there is no state.
/// Whoever asks only looks: no schema is made or brought up to date, no run is marked, and a
/// database that does not answer is not waited for longer than some seconds. So commands that need
/// nothing else of the state, a restore among them, do not depend on it.
pub async fn declared(url: &StateUrl) -> Result<Option<Value>, StateError> {
    const QUERY: &str = "SELECT body FROM declared WHERE id = 1";
    let found = match url.database() {
        StateDatabase::Sqlite(path) => Sqlite::peek(path, QUERY).await?,
        StateDatabase::Postgres(settings) => Postgres::peek(settings, QUERY).await?,
    };
    let read = |text: String| serde_json::from_str(&text);
    found.map(read).transpose().map_err(|error| {
        let cause = format!("what is kept of custom resources is no JSON: {error}");
        StateError::new("read", "the state", StateErrorKind::Corrupt, cause)
    })
}
