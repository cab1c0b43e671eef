//! Watching the API on behalf of [`super::Recovery`]: one task a kind of object, one a
//! container's log. They hand over what they see and judge nothing.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams};
use serde_json::Value;
use tokio::sync::mpsc;

use super::judge::{Change, Input};
use super::observation::PodLine;
use crate::kubernetes::{Kube, KubeError, KubeErrorKind, PodRef, logs};

/// What the tasks hand over, with the moment at which they saw it.
pub(super) type Feed = mpsc::Sender<(DateTime<Utc>, Input)>;

/// The server ends a watch after so many seconds, and we begin another.
const WATCH_SECONDS: u32 = 240;
/// Pauses between attempts while the API does not answer.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// The least that lies between the ends of two watches of a kind.
const PAUSE: Duration = Duration::from_millis(250);
/// How often the namespace is looked at.
const NAMESPACE_PAUSE: Duration = Duration::from_secs(5);

/// A kind that is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    group: &'static str,
    version: &'static str,
    name: &'static str,
    plural: &'static str,
    /// Whether a recovery can be followed without it.
    optional: bool,
}

/// Everything that tells of a recovery. Each needs `get`, `list` and `watch`.
pub(super) const KINDS: [Kind; 6] = [
    Kind {
        group: "postgresql.cnpg.io",
        version: "v1",
        name: "Cluster",
        plural: "clusters",
        optional: false,
    },
    Kind {
        group: "batch",
        version: "v1",
        name: "Job",
        plural: "jobs",
        optional: false,
    },
    Kind {
        group: "",
        version: "v1",
        name: "Pod",
        plural: "pods",
        optional: false,
    },
    Kind {
        group: "",
        version: "v1",
        name: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        optional: false,
    },
    Kind {
        group: "",
        version: "v1",
        name: "Event",
        plural: "events",
        optional: false,
    },
    Kind {
        group: "",
        version: "v1",
        name: "ResourceQuota",
        plural: "resourcequotas",
        optional: true,
    },
];

async fn hand(feed: &Feed, input: Input) -> bool {
    feed.send((Utc::now(), input)).await.is_ok()
}

/// Watches one kind until nobody listens any more.
pub(super) async fn watch(kube: Kube, namespace: String, kind: Kind, feed: Feed) {
    let resource = ApiResource {
        group: kind.group.to_owned(),
        version: kind.version.to_owned(),
        api_version: if kind.group.is_empty() {
            kind.version.to_owned()
        } else {
            format!("{}/{}", kind.group, kind.version)
        },
        kind: kind.name.to_owned(),
        plural: kind.plural.to_owned(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(kube.client(), &namespace, &resource);
    let mut version: Option<String> = None;
    let mut known: Vec<(String, Value)> = Vec::new();
    let mut failures = 0_usize;
    loop {
        let asked = Instant::now();
        let followed = version.is_some();
        let outcome = match &version {
            None => list(&kube, &api, kind, &mut known, &feed).await.map(Some),
            Some(from) => follow(&api, kind, from, &mut known, &feed).await,
        };
        match outcome {
            Ok(next) => {
                failures = 0;
                version = next;
                // A server that ends every watch at once is not asked a thousand times.
                if followed && asked.elapsed() < PAUSE {
                    tokio::time::sleep(PAUSE).await;
                }
                if feed.is_closed() || !hand(&feed, Input::Answered).await {
                    return;
                }
            }
            Err(error) => {
                let refused = matches!(
                    error.kind,
                    KubeErrorKind::Forbidden | KubeErrorKind::Unauthorized
                );
                if refused && kind.optional {
                    return;
                }
                let input = if refused && failures > 2 {
                    Input::Refused(error.to_string())
                } else {
                    Input::Away(error.to_string())
                };
                if !hand(&feed, input).await {
                    return;
                }
                pause(failures).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}

async fn pause(failures: usize) {
    let last = Duration::from_secs(2);
    tokio::time::sleep(PAUSES.get(failures).copied().unwrap_or(last)).await;
}

/// Everything that is there; what was there before and is not any more is told as deleted.
async fn list(
    kube: &Kube,
    api: &Api<DynamicObject>,
    kind: Kind,
    known: &mut Vec<(String, Value)>,
    feed: &Feed,
) -> Result<String, KubeError> {
    let action = format!("list {}", kind.plural);
    let listed = kube.call(action, api.list(&ListParams::default())).await?;
    let version = listed.metadata.resource_version.unwrap_or_default();
    let mut now = Vec::new();
    for object in listed.items {
        let (uid, value) = plain(object, kind);
        now.push((uid, value.clone()));
        hand(feed, Input::Object(Change::Seen, Box::new(value))).await;
    }
    for (uid, value) in known.drain(..) {
        if !now.iter().any(|(there, _)| *there == uid) {
            hand(feed, Input::Object(Change::Deleted, Box::new(value))).await;
        }
    }
    *known = now;
    remember(kind, known);
    Ok(version)
}

/// Follows the changes after a version. The version to go on from, or `None` when
/// everything has to be listed again.
async fn follow(
    api: &Api<DynamicObject>,
    kind: Kind,
    from: &str,
    known: &mut Vec<(String, Value)>,
    feed: &Feed,
) -> Result<Option<String>, KubeError> {
    let action = || format!("watch {}", kind.plural);
    let failed = |error| KubeError::of(action(), error);
    let parameters = WatchParams::default().timeout(WATCH_SECONDS);
    let stream = tokio::time::timeout(Kube::REQUEST_TIMEOUT, api.watch(&parameters, from))
        .await
        .map_err(|_| KubeError::new(KubeErrorKind::Timeout, action(), "no answer in time"))?
        .map_err(failed)?;
    pin_mut!(stream);
    let mut version = from.to_owned();
    // A connection that died without a word: bookmarks come about once a minute, and the
    // server ends the watch after its time.
    let silence = Duration::from_secs(u64::from(WATCH_SECONDS) + 30);
    loop {
        let event = match tokio::time::timeout(silence, stream.next()).await {
            Err(_) | Ok(None) => return Ok(Some(version)),
            Ok(Some(event)) => event.map_err(failed)?,
        };
        let (change, object) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (Change::Seen, object),
            WatchEvent::Deleted(object) => (Change::Deleted, object),
            WatchEvent::Bookmark(bookmark) => {
                version = bookmark.metadata.resource_version;
                hand(feed, Input::Answered).await;
                continue;
            }
            // 410 Gone: the server has forgotten what came after our version.
            WatchEvent::Error(status) if status.code == 410 => return Ok(None),
            WatchEvent::Error(status) => return Err(KubeError::of_status(action(), &status)),
        };
        if let Some(seen) = &object.metadata.resource_version {
            version.clone_from(seen);
        }
        let (uid, value) = plain(object, kind);
        known.retain(|(there, _)| *there != uid);
        if change == Change::Seen {
            known.push((uid, value.clone()));
            remember(kind, known);
        }
        if !hand(feed, Input::Object(change, Box::new(value))).await {
            return Ok(Some(version));
        }
    }
}

/// Events come and go by the hundred, and nobody cares for one that is gone. Of the others
/// a drill's namespace holds a handful.
fn remember(kind: Kind, known: &mut Vec<(String, Value)>) {
    if kind.name == "Event" {
        known.clear();
    }
    let extra = known.len().saturating_sub(256);
    known.drain(..extra);
}

/// An object as plain JSON, with its kind (lists leave it out) and without the bookkeeping
/// of its fields.
fn plain(object: DynamicObject, kind: Kind) -> (String, Value) {
    let uid = object.metadata.uid.clone().unwrap_or_default();
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("kind".to_owned(), Value::from(kind.name));
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    }
    (uid, value)
}

/// Looks at the namespace now and then: it can be taken away under a recovery.
pub(super) async fn watch_namespace(kube: Kube, namespace: String, feed: Feed) {
    let api: Api<Namespace> = Api::all(kube.client());
    let mut failures = 0_usize;
    loop {
        let action = format!("get namespace {namespace}");
        let input = match kube.call(action, api.get(&namespace)).await {
            Ok(found) => {
                failures = 0;
                let phase = found.status.and_then(|status| status.phase);
                if phase.as_deref() == Some("Terminating") {
                    Input::NamespaceGone(format!("the namespace {namespace} is being deleted"))
                } else {
                    Input::Answered
                }
            }
            Err(error) if error.kind == KubeErrorKind::NotFound => {
                Input::NamespaceGone(format!("the namespace {namespace} is not there"))
            }
            // Without the right to look at the namespace its objects still tell.
            Err(error) if error.kind == KubeErrorKind::Forbidden => return,
            Err(error) => {
                failures = failures.saturating_add(1);
                Input::Away(error.to_string())
            }
        };
        if !hand(&feed, input).await {
            return;
        }
        if failures > 0 {
            pause(failures).await;
        } else {
            tokio::time::sleep(NAMESPACE_PAUSE).await;
        }
    }
}

/// Follows one container's log to its end, through broken connections, without gaps or
/// doubles: it goes on from the last line's moment and drops what it has had.
pub(super) async fn follow_log(kube: Kube, pod: PodRef, feed: Feed) {
    let container = pod.container.clone().unwrap_or_default();
    let mut had = Had::default();
    let mut failures = 0_usize;
    // The pass after the container's end that makes sure of the last lines.
    let mut last_pass = false;
    loop {
        let outcome = read_log(&kube, &pod, &container, &mut had, &feed).await;
        if feed.is_closed() {
            return;
        }
        match outcome {
            Ok(()) if last_pass => break,
            Ok(()) => match container_ended(&kube, &pod, &container).await {
                Some(true) => last_pass = true,
                Some(false) => pause(0).await,
                None => break,
            },
            Err(error) if error.kind == KubeErrorKind::NotFound => break,
            Err(error) => {
                // A log that is gone with its container (a 400 of the kubelet) ends here,
                // one that the API does not give now is asked for again.
                if !error.is_transient() && failures > 10 {
                    break;
                }
                if error.is_transient() && !hand(&feed, Input::Away(error.to_string())).await {
                    return;
                }
                pause(failures).await;
                failures = failures.saturating_add(1);
            }
        }
    }
    let input = Input::LogEnded {
        pod: pod.pod,
        container,
    };
    hand(&feed, input).await;
}

/// The last line's moment, and how many lines had it.
#[derive(Debug, Default)]
struct Had {
    at: Option<DateTime<Utc>>,
    count: usize,
}

impl Had {
    /// Whether this line is new. `again` counts the lines of the last moment in this pass.
    fn is_new(&mut self, at: Option<DateTime<Utc>>, again: &mut usize) -> bool {
        let Some(at) = at else {
            return true;
        };
        match self.at {
            Some(last) if at < last => false,
            Some(last) if at == last => {
                *again = again.saturating_add(1);
                if *again <= self.count {
                    return false;
                }
                self.count = *again;
                true
            }
            _ => {
                self.at = Some(at);
                self.count = 1;
                *again = 1;
                true
            }
        }
    }
}

async fn read_log(
    kube: &Kube,
    pod: &PodRef,
    container: &str,
    had: &mut Had,
    feed: &Feed,
) -> Result<(), KubeError> {
    let mut lines = logs::follow(kube, pod, had.at).await?;
    let mut again = 0;
    while let Some(line) = lines.next().await {
        let line = line?;
        if !had.is_new(line.at, &mut again) {
            continue;
        }
        let line = PodLine {
            pod: pod.pod.clone(),
            container: container.to_owned(),
            time: line.at,
            text: line.text,
        };
        if !hand(feed, Input::Line(line)).await {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether a container has ended; `None` when its pod is gone.
async fn container_ended(kube: &Kube, pod: &PodRef, container: &str) -> Option<bool> {
    let api: Api<Pod> = Api::namespaced(kube.client(), &pod.namespace);
    let action = format!("get pod {}", pod.pod);
    match kube.call(action, api.get(&pod.pod)).await {
        Ok(found) => {
            let status = found.status.unwrap_or_default();
            let all = status
                .init_container_statuses
                .into_iter()
                .chain(status.container_statuses)
                .flatten();
            let running = all
                .filter(|status| status.name == container)
                .any(|status| status.state.is_some_and(|state| state.running.is_some()));
            Some(!running)
        }
        Err(error) if error.kind == KubeErrorKind::NotFound => None,
        Err(_) => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_read_again_has_no_gaps_and_no_doubles() {
        let at = |second: i64| DateTime::from_timestamp(second, 0);
        let mut had = Had::default();
        let mut pass = |lines: &[(i64, &'static str)]| -> Vec<&'static str> {
            let mut again = 0;
            lines
                .iter()
                .filter(|(second, _)| had.is_new(at(*second), &mut again))
                .map(|(_, text)| *text)
                .collect()
        };
        assert_eq!(pass(&[(1, "a"), (2, "b"), (2, "c")]), ["a", "b", "c"]);
        // The API counts in seconds: it begins a little before.
        assert_eq!(
            pass(&[(1, "a"), (2, "b"), (2, "c"), (2, "d"), (3, "e")]),
            ["d", "e"]
        );
        assert_eq!(pass(&[(3, "e")]), Vec::<&str>::new());
        assert_eq!(pass(&[(3, "e"), (4, "f")]), ["f"]);
    }
}
