//! What a pod and a Job say of themselves. Pure.

use chrono::{DateTime, Utc};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::CONTAINER;
use crate::kubernetes::time;

/// Where a pod stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodStand {
    /// It has not started.
    Coming {
        /// What it waits for, if it says.
        reason: Option<String>,
        /// Whether it will hardly start by itself: no such image, a wrong configuration.
        stuck: bool,
    },
    /// walproof runs in it, or did.
    Started,
    /// It was told to end.
    Ending {
        /// Whether walproof runs in it, or did.
        started: bool,
        /// When it is over at the latest; a node that is gone never says so.
        until: Option<DateTime<Utc>>,
    },
    /// It is over.
    Ended {
        /// Whether it ended well.
        well: bool,
        /// How it ended, for people: `OOMKilled (exit code 137)`.
        reason: String,
        /// Whether the machine had no room for it.
        no_room: bool,
    },
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// All of its pods ended well.
    Complete,
    /// Not all of them.
    Failed(String),
}

/// How a Job ended, if it has.
pub fn job_end(job: &Job) -> Option<JobEnd> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .filter(|condition| condition.status == "True")
        .find_map(|condition| match condition.type_.as_str() {
            "Complete" => Some(JobEnd::Complete),
            "Failed" => {
                let reason = condition.reason.clone().unwrap_or_default();
                let message = condition.message.clone().unwrap_or_default();
                Some(JobEnd::Failed(joined(&reason, &message)))
            }
            _ => None,
        })
}

/// Where a pod stands.
pub fn pod_stand(pod: &Pod) -> PodStand {
    let stand = own_stand(pod);
    let Some(until) = &pod.metadata.deletion_timestamp else {
        return stand;
    };
    match stand {
        PodStand::Coming { .. } | PodStand::Started => PodStand::Ending {
            started: stand == PodStand::Started,
            until: time::from_api(until),
        },
        over => over,
    }
}

/// Where it stands by its containers, whether it was told to end or not.
fn own_stand(pod: &Pod) -> PodStand {
    let Some(status) = &pod.status else {
        return PodStand::Coming {
            reason: None,
            stuck: false,
        };
    };
    let own = own_container(pod);
    match status.phase.as_deref() {
        Some("Succeeded") => {
            return PodStand::Ended {
                well: true,
                reason: "completed".to_owned(),
                no_room: false,
            };
        }
        Some("Failed") => return ended(pod, own),
        _ => {}
    }
    let state = own.and_then(|own| own.state.as_ref());
    if let Some(state) = state
        && (state.running.is_some() || state.terminated.is_some())
    {
        return PodStand::Started;
    }
    let waiting = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(own)
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
        .find(|waiting| {
            !matches!(
                waiting.reason.as_deref(),
                None | Some("PodInitializing" | "ContainerCreating")
            )
        });
    if let Some(waiting) = waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        return PodStand::Coming {
            reason: Some(joined(
                reason,
                waiting.message.as_deref().unwrap_or_default(),
            )),
            stuck: matches!(
                reason,
                "ImagePullBackOff"
                    | "InvalidImageName"
                    | "ErrImageNeverPull"
                    | "CreateContainerConfigError"
                    | "CreateContainerError"
                    | "RunContainerError"
            ),
        };
    }
    let unschedulable = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    PodStand::Coming {
        reason: unschedulable.map(|condition| {
            joined(
                condition.reason.as_deref().unwrap_or_default(),
                condition.message.as_deref().unwrap_or_default(),
            )
        }),
        // A node may come yet.
        stuck: false,
    }
}

fn own_container(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let containers = pod.spec.as_ref().map(|spec| &spec.containers);
    let first = containers.and_then(|containers| containers.first());
    statuses
        .iter()
        .find(|status| status.name == CONTAINER)
        .or_else(|| {
            statuses
                .iter()
                .find(|status| Some(&status.name) == first.map(|container| &container.name))
        })
}

fn ended(pod: &Pod, own: Option<&ContainerStatus>) -> PodStand {
    let status = pod.status.as_ref();
    let terminated = own.and_then(|own| own.state.as_ref()?.terminated.as_ref());
    let of_pod = status.and_then(|status| status.reason.clone());
    let reason = match (&of_pod, terminated) {
        (Some(reason), _) => joined(
            reason,
            status
                .and_then(|status| status.message.as_deref())
                .unwrap_or_default(),
        ),
        (None, Some(terminated)) => format!(
            "{} (exit code {})",
            terminated.reason.as_deref().unwrap_or("Error"),
            terminated.exit_code
        ),
        (None, None) => "Failed".to_owned(),
    };
    let disrupted = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True");
    let memory = terminated.is_some_and(|own| own.reason.as_deref() == Some("OOMKilled"));
    PodStand::Ended {
        well: false,
        no_room: memory || disrupted || of_pod.as_deref() == Some("Evicted"),
        reason,
    }
}

fn joined(reason: &str, message: &str) -> String {
    let message: String = message.trim().chars().take(500).collect();
    match (reason.is_empty(), message.is_empty()) {
        (_, true) => reason.to_owned(),
        (true, false) => message,
        (false, false) => format!("{reason}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> PodStand {
        let pod: Pod = serde_json::from_value(json!({
            "spec": {"containers": [{"name": "beside"}, {"name": "walproof"}]},
            "status": status,
        }))
        .unwrap();
        pod_stand(&pod)
    }

    fn own(state: &Value) -> Value {
        json!({"phase": "Pending", "containerStatuses": [{
            "name": "walproof", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": state,
        }]})
    }

    #[test]
    fn a_pod_that_comes_says_what_it_waits_for() {
        assert_eq!(
            pod(&json!({"phase": "Pending"})),
            PodStand::Coming {
                reason: None,
                stuck: false
            }
        );
        let full = pod(&json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient memory.",
        }]}));
        let PodStand::Coming { reason, stuck } = full else {
            panic!("{full:?}");
        };
        assert!(!stuck && reason.unwrap().contains("Insufficient memory"));
        for (reason, hopeless) in [
            ("ErrImagePull", false),
            ("ImagePullBackOff", true),
            ("CreateContainerConfigError", true),
        ] {
            let stand = pod(&own(
                &json!({"waiting": {"reason": reason, "message": "no"}}),
            ));
            assert_eq!(
                stand,
                PodStand::Coming {
                    reason: Some(format!("{reason}: no")),
                    stuck: hopeless
                }
            );
        }
        let creating = pod(&own(&json!({"waiting": {"reason": "ContainerCreating"}})));
        assert!(matches!(creating, PodStand::Coming { reason: None, .. }));
    }

    #[test]
    fn started_is_started_and_ended_has_a_reason() {
        assert_eq!(pod(&own(&json!({"running": {}}))), PodStand::Started);
        let mut killed = own(&json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}));
        killed["phase"] = json!("Failed");
        assert_eq!(
            pod(&killed),
            PodStand::Ended {
                well: false,
                reason: "OOMKilled (exit code 137)".to_owned(),
                no_room: true
            }
        );
        let evicted =
            pod(&json!({"phase": "Failed", "reason": "Evicted", "message": "low on disk"}));
        assert_eq!(
            evicted,
            PodStand::Ended {
                well: false,
                reason: "Evicted: low on disk".to_owned(),
                no_room: true
            }
        );
        assert!(matches!(
            pod(&json!({"phase": "Succeeded"})),
            PodStand::Ended { well: true, .. }
        ));
    }

    #[test]
    fn a_pod_that_was_told_to_end_neither_comes_nor_runs_on() {
        let told = |status: Value| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"deletionTimestamp": "2026-11-22T08:25:00Z"},
                "spec": {"containers": [{"name": "walproof"}]},
                "status": status,
            }))
            .unwrap();
            pod_stand(&pod)
        };
        let ending = |started| PodStand::Ending {
            started,
            until: time::parse("2026-11-22T08:25:00Z"),
        };
        assert_eq!(told(own(&json!({"running": {}}))), ending(true));
        assert_eq!(told(json!({"phase": "Pending"})), ending(false));
        let over = told(json!({"phase": "Succeeded"}));
        assert!(matches!(over, PodStand::Ended { well: true, .. }));
    }

    #[test]
    fn a_job_ends_by_its_conditions() {
        let job = |conditions: Value| -> Job {
            serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap()
        };
        assert_eq!(job_end(&job(json!([]))), None);
        assert_eq!(
            job_end(&job(json!([{"type": "Suspended", "status": "True"}]))),
            None
        );
        assert_eq!(
            job_end(&job(json!([{"type": "Complete", "status": "True"}]))),
            Some(JobEnd::Complete)
        );
        assert_eq!(
            job_end(&job(
                json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}])
            )),
            Some(JobEnd::Failed("BackoffLimitExceeded".to_owned()))
        );
    }
}
