//! Removing what drills left behind.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ListParams};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::create::drill;
use super::kinds;
use super::plan::is_named_after;
use super::remove::{Removal, begin_removal, remove, remove_contents};
use crate::kubernetes::{Kube, KubeError, holder, names, time};

/// How long a sweep waits for one namespace to be gone.
const PATIENCE: Duration = Duration::from_mins(3);
/// So many are removed at a time.
const AT_A_TIME: usize = 4;
/// Clocks that differ by more than this are wrong.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);
/// So long after its expiry a namespace goes although its holder lives.
const OVERDUE: TimeDelta = TimeDelta::hours(1);
/// A namespace that is being deleted for longer than this does not end by itself. Longer than
/// a drill waits for it.
const STUCK: TimeDelta = TimeDelta::minutes(10);

/// A scratch namespace, and why it was treated so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Swept {
    /// The namespace.
    pub name: String,
    /// The drill, where its label could be read.
    #[schemars(with = "Option<String>")]
    pub id: Option<Uuid>,
    /// Why.
    pub reason: String,
}

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SweptNamespaces {
    /// Gone, with their volumes.
    pub removed: Vec<Swept>,
    /// Left alone.
    pub kept: Vec<Swept>,
    /// Could not be removed, or not whole.
    pub failed: Vec<Swept>,
}

/// What a namespace says of itself, and the API server of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    name: String,
    id: Option<Uuid>,
    made_at: Option<DateTime<Utc>>,
    /// Since when it is being deleted.
    ending_since: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    holder: Option<String>,
    kept: bool,
}

/// What is done with a namespace, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    Remove(Uuid, String),
    Keep(String),
}

/// What a sweep has found.
#[derive(Debug, Default)]
struct Walk {
    /// By the API server's clock; `None` when it does not say, or not plausibly.
    now: Option<DateTime<Utc>>,
    /// The names of all scratch namespaces.
    there: Vec<String>,
    wanted: Vec<(String, Uuid, String)>,
    kept: Vec<Swept>,
}

/// Whether a holder lives, in its own words; `None` when it cannot be known.
pub type Alive = fn(&str) -> Option<bool>;

/// Removes every scratch namespace whose holder is known to have ended and that nobody keeps,
/// or that is past its expiry. Namespaces without walproof's labels are not looked at.
///
/// Expiry is judged by the API server's clock. `now` is this machine's, and is only compared
/// with it: a difference is logged.
///
/// # Errors
///
/// The namespaces cannot be listed. What goes wrong with one of them is in the result.
pub async fn sweep(
    kube: &Kube,
    now: DateTime<Utc>,
    alive: Alive,
) -> Result<SweptNamespaces, KubeError> {
    let walk = walk(kube, now, alive).await?;
    let mut swept = SweptNamespaces {
        kept: walk.kept,
        ..SweptNamespaces::default()
    };
    let mut work = futures::stream::iter(walk.wanted.into_iter().map(
        |(name, id, reason)| async move {
            let result = remove(kube, &name, id, PATIENCE).await;
            (name, id, reason, result)
        },
    ))
    .buffer_unordered(AT_A_TIME);
    while let Some((name, id, reason, result)) = work.next().await {
        let id = Some(id);
        match result {
            Ok(removal) if removal.is_whole() => swept.removed.push(Swept { name, id, reason }),
            Ok(removal) => swept.failed.push(Swept {
                name,
                id,
                reason: left(&removal),
            }),
            Err(error) => swept.failed.push(Swept {
                name,
                id,
                reason: error.to_string(),
            }),
        }
    }
    drop(work);
    if let Some(now) = walk.now {
        sweep_contents(kube, now, &walk.there, &mut swept).await?;
    }
    Ok(swept)
}

/// What [`sweep`] would do; touches nothing.
///
/// # Errors
///
/// The namespaces cannot be listed.
pub async fn would_sweep(
    kube: &Kube,
    now: DateTime<Utc>,
    alive: Alive,
) -> Result<SweptNamespaces, KubeError> {
    let walk = walk(kube, now, alive).await?;
    let removed = walk.wanted.into_iter().map(|(name, id, reason)| Swept {
        name,
        id: Some(id),
        reason,
    });
    Ok(SweptNamespaces {
        removed: removed.collect(),
        kept: walk.kept,
        failed: Vec::new(),
    })
}

/// Begins what [`sweep`] does, and waits for nothing: for a drill that wants room and must
/// not spend its own time on what others left. Returns what is on its way; whether it arrives
/// is seen by the next [`sweep`].
///
/// # Errors
///
/// The namespaces cannot be listed. What goes wrong with one of them is logged.
pub async fn begin_sweep(
    kube: &Kube,
    now: DateTime<Utc>,
    alive: Alive,
) -> Result<Vec<Swept>, KubeError> {
    let walk = walk(kube, now, alive).await?;
    let mut begun = Vec::new();
    for (name, id, reason) in walk.wanted {
        match begin_removal(kube, &name, id).await {
            Ok(()) => begun.push(Swept {
                name,
                id: Some(id),
                reason,
            }),
            Err(error) => tracing::warn!(namespace = %name, %error, "left by a dead drill"),
        }
    }
    Ok(begun)
}

/// The names of all scratch namespaces that are there.
///
/// # Errors
///
/// The namespaces cannot be listed.
pub async fn all(kube: &Kube) -> Result<BTreeSet<String>, KubeError> {
    let list = labelled(kube).await?.into_iter();
    Ok(list.filter_map(|found| found.metadata.name).collect())
}

async fn labelled(kube: &Kube) -> Result<Vec<Namespace>, KubeError> {
    let namespaces: Api<Namespace> = Api::all(kube.client());
    let selector = format!("{}={},{}", names::MANAGED_BY, names::WALPROOF, names::DRILL);
    let parameters = ListParams::default().labels(&selector);
    let list = kube
        .call("list Namespaces", namespaces.list(&parameters))
        .await?;
    Ok(list.items)
}

async fn walk(kube: &Kube, now: DateTime<Utc>, alive: Alive) -> Result<Walk, KubeError> {
    let list = labelled(kube).await?;
    let mut walk = Walk::default();
    match kube.time().await {
        Ok(theirs) => {
            if is_apart(now, theirs) {
                tracing::warn!(
                    here = %now, there = %theirs,
                    "the clock of this machine differs from the API server's, which holds"
                );
            }
            walk.now = Some(theirs);
        }
        Err(error) => tracing::warn!(%error, "nothing is taken for expired"),
    }
    for namespace in &list {
        let found = read(namespace);
        walk.there.push(found.name.clone());
        // Elsewhere a pod that told its name can be asked for.
        let lives = match found.holder.as_deref() {
            Some(by) => match (alive(by), holder::pod(by)) {
                (None, Some(pod)) => holder::pod_lives(kube, &pod).await,
                (lives, _) => lives,
            },
            None => None,
        };
        match decide(&found, walk.now, |_| lives) {
            Decision::Remove(id, reason) => walk.wanted.push((found.name, id, reason)),
            Decision::Keep(reason) => walk.kept.push(Swept {
                name: found.name,
                id: found.id,
                reason,
            }),
        }
    }
    Ok(walk)
}

fn is_apart(one: DateTime<Utc>, other: DateTime<Utc>) -> bool {
    (one - other).abs() > TOLERANCE
}

fn left(removal: &Removal) -> String {
    format!("not gone: {}", removal.left.join("; "))
}

fn read(namespace: &Namespace) -> Found {
    let annotation = |name: &str| {
        let annotations = namespace.metadata.annotations.as_ref()?;
        annotations.get(name).cloned()
    };
    let moment = |time: Option<&Time>| time.and_then(time::from_api);
    let metadata = &namespace.metadata;
    Found {
        name: metadata.name.clone().unwrap_or_default(),
        id: drill(metadata.labels.as_ref()).and_then(|id| Uuid::parse_str(id).ok()),
        made_at: moment(metadata.creation_timestamp.as_ref()),
        ending_since: moment(metadata.deletion_timestamp.as_ref()),
        expires_at: annotation(names::EXPIRES_AT).and_then(|text| time::parse(&text)),
        holder: annotation(names::HOLDER),
        kept: annotation(names::KEPT).as_deref() == Some("true"),
    }
}

/// What is done with a namespace. Its holder's death needs no clock; all else needs one that
/// can be believed.
fn decide(
    found: &Found,
    now: Option<DateTime<Utc>>,
    alive: impl Fn(&str) -> Option<bool>,
) -> Decision {
    let Some(id) = found.id else {
        return Decision::Keep("its drill label is no identifier".to_owned());
    };
    if !is_named_after(&found.name, id) {
        return Decision::Keep(format!(
            "its name does not end with the id of the drill {id}: the label was copied"
        ));
    }
    let Some(expires_at) = found.expires_at else {
        return Decision::Keep(format!(
            "it does not say in {} until when it is needed; delete it by hand",
            names::EXPIRES_AT
        ));
    };
    let lives = found.holder.as_deref().and_then(alive);
    let holder = found.holder.as_deref().map(holder::in_words);
    let holder = holder.as_deref().unwrap_or("nobody");
    if lives == Some(false) && !found.kept {
        return Decision::Remove(id, format!("its holder, {holder}, has ended"));
    }
    let until = expires_at.to_rfc3339();
    let Some(now) = now else {
        return Decision::Keep(format!(
            "needed until {until}; the API server does not say what time it is"
        ));
    };
    if let Some(made_at) = found.made_at.filter(|made| *made > now + TOLERANCE) {
        return Decision::Keep(format!(
            "it was made at {}, and the API server says that it is {}: look at its clock",
            made_at.to_rfc3339(),
            now.to_rfc3339()
        ));
    }
    // It is going in any case: its volumes are looked after, and what holds it is named.
    if let Some(since) = found.ending_since.filter(|since| now >= *since + STUCK) {
        return Decision::Remove(id, format!("its end began at {}", since.to_rfc3339()));
    }
    // A drill that is known to live has ways of its own to end.
    let overdue = if lives == Some(true) && !found.kept {
        OVERDUE
    } else {
        TimeDelta::zero()
    };
    if now >= expires_at + overdue {
        return Decision::Remove(id, format!("expired at {until}"));
    }
    Decision::Keep(match (found.kept, lives, &found.holder) {
        (true, ..) => format!("kept until {until}"),
        (_, Some(true), _) => format!("in use by {holder}"),
        (_, _, Some(_)) => {
            format!("needed until {until}; whether {holder} lives cannot be told from here")
        }
        (_, _, None) => format!("needed until {until}"),
    })
}

/// Second names of snapshots whose namespace is gone or never was made.
async fn sweep_contents(
    kube: &Kube,
    now: DateTime<Utc>,
    there: &[String],
    swept: &mut SweptNamespaces,
) -> Result<(), KubeError> {
    let contents = kinds::CONTENT.api(kube, "");
    let selector = format!("{}={},{}", names::MANAGED_BY, names::WALPROOF, names::DRILL);
    let parameters = ListParams::default().labels(&selector);
    // The kind may not be there, and may not be seen: then none was made.
    let Ok(list) = kube
        .call("list VolumeSnapshotContents", contents.list(&parameters))
        .await
    else {
        return Ok(());
    };
    let mut done = Vec::new();
    for content in list.items {
        let namespace = content.data.pointer("/spec/volumeSnapshotRef/namespace");
        let namespace = namespace.and_then(serde_json::Value::as_str);
        if namespace.is_some_and(|name| there.iter().any(|known| known == name)) {
            continue;
        }
        let annotations = content.metadata.annotations.as_ref();
        let expires_at = annotations
            .and_then(|all| all.get(names::EXPIRES_AT))
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let id = drill(content.metadata.labels.as_ref()).and_then(|id| Uuid::parse_str(id).ok());
        let (Some(id), Some(expires_at)) = (id, expires_at) else {
            continue;
        };
        if now < expires_at.to_utc() || done.contains(&id) {
            continue;
        }
        done.push(id);
        let until = Instant::now() + PATIENCE;
        let name = content.metadata.name.unwrap_or_default();
        let reason = format!("expired at {}", expires_at.to_rfc3339());
        let id_of = Some(id);
        match remove_contents(kube, id, until).await {
            Ok(left) if left.is_empty() => swept.removed.push(Swept {
                name,
                id: id_of,
                reason,
            }),
            Ok(left) => swept.failed.push(Swept {
                name,
                id: id_of,
                reason: format!("not gone: {}", left.join("; ")),
            }),
            Err(error) => swept.failed.push(Swept {
                name,
                id: id_of,
                reason: error.to_string(),
            }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01936d2e-7c1a-7f00-8000-0123456789ab";
    const HOUR: i64 = 3600;

    fn found(expires_in: Option<i64>, holder: Option<&str>, kept: bool) -> Found {
        Found {
            name: "drill-orders-456789ab".to_owned(),
            id: Uuid::parse_str(ID).ok(),
            made_at: Some(at(-HOUR)),
            ending_since: None,
            expires_at: expires_in.map(at),
            holder: holder.map(str::to_owned),
            kept,
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn alive(holder: &str) -> Option<bool> {
        match holder {
            "here" => Some(true),
            "gone" => Some(false),
            _ => None,
        }
    }

    fn removed(found: &Found, now: Option<DateTime<Utc>>) -> bool {
        matches!(decide(found, now, alive), Decision::Remove(..))
    }

    #[test]
    fn only_what_is_past_its_time_or_whose_holder_is_gone_is_removed() {
        for (found, expected) in [
            (found(Some(-1), Some("elsewhere"), false), true),
            (found(Some(0), Some("elsewhere"), false), true),
            (found(Some(1), Some("elsewhere"), false), false),
            (found(Some(-1), None, false), true),
            (found(Some(60), None, false), false),
            (found(Some(60), Some("gone"), false), true),
            (found(None, Some("gone"), false), false),
            // Kept for a person: nobody holds it, and only the time tells.
            (found(Some(60), Some("gone"), true), false),
            (found(Some(-1), Some("gone"), true), true),
            (found(Some(-1), Some("here"), true), true),
            (found(Some(-1), None, true), true),
            // A drill that lives is not ended by the clock, unless it is much overdue.
            (found(Some(60), Some("here"), false), false),
            (found(Some(-60), Some("here"), false), false),
            (found(Some(-HOUR), Some("here"), false), true),
        ] {
            assert_eq!(removed(&found, Some(at(0))), expected, "{found:?}");
        }
    }

    #[test]
    fn what_is_not_surely_a_drills_is_left_alone() {
        let gone = found(Some(-HOUR), Some("gone"), false);
        assert!(removed(&gone, Some(at(0))));
        let nameless = Found {
            id: None,
            ..gone.clone()
        };
        let copied = Found {
            name: "prod".to_owned(),
            ..gone
        };
        for found in [nameless, copied] {
            assert!(!removed(&found, Some(at(0))), "{found:?}");
        }
    }

    #[test]
    fn without_a_clock_to_be_believed_nothing_has_expired() {
        let expired = found(Some(-HOUR), Some("elsewhere"), false);
        assert!(removed(&expired, Some(at(0))));
        assert!(!removed(&expired, None));
        // The API server says that what it made yesterday is made tomorrow.
        let ahead = Found {
            made_at: Some(at(2 * HOUR)),
            ..expired
        };
        assert!(!removed(&ahead, Some(at(0))));
        // A holder that has ended needs no clock.
        assert!(removed(&found(Some(60), Some("gone"), false), None));
        assert!(is_apart(at(0), at(HOUR)) && is_apart(at(HOUR), at(0)));
        assert!(!is_apart(at(0), at(30)));
    }

    #[test]
    fn what_does_not_come_to_its_end_is_helped() {
        for holder in ["here", "elsewhere"] {
            for (since, expected) in [(-60, false), (-HOUR, true)] {
                let found = Found {
                    ending_since: Some(at(since)),
                    ..found(Some(60), Some(holder), false)
                };
                assert_eq!(removed(&found, Some(at(0))), expected, "{found:?}");
            }
        }
    }

    #[test]
    fn a_namespace_says_whose_it_is() {
        let namespace: Namespace = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "x",
                "creationTimestamp": "2027-01-15T07:00:00Z",
                "deletionTimestamp": "2027-01-15T07:59:00Z",
                "labels": {
                    "app.kubernetes.io/managed-by": "walproof",
                    "walproof.dev/drill": ID,
                },
                "annotations": {
                    "walproof.dev/expires-at": "2027-01-15T08:00:00Z",
                    "walproof.dev/holder": "daemon",
                    "walproof.dev/kept": "true",
                },
            },
        }))
        .unwrap();
        let read = read(&namespace);
        assert!(read.id.is_some() && read.kept);
        assert_eq!(read.name, "x");
        assert_eq!(read.made_at, Some(at(-HOUR)));
        assert_eq!(read.ending_since, Some(at(-60)));
        assert_eq!(read.expires_at, Some(at(0)));
        assert_eq!(read.holder.as_deref(), Some("daemon"));
    }
}
