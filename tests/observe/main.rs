//! What the daemon shows to those who watch it: probes, metrics, alerts and dashboard, asked
//! by a real Prometheus and told to a real Alertmanager.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "this is test code; clippy knows only functions marked #[test] as such"
)]

#[path = "../common/mod.rs"]
mod common;

mod dashboard;
mod fleet;
mod page;
mod rules;
mod scenario;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use walproof::config::{Config, StateUrl};
use walproof::server::{Health, Limits, Now, ServerState, serve};
use walproof::state::State;

/// A file of the project.
pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A state of its own, in a directory.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) directory: TempDir,
    pub(crate) state: State,
}

impl Place {
    pub(crate) fn new(runtime: &Runtime) -> Self {
        let directory = common::scratch::directory();
        let url = StateUrl::sqlite(directory.path().join("state.sqlite"));
        let state = runtime.block_on(State::open(&url)).unwrap();
        Self { directory, state }
    }

    /// The database's file.
    pub(crate) fn database(&self) -> PathBuf {
        self.directory.path().join("state.sqlite")
    }

    /// Says something to the database past walproof.
    pub(crate) fn tamper(&self, runtime: &Runtime, statement: &'static str) {
        use sqlx::{Connection as _, Executor as _};
        let url = format!("sqlite://{}", self.database().display());
        runtime.block_on(async {
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            connection.execute(statement).await.unwrap();
            connection.close().await.unwrap();
        });
    }
}

/// A server as the daemon runs it, without the daemon.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) port: u16,
    pub(crate) health: Arc<Health>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Serving {
    /// Serves a state on a free port, or on this one.
    pub(crate) fn start(
        runtime: &Runtime,
        state: &State,
        config: &Arc<Config>,
        port: u16,
        limits: Limits,
    ) -> Self {
        let health = Arc::new(Health::new(Utc::now(), TimeDelta::minutes(1)));
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel();
        let (keep, config) = watch::channel(Arc::clone(config));
        let server = ServerState {
            state: state.clone(),
            config,
            health: Arc::clone(&health),
            now: Now::default(),
            limits,
        };
        let task = runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let ended = serve(listener, server, async {
                let _ = stopped.await;
            })
            .await;
            drop(keep);
            ended
        });
        Self {
            port,
            health,
            stop: Some(stop),
            task,
        }
    }

    /// The daemon is well.
    pub(crate) fn well(&self) {
        let now = Utc::now();
        self.health.ticked(now);
        self.health.lease_seen(now);
        self.health.configuration_loaded(now);
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(mut self, runtime: &Runtime) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        runtime.block_on(self.task).unwrap().unwrap();
    }
}
