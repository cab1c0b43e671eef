//! A recovery that is being watched.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use chrono::Utc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::feed::{self, Feed};
use super::judge::{Change, Graces, Input, Judge};
use super::logbook::LogBook;
use super::objects::text;
use super::observation::{Observation, What};
use crate::kubernetes::{Kube, PodRef};

/// Inputs that wait to be judged. With lines of 64 KiB that is 64 MiB at the very most.
const QUEUE: usize = 1024;
/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(1);
/// At most so many logs are followed: a Job makes seven pods of three containers.
const MAX_LOGS: usize = 64;

/// Watches a Cluster that recovers, in a namespace of its own. Dropping it ends the
/// watching.
#[derive(Debug)]
pub struct Recovery {
    kube: Kube,
    namespace: String,
    judge: Judge,
    log: LogBook,
    ready: VecDeque<Observation>,
    feed: Feed,
    inputs: mpsc::Receiver<(chrono::DateTime<Utc>, Input)>,
    followed: BTreeSet<(String, String, i64)>,
    tasks: JoinSet<()>,
}

impl Recovery {
    /// Begins to watch a namespace that exists. Best called before the Cluster is created, so
    /// that nothing is missed; called later it tells what it finds. Needs a Tokio runtime.
    ///
    /// Reads only: `get`, `list` and `watch` of `clusters.postgresql.cnpg.io`, `jobs.batch`,
    /// `pods`, `persistentvolumeclaims`, `events` and, if it may, `resourcequotas` in the
    /// namespace; `get` of `pods/log` and, if it may, of the namespace.
    pub fn start(kube: &Kube, namespace: &str, cluster: &str) -> Self {
        Self::start_with(kube, namespace, cluster, Graces::default())
    }

    /// The same with other graces.
    pub fn start_with(kube: &Kube, namespace: &str, cluster: &str, graces: Graces) -> Self {
        let (feed, inputs) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        for kind in feed::KINDS {
            tasks.spawn(feed::watch(
                kube.clone(),
                namespace.to_owned(),
                kind,
                feed.clone(),
            ));
        }
        tasks.spawn(feed::watch_namespace(
            kube.clone(),
            namespace.to_owned(),
            feed.clone(),
        ));
        Self {
            kube: kube.clone(),
            namespace: namespace.to_owned(),
            judge: Judge::new(cluster, graces),
            log: LogBook::default(),
            ready: VecDeque::new(),
            feed,
            inputs,
            followed: BTreeSet::new(),
            tasks,
        }
    }

    /// The newest WAL segment that the archive is known to hold (24 hexadecimal digits). If
    /// the recovery does not find it, or one before it, there is a hole
    /// ([`super::TroubleClass::WalMissing`]), not the archive's end
    /// ([`super::TroubleClass::TargetNotReached`]).
    #[must_use]
    pub fn newest_wal(mut self, name: Option<&str>) -> Self {
        self.judge.set_newest_wal(name.map(str::to_owned));
        self
    }

    /// The next observation. It never ends by itself: stop at [`What::Ready`], at a fatal
    /// [`What::Trouble`], or at a deadline of your own. Cancel-safe.
    pub async fn next(&mut self) -> Observation {
        loop {
            if let Some(observation) = self.ready.pop_front() {
                return observation;
            }
            // The receiver cannot end: this keeps a sender. Silence is time that passes.
            let (at, input) = match tokio::time::timeout(TICK, self.inputs.recv()).await {
                Ok(Some(input)) => input,
                Ok(None) | Err(_) => (Utc::now(), Input::Tick),
            };
            self.take(at, input);
        }
    }

    fn take(&mut self, at: chrono::DateTime<Utc>, input: Input) {
        while self.tasks.try_join_next().is_some() {}
        let pod = match &input {
            Input::Object(Change::Seen, object) if text(object, "/kind") == "Pod" => {
                let name = text(object, "/metadata/name").to_owned();
                Some((name, self.judge.logs_of(object)))
            }
            _ => None,
        };
        // Opened before it is judged, so that a pod whose end is the first that is seen of
        // it is judged by its log.
        if let Some((pod, containers)) = pod {
            for (container, restarts) in containers {
                self.follow(&pod, container, restarts);
            }
        }
        for (told, what) in self.judge.take(at, input) {
            if let What::Log(line) = &what {
                self.log.push(line.clone());
            }
            self.ready.push_back(Observation { at, told, what });
        }
    }

    fn follow(&mut self, pod: &str, container: String, restarts: i64) {
        let key = (pod.to_owned(), container.clone(), restarts);
        if self.followed.len() >= MAX_LOGS || !self.followed.insert(key) {
            return;
        }
        self.judge.log_opened(pod, &container);
        let pod = PodRef::new(&self.namespace, pod).container(container);
        self.tasks
            .spawn(feed::follow_log(self.kube.clone(), pod, self.feed.clone()));
    }

    /// Everything that the containers have written so far.
    pub const fn log(&self) -> &LogBook {
        &self.log
    }
}
