//! Taking up a changed configuration: all of it or nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::clock::Clock;
use super::plan::Plan;
use super::sources::{self, Loaded, Refused, Stamp};
use super::worker::stopped;
use super::{Overlay, Refusal, changes, merge, retired, systemd};
use crate::config::{Config, StateUrl};
use crate::evidence::ledger::{Body, ConfigurationBody};
use crate::evidence::{Digest, NewEntry, sha256_hex};
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
    /// The configuration of the files alone.
    pub(super) base: Arc<Config>,
    /// What resources add; `None` without any.
    pub(super) overlay: Option<watch::Receiver<Option<Arc<Overlay>>>>,
    /// What of it is in force.
    pub(super) applied: Option<Arc<Overlay>>,
    /// Whether the configuration is whole.
    pub(super) known: watch::Sender<bool>,
    /// What of the overlay does not hold.
    pub(super) refusals: watch::Sender<Arc<Vec<Refusal>>>,
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
        let mut overlay = self.overlay.clone();
        self.overlaid().await;
        loop {
            let every = self.plan.borrow().config.daemon.reload();
            tokio::select! {
                () = changed(overlay.as_mut()) => self.overlaid().await,
                () = tokio::time::sleep(every) => {
                    self.overlaid().await;
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
        let base = Arc::new(config);
        if !*self.known.borrow() {
            // It is accepted when it is whole.
            (self.running, self.seen) = (Some(stamp.clone()), Some(stamp));
            self.base = base;
            return Ok(());
        }
        let (config, refusals) = merged(&base, self.applied.as_ref());
        let changes = changes::between(&before, &config);
        self.accept(&config, &stamp, &changes).await?;
        self.base = base;
        self.refusals.send_replace(refusals);
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

    /// Takes up what resources add, when it is another than before.
    async fn overlaid(&mut self) {
        let newest = self
            .overlay
            .as_ref()
            .and_then(|overlay| overlay.borrow().clone());
        let Some(newest) = newest else { return };
        if self
            .applied
            .as_ref()
            .is_some_and(|one| Arc::ptr_eq(one, &newest))
        {
            return;
        }
        if let Err(error) = self.apply(newest).await {
            tracing::warn!(%error, "what resources changed could not be written down; trying again");
        }
    }

    async fn apply(&mut self, overlay: Arc<Overlay>) -> Result<(), StateError> {
        let base = Arc::clone(&self.base);
        let (config, refusals) = merged(&base, Some(&overlay));
        let before = Arc::clone(&self.plan.borrow().config);
        let first = !*self.known.borrow();
        if first || config != *before {
            let changes = if first {
                Vec::new()
            } else {
                changes::between(&before, &config)
            };
            let digests = &overlay.digests;
            self.accepted(&config, self.running.as_ref(), digests, &changes)
                .await?;
            let config = Arc::new(config);
            let plan = Arc::new(Plan::of(Arc::clone(&config)));
            self.plan.send_replace(plan);
            self.config.send_replace(config);
            tracing::info!(?changes, "took up what resources say");
        }
        self.applied = Some(overlay);
        self.refusals.send_replace(refusals);
        if first {
            self.health.configuration_loaded(self.clock.now());
            self.known.send_replace(true);
        }
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
        let known = *self.known.borrow();
        if known && open.iter().any(|open| open.scope == scope(&self.file)) {
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

    /// Writes down that a configuration of these files holds, with the incidents that it ends.
    async fn accept(
        &self,
        config: &Config,
        stamp: &Stamp,
        changes: &[String],
    ) -> Result<(), StateError> {
        let digests = self.applied.as_ref().map(|overlay| overlay.digests.clone());
        self.accepted(config, Some(stamp), &digests.unwrap_or_default(), changes)
            .await
    }

    async fn accepted(
        &self,
        config: &Config,
        stamp: Option<&Stamp>,
        digests: &[Digest],
        changes: &[String],
    ) -> Result<(), StateError> {
        let now = self.clock.now();
        let ends = retired::by(&self.state, config, &scope(&self.file), now).await?;
        let sha256 = stamp.map_or_else(|| sha256_hex(b""), Stamp::sha256);
        let mut body = ConfigurationBody::accepted(sha256, self.running_sha256(), changes);
        if let Some(stamp) = stamp {
            body.files.clone_from(&stamp.files);
        }
        body.files.extend_from_slice(digests);
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

/// Waits until an overlay is another; for ever without one.
async fn changed(overlay: Option<&mut watch::Receiver<Option<Arc<Overlay>>>>) {
    if let Some(overlay) = overlay
        && overlay.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// The files' configuration with what resources add, and what of that does not hold.
fn merged(base: &Arc<Config>, overlay: Option<&Arc<Overlay>>) -> (Config, Arc<Vec<Refusal>>) {
    match overlay {
        Some(overlay) => {
            let merged = merge(base, overlay);
            (merged.config, Arc::new(merged.refusals))
        }
        None => (Config::clone(base), Arc::default()),
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
                base: Arc::clone(&config),
                config: watch::Sender::new(config),
                overlay: None,
                applied: None,
                known: watch::Sender::new(true),
                refusals: watch::Sender::new(Arc::default()),
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

    /// What resources add is written down once for each change, in words, and nothing holds
    /// before the first is known.
    #[tokio::test]
    async fn what_resources_add_is_taken_up_as_a_file_is() {
        use super::super::{Declared, Origin};

        let mut ground = Ground::new(GOOD, true).await;
        let (sender, receiver) = watch::channel(None);
        ground.reload.overlay = Some(receiver);
        ground.reload.known.send_replace(false);
        // The file changes before anything is known: it is kept, and not yet accepted.
        let tier = "version: 1\ntiers: {gold: {rpo: 5m}}\nclusters:\n- {name: orders, primary: {url: 'file:///a'}}\n";
        ground.look(tier).await;
        ground.reload.overlaid().await;
        assert_eq!((ground.said().await.len(), ground.clusters()), (0, 1));
        assert!(ground.reload.health.configuration_loaded_at().is_none());
        let add = |names: &[&str]| {
            let clusters = names.iter().map(|name| Declared {
                by: Origin {
                    kind: "ProtectedCluster".into(),
                    namespace: "shop".to_owned(),
                    name: "all".to_owned(),
                },
                what: crate::config::Cluster {
                    name: (*name).to_owned(),
                    ..serde_json::from_value(serde_json::json!({"name": "x", "tier": "gold",
                        "primary": {"url": format!("s3://b/{name}")}}))
                    .unwrap()
                },
            });
            let overlay = Overlay {
                clusters: clusters.collect(),
                digests: vec![Digest::of("ProtectedCluster", names.join(" ").as_bytes())],
                ..Overlay::default()
            };
            sender.send_replace(Some(Arc::new(overlay)));
        };
        add(&["shop.a", "orders"]);
        for _ in 0..2 {
            ground.reload.overlaid().await;
            assert_eq!((ground.said().await.len(), ground.clusters()), (1, 2));
        }
        assert!(*ground.reload.known.borrow());
        assert_eq!(ground.reload.refusals.borrow()[0].reason, "NameTaken");
        let body = |entries: &[crate::evidence::LedgerEntry]| {
            entries.last().unwrap().content().unwrap().body
        };
        let entries = ground.state.entries(0, 100).await.unwrap();
        assert_eq!(body(&entries)["files"].as_array().unwrap().len(), 2);
        // Another set: one entry that says what changed.
        add(&["shop.b"]);
        ground.tamper("ALTER TABLE entries RENAME TO away").await;
        ground.reload.overlaid().await;
        assert!(
            ground
                .reload
                .plan
                .borrow()
                .config
                .cluster("shop.a")
                .is_some()
        );
        ground.tamper("ALTER TABLE away RENAME TO entries").await;
        ground.reload.overlaid().await;
        let entries = ground.state.entries(0, 100).await.unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(
            body(&entries)["changes"],
            serde_json::json!(["cluster shop.b added", "cluster shop.a removed"])
        );
        assert!(ground.reload.refusals.borrow().is_empty());
        // A changed file keeps what resources add.
        ground.look(GOOD).await;
        assert_eq!(ground.clusters(), 1, "there is no tier `gold` any more");
        assert_eq!(ground.reload.refusals.borrow()[0].reason, "NoSuchTier");
    }
}
