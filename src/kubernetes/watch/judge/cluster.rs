//! The Cluster and its Job.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::{Change, Judge, Seen, WORTH_TELLING, trouble};
use crate::kubernetes::watch::objects::{self, condition, number, text};
use crate::kubernetes::watch::observation::What;
use crate::kubernetes::watch::trouble::TroubleClass;
use crate::kubernetes::watch::words;

impl Judge {
    pub(super) fn take_cluster(
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

    pub(super) fn take_job(
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
}
