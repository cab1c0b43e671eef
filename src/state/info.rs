//! The database itself: what it is, and a backup of it.

use std::path::Path;

use serde::Serialize;

use super::store::Backend;
use super::{State, StateError, StateErrorKind};

/// What a state database is and holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateInfo {
    /// `sqlite` or `postgresql`, with its version.
    pub engine: String,
    /// The version of the schema.
    pub schema_version: i64,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Runs.
    pub runs: u64,
    /// Runs that are under way.
    pub running: u64,
    /// Evidence records.
    pub records: u64,
    /// Objects of repositories that are remembered.
    pub objects: u64,
}

impl State {
    /// What the database is and holds. Counts every row: a second or two per million.
    pub async fn info(&self) -> Result<StateInfo, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.info().await,
            Backend::Postgres(postgres) => postgres.info().await,
        }
    }

    /// Writes a consistent copy of the database to a new file while others work. Only of a
    /// file: PostgreSQL has `pg_dump`.
    pub async fn backup_to(&self, file: &Path) -> Result<(), StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.backup_to(file).await,
            Backend::Postgres(_) => Err(StateError::new(
                "back up",
                file,
                StateErrorKind::Other,
                "it is in PostgreSQL: use pg_dump",
            )),
        }
    }
}

/// A row of counts: `runs`, `running`, `records`, `objects`, the schema's version, bytes.
pub(super) type Counts = (i64, i64, i64, i64, i64, i64);

impl StateInfo {
    pub(super) fn new(engine: String, counts: Counts) -> Self {
        let (runs, running, records, objects, schema_version, bytes) = counts;
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        Self {
            engine,
            schema_version,
            bytes: count(bytes),
            runs: count(runs),
            running: count(running),
            records: count(records),
            objects: count(objects),
        }
    }
}
