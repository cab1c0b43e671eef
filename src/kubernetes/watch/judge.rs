//! The state machine: objects, lines and the clock go in, observations come out. Pure: it
//! asks nobody anything, and time is what it is told.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::attempt::{Attempt, End};
use super::lines::{self, Said};
use super::objects::{self, Role, condition, number, text};
use super::observation::{PodLine, What};
use super::quota;
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
            Input::Answered => self.away = None,
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
        self.away = None;
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

    fn take_cluster(
        &mut self,
        now: DateTime<Utc>,
        change: Change,
        object: &Value,
        out: &mut Vec<Seen>,
    ) {
        if text(object, "/metadata/name") != self.cluster {
            return;
        }
        let name = format!("cluster {}", self.cluster);
        let deleted = text(object, "/metadata/deletionTimestamp");
        if change == Change::Deleted || !deleted.is_empty() {
            let words = if deleted.is_empty() {
                "the Cluster was deleted".to_owned()
            } else {
                format!("the Cluster was deleted at {deleted}")
            };
            self.end(trouble(TroubleClass::ClusterGone, &name, &words), out);
            return;
        }
        self.cluster_seen.get_or_insert(now);
        self.cluster_object = object.clone();
        let phase = text(object, "/status/phase");
        let reason = words::short(text(object, "/status/phaseReason"));
        let pair = (phase.to_owned(), reason.clone());
        if !phase.is_empty() && self.phase.as_ref() != Some(&pair) {
            let what = What::Phase {
                phase: pair.0.clone(),
                reason: pair.1.clone(),
            };
            out.push((None, what));
            self.phase = Some(pair);
        }
        self.judge_phase(now, &name, phase, &reason, out);
        self.judge_ready(object, phase, out);
    }

    /// The phases that a drill does not leave by itself, and those that it may.
    fn judge_phase(
        &mut self,
        now: DateTime<Utc>,
        name: &str,
        phase: &str,
        reason: &str,
        out: &mut Vec<Seen>,
    ) {
        let words = if reason.is_empty() {
            phase.to_owned()
        } else {
            format!("{phase}: {reason}")
        };
        if reason.contains("because it is being terminated") {
            self.end(
                trouble(TroubleClass::NamespaceGone, "namespace", &words),
                out,
            );
            return;
        }
        let refusal = words::of_refusal(reason);
        let (class, grace) = match phase {
            "Cluster cannot proceed to reconciliation due to an unknown plugin being required"
            | "Cluster cannot proceed to reconciliation due to an error while interacting with plugins" => {
                (TroubleClass::PluginUnknown, self.plugin_grace())
            }
            "Unable to create required cluster objects" => (
                refusal.unwrap_or(TroubleClass::ClusterTerminal),
                if refusal.is_some() {
                    WORTH_TELLING
                } else {
                    self.graces.stuck
                },
            ),
            "Cluster has incomplete or invalid image catalog" | "Invalid cluster definition" => {
                (TroubleClass::ClusterTerminal, WORTH_TELLING)
            }
            "Cluster is unrecoverable and needs manual intervention" => {
                // What its Job failed of says more; its log may still be on its way.
                self.job_failed.get_or_insert((now, words));
                return;
            }
            _ => {
                self.pending.remove("phase");
                return;
            }
        };
        self.pend(now, "phase", grace, trouble(class, name, &words), out);
    }

    /// A recovery that runs needs the operator's plugin again only when its Job is done: an
    /// overloaded node lets the plugin miss its probes for a while.
    fn plugin_grace(&self) -> TimeDelta {
        let stuck = self.graces.stuck;
        if self.job.is_some() {
            stuck.checked_mul(5).unwrap_or(stuck)
        } else {
            stuck
        }
    }

    fn judge_ready(&mut self, object: &Value, phase: &str, out: &mut Vec<Seen>) {
        let wanted = number(object, "/spec/instances");
        let primary = text(object, "/status/currentPrimary");
        let ready = phase == "Cluster in healthy state"
            && matches!(condition(object, "Ready"), Some((true, ..)))
            && wanted > 0
            && number(object, "/status/readyInstances") == wanted
            && number(object, "/status/instances") == wanted
            && !primary.is_empty();
        if !ready || self.ready || self.over {
            return;
        }
        self.ready = true;
        self.pending.clear();
        let system_id = text(object, "/status/systemID");
        let what = What::Ready {
            timeline: u32::try_from(number(object, "/status/timelineID"))
                .ok()
                .filter(|timeline| *timeline > 0),
            system_id: Some(system_id.to_owned()).filter(|id| !id.is_empty()),
            primary: primary.to_owned(),
        };
        out.push((None, what));
    }

    fn take_job(
        &mut self,
        now: DateTime<Utc>,
        change: Change,
        object: &Value,
        out: &mut Vec<Seen>,
    ) {
        let label = |key: &str| {
            object
                .pointer("/metadata/labels")
                .and_then(|labels| labels.get(key))
                .and_then(Value::as_str)
        };
        let recovers = matches!(
            label("cnpg.io/jobRole"),
            Some("full-recovery" | "snapshot-recovery")
        );
        if !recovers || label("cnpg.io/cluster") != Some(&self.cluster) {
            return;
        }
        let name = text(object, "/metadata/name");
        if self.job.as_deref() != Some(name) {
            self.job = Some(name.to_owned());
            let created = objects::moment(object, "/metadata/creationTimestamp");
            let what = What::JobCreated {
                name: name.to_owned(),
            };
            out.push((created, what));
        }
        let complete = matches!(condition(object, "Complete"), Some((true, ..)));
        if (complete || number(object, "/status/succeeded") > 0) && self.job_succeeded.is_none() {
            self.job_succeeded = Some(now);
            let told = objects::moment(object, "/status/completionTime");
            out.push((told, What::JobSucceeded));
        }
        if let Some((true, reason, message)) = condition(object, "Failed") {
            self.job_failed
                .get_or_insert((now, words::short(&format!("{reason}: {message}"))));
        }
        // The operator deletes a Job that is done; any other end is somebody's hand.
        if change == Change::Deleted && self.job_succeeded.is_none() && !self.over {
            self.job = None;
        }
        let started = number(object, "/status/active") > 0 || complete;
        if started {
            self.pending.remove("job");
        }
    }

    fn take_pod(
        &mut self,
        now: DateTime<Utc>,
        change: Change,
        object: &Value,
        out: &mut Vec<Seen>,
    ) {
        let Some(role) = objects::role(object, &self.cluster) else {
            return;
        };
        let name = text(object, "/metadata/name").to_owned();
        let main = objects::main_container(object, role).to_owned();
        let known = self
            .pods
            .values()
            .filter(|pod| pod.role == Some(Role::Job))
            .count();
        let pod = self.pods.entry(name.clone()).or_default();
        if pod.role.is_none() {
            pod.role = Some(role);
            pod.main.clone_from(&main);
            pod.number = u32::try_from(known).unwrap_or(u32::MAX).saturating_add(1);
        }
        if role == Role::Instance {
            self.instance_seen = true;
        }
        self.pending.remove("job");
        let node = text(object, "/spec/nodeName");
        if !node.is_empty() && !pod.scheduled {
            pod.scheduled = true;
            let what = What::PodScheduled {
                pod: name.clone(),
                node: node.to_owned(),
            };
            out.push((None, what));
        }
        let running = objects::containers(object)
            .any(|container| container.name == main && container.running);
        let ended = objects::containers(object)
            .any(|container| container.name == main && container.terminated.is_some());
        if (running || ended) && !pod.pulled {
            pod.pulled = true;
            out.push((None, What::ImagePulled { pod: name.clone() }));
        }
        if (running || ended) && !pod.running {
            pod.running = true;
            out.push((
                None,
                match role {
                    Role::Job => What::JobRunning { pod: name.clone() },
                    Role::Instance => What::InstanceStarted { pod: name.clone() },
                },
            ));
        }
        if pod.ended.is_none() {
            let taken = change == Change::Deleted
                || !text(object, "/metadata/deletionTimestamp").is_empty();
            // A container that is told to stop ends with an error of its own making.
            let end = if taken && text(object, "/status/phase") != "Succeeded" {
                Some(End {
                    pod_reason: "Deleted".to_owned(),
                    pod_message: "the pod was deleted".to_owned(),
                    ..End::default()
                })
            } else {
                objects::failure(object, &main)
            };
            if let Some(end) = end
                && role == Role::Job
            {
                pod.ended = Some((now, end));
                self.pending.remove(&format!("store {name}"));
            }
        }
        let waits =
            change == Change::Seen && self.pods.get(&name).is_some_and(|pod| !pod.scheduled);
        self.judge_schedule(now, &name, object, waits, out);
        self.judge_containers(now, &name, object, change, role, out);
    }

    fn judge_schedule(
        &mut self,
        now: DateTime<Utc>,
        name: &str,
        object: &Value,
        waits: bool,
        out: &mut Vec<Seen>,
    ) {
        let key = format!("schedule {name}");
        if !waits {
            self.pending.remove(&key);
            return;
        }
        let words = match condition(object, "PodScheduled") {
            Some((false, _, message)) => words::short(message),
            _ => NOT_LOOKED_AT.to_owned(),
        };
        let (class, grace) = if words::waits_for_volume(&words) {
            (TroubleClass::PvcPending, self.graces.volume)
        } else {
            (TroubleClass::Unschedulable, self.graces.schedule)
        };
        // A claim that is known to wait says more than the pod that waits for it.
        if words == NOT_LOOKED_AT && self.pending.keys().any(|key| key.starts_with("claim ")) {
            return;
        }
        let trouble = trouble(class, &format!("pod {name}"), &words);
        self.pend(now, &key, grace, trouble, out);
    }

    fn judge_containers(
        &mut self,
        now: DateTime<Utc>,
        name: &str,
        object: &Value,
        change: Change,
        role: Role,
        out: &mut Vec<Seen>,
    ) {
        let mut wrong = None;
        for container in objects::containers(object) {
            let about = format!("pod {name}, container {}", container.name);
            if let Some((reason, message)) = container.waiting {
                let words = format!("{reason}: {message}");
                let found = match reason {
                    "ErrImagePull"
                    | "ImagePullBackOff"
                    | "ErrImageNeverPull"
                    | "RegistryUnavailable"
                    | "ImageInspectError" => Some((TroubleClass::ImagePull, self.graces.image)),
                    "InvalidImageName" => Some((TroubleClass::ImagePull, TimeDelta::zero())),
                    "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                        Some((TroubleClass::Unfit, self.graces.stuck))
                    }
                    "CrashLoopBackOff" if role == Role::Instance && container.restarts >= 2 => {
                        let class = match container.before {
                            Some((_, "OOMKilled")) => TroubleClass::OutOfMemory,
                            _ => TroubleClass::Unexplained,
                        };
                        Some((class, self.graces.image))
                    }
                    _ => None,
                };
                if let Some((class, grace)) = found {
                    wrong = Some((grace, trouble(class, &about, &words)));
                }
            }
        }
        let key = format!("container {name}");
        match wrong.filter(|_| change == Change::Seen) {
            Some((grace, trouble)) => self.pend(now, &key, grace, trouble, out),
            None => {
                // Between two pulls the container is shown as if nothing had happened.
                let waiting = objects::containers(object)
                    .any(|container| matches!(container.waiting, Some((reason, _)) if reason != "PodInitializing"));
                if !waiting {
                    self.pending.remove(&key);
                }
            }
        }
    }

    /// A namespace has one quota of ours, and at most a few of others.
    fn take_quota(&mut self, change: Change, object: &Value) {
        let name = text(object, "/metadata/name").to_owned();
        if change == Change::Deleted {
            self.quotas.remove(&name);
        } else if self.quotas.len() < 16 || self.quotas.contains_key(&name) {
            self.quotas.insert(name, object.clone());
        }
    }

    fn take_claim(&mut self, now: DateTime<Utc>, change: Change, object: &Value) {
        let name = text(object, "/metadata/name");
        self.claim_seen = true;
        let key = format!("claim {name}");
        let bound = text(object, "/status/phase") != "Pending" || change == Change::Deleted;
        if bound {
            self.pending.remove(&key);
            return;
        }
        // A claim without a node waits for its pod to be scheduled, which is no trouble of
        // its own; one with a node waits for its provisioner.
        let chosen = object
            .pointer("/metadata/annotations")
            .and_then(|all| all.get("volume.kubernetes.io/selected-node"))
            .is_some();
        if chosen && !self.pending.contains_key(&key) {
            let class = text(object, "/spec/storageClassName");
            let words = format!("no volume was made for it yet (storage class {class})");
            // It is what its pod waits for.
            self.pending
                .retain(|_, pending| pending.trouble.words != NOT_LOOKED_AT);
            let trouble = trouble(
                TroubleClass::PvcPending,
                &format!("persistentvolumeclaim {name}"),
                &words,
            );
            self.pending.insert(
                key,
                Pending {
                    since: now,
                    grace: self.graces.volume,
                    trouble,
                    told: false,
                },
            );
        }
    }

    fn take_event(&mut self, now: DateTime<Utc>, object: &Value, out: &mut Vec<Seen>) {
        let Some(event) = objects::event(object, &self.cluster) else {
            return;
        };
        let uid = text(object, "/metadata/uid").to_owned();
        let known = self.events.get(&uid).copied();
        if known.is_some_and(|count| count >= event.count)
            || (known.is_none() && self.events.len() >= MAX_EVENTS)
        {
            return;
        }
        self.events.insert(uid, event.count);
        let told = objects::event_time(object);
        out.push((told, What::Event(event.clone())));
        if !event.warning {
            if event.reason == "ExternalProvisioning"
                && let Some(name) = event.object.strip_prefix("PersistentVolumeClaim/")
                && let Some(pending) = self.pending.get_mut(&format!("claim {name}"))
            {
                pending.trouble.words.clone_from(&event.message);
            }
            if event.reason == "Pulled"
                && let Some(name) = event.object.strip_prefix("Pod/")
                && let Some(pod) = self.pods.get_mut(name)
                && !pod.pulled
                && text(object, "/involvedObject/fieldPath")
                    == format!("spec.containers{{{}}}", pod.main)
            {
                pod.pulled = true;
                out.push((
                    told,
                    What::ImagePulled {
                        pod: name.to_owned(),
                    },
                ));
            }
            return;
        }
        let words = format!("{}: {}", event.reason, event.message);
        let (kind, name) = event.object.split_once('/').unwrap_or_default();
        match (kind, event.reason.as_str()) {
            ("Job", "FailedCreate") => {
                if event.message.contains("because it is being terminated") {
                    self.end(
                        trouble(TroubleClass::NamespaceGone, "namespace", &words),
                        out,
                    );
                    return;
                }
                let class = words::of_refusal(&event.message);
                let grace = if class.is_some() {
                    WORTH_TELLING
                } else {
                    self.graces.stuck
                };
                let class = class.unwrap_or(TroubleClass::Unexplained);
                let object = format!("job {name}");
                self.pend(now, "job", grace, trouble(class, &object, &words), out);
            }
            ("PersistentVolumeClaim", "ProvisioningFailed") => {
                let grace = if event.message.contains("not found") {
                    WORTH_TELLING
                } else {
                    self.graces.volume
                };
                let object = format!("persistentvolumeclaim {name}");
                let class = words::of_refusal(&event.message)
                    .filter(|class| *class == TroubleClass::Quota)
                    .unwrap_or(TroubleClass::PvcPending);
                let key = format!("claim {name}");
                // Its words replace ours; the clock goes on.
                self.pend(now, &key, grace, trouble(class, &object, &words), out);
            }
            ("Pod", "FailedMount" | "FailedAttachVolume" | "FailedCreatePodSandBox") => {
                let running = self.pods.get(name).is_some_and(|pod| pod.running);
                if !running {
                    let class = match event.reason.as_str() {
                        "FailedAttachVolume" => TroubleClass::PvcPending,
                        "FailedMount" => TroubleClass::Unfit,
                        _ => TroubleClass::Unexplained,
                    };
                    let key = format!("mount {name}");
                    let object = format!("pod {name}");
                    let grace = self.graces.volume;
                    self.pend(now, &key, grace, trouble(class, &object, &words), out);
                }
            }
            _ => {}
        }
    }

    fn take_line(&mut self, now: DateTime<Utc>, line: PodLine, out: &mut Vec<Seen>) {
        let pod = self.pods.entry(line.pod.clone()).or_default();
        let in_job = pod.role != Some(Role::Instance);
        let said = lines::read(&line, in_job);
        let told = line.time;
        if let Some(said) = &said {
            pod.attempt.take(said, &line.text);
        }
        let asked = match &said {
            Some(Said::CatalogAsked) => Some("the catalog of backups".to_owned()),
            Some(Said::WalAsked(name)) => Some(name.clone()),
            Some(said) if said.is_answer() => {
                self.pending.remove(&format!("store {}", line.pod));
                None
            }
            _ => None,
        };
        if let Some(asked) = asked {
            let words = format!("the object store has been asked for {asked} and has not answered");
            let object = format!("pod {}", line.pod);
            let key = format!("store {}", line.pod);
            self.pending.remove(&key);
            let trouble = trouble(TroubleClass::StoreUnreachable, &object, &words);
            self.pend(now, &key, self.graces.store, trouble, out);
        }
        out.push((told, What::Log(line)));
        let (mark, what) = match said {
            Some(Said::Postgres { line, .. }) => {
                out.push((line.time.or(told), What::Postgres(line)));
                return;
            }
            Some(Said::BackupFound(id)) => (0, What::BackupFound { id }),
            Some(Said::RestoreStarted) => (1, What::RestoreStarted),
            Some(Said::BaseRestored) => (2, What::BaseRestored),
            _ => return,
        };
        // Once, also when a second pod does it again.
        if let Some(marked) = self.marked.get_mut(mark)
            && !*marked
        {
            *marked = true;
            out.push((told, what));
        }
    }

    /// Judges the Job's pods that have ended, once their logs have.
    fn look_at_pods(&mut self, now: DateTime<Utc>, out: &mut Vec<Seen>) {
        let mut verdicts = Vec::new();
        for (name, pod) in &mut self.pods {
            let Some((ended, end)) = &pod.ended else {
                continue;
            };
            let patience = now.signed_duration_since(*ended) >= self.graces.log;
            if pod.judged || (!pod.open_logs.is_empty() && !patience) {
                continue;
            }
            // The first look at a pod may be its last state: its log is still to be opened.
            if !patience && !pod.attempt.explains() && end.pod_reason.is_empty() {
                continue;
            }
            pod.judged = true;
            let verdict = pod.attempt.verdict(name, end, self.newest_wal.as_deref());
            verdicts.push((name.clone(), pod.number, verdict));
        }
        verdicts.sort_by_key(|(_, number, _)| *number);
        for (pod, number, mut verdict) in verdicts {
            let out_of_attempts = number >= ATTEMPTS || self.job_failed.is_some();
            if !can_pass(verdict.class) || out_of_attempts {
                if number > 1 {
                    verdict.words = words::short(&format!("{} (attempt {number})", verdict.words));
                }
                self.end(verdict, out);
                return;
            }
            self.last_trouble = Some(verdict.clone());
            if !self.is_over() {
                out.push((None, What::Trouble(verdict)));
                out.push((
                    None,
                    What::Retried {
                        pod,
                        attempt: number,
                    },
                ));
            }
        }
    }

    fn look_at_clock(&mut self, now: DateTime<Utc>, out: &mut Vec<Seen>) {
        if self.over {
            return;
        }
        if let Some((since, words)) = &self.away
            && now.signed_duration_since(*since) >= self.graces.api
        {
            let words = format!(
                "no answer for {} s: {words}",
                now.signed_duration_since(*since).num_seconds()
            );
            self.end(
                trouble(TroubleClass::ApiUnreachable, "API server", &words),
                out,
            );
            return;
        }
        // While the API is away nothing else can be known.
        if self.away.is_some() || self.ready {
            return;
        }
        self.look_at_operator(now, out);
        let mut fatal = None;
        for pending in self.pending.values_mut() {
            let age = now.signed_duration_since(pending.since);
            if age >= pending.grace {
                // The one with the more telling class comes first where two are due.
                let trouble = &pending.trouble;
                if fatal.as_ref().is_none_or(|known: &Trouble| {
                    known.class == TroubleClass::Unschedulable
                        && trouble.class != TroubleClass::Unschedulable
                }) {
                    fatal = Some(trouble.clone());
                }
            } else if age >= WORTH_TELLING.max(pending.grace / 6) && !pending.told {
                pending.told = true;
                out.push((None, What::Trouble(pending.trouble.clone())));
            }
        }
        if let Some(trouble) = fatal {
            self.end(trouble, out);
        }
    }

    fn look_at_operator(&mut self, now: DateTime<Utc>, out: &mut Vec<Seen>) {
        let name = format!("cluster {}", self.cluster);
        if !self.claim_seen
            && self.job.is_none()
            && self
                .cluster_seen
                .is_some_and(|seen| now.signed_duration_since(seen) >= CLAIMS_DUE)
            && let Some(words) = self
                .quotas
                .values()
                .find_map(|quota| quota::shortage(quota, &self.cluster_object))
        {
            self.end(trouble(TroubleClass::Quota, &name, &words), out);
            return;
        }
        let silent =
            |since: DateTime<Utc>| now.signed_duration_since(since) >= self.graces.operator;
        if let Some((since, words)) = self.job_failed.clone() {
            // The pod's own verdict comes when its log has ended.
            let waiting = self
                .pods
                .values()
                .any(|pod| pod.role == Some(Role::Job) && !pod.judged);
            if !waiting || now.signed_duration_since(since) >= self.graces.log {
                let verdict = self
                    .last_trouble
                    .clone()
                    .unwrap_or_else(|| trouble(TroubleClass::ClusterTerminal, &name, &words));
                self.end(verdict, out);
            }
            return;
        }
        let words = match (self.cluster_seen, self.job_succeeded) {
            (Some(created), _) if self.phase.is_none() && self.job.is_none() && silent(created) => {
                "the operator has not looked at the Cluster"
            }
            (_, Some(done)) if !self.instance_seen && silent(done) => {
                "the recovery Job is done and the operator starts no instance"
            }
            (Some(created), None)
                if self.job.is_none()
                    && self.pending.is_empty()
                    && now.signed_duration_since(created)
                        >= self
                            .graces
                            .operator
                            .checked_mul(2)
                            .unwrap_or(self.graces.operator) =>
            {
                "the operator has made no recovery Job"
            }
            _ => return,
        };
        self.end(trouble(TroubleClass::OperatorSilent, &name, words), out);
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
        match self.pending.get_mut(key) {
            Some(pending) => {
                pending.trouble = trouble;
                pending.grace = grace;
            }
            None => {
                let pending = Pending {
                    since: now,
                    grace,
                    trouble,
                    told: false,
                };
                self.pending.insert(key.to_owned(), pending);
            }
        }
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
