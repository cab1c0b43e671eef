//! What is known of the pods of one Job. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Pod;

use crate::kubernetes::job::{PodStand, pod_stand};

/// The label with a pod's index in a Job that has several.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// What is known of the pods of one Job.
#[derive(Debug, Default)]
pub(super) struct Pods {
    stands: BTreeMap<String, PodStand>,
    /// Whether they were seen: none known is none there.
    pub(super) seen: bool,
    /// Whether one ever started.
    pub(super) started: bool,
    /// How the newest one that did not end well ended.
    pub(super) died: Option<(String, bool)>,
    /// What the newest one waits for.
    pub(super) waits_for: Option<String>,
    /// Whether that will hardly pass by itself.
    pub(super) stuck: bool,
    /// Of which shard each is, where there are several.
    indexes: BTreeMap<String, u32>,
    /// Since when none of them runs.
    idle: Option<Instant>,
}

impl Pods {
    /// A pod as it is now.
    pub(super) fn take(&mut self, pod: &Pod) {
        let stand = pod_stand(pod);
        match &stand {
            PodStand::Coming { reason, stuck } => {
                self.waits_for.clone_from(reason);
                self.stuck = *stuck;
            }
            PodStand::Started => self.started = true,
            PodStand::Ending { started, .. } => self.started |= started,
            PodStand::Ended {
                well,
                reason,
                no_room,
            } => {
                self.started = true;
                if !well {
                    self.died = Some((reason.clone(), *no_room));
                }
            }
        }
        if let Some(name) = &pod.metadata.name {
            self.stands.insert(name.clone(), stand);
            let labels = pod.metadata.labels.as_ref();
            let index = labels.and_then(|labels| labels.get(INDEX)?.parse().ok());
            self.indexes
                .extend(index.map(|index| (name.clone(), index)));
        }
    }

    /// A pod that is gone, as it was last.
    pub(super) fn gone(&mut self, pod: &Pod) {
        self.take(pod);
        if let Some(name) = &pod.metadata.name {
            self.over(name);
        }
    }

    /// All that there are: what is known besides is gone.
    pub(super) fn there(&mut self, names: &BTreeSet<String>) {
        self.seen = true;
        let known: Vec<String> = self.stands.keys().cloned().collect();
        for name in known.iter().filter(|name| !names.contains(*name)) {
            self.over(name);
        }
    }

    /// One that did not end is gone: it died, if it ever ran.
    fn over(&mut self, name: &str) {
        let ran = match self.stands.get(name) {
            None | Some(PodStand::Ended { .. }) => return,
            Some(PodStand::Coming { .. }) => false,
            Some(PodStand::Started) => true,
            Some(PodStand::Ending { started, .. }) => *started,
        };
        if !ran {
            self.stands.remove(name);
            return;
        }
        let reason = "it was removed while it ran".to_owned();
        self.died = Some((reason.clone(), false));
        let ended = PodStand::Ended {
            well: false,
            reason,
            no_room: false,
        };
        self.stands.insert(name.to_owned(), ended);
    }

    /// Whether no pod was ever seen.
    pub(super) fn none_yet(&self) -> bool {
        self.stands.is_empty()
    }

    /// How many have ended well.
    pub(super) fn ended_well(&self) -> u64 {
        let well = |stand: &&PodStand| matches!(stand, PodStand::Ended { well: true, .. });
        self.stands.values().filter(well).count() as u64
    }

    /// Whether none comes, runs or cleans up any more, as far as is known.
    pub(super) fn all_over(&self) -> bool {
        let over = |stand: &PodStand| matches!(stand, PodStand::Ended { .. });
        self.stands.values().all(over)
    }

    /// Since when none of them runs, as looked at from time to time. One that was told to end
    /// runs as long as it may take for it: a node that is gone never says that it is over.
    pub(super) fn idle_since(&mut self, now: Instant, clock: DateTime<Utc>) -> Option<Instant> {
        let runs = self.stands.values().any(|stand| match stand {
            PodStand::Started => true,
            PodStand::Ending { started, until } => {
                *started && until.is_some_and(|until| clock <= until)
            }
            PodStand::Coming { .. } | PodStand::Ended { .. } => false,
        });
        self.idle = if runs {
            None
        } else {
            Some(self.idle.unwrap_or(now))
        };
        self.idle
    }

    /// What keeps the shards from their end, when none of them runs.
    pub(super) fn not_all(&self) -> String {
        let coming = self.stands.iter().find_map(|(name, stand)| match stand {
            PodStand::Coming { reason, .. } => Some((name, reason.clone())),
            _ => None,
        });
        let (name, reason) = coming.unzip();
        // An index begins at 0, a shard at 1.
        let index = name.and_then(|name| self.indexes.get(name)?.checked_add(1));
        let which = index.map_or_else(|| "a shard".to_owned(), |index| format!("shard {index}"));
        match reason.flatten().or_else(|| self.waits_for.clone()) {
            Some(reason) => format!("{which} does not start: {reason}"),
            None => format!("{which} does not start, and Kubernetes does not say why"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeDelta;
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, index: u32, state: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {INDEX: index.to_string()}},
            "spec": {"containers": [{"name": "walproof"}]},
            "status": {"phase": "Pending", "containerStatuses": [{
                "name": "walproof", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": state,
            }]},
        }))
        .unwrap()
    }

    fn running(name: &str, index: u32) -> Pod {
        pod(name, index, &json!({"running": {}}))
    }

    fn ended(name: &str, index: u32) -> Pod {
        let mut pod = running(name, index);
        pod.status.as_mut().unwrap().phase = Some("Succeeded".to_owned());
        pod
    }

    fn told_to_end(mut pod: Pod, until: &str) -> Pod {
        pod.metadata.deletion_timestamp = serde_json::from_value(json!(until)).unwrap();
        pod
    }

    #[test]
    fn a_shard_that_never_starts_is_noticed_when_no_other_runs() {
        let (mut pods, begin, clock) = (Pods::default(), Instant::now(), Utc::now());
        let later = |seconds| begin + Duration::from_secs(seconds);
        pods.take(&running("a", 0));
        let full = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no"}});
        pods.take(&pod("b", 1, &full));
        assert!(pods.started);
        assert_eq!(pods.idle_since(later(10), clock), None);
        pods.take(&ended("a", 0));
        assert_eq!(pods.idle_since(later(20), clock), Some(later(20)));
        assert_eq!(pods.idle_since(later(30), clock), Some(later(20)));
        assert!(!pods.all_over());
        assert_eq!(pods.ended_well(), 1);
        assert_eq!(
            pods.not_all(),
            "shard 2 does not start: ImagePullBackOff: no"
        );
        // It did, late.
        pods.take(&running("b", 1));
        assert_eq!(pods.idle_since(later(40), clock), None);
    }

    #[test]
    fn a_pod_that_was_told_to_end_runs_no_longer_than_it_may() {
        let (mut pods, now) = (Pods::default(), Instant::now());
        let until: DateTime<Utc> = "2026-11-22T08:25:00Z".parse().unwrap();
        let told = told_to_end(running("a", 0), "2026-11-22T08:25:00Z");
        pods.take(&told);
        assert!(pods.started && !pods.all_over());
        assert_eq!(pods.idle_since(now, until), None);
        let after = until + TimeDelta::seconds(1);
        assert_eq!(pods.idle_since(now, after), Some(now));
        // Its node is back, and it is gone.
        pods.gone(&told);
        assert!(pods.all_over());
        assert!(pods.died.as_ref().unwrap().0.contains("removed"));
    }

    #[test]
    fn what_a_new_list_does_not_show_is_gone() {
        let mut pods = Pods::default();
        assert!(pods.none_yet() && !pods.seen);
        pods.take(&running("a", 0));
        pods.take(&pod(
            "b",
            1,
            &json!({"waiting": {"reason": "ContainerCreating"}}),
        ));
        pods.take(&ended("c", 2));
        pods.there(&BTreeSet::from(["a".to_owned()]));
        assert!(pods.seen && !pods.all_over());
        pods.there(&BTreeSet::new());
        assert!(pods.all_over());
        assert_eq!(pods.ended_well(), 1, "what has ended well has");
        assert_eq!(pods.stands.len(), 2, "what never ran leaves nothing");
    }
}
