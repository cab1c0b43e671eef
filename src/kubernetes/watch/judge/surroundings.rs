//! What recovery needs around it: volumes, quotas; and the events that tell of them.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Change, Judge, MAX_EVENTS, NOT_LOOKED_AT, Pending, Seen, WORTH_TELLING, trouble};
use crate::kubernetes::watch::objects::{self, text};
use crate::kubernetes::watch::observation::What;
use crate::kubernetes::watch::trouble::TroubleClass;
use crate::kubernetes::watch::words;

impl Judge {
    /// A namespace has one quota of ours, and at most a few of others.
    pub(super) fn take_quota(&mut self, change: Change, object: &Value) {
        let name = text(object, "/metadata/name").to_owned();
        if change == Change::Deleted {
            self.quotas.remove(&name);
        } else if self.quotas.len() < 16 || self.quotas.contains_key(&name) {
            self.quotas.insert(name, object.clone());
        }
    }

    pub(super) fn take_claim(&mut self, now: DateTime<Utc>, change: Change, object: &Value) {
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

    pub(super) fn take_event(&mut self, now: DateTime<Utc>, object: &Value, out: &mut Vec<Seen>) {
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
}
