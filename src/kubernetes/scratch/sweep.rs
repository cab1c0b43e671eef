//! Removing what drills left behind.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::create::drill;
use super::kinds;
use super::remove::{Removal, remove, remove_contents};
use crate::kubernetes::{Kube, KubeError, names};

/// How long a sweep waits for one namespace to be gone.
const PATIENCE: Duration = Duration::from_mins(3);
/// So many are removed at a time.
const AT_A_TIME: usize = 4;

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

/// What a namespace says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    id: Option<Uuid>,
    expires_at: Option<DateTime<Utc>>,
    holder: Option<String>,
    kept: bool,
}

/// What is done with a namespace, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    Remove(String),
    Keep(String),
}

/// Removes every scratch namespace that is past its expiry, or whose holder is not alive any
/// more and that nobody keeps. Namespaces without walproof's labels are not looked at.
///
/// # Errors
///
/// The namespaces cannot be listed. What goes wrong with one of them is in the result.
pub async fn sweep(
    kube: &Kube,
    now: DateTime<Utc>,
    alive: &(dyn Fn(&str) -> bool + Sync),
) -> Result<SweptNamespaces, KubeError> {
    walk(kube, now, alive, false).await
}

/// What [`sweep`] would do; touches nothing.
///
/// # Errors
///
/// The namespaces cannot be listed.
pub async fn would_sweep(
    kube: &Kube,
    now: DateTime<Utc>,
    alive: &(dyn Fn(&str) -> bool + Sync),
) -> Result<SweptNamespaces, KubeError> {
    walk(kube, now, alive, true).await
}

async fn walk(
    kube: &Kube,
    now: DateTime<Utc>,
    alive: &(dyn Fn(&str) -> bool + Sync),
    only_look: bool,
) -> Result<SweptNamespaces, KubeError> {
    let namespaces: Api<Namespace> = Api::all(kube.client());
    let selector = format!("{}={},{}", names::MANAGED_BY, names::WALPROOF, names::DRILL);
    let parameters = ListParams::default().labels(&selector);
    let list = kube
        .call("list Namespaces", namespaces.list(&parameters))
        .await?;
    let mut swept = SweptNamespaces::default();
    let mut wanted = Vec::new();
    let mut there = Vec::new();
    for namespace in &list.items {
        let Some(name) = namespace.metadata.name.clone() else {
            continue;
        };
        there.push(name.clone());
        let found = read(namespace);
        match (decide(&found, now, alive), found.id) {
            (Decision::Remove(reason), Some(id)) => wanted.push((name, id, reason)),
            (Decision::Keep(reason) | Decision::Remove(reason), id) => {
                swept.kept.push(Swept { name, id, reason });
            }
        }
    }
    if only_look {
        let all = wanted.into_iter().map(|(name, id, reason)| Swept {
            name,
            id: Some(id),
            reason,
        });
        swept.removed.extend(all);
        return Ok(swept);
    }
    let mut work = futures::stream::iter(wanted.into_iter().map(|(name, id, reason)| async move {
        let result = remove(kube, &name, id, PATIENCE).await;
        (name, id, reason, result)
    }))
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
    sweep_contents(kube, now, &there, &mut swept).await?;
    Ok(swept)
}

fn left(removal: &Removal) -> String {
    format!("not gone: {}", removal.left.join("; "))
}

fn read(namespace: &Namespace) -> Found {
    let annotation = |name: &str| {
        let annotations = namespace.metadata.annotations.as_ref()?;
        annotations.get(name).cloned()
    };
    let labelled = drill(namespace.metadata.labels.as_ref());
    Found {
        id: labelled.and_then(|id| Uuid::parse_str(id).ok()),
        expires_at: annotation(names::EXPIRES_AT)
            .and_then(|text| DateTime::parse_from_rfc3339(&text).ok())
            .map(|moment| moment.to_utc()),
        holder: annotation(names::HOLDER),
        kept: annotation(names::KEPT).as_deref() == Some("true"),
    }
}

fn decide(found: &Found, now: DateTime<Utc>, alive: &(dyn Fn(&str) -> bool + Sync)) -> Decision {
    if found.id.is_none() {
        return Decision::Keep("its drill label is no identifier".to_owned());
    }
    let Some(expires_at) = found.expires_at else {
        return Decision::Keep(format!(
            "it does not say in {} until when it is needed; delete it by hand",
            names::EXPIRES_AT
        ));
    };
    if now >= expires_at {
        return Decision::Remove(format!("expired at {}", expires_at.to_rfc3339()));
    }
    if found.kept {
        return Decision::Keep(format!("kept until {}", expires_at.to_rfc3339()));
    }
    match &found.holder {
        Some(holder) if !alive(holder) => {
            Decision::Remove(format!("its holder {holder} has ended"))
        }
        Some(holder) => Decision::Keep(format!("in use by {holder}")),
        None => Decision::Keep(format!("needed until {}", expires_at.to_rfc3339())),
    }
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

    fn found(expires_in: Option<i64>, holder: Option<&str>, kept: bool) -> Found {
        Found {
            id: Some(Uuid::nil()),
            expires_at: expires_in.map(at),
            holder: holder.map(str::to_owned),
            kept,
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn only_what_is_past_its_time_or_whose_holder_is_gone_is_removed() {
        let alive = |holder: &str| holder == "here";
        let removed = |found: &Found| matches!(decide(found, at(0), &alive), Decision::Remove(_));
        for (found, expected) in [
            (found(Some(-1), Some("here"), false), true),
            (found(Some(-1), None, true), true),
            (found(Some(0), Some("here"), false), true),
            (found(Some(60), Some("here"), false), false),
            (found(Some(60), Some("gone"), false), true),
            (found(Some(60), Some("gone"), true), false),
            (found(Some(60), None, false), false),
            (found(None, Some("gone"), false), false),
        ] {
            assert_eq!(removed(&found), expected, "{found:?}");
        }
        let nameless = Found {
            id: None,
            ..found(Some(-1), Some("gone"), false)
        };
        assert!(!removed(&nameless));
    }

    #[test]
    fn a_namespace_says_whose_it_is() {
        let namespace: Namespace = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "x",
                "labels": {
                    "app.kubernetes.io/managed-by": "walproof",
                    "walproof.dev/drill": "01936d2e-7c1a-7f00-8000-0123456789ab",
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
        assert_eq!(read.expires_at, Some(at(0)));
        assert_eq!(read.holder.as_deref(), Some("daemon"));
    }
}
