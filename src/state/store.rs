//! The state behind one interface, whatever database holds it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::TimeDelta;
use uuid::Uuid;

use super::postgres::Postgres;
use super::sqlite::Sqlite;
use super::{
    HistoryFilter, NewRun, Run, RunKind, RunningRun, StateError, StateErrorKind, StoredDrill,
};
use crate::config::{StateDatabase, StateUrl};
use crate::evidence::{DrillRecord, RecordFile, Verdict};
use crate::telemetry;

/// The state of this walproof: runs, findings, drills, evidence. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) backend: Backend,
    directory: PathBuf,
}

/// Which database holds the state.
#[derive(Clone, Debug)]
pub(super) enum Backend {
    Sqlite(Arc<Sqlite>),
    Postgres(Arc<Postgres>),
}

impl State {
    /// Opens the state, makes it if there is none, brings its schema up to date, and marks
    /// runs whose process is gone as interrupted.
    pub async fn open(url: &StateUrl) -> Result<Self, StateError> {
        let backend = match url.database() {
            StateDatabase::Sqlite(path) => {
                Backend::Sqlite(Arc::new(Sqlite::open(path, url.directory()).await?))
            }
            StateDatabase::Postgres(settings) => Backend::Postgres(Arc::new(
                Box::pin(Postgres::open(settings, settings.url())).await?,
            )),
        };
        Ok(Self {
            backend,
            directory: url.directory().to_owned(),
        })
    }

    /// The directory on this machine with records and logs. With SQLite it holds the
    /// database too; with PostgreSQL it is made when something is first kept in it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory in which records are kept as files.
    pub fn records_directory(&self) -> PathBuf {
        self.directory.join("records")
    }

    /// What to add to this machine's clock to get the time of the database, which several
    /// machines go by: nothing with SQLite; with PostgreSQL what the server's clock says,
    /// exact to half the time that asking it takes.
    pub async fn clock_offset(&self) -> Result<TimeDelta, StateError> {
        match &self.backend {
            Backend::Sqlite(_) => Ok(TimeDelta::zero()),
            Backend::Postgres(postgres) => postgres.clock_offset().await,
        }
    }

    /// Marks runs that were under way and whose process is gone as interrupted, as opening
    /// does, and says so in the ledger. Gives their ids.
    pub async fn mark_interrupted(&self) -> Result<Vec<Uuid>, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.mark_interrupted().await,
            Backend::Postgres(postgres) => postgres.mark_interrupted().await,
        }
    }

    /// Notes that a run begins.
    pub async fn begin_run(&self, run: &NewRun) -> Result<RunningRun, StateError> {
        let running = match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.begin_run(run).await,
            Backend::Postgres(postgres) => Box::pin(postgres.begin_run(run)).await,
        }?;
        telemetry::begun(running.id, &run.cluster, &run.copy);
        Ok(running)
    }

    /// Keeps a drill and its evidence: the record as a file first, then as rows. The record
    /// must be of this run. Gives the file's path.
    pub async fn record_drill(
        &self,
        run: &RunningRun,
        record: &DrillRecord,
    ) -> Result<PathBuf, StateError> {
        let file = self.record_file(run, record).await?;
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.record_drill(run, record, &file).await?,
            Backend::Postgres(postgres) => postgres.record_drill(run, record, &file).await?,
        }
        Ok(self.records_directory().join(file.name))
    }

    /// Writes a drill's record as a file.
    pub(super) async fn record_file(
        &self,
        run: &RunningRun,
        record: &DrillRecord,
    ) -> Result<RecordFile, StateError> {
        let refused = |kind, cause: String| {
            StateError::new("write a record to", &*self.directory, kind, cause)
        };
        if record.run_id != run.id {
            return Err(refused(
                StateErrorKind::Refused,
                format!("record {} belongs to run {}", record.id, record.run_id),
            ));
        }
        let file = RecordFile::new(record)
            .map_err(|error| refused(StateErrorKind::Other, error.to_string()))?;
        let directory = self.records_directory();
        let to_write = file.clone();
        tokio::task::spawn_blocking(move || to_write.write(&directory))
            .await
            .map_err(|error| refused(StateErrorKind::Other, error.to_string()))?
            .map_err(|error| refused(StateErrorKind::Other, error.to_string()))?;
        Ok(file)
    }

    /// Runs, newest first.
    pub async fn history(&self, filter: &HistoryFilter) -> Result<Vec<Run>, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.history(filter).await,
            Backend::Postgres(postgres) => postgres.history(filter).await,
        }
    }

    /// The runs whose id begins with `beginning`, newest first, at most ten; `last` is the
    /// newest of its kind.
    pub async fn find_runs(&self, kind: RunKind, beginning: &str) -> Result<Vec<Run>, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.find_runs(kind, beginning).await,
            Backend::Postgres(postgres) => postgres.find_runs(kind, beginning).await,
        }
    }

    /// What runs came to: those of `ids` that are over with a verdict.
    pub async fn verdicts(&self, ids: &[Uuid]) -> Result<BTreeMap<Uuid, Verdict>, StateError> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.verdicts(ids).await,
            Backend::Postgres(postgres) => postgres.verdicts(ids).await,
        }
    }

    /// All that is kept of a drill.
    pub async fn drill(&self, run: Run) -> Result<StoredDrill, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.drill(run).await,
            Backend::Postgres(postgres) => postgres.drill(run).await,
        }
    }

    /// Closes the database, so that a file holds everything, and the others of a server
    /// know that this process has gone.
    pub async fn close(&self) {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.close().await,
            Backend::Postgres(postgres) => postgres.close().await,
        }
    }
}
