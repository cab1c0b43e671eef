//! Small views of the API's objects. Pure.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::attempt::End;
use super::observation::ClusterEvent;
use super::words;
use crate::kubernetes::time;

/// The container of a recovery Job that is not the recovery.
const INSTANCE_CONTAINER: &str = "postgres";

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

pub(super) fn moment(object: &Value, pointer: &str) -> Option<DateTime<Utc>> {
    time::parse(text(object, pointer))
}

/// A condition's status is `True`, its reason, its message.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<(bool, &'a str, &'a str)> {
    list(object, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == kind)
        .map(|condition| {
            (
                text(condition, "/status") == "True",
                text(condition, "/reason"),
                text(condition, "/message"),
            )
        })
}

/// What a pod is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It recovers.
    Job,
    /// It serves what was recovered.
    Instance,
}

/// The labels that CloudNativePG gives its pods.
pub(super) fn role(pod: &Value, cluster: &str) -> Option<Role> {
    let labels = pod.pointer("/metadata/labels")?;
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    if label("cnpg.io/cluster") != Some(cluster) {
        return None;
    }
    match (label("cnpg.io/jobRole"), label("cnpg.io/podRole")) {
        (Some("full-recovery" | "snapshot-recovery"), _) => Some(Role::Job),
        (None, Some("instance")) => Some(Role::Instance),
        _ => None,
    }
}

/// The name of the container that a pod is made for.
pub(super) fn main_container(pod: &Value, role: Role) -> &str {
    match role {
        Role::Instance => INSTANCE_CONTAINER,
        Role::Job => list(pod, "/spec/containers")
            .first()
            .map_or("", |container| text(container, "/name")),
    }
}

/// One container as the API tells.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Container<'a> {
    pub(super) name: &'a str,
    pub(super) restarts: i64,
    pub(super) image: &'a str,
    pub(super) waiting: Option<(&'a str, &'a str)>,
    pub(super) running: bool,
    /// Exit code, reason, message.
    pub(super) terminated: Option<(i64, &'a str, &'a str)>,
    /// How it ended before its last restart: exit code and reason.
    pub(super) before: Option<(i64, &'a str)>,
}

/// All containers of a pod, those that prepare it included.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = Container<'_>> {
    ["/status/initContainerStatuses", "/status/containerStatuses"]
        .into_iter()
        .flat_map(|place| list(pod, place))
        .map(|status| Container {
            name: text(status, "/name"),
            restarts: number(status, "/restartCount"),
            image: text(status, "/image"),
            waiting: status
                .pointer("/state/waiting")
                .map(|waiting| (text(waiting, "/reason"), text(waiting, "/message"))),
            running: status.pointer("/state/running").is_some(),
            terminated: status.pointer("/state/terminated").map(|end| {
                (
                    number(end, "/exitCode"),
                    text(end, "/reason"),
                    text(end, "/message"),
                )
            }),
            before: status
                .pointer("/lastState/terminated")
                .map(|end| (number(end, "/exitCode"), text(end, "/reason"))),
        })
}

/// How a pod failed; `None` while it has not. A pod's main container tells before the pod
/// does: its sidecars are still being stopped then.
pub(super) fn failure(pod: &Value, main: &str) -> Option<End> {
    let failed = text(pod, "/status/phase") == "Failed";
    let bad: Vec<(&str, i64, &str)> = containers(pod)
        .filter_map(|container| {
            let (code, reason, _) = container.terminated?;
            (code != 0).then_some((container.name, code, reason))
        })
        .collect();
    let main_end = bad.iter().find(|(name, ..)| *name == main);
    if main_end.is_none() && !failed {
        return None;
    }
    let chosen = main_end.or_else(|| bad.first());
    // A sidecar or an init container can be the one that was killed for its memory.
    let killed =
        containers(pod).any(|container| matches!(container.terminated, Some((_, "OOMKilled", _))));
    Some(End {
        code: chosen.map(|(_, code, _)| *code),
        reason: if killed {
            "OOMKilled".to_owned()
        } else {
            chosen.map_or(String::new(), |(_, _, reason)| (*reason).to_owned())
        },
        pod_reason: pod_reason(pod),
        pod_message: words::short(text(pod, "/status/message")),
    })
}

fn pod_reason(pod: &Value) -> String {
    let reason = text(pod, "/status/reason");
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match condition(pod, "DisruptionTarget") {
        Some((true, reason, _)) => reason.to_owned(),
        _ => String::new(),
    }
}

/// A Kubernetes event about the recovery, or `None` for one about something else.
pub(super) fn event(object: &Value, cluster: &str) -> Option<ClusterEvent> {
    let name = text(object, "/involvedObject/name");
    let ours = name
        .strip_prefix(cluster)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    ours.then(|| ClusterEvent {
        object: format!("{}/{name}", text(object, "/involvedObject/kind")),
        reason: text(object, "/reason").to_owned(),
        message: words::short(text(object, "/message")),
        warning: text(object, "/type") == "Warning",
        count: u32::try_from(number(object, "/count").max(number(object, "/series/count")))
            .unwrap_or(u32::MAX)
            .max(1),
    })
}

/// When an event was last seen, by the cluster's clock.
pub(super) fn event_time(object: &Value) -> Option<DateTime<Utc>> {
    [
        "/lastTimestamp",
        "/series/lastObservedTime",
        "/eventTime",
        "/firstTimestamp",
    ]
    .into_iter()
    .find_map(|pointer| moment(object, pointer))
}
