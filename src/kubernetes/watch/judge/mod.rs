//! The state machine: objects, lines and the clock go in, observations come out. Pure: it
//! asks nobody anything, and time is what it is told.

mod clock;
mod cluster;
mod pods;
mod surroundings;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::attempt::{Attempt, End};
use super::objects::{self, Role, text};
use super::observation::{PodLine, What};
use super::trouble::{Trouble, TroubleClass};
use super::words;

/// How long each thing may take before the recovery is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graces {
    /// From the first failed pull of an image.
    pub image: TimeDelta,
    /// From the scheduler's first refusal, or from a pod that it does not look at.
    pub schedule: TimeDelta,
    /// From the first sign of a volume that is waited for.
    pub volume: TimeDelta,
    /// From the Cluster's creation until its first phase or Job; and from the Job's success
    /// until the instance's pod.
    pub operator: TimeDelta,
    /// For phases in which the operator says that it cannot go on, and tries again. The
    /// first seconds of a healthy recovery with the plugin show one.
    pub stuck: TimeDelta,
    /// For the store to answer once it was asked: for the catalog of backups, for a
    /// segment. Barman's own patience is five minutes each time, and it says nothing
    /// meanwhile.
    pub store: TimeDelta,
    /// From the API's last answer.
    pub api: TimeDelta,
    /// From a pod's end until its log is judged as it is.
    pub log: TimeDelta,
}

impl Default for Graces {
    fn default() -> Self {
        Self {
            image: TimeDelta::seconds(60),
            schedule: TimeDelta::seconds(120),
            volume: TimeDelta::seconds(120),
            operator: TimeDelta::seconds(60),
            stuck: TimeDelta::seconds(60),
            store: TimeDelta::seconds(180),
            api: TimeDelta::seconds(120),
            log: TimeDelta::seconds(15),
        }
    }
}

/// How often a pod may fail of something that can pass by itself (a store that was away, a
/// node that took the pod) before the recovery is given up.
const ATTEMPTS: u32 = 3;
/// Something is told, not yet fatal, once it has lasted this long: what a healthy recovery
/// shows for a moment is not told.
const WORTH_TELLING: TimeDelta = TimeDelta::seconds(5);
/// After this the operator should have made the volume claims: without any, the quotas are
/// counted.
const CLAIMS_DUE: TimeDelta = TimeDelta::seconds(10);
/// A pod without a node and without the scheduler's word about it.
const NOT_LOOKED_AT: &str = "the scheduler has not looked at the pod";
/// Events of which at most this many are told apart.
const MAX_EVENTS: usize = 2000;

/// How an object changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there, new or different.
    Seen,
    /// It is gone; this was its last state.
    Deleted,
}

/// What goes in.
#[derive(Clone, Debug)]
pub enum Input {
    /// An object of the namespace, of any kind that is watched.
    Object(Change, Box<Value>),
    /// A line of a container's log.
    Line(PodLine),
    /// A container's log has come to its end.
    LogEnded {
        /// The pod.
        pod: String,
        /// Its container.
        container: String,
    },
    /// The API answered.
    Answered,
    /// The API did not answer; its words.
    Away(String),
    /// The API says that we may not.
    Refused(String),
    /// The namespace is gone or going.
    NamespaceGone(String),
    /// Time passes.
    Tick,
}

/// What came out: by the cluster's clock, and what.
pub type Seen = (Option<DateTime<Utc>>, What);

#[derive(Clone, Debug, Default)]
struct Pod {
    role: Option<Role>,
    main: String,
    /// Counted from 1 among the Job's pods.
    number: u32,
    scheduled: bool,
    pulled: bool,
    running: bool,
    /// Containers whose log is followed and has not ended.
    open_logs: Vec<String>,
    ended: Option<(DateTime<Utc>, End)>,
    judged: bool,
    attempt: Attempt,
}

/// Something that is wrong and may still pass.
#[derive(Clone, Debug)]
struct Pending {
    since: DateTime<Utc>,
    grace: TimeDelta,
    trouble: Trouble,
    told: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Judge {
    cluster: String,
    graces: Graces,
    newest_wal: Option<String>,
    cluster_seen: Option<DateTime<Utc>>,
    phase: Option<(String, String)>,
    job: Option<String>,
    job_succeeded: Option<DateTime<Utc>>,
    job_failed: Option<(DateTime<Utc>, String)>,
    instance_seen: bool,
    ready: bool,
    over: bool,
    away: Option<(DateTime<Utc>, String)>,
    pods: BTreeMap<String, Pod>,
    /// By what it is about.
    pending: BTreeMap<String, Pending>,
    events: BTreeMap<String, u32>,
    marked: [bool; 3],
    last_trouble: Option<Trouble>,
    /// The Cluster as it was last seen; its volumes are counted against the quotas.
    cluster_object: Value,
    quotas: BTreeMap<String, Value>,
    claim_seen: bool,
}

impl Judge {
    /// Judges the recovery of a Cluster of this name.
    pub fn new(cluster: &str, graces: Graces) -> Self {
        Self {
            cluster: cluster.to_owned(),
            graces,
            newest_wal: None,
            cluster_seen: None,
            phase: None,
            job: None,
            job_succeeded: None,
            job_failed: None,
            instance_seen: false,
            ready: false,
            over: false,
            away: None,
            pods: BTreeMap::new(),
            pending: BTreeMap::new(),
            events: BTreeMap::new(),
            marked: [false; 3],
            last_trouble: None,
            cluster_object: Value::Null,
            quotas: BTreeMap::new(),
            claim_seen: false,
        }
    }

    /// The newest WAL segment that the archive is known to hold.
    pub fn set_newest_wal(&mut self, name: Option<String>) {
        self.newest_wal = name.filter(|name| words::is_segment(name));
    }

    /// Takes something in.
    pub fn take(&mut self, now: DateTime<Utc>, input: Input) -> Vec<Seen> {
        let mut out = Vec::new();
        match input {
            Input::Object(change, object) => self.take_object(now, change, &object, &mut out),
            Input::Line(line) => self.take_line(now, line, &mut out),
            Input::LogEnded { pod, container } => {
                if let Some(pod) = self.pods.get_mut(&pod) {
                    pod.open_logs.retain(|open| *open != container);
                }
            }
            Input::Answered => self.answered(now),
            Input::Away(words) => {
                self.away.get_or_insert((now, words));
            }
            Input::Refused(words) => {
                let object = format!("cluster {}", self.cluster);
                self.end(trouble(TroubleClass::Forbidden, &object, &words), &mut out);
            }
            Input::NamespaceGone(words) => {
                self.end(
                    trouble(TroubleClass::NamespaceGone, "namespace", &words),
                    &mut out,
                );
            }
            Input::Tick => {}
        }
        self.look_at_pods(now, &mut out);
        self.look_at_clock(now, &mut out);
        out
    }

    /// The API answers again. What was waited for meanwhile is given that time.
    fn answered(&mut self, now: DateTime<Utc>) {
        let Some((since, _)) = self.away.take() else {
            return;
        };
        let lost = now.signed_duration_since(since).max(TimeDelta::zero());
        let pending = self.pending.values_mut().map(|pending| &mut pending.since);
        let others = self.cluster_seen.iter_mut().chain(&mut self.job_succeeded);
        for moment in pending.chain(others) {
            *moment = moment.checked_add_signed(lost).unwrap_or(*moment);
        }
    }

    /// The containers of a pod whose logs should be followed now, with their count of
    /// restarts. Pure; what is followed already is the caller's to know.
    pub fn logs_of(&self, pod: &Value) -> Vec<(String, i64)> {
        if objects::role(pod, &self.cluster).is_none() {
            return Vec::new();
        }
        objects::containers(pod)
            .filter(|container| container.waiting.is_none())
            .map(|container| (container.name.to_owned(), container.restarts))
            .collect()
    }

    /// Says that a container's log is followed: its pod is not judged before it has ended.
    pub fn log_opened(&mut self, pod: &str, container: &str) {
        let pod = self.pods.entry(pod.to_owned()).or_default();
        pod.open_logs.push(container.to_owned());
    }

    /// Whether there is nothing more to wait for: ready, or past saving.
    pub const fn is_over(&self) -> bool {
        self.over || self.ready
    }

    fn take_object(
        &mut self,
        now: DateTime<Utc>,
        change: Change,
        object: &Value,
        out: &mut Vec<Seen>,
    ) {
        self.answered(now);
        match text(object, "/kind") {
            "Cluster" => self.take_cluster(now, change, object, out),
            "Job" => self.take_job(now, change, object, out),
            "Pod" => self.take_pod(now, change, object, out),
            "PersistentVolumeClaim" => self.take_claim(now, change, object),
            "Event" => self.take_event(now, object, out),
            "ResourceQuota" => self.take_quota(change, object),
            _ => {}
        }
    }

    fn pend(
        &mut self,
        now: DateTime<Utc>,
        key: &str,
        grace: TimeDelta,
        trouble: Trouble,
        out: &mut Vec<Seen>,
    ) {
        if self.is_over() {
            return;
        }
        let since = self.pending.get(key).map(|known| (known.since, known.told));
        let (since, told) = since.unwrap_or((now, false));
        let pending = Pending {
            since,
            grace,
            trouble,
            told,
        };
        self.pending.insert(key.to_owned(), pending);
        self.look_at_clock(now, out);
    }

    /// The recovery is over.
    fn end(&mut self, mut trouble: Trouble, out: &mut Vec<Seen>) {
        // After it is ready only what takes it away is still a trouble.
        let takes_away = matches!(
            trouble.class,
            TroubleClass::ClusterGone | TroubleClass::NamespaceGone | TroubleClass::ApiUnreachable
        );
        if self.over || (self.ready && !takes_away) {
            return;
        }
        self.over = true;
        trouble.fatal = true;
        out.push((None, What::Trouble(trouble)));
    }
}

/// Whether the next attempt may do better.
const fn can_pass(class: TroubleClass) -> bool {
    matches!(
        class,
        TroubleClass::StoreUnreachable
            | TroubleClass::PodLost
            | TroubleClass::Unexplained
            | TroubleClass::PluginUnknown
            | TroubleClass::PolicyDenied
    )
}

fn trouble(class: TroubleClass, object: &str, text: &str) -> Trouble {
    Trouble {
        class,
        object: object.to_owned(),
        words: words::short(text),
        hint: words::hint(class).to_owned(),
        missing_wal: None,
        fatal: false,
    }
}
