//! Taking up a changed configuration: all of it or nothing.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::clock::Clock;
use super::plan::Plan;
use super::sources::{self, Loaded, Refused, Stamp};
use super::worker::stopped;
use super::{changes, systemd};
use crate::config::StateUrl;
use crate::evidence::NewEntry;
use crate::evidence::ledger::{Body, ConfigurationBody};
use crate::finding::Code;
use crate::server::Health;
use crate::state::{IncidentKey, IncidentKind, NewIncident, State, StateError};

/// Watches the configuration's files.
pub(super) struct Reload {
    pub(super) file: PathBuf,
    /// What the command line says; it wins over the file.
    pub(super) state_url: Option<StateUrl>,
    pub(super) state: State,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) health: Arc<Health>,
    pub(super) daemon: Uuid,
    pub(super) plan: watch::Sender<Arc<Plan>>,
    /// The same plan's configuration, for those who need no more.
    pub(super) config: watch::Sender<Arc<crate::config::Config>>,
    pub(super) stamp: Stamp,
    pub(super) systemd: bool,
}

impl Reload {
    /// Looks now and then, and at once when asked by `hangup`, until the daemon stops.
    pub(super) async fn run(
        mut self,
        mut hangup: mpsc::Receiver<()>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let every = self.plan.borrow().config.daemon.reload();
            tokio::select! {
                () = tokio::time::sleep(every) => {
                    if self.stamp.may_have_changed() {
                        self.look().await;
                    }
                }
                Some(()) = hangup.recv() => {
                    tracing::info!("asked to take up the configuration again");
                    self.look().await;
                }
                () = stopped(&mut stop) => return,
            }
        }
    }

    async fn look(&mut self) {
        if self.systemd {
            systemd::reloading();
        }
        let known = Arc::clone(&self.plan.borrow().config);
        let file = self.file.clone();
        let state_url = self.state_url.clone();
        let before = Arc::clone(&known);
        let read =
            tokio::task::spawn_blocking(move || sources::read(&file, &before, state_url.as_ref()))
                .await;
        let result = match read {
            Ok(Ok(loaded)) if loaded.stamp.files == self.stamp.files => {
                self.stamp = loaded.stamp;
                // A bad one was put back: what it said is over.
                self.settled().await
            }
            Ok(Ok(loaded)) if loaded.config.state != known.state => {
                let stamp = loaded.stamp;
                let mistake = "`state` names another database: a daemon keeps the one that it began with; restart it";
                self.refuse(stamp, mistake).await
            }
            Ok(Ok(loaded)) => self.take_up(loaded).await,
            Ok(Err(Refused { stamp, errors })) => {
                let first = errors
                    .mistakes()
                    .first()
                    .map_or_else(|| errors.to_string(), ToString::to_string);
                self.refuse(stamp, &first).await
            }
            Err(error) => {
                tracing::error!(%error, "the configuration could not be read");
                Ok(())
            }
        };
        if let Err(error) = result {
            tracing::warn!(%error, "the change of configuration could not be written down");
        }
        if self.systemd {
            systemd::ready(&status(&self.plan.borrow()));
        }
    }

    async fn take_up(&mut self, loaded: Loaded) -> Result<(), StateError> {
        let before = Arc::clone(&self.plan.borrow().config);
        let changes = changes::between(&before, &loaded.config);
        if before.daemon.listen() != loaded.config.daemon.listen() {
            tracing::warn!("`daemon.listen` holds from the next start on");
        }
        let previous = self.stamp.sha256();
        self.stamp = loaded.stamp;
        let config = Arc::new(loaded.config);
        self.plan
            .send_replace(Arc::new(Plan::of(Arc::clone(&config))));
        self.config.send_replace(config);
        self.health.configuration_loaded(self.clock.now());
        tracing::info!(?changes, "took up the changed configuration");
        let mut body = ConfigurationBody::accepted(self.stamp.sha256(), Some(previous), &changes);
        body.files.clone_from(&self.stamp.files);
        self.say(body).await?;
        self.settled().await
    }

    /// Keeps the old one. It is told once for each different file.
    async fn refuse(&mut self, stamp: Stamp, mistake: &str) -> Result<(), StateError> {
        let now = self.clock.now();
        self.health.configuration_refused(now);
        tracing::error!(
            mistake,
            "the changed configuration is refused; the one before stays"
        );
        let previous = self.stamp.sha256();
        let told = self.stamp.files == stamp.files;
        self.stamp = stamp;
        if told {
            return Ok(());
        }
        let mut body = ConfigurationBody::refused(self.stamp.sha256(), Some(previous), mistake);
        body.files.clone_from(&self.stamp.files);
        let by = self.say(body).await?;
        let code = Code::ConfigurationRefused;
        let incident = NewIncident {
            cluster: String::new(),
            copy: String::new(),
            kind: IncidentKind::Schedule,
            scope: self.daemon_scope(),
            code: code.as_str().to_owned(),
            severity: code.severity(),
            object: self.file.display().to_string(),
            message: mistake.to_owned(),
            by,
        };
        self.state.open_incident(&incident, now).await?;
        Ok(())
    }

    /// Several daemons may have several files.
    fn daemon_scope(&self) -> String {
        self.file.display().to_string()
    }

    async fn settled(&self) -> Result<(), StateError> {
        let key = IncidentKey {
            cluster: String::new(),
            copy: String::new(),
            scope: self.daemon_scope(),
            code: Code::ConfigurationRefused.as_str().to_owned(),
        };
        let now = self.clock.now();
        if self.health.is_configuration_refused() {
            self.health.configuration_loaded(now);
        }
        self.state.close_incident(&key, None, now).await?;
        Ok(())
    }

    async fn say(&self, body: ConfigurationBody) -> Result<Option<u64>, StateError> {
        match NewEntry::new(self.clock.now(), &Body::Configuration(Box::new(body))) {
            Ok(entry) => Ok(self
                .state
                .append(&[entry])
                .await?
                .first()
                .map(|entry| entry.sequence)),
            Err(error) => {
                tracing::error!(%error, daemon = %self.daemon, "the configuration's entry cannot be written");
                Ok(None)
            }
        }
    }
}

/// What the daemon does, in a line.
pub(super) fn status(plan: &Plan) -> String {
    let clusters = plan.config.clusters.len();
    let schedules = plan.config.schedules.len();
    format!("{schedules} schedules for {clusters} clusters")
}
