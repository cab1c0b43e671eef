//! The state in PostgreSQL 13 or newer: shared by any number of processes and machines.
//!
//! The server may go away at any moment and come back: what is asked meanwhile waits for it
//! (see [`patience`]). So whatever is written must be right when it is written twice, since
//! a commit may have happened although its acknowledgement never came.

mod copies;
mod info;
mod objects;
mod open;
mod patience;
mod process;
mod read;
mod write;

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgPool, Postgres as Driver, Transaction};
use tokio::sync::OnceCell;

use super::columns::Reader;
use super::{StateError, StateErrorKind};
use crate::config::PostgresState;

#[cfg(test)]
pub(super) use open::MIGRATIONS;
pub(super) use process::Claim;
use process::Process;

pub(super) use patience::{Waiting, limited};
pub(super) use write::text;

/// A database in PostgreSQL that is open.
#[derive(Clone)]
pub(super) struct Postgres {
    pool: PgPool,
    /// The URL, which has no password in it.
    name: Arc<str>,
    settings: Arc<PostgresState>,
    /// What connections are made with, to ask why there is none.
    options: Arc<PgConnectOptions>,
    /// This process as the others see it; from the first run on.
    process: Arc<OnceCell<Process>>,
    /// How long an operation waits for a server that went away.
    patience: Duration,
}

/// The options hold the password, and print it.
impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres")
            .field("name", &self.name)
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl Postgres {
    fn reading(&self) -> impl Fn(sqlx::Error) -> StateError + '_ {
        |error| StateError::server("read", &self.name, &error)
    }

    fn writing(&self) -> impl Fn(sqlx::Error) -> StateError + '_ {
        |error| StateError::server("write to", &self.name, &error)
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Driver>, StateError> {
        self.pool.begin().await.map_err(self.writing())
    }

    fn json(&self, value: &impl serde::Serialize) -> Result<String, StateError> {
        serde_json::to_string(value).map_err(|error| {
            StateError::new(
                "write to",
                &*self.name,
                StateErrorKind::Other,
                error.to_string(),
            )
        })
    }

    fn parse<T: DeserializeOwned>(&self, body: &str) -> Result<T, StateError> {
        serde_json::from_str(body).map_err(|error| self.strange(&error.to_string()))
    }

    /// A row that this version did not write so.
    pub(super) fn strange(&self, what: &str) -> StateError {
        StateError::new(
            "read",
            &*self.name,
            StateErrorKind::Damaged,
            format!("it holds something unknown: {what}"),
        )
    }

    #[cfg(test)]
    pub(super) const fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    pub(super) const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The URL, which has no password in it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn close(&self) {
        if let Some(process) = self.process.get() {
            process.leave().await;
        }
        self.pool.close().await;
    }
}

impl Reader for Postgres {
    fn unreadable(&self, error: &sqlx::Error) -> StateError {
        StateError::server("read", &self.name, error)
    }

    fn strange(&self, what: &str) -> StateError {
        Self::strange(self, what)
    }
}
