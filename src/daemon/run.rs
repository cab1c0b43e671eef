//! The daemon as a whole: what it is given, how its parts run beside each other, how it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::bell::Bell;
use super::clock::{Awake, Clock};
use super::dispatch::Dispatch;
use super::executor::Executor;
use super::metronome::Metronome;
use super::plan::Plan;
use super::reload::{Reload, scope, status};
use super::sources::{self, Stamp};
use super::tick::{Tick, Ticked};
use super::worker::{Tools, stopped};
use super::{DaemonError, Overlay, Refusal, overdue, records, requests, retired, sweep, systemd};
use crate::config::{Config, StateUrl};
use crate::evidence::NewEntry;
use crate::evidence::ledger::{Body, ConfigurationBody, DaemonBody, SealError};
use crate::notify;
use crate::server::{self, Health, Limits, Now, ServerState};
use crate::state::{IncidentChanges, State, StateError};

/// How often overdue proofs are looked for.
const OVERDUE_EVERY: Duration = Duration::from_secs(15);
/// How often is swept.
const SWEEP_EVERY: Duration = Duration::from_hours(1);
/// A state that a tick has waited for this long is spoken of, before its patience ends.
const SILENCE: Duration = Duration::from_secs(5);
/// Without a tick, or a sight of its lease, for this long the daemon is not well.
const PATIENCE: TimeDelta = TimeDelta::minutes(2);

/// What a daemon is given.
pub struct DaemonOptions {
    /// The configuration to begin with.
    pub config: Config,
    /// Its file, which is watched; `None` to keep what is given.
    pub file: Option<PathBuf>,
    /// What the command line says of the state, which wins over the file.
    pub state_url: Option<StateUrl>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Who performs the jobs.
    pub executor: Arc<dyn Executor>,
    /// How often is ticked.
    pub tick: Duration,
    /// What comes to the configuration from elsewhere than its files; `None` inside as long as
    /// that is not known. Until it is, nothing is ticked, claimed or looked for: what is not
    /// there yet is not gone. With a `file` only.
    pub overlay: Option<watch::Receiver<Option<Arc<Overlay>>>>,
    /// Whether it is a process of its own: with a metronome, with health and metrics over
    /// HTTP, and with words for systemd. Otherwise the clock alone drives it.
    pub process: bool,
}

/// What a daemon hears from outside.
#[derive(Debug)]
pub struct Signals {
    /// Becomes true when it is to stop.
    pub stop: watch::Receiver<bool>,
    /// Gives something whenever the configuration is to be taken up again.
    pub hangup: mpsc::Receiver<()>,
}

/// A daemon that is about to run.
pub struct Daemon {
    id: Uuid,
    state: State,
    clock: Arc<dyn Clock>,
    executor: Arc<dyn Executor>,
    plan: watch::Sender<Arc<Plan>>,
    config: watch::Sender<Arc<Config>>,
    health: Arc<Health>,
    bell: Arc<Bell>,
    tick: Tick,
    tick_every: Duration,
    process: bool,
    file: Option<PathBuf>,
    state_url: Option<StateUrl>,
    stamp: Option<Stamp>,
    listener: Option<TcpListener>,
    /// The configuration of the files alone.
    base: Arc<Config>,
    overlay: Option<watch::Receiver<Option<Arc<Overlay>>>>,
    /// Whether the configuration is whole.
    known: watch::Sender<bool>,
    refusals: watch::Sender<Arc<Vec<Refusal>>>,
    /// Simulated time stands still from its start until it runs.
    awake: Option<Awake>,
}

impl Daemon {
    /// Makes a daemon ready: the address is bound, the clock is put right, what dead ones
    /// left is swept, and the ledger says that it began.
    pub async fn start(state: State, options: DaemonOptions) -> Result<Self, DaemonError> {
        let mut config = options.config;
        // Read once more, so that what runs is what its digests say. Where that cannot be, what
        // was given holds, and the first look tells what is wrong.
        let stamp = options.file.as_ref().and_then(|file| {
            let loaded = sources::read(file, options.state_url.as_ref()).ok()?;
            (loaded.config.state == config.state).then(|| {
                config = loaded.config;
                loaded.stamp
            })
        });
        let config = Arc::new(config);
        let listener = if options.process {
            let address = config.daemon.listen();
            let listener = TcpListener::bind(address)
                .await
                .map_err(|cause| DaemonError::Listen { address, cause })?;
            Some(listener)
        } else {
            None
        };
        let clock = options.clock;
        let awake = clock.awake();
        clock.put_right(state.clock_offset().await?);
        let id = Uuid::now_v7();
        let now = clock.now();
        let health = Arc::new(Health::new(now, PATIENCE));
        let plan = Arc::new(Plan::of(Arc::clone(&config)));
        let overlay = options.overlay.filter(|_| options.file.is_some());
        let daemon = Self {
            id,
            base: Arc::clone(&config),
            known: watch::Sender::new(overlay.is_none()),
            overlay,
            refusals: watch::Sender::new(Arc::default()),
            tick: Tick::new(id, options.tick),
            tick_every: options.tick,
            plan: watch::Sender::new(plan),
            config: watch::Sender::new(Arc::clone(&config)),
            bell: Arc::new(Bell::new()),
            process: options.process,
            file: options.file,
            state_url: options.state_url,
            executor: options.executor,
            state,
            clock,
            health,
            stamp,
            listener,
            awake: Some(awake),
        };
        if daemon.overlay.is_none() {
            daemon.health.configuration_loaded(now);
        }
        sweep::sweep(&daemon.state, &config, now).await;
        daemon.say_started().await?;
        tracing::info!(
            daemon = %daemon.id,
            clusters = config.clusters.len(),
            schedules = config.schedules.len(),
            listen = ?daemon.listener.as_ref().and_then(|listener| listener.local_addr().ok()),
            "the daemon began"
        );
        Ok(daemon)
    }

    /// Which daemon this is: the holder of its jobs.
    pub const fn id(&self) -> Uuid {
        self.id
    }

    /// The configuration in force, as it changes.
    pub fn config(&self) -> watch::Receiver<Arc<Config>> {
        self.config.subscribe()
    }

    /// What of the overlay does not hold, as it changes.
    pub fn refusals(&self) -> watch::Receiver<Arc<Vec<Refusal>>> {
        self.refusals.subscribe()
    }

    /// Where time comes from.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// How it is.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Where it is served, once it has bound its address.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Runs until it is to stop; jobs that run then have `stop_within` to end.
    pub async fn run(mut self, signals: Signals) -> Result<(), DaemonError> {
        let stop = signals.stop.clone();
        let awake = self.awake.take().unwrap_or_else(|| self.clock.awake());
        let mut beside: Vec<JoinHandle<()>> = Vec::new();
        let ticking = Arc::new(Bell::new());
        let metronome = if self.process {
            let started = Metronome::start(Arc::clone(&ticking), Arc::clone(&self.clock)).await;
            Some(started.map_err(|error| DaemonError::Metronome(error.to_string()))?)
        } else {
            None
        };
        if let Some(listener) = self.listener.take() {
            beside.push(tokio::spawn(self.serve(listener, stop.clone())));
        }
        if let Some(file) = self.file.clone() {
            let reload = Reload {
                file,
                state_url: self.state_url.clone(),
                state: self.state.clone(),
                clock: Arc::clone(&self.clock),
                health: Arc::clone(&self.health),
                daemon: self.id,
                plan: self.plan.clone(),
                config: self.config.clone(),
                base: Arc::clone(&self.base),
                overlay: self.overlay.clone(),
                applied: None,
                known: self.known.clone(),
                refusals: self.refusals.clone(),
                running: self.stamp.clone(),
                seen: self.stamp.clone(),
                systemd: self.process,
            };
            beside.push(tokio::spawn(reload.run(signals.hangup, stop.clone())));
        }
        if self.process {
            let clock = Arc::clone(&self.clock);
            beside.push(tokio::spawn(notify::run(
                self.state.clone(),
                self.config.subscribe(),
                move || clock.now(),
                stop.clone(),
            )));
            beside.push(tokio::spawn(requests::watch(
                self.state.clone(),
                self.config.subscribe(),
                Arc::clone(&self.clock),
                stop.clone(),
            )));
            beside.push(tokio::spawn(records::watch(
                self.state.clone(),
                self.id,
                Arc::clone(&self.clock),
                stop.clone(),
            )));
        }
        let watchdog = self.process.then(systemd::watchdog).flatten().map(|every| {
            let (health, clock) = (Arc::clone(&self.health), Arc::clone(&self.clock));
            tokio::spawn(watchdog(every, health, clock, stop.clone()))
        });
        let dispatch = Dispatch {
            holder: self.id,
            tools: Tools {
                state: self.state.clone(),
                clock: Arc::clone(&self.clock),
                executor: Arc::clone(&self.executor),
                stop: stop.clone(),
            },
            plan: self.plan.subscribe(),
            bell: Arc::clone(&self.bell),
            known: self.known.subscribe(),
            overlaid: self.overlay.is_some(),
        };
        let dispatching = tokio::spawn(dispatch.run(self.clock.awake()));
        self.ticks(&ticking, metronome.is_some(), stop, awake).await;
        if self.process {
            systemd::stopping();
        }
        tracing::info!("the daemon stops");
        self.tick.release(&self.state).await;
        if let Err(error) = dispatching.await {
            tracing::error!(%error, "the workers broke");
        }
        if let Some(metronome) = metronome {
            metronome.stop().await;
        }
        for task in beside {
            // Each hears of the stop itself; what hangs is left.
            let _ = tokio::time::timeout(Duration::from_secs(10), task).await;
        }
        if let Err(error) = self.say_stopped().await {
            tracing::warn!(%error, "the end could not be written down");
        }
        if let Some(watchdog) = watchdog {
            watchdog.abort();
        }
        Ok(())
    }

    /// The loop: ticks, looks for overdue proofs, sweeps.
    async fn ticks(
        &self,
        ticking: &Bell,
        metronome: bool,
        mut stop: watch::Receiver<bool>,
        mut awake: Awake,
    ) {
        // Without the metronome the clock is all there is.
        let patience = if metronome {
            self.tick_every * 2
        } else {
            self.tick_every
        };
        let mut overdue_next = self.clock.now();
        let mut sweep_next = self.clock.now() + SWEEP_EVERY;
        let mut sweeping: Option<JoinHandle<()>> = None;
        let mut first = true;
        let mut last: Option<DateTime<Utc>> = None;
        let mut said = Said::default();
        while !*stop.borrow() {
            let now = self.clock.now();
            // The metronome may ring more often than is ticked.
            if last.is_none_or(|last| {
                now - last + TimeDelta::milliseconds(500) >= span(self.tick_every)
            }) {
                last = Some(now);
                let ticked = if *self.known.borrow() {
                    self.once(now, &mut said).await
                } else {
                    self.health.ticked(now);
                    Ticked::default()
                };
                if first && self.process {
                    systemd::ready(&status(&self.plan.borrow()));
                }
                first = false;
                if ticked.holds && now >= overdue_next {
                    overdue_next = now + OVERDUE_EVERY;
                    self.overdue(now).await;
                }
                if now >= sweep_next {
                    sweep_next = now + SWEEP_EVERY;
                    // Beside the loop: large directories take long to remove. One at a time.
                    if sweeping.as_ref().is_none_or(JoinHandle::is_finished) {
                        sweeping = Some(tokio::spawn(self.sweep(now)));
                    }
                    self.put_right().await;
                }
                self.bell.ring(self.clock.as_ref());
            }
            let sleep = self.clock.sleep(patience);
            drop(awake);
            awake = tokio::select! {
                awake = sleep => awake,
                awake = ticking.rung() => awake,
                () = stopped(&mut stop) => self.clock.awake(),
            };
        }
        if let Some(sweeping) = sweeping {
            // What hangs is left; the next sweep goes on.
            let _ = tokio::time::timeout(Duration::from_secs(10), sweeping).await;
        }
    }

    fn sweep(&self, now: DateTime<Utc>) -> impl Future<Output = ()> + Send + use<> {
        let (state, awake) = (self.state.clone(), self.clock.awake());
        let config = Arc::clone(&self.plan.borrow().config);
        async move {
            sweep::sweep(&state, &config, now).await;
            drop(awake);
        }
    }

    async fn once(&self, now: DateTime<Utc>, said: &mut Said) -> Ticked {
        let plan = Arc::clone(&self.plan.borrow());
        let mut ticking = std::pin::pin!(self.tick.tick(&self.state, &plan, now));
        // Real time: this is about the database, not about what is due.
        let in_time = tokio::time::timeout(SILENCE, &mut ticking).await;
        let ticked = if let Ok(ticked) = in_time {
            ticked
        } else {
            if !std::mem::replace(&mut said.silent, true) {
                tracing::warn!(
                    seconds = SILENCE.as_secs(),
                    "the state does not answer; waiting for it, and what is due waits too"
                );
            }
            ticking.await
        };
        let ticked = match ticked {
            Ok(ticked) => {
                if std::mem::take(said) != Said::default() {
                    tracing::info!("the state answers again");
                }
                if ticked.held {
                    self.health.lease_seen(now);
                }
                ticked
            }
            Err(error) => {
                // Once is enough to say so; nothing is lost, only later.
                if !std::mem::replace(&mut said.failed, true) {
                    tracing::error!(%error, "the tick came to nothing; trying on");
                }
                Ticked::default()
            }
        };
        self.health.ticked(self.clock.now());
        ticked
    }

    async fn overdue(&self, now: DateTime<Utc>) {
        let config = Arc::clone(&self.plan.borrow().config);
        let looked = async {
            let since = match self.state.entries(0, 1).await?.first() {
                Some(entry) => entry.content().map_or(now, |content| content.at),
                None => now,
            };
            overdue::look(&self.state, &config, since, now).await
        };
        if let Err(error) = looked.await {
            tracing::warn!(%error, "overdue proofs could not be looked for");
        }
    }

    /// All daemons of one state go by its clock.
    async fn put_right(&self) {
        match self.state.clock_offset().await {
            Ok(offset) => self.clock.put_right(offset),
            Err(error) => tracing::debug!(%error, "the state's clock could not be asked"),
        }
    }

    fn serve(
        &self,
        listener: TcpListener,
        mut stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let clock = Arc::clone(&self.clock);
        let state = ServerState {
            state: self.state.clone(),
            config: self.config.subscribe(),
            health: Arc::clone(&self.health),
            now: Now::new(move || clock.now()),
            limits: Limits::default(),
        };
        async move {
            let asked = async move { stopped(&mut stop).await };
            if let Err(error) = server::serve(listener, state, asked).await {
                tracing::error!(%error, "health and metrics are no longer served");
            }
        }
    }

    async fn say_started(&self) -> Result<(), StateError> {
        let now = self.clock.now();
        let body = Body::Started(Box::new(self.body(None)));
        self.append(NewEntry::new(now, &body), &IncidentChanges::default())
            .await?;
        let (Some(stamp), Some(file)) = (&self.stamp, &self.file) else {
            return Ok(());
        };
        if self.overlay.is_some() {
            // It is said when it is whole.
            return Ok(());
        }
        let config = Arc::clone(&self.plan.borrow().config);
        let ends = retired::by(&self.state, &config, &scope(file), now).await?;
        let mut body = ConfigurationBody::accepted(stamp.sha256(), None, &[]);
        body.files.clone_from(&stamp.files);
        let body = Body::Configuration(Box::new(body));
        self.append(NewEntry::new(now, &body), &ends).await
    }

    async fn say_stopped(&self) -> Result<(), StateError> {
        let body = Body::Stopped(Box::new(self.body(Some("asked to stop"))));
        let entry = NewEntry::new(self.clock.now(), &body);
        self.append(entry, &IncidentChanges::default()).await
    }

    async fn append(
        &self,
        entry: Result<NewEntry, SealError>,
        changes: &IncidentChanges,
    ) -> Result<(), StateError> {
        match entry {
            Ok(entry) => {
                let noted = self.state.note(&entry, changes, entry.at);
                noted.await.map(|_| ())
            }
            Err(error) => {
                tracing::error!(%error, "an entry about the daemon itself cannot be written");
                Ok(())
            }
        }
    }

    fn body(&self, reason: Option<&str>) -> DaemonBody {
        DaemonBody {
            daemon: self.id,
            host: host(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build_sha256: None,
            configuration_sha256: self.stamp.as_ref().map(Stamp::sha256),
            reason: reason.map(str::to_owned),
        }
    }
}

/// What the log was told of a state that is away, so that it is told once.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    silent: bool,
    failed: bool,
}

fn span(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// Tells systemd that the daemon lives, as long as its loop goes round. While jobs end it
/// does not, and is alive.
async fn watchdog(
    every: Duration,
    health: Arc<Health>,
    clock: Arc<dyn Clock>,
    stop: watch::Receiver<bool>,
) {
    loop {
        match health.alive(clock.now()) {
            Err(trouble) if !*stop.borrow() => {
                tracing::error!(%trouble, "the watchdog is not told");
            }
            _ => systemd::alive(),
        }
        tokio::time::sleep(every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::InProcess;
    use super::super::clock::SystemClock;
    use super::*;

    #[tokio::test]
    async fn what_runs_is_what_the_ledger_names() {
        let keep = tempfile::tempdir().unwrap();
        let url = StateUrl::sqlite(keep.path().join("state.sqlite"));
        let state = State::open(&url).await.unwrap();
        let file = keep.path().join("walproof.yaml");
        std::fs::write(&file, "version: 1\n").unwrap();
        let given = sources::read(&file, Some(&url)).unwrap().config;
        let changed = "version: 1\nclusters:\n- {name: orders, primary: {url: 'file:///a'}}\n";
        // The file changed after it was read: to a right one, and to one with a mistake.
        for (text, clusters, entries) in [(changed, 1, 2), ("version: 2\n", 0, 1)] {
            std::fs::write(&file, text).unwrap();
            let before = state
                .entry_head()
                .await
                .unwrap()
                .map_or(0, |(head, _)| head);
            let options = DaemonOptions {
                config: given.clone(),
                file: Some(file.clone()),
                state_url: Some(url.clone()),
                clock: Arc::new(SystemClock::default()),
                executor: Arc::new(InProcess::new(state.clone())),
                tick: Duration::from_secs(1),
                overlay: None,
                process: false,
            };
            let daemon = Daemon::start(state.clone(), options).await.unwrap();
            assert_eq!(daemon.plan.borrow().config.clusters.len(), clusters);
            let sha256 = crate::evidence::sha256_hex(text.as_bytes());
            let known = daemon.stamp.as_ref().map(Stamp::sha256);
            assert_eq!(known, (entries == 2).then_some(sha256.clone()));
            let said = state.entries(before, 10).await.unwrap();
            assert_eq!(said.len(), entries);
            if let Some(accepted) = said.get(1) {
                assert_eq!(accepted.content().unwrap().body["sha256"], sha256);
            }
        }
    }
}
