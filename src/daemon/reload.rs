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

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use serde_json::Value;

    use super::super::clock::SystemClock;
    use super::*;
    use crate::state::Incident;

    struct Ground {
        keep: tempfile::TempDir,
        state: State,
        reload: Reload,
    }

    const GOOD: &str = "version: 1\nclusters:\n- {name: orders, primary: {url: 'file:///a'}}\n";

    impl Ground {
        /// A daemon that runs `text`, with its files known or not.
        async fn new(text: &str, known: bool) -> Self {
            let keep = tempfile::tempdir().unwrap();
            let url = StateUrl::sqlite(keep.path().join("state.sqlite"));
            let state = State::open(&url).await.unwrap();
            let file = keep.path().join("walproof.yaml");
            std::fs::write(&file, text).unwrap();
            let loaded = sources::read(&file, Some(&url)).unwrap();
            let stamp = known.then_some(loaded.stamp);
            let config = Arc::new(loaded.config);
            let reload = Reload {
                file,
                state_url: Some(url),
                state: state.clone(),
                clock: Arc::new(SystemClock::default()),
                health: Arc::new(Health::new(Utc::now(), chrono::TimeDelta::minutes(2))),
                daemon: Uuid::nil(),
                plan: watch::Sender::new(Arc::new(Plan::of(Arc::clone(&config)))),
                config: watch::Sender::new(config),
                running: stamp.clone(),
                seen: stamp,
                systemd: false,
            };
            Self {
                keep,
                state,
                reload,
            }
        }

        async fn look(&mut self, text: &str) {
            std::fs::write(&self.reload.file, text).unwrap();
            self.reload.look().await;
        }

        async fn open(&self) -> Vec<Incident> {
            let filter = IncidentFilter::default();
            self.state.incidents(true, &filter).await.unwrap()
        }

        /// Whether each change was accepted, and how many incidents it opened and closed.
        async fn said(&self) -> Vec<(bool, usize, usize)> {
            let entries = self.state.entries(0, 100).await.unwrap();
            entries
                .iter()
                .map(|entry| {
                    let body = entry.content().unwrap().body;
                    let count = |name: &str| body[name].as_array().map_or(0, Vec::len);
                    let accepted = body["accepted"] == Value::Bool(true);
                    (accepted, count("opened"), count("closed"))
                })
                .collect()
        }

        fn clusters(&self) -> usize {
            self.reload.plan.borrow().config.clusters.len()
        }

        async fn tamper(&self, statement: &'static str) {
            let file = self.keep.path().join("state.sqlite");
            let url = format!("sqlite://{}", file.display());
            let other = sqlx::SqlitePool::connect(&url).await.unwrap();
            sqlx::raw_sql(statement).execute(&other).await.unwrap();
            other.close().await;
        }
    }

    const BAD: &str = "version: 1\nclusters: 7\n";

    #[tokio::test]
    async fn a_refused_file_stays_refused_until_it_is_right() {
        let mut ground = Ground::new(GOOD, true).await;
        for _ in 0..3 {
            // The same again is told once, and settles nothing.
            ground.look(BAD).await;
            assert_eq!(ground.open().await.len(), 1);
            assert!(ground.reload.health.is_configuration_refused());
            assert_eq!(ground.said().await, [(false, 1, 0)]);
        }
        assert!(!ground.reload.seen.as_ref().unwrap().may_have_changed());
        // Another mistake is another entry of the same incident.
        ground.look("version: 2\n").await;
        assert_eq!(ground.said().await, [(false, 1, 0), (false, 0, 0)]);
        // Put back as it was.
        for _ in 0..2 {
            ground.look(GOOD).await;
            assert_eq!(ground.open().await, []);
            assert!(!ground.reload.health.is_configuration_refused());
            let told = [(false, 1, 0), (false, 0, 0), (true, 0, 1)];
            assert_eq!(ground.said().await, told);
        }
        // The same mistake once more is told once more.
        ground.look(BAD).await;
        assert_eq!(ground.open().await.len(), 1);
        ground.look("version: 1\n").await;
        assert_eq!((ground.clusters(), ground.open().await.len()), (0, 0));
        assert_eq!(ground.said().await.last(), Some(&(true, 0, 1)));
    }

    #[tokio::test]
    async fn what_could_not_be_read_at_the_start_is_looked_at_first() {
        for (text, accepted) in [(BAD, false), (GOOD, true)] {
            let mut ground = Ground::new(GOOD, false).await;
            std::fs::write(&ground.reload.file, text).unwrap();
            let (stop, stopped) = watch::channel(false);
            let (_hangup, hung_up) = mpsc::channel(1);
            let state = ground.state.clone();
            let until = async {
                while state.entry_head().await.unwrap().is_none() {
                    tokio::task::yield_now().await;
                }
                stop.send(true).unwrap();
            };
            let reload =
                std::mem::replace(&mut ground.reload, Ground::new(GOOD, true).await.reload);
            tokio::join!(reload.run(hung_up, stopped), until);
            let opened = usize::from(!accepted);
            assert_eq!(ground.said().await, [(accepted, opened, 0)]);
        }
    }

    #[tokio::test]
    async fn nothing_changes_that_could_not_be_written_down() {
        let mut ground = Ground::new(GOOD, true).await;
        ground.tamper("ALTER TABLE entries RENAME TO away").await;
        ground.look(BAD).await;
        ground.look("version: 1\n").await;
        assert_eq!(ground.clusters(), 1);
        assert!(ground.reload.seen.as_ref().unwrap().may_have_changed());
        ground.tamper("ALTER TABLE away RENAME TO entries").await;
        assert_eq!(ground.said().await, []);
        // The next look makes up for it.
        ground.reload.look().await;
        assert_eq!(
            (ground.clusters(), ground.said().await),
            (0, vec![(true, 0, 0)])
        );
    }
}
