//! What custom resources add to the configuration, kept for commands beside the daemon.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::database::{transact, values};
use super::schedules::hold_in;
use super::{Lease, State, StateError};

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

    /// What was kept last, and when; `None` where no controller ever kept anything.
    pub async fn declared(&self) -> Result<Option<(DateTime<Utc>, Value)>, StateError> {
        let row = self
            .row("SELECT at, body FROM declared WHERE id = 1", values![])
            .await?;
        row.map(|row| Ok((row.moment("at")?, row.json("body")?)))
            .transpose()
    }
}
