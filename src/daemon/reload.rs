//! Taking up a changed configuration: all of it or nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::clock::Clock;
use super::plan::Plan;
use super::sources::{self, Loaded, Refused, Stamp};
use super::worker::stopped;
use super::{changes, retired, systemd};
use crate::config::{Config, StateUrl};
use crate::evidence::NewEntry;
use crate::evidence::ledger::{Body, ConfigurationBody};
use crate::finding::Code;
use crate::server::Health;
use crate::state::{IncidentChanges, IncidentFilter, IncidentKind, NewIncident, State, StateError};

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
    pub(super) config: watch::Sender<Arc<Config>>,
    /// What the configuration in force was read from; `None` when that is not known.
    pub(super) running: Option<Stamp>,
    /// What was looked at last and is dealt with, good or bad; `None` before the first look.
    pub(super) seen: Option<Stamp>,
    pub(super) systemd: bool,
}

impl Reload {
    /// Looks now and then, and at once when asked by `hangup`, until the daemon stops.
    pub(super) async fn run(
        mut self,
        mut hangup: mpsc::Receiver<()>,
        mut stop: watch::Receiver<bool>,
    ) {
        if self.seen.is_none() {
            // It could not be read when the daemon began.
            self.look().await;
        }
        loop {
            let every = self.plan.borrow().config.daemon.reload();
            tokio::select! {
                () = tokio::time::sleep(every) => {
                    // Also when it could not be written down the last time.
                    if self.seen.as_ref().is_none_or(Stamp::may_have_changed) {
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
        let read =
            tokio::task::spawn_blocking(move || sources::read(&file, state_url.as_ref())).await;
        let result = match read {
            // A bad one was put back: what it said is over.
            Ok(Ok(loaded)) if self.runs(&loaded.stamp) => self.settle(loaded.stamp).await,
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

    /// Whether these are the files that the configuration in force was read from.
    fn runs(&self, stamp: &Stamp) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.files == stamp.files)
    }

    /// It holds once it is written down: a change that nobody can tell of is none, and is tried
    /// again at the next look.
    async fn take_up(&mut self, loaded: Loaded) -> Result<(), StateError> {
        let Loaded { config, stamp } = loaded;
        let before = Arc::clone(&self.plan.borrow().config);
        let changes = changes::between(&before, &config);
        self.accept(&config, &stamp, &changes).await?;
        if before.daemon.listen() != config.daemon.listen() {
            tracing::warn!("`daemon.listen` holds from the next start on");
        }
        self.running = Some(stamp.clone());
        self.seen = Some(stamp);
        let config = Arc::new(config);
        self.plan
            .send_replace(Arc::new(Plan::of(Arc::clone(&config))));
        self.config.send_replace(config);
        self.health.configuration_loaded(self.clock.now());
        tracing::info!(?changes, "took up the changed configuration");
        Ok(())
    }

    /// Keeps the old one. It is told once for each different file.
    async fn refuse(&mut self, stamp: Stamp, mistake: &str) -> Result<(), StateError> {
        let now = self.clock.now();
        self.health.configuration_refused(now);
        tracing::error!(
            mistake,
            "the changed configuration is refused; the one before stays"
        );
        let told = self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.files == stamp.files);
        if !told {
            let mut body =
                ConfigurationBody::refused(stamp.sha256(), self.running_sha256(), mistake);
            body.files.clone_from(&stamp.files);
            let code = Code::ConfigurationRefused;
            let incident = NewIncident {
                cluster: String::new(),
                copy: String::new(),
                kind: IncidentKind::Schedule,
                scope: scope(&self.file),
                code: code.as_str().to_owned(),
                severity: code.severity(),
                object: self.file.display().to_string(),
                message: mistake.to_owned(),
                by: None,
            };
            let changes = IncidentChanges {
                opens: vec![incident],
                ..IncidentChanges::default()
            };
            self.say(body, &changes).await?;
        }
        self.seen = Some(stamp);
        Ok(())
    }

    /// The files are those of the configuration in force.
    async fn settle(&mut self, stamp: Stamp) -> Result<(), StateError> {
        let filter = IncidentFilter {
            code: Some(Code::ConfigurationRefused.as_str().to_owned()),
            ..IncidentFilter::default()
        };
        let open = self.state.incidents(true, &filter).await?;
        if open.iter().any(|open| open.scope == scope(&self.file)) {
            let config = Arc::clone(&self.plan.borrow().config);
            let changes = ["the files are again those of the configuration in force".to_owned()];
            self.accept(&config, &stamp, &changes).await?;
        }
        self.running = Some(stamp.clone());
        self.seen = Some(stamp);
        if self.health.is_configuration_refused() {
            self.health.configuration_loaded(self.clock.now());
        }
        Ok(())
    }

    fn running_sha256(&self) -> Option<String> {
        self.running.as_ref().map(Stamp::sha256)
    }

    /// Writes down that a configuration holds, with the incidents that it ends.
    async fn accept(
        &self,
        config: &Config,
        stamp: &Stamp,
        changes: &[String],
    ) -> Result<(), StateError> {
        let now = self.clock.now();
        let ends = retired::by(&self.state, config, &scope(&self.file), now).await?;
        let mut body = ConfigurationBody::accepted(stamp.sha256(), self.running_sha256(), changes);
        body.files.clone_from(&stamp.files);
        self.say(body, &ends).await
    }

    async fn say(
        &self,
        body: ConfigurationBody,
        changes: &IncidentChanges,
    ) -> Result<(), StateError> {
        let now = self.clock.now();
        match NewEntry::new(now, &Body::Configuration(Box::new(body))) {
            Ok(entry) => self.state.note(&entry, changes, now).await.map(|_| ()),
            Err(error) => {
                tracing::error!(%error, daemon = %self.daemon, "the configuration's entry cannot be written");
                Ok(())
            }
        }
    }
}

/// Which daemon's configuration an incident is about: several may have several files.
pub(super) fn scope(file: &Path) -> String {
    file.display().to_string()
}

/// What the daemon does, in a line.
pub(super) fn status(plan: &Plan) -> String {
    let clusters = plan.config.clusters.len();
    let schedules = plan.config.schedules.len();
    format!("{schedules} schedules for {clusters} clusters")
}
