//! Removing a scratch namespace, and proving that it is gone.

use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Preconditions};
use uuid::Uuid;

use super::create::drill;
use super::kinds::{self, HOLDING};
use super::patience::{LOOK, patient};
use super::plan::is_named_after;
use super::volumes::{self, Volumes, held_by};
use crate::kubernetes::{Kube, KubeError, KubeErrorKind, names};

/// Seconds that a pod has to end. Its data is thrown away.
const GRACE_SECONDS: u32 = 1;
/// At most so many of what is left are named.
const MOST_NAMED: usize = 20;

/// What came of a removal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// The namespace is not there any more.
    pub gone: bool,
    /// Every volume that was bound in it is gone, with its data.
    pub volumes_released: bool,
    /// What is still there, and what holds it, in words. Empty after a whole removal.
    pub left: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Removal {
    /// Whether nothing is left.
    pub fn is_whole(&self) -> bool {
        self.gone && self.volumes_released && self.left.is_empty()
    }
}

/// Removes a drill's namespace and all that belongs to it, and waits until it is gone, its
/// volumes included; at most `patience`. A namespace that is not there is gone already.
///
/// Volumes whose class retains them hold a copy of production: they are told to go with
/// their claim, where that is allowed, and are named as left otherwise. So is a volume that
/// was there before its claim: it was not made for the drill.
///
/// # Errors
///
/// The namespace does not carry this drill's label: it was not touched. Or the API does not
/// answer, or refuses.
pub async fn remove(
    kube: &Kube,
    namespace: &str,
    id: Uuid,
    patience: Duration,
) -> Result<Removal, KubeError> {
    let begun = Instant::now();
    let until = begun + patience;
    let mut removal = Removal::default();
    let mut volumes = Volumes::default();
    begin(kube, namespace, id, until, &mut volumes).await?;
    loop {
        let Some(there) = get_namespace(kube, namespace, until).await? else {
            removal.gone = true;
            break;
        };
        // One of this name that was made since would be another's.
        must_be_ours(&there, namespace, id)?;
        if Instant::now() >= until {
            removal.left = holders(kube, &there).await;
            break;
        }
        // A volume may be bound while the deletion begins.
        volumes.look(kube, &there, until).await?;
        tokio::time::sleep(LOOK).await;
    }
    if removal.gone {
        volumes.look_again(kube, namespace, until).await?;
        removal.left.extend(remove_contents(kube, id, until).await?);
    }
    removal.volumes_released = volumes.unseen.is_none();
    removal.left.extend(volumes.unseen);
    for one in &volumes.bound {
        if let Some(words) = volumes::left(kube, one, until).await? {
            removal.volumes_released = false;
            removal.left.push(words);
        }
    }
    removal.left.truncate(MOST_NAMED);
    removal.took = begun.elapsed();
    Ok(removal)
}

/// Begins the removal of a drill's namespace, and does not wait for its end.
///
/// # Errors
///
/// As [`remove`].
pub(super) async fn begin_removal(kube: &Kube, namespace: &str, id: Uuid) -> Result<(), KubeError> {
    let mut volumes = Volumes::default();
    begin(kube, namespace, id, Instant::now(), &mut volumes).await
}

async fn begin(
    kube: &Kube,
    namespace: &str,
    id: Uuid,
    until: Instant,
    volumes: &mut Volumes,
) -> Result<(), KubeError> {
    if let Some(found) = get_namespace(kube, namespace, until).await? {
        must_be_ours(&found, namespace, id)?;
        volumes.look(kube, &found, until).await?;
        // Where its rights hold in this namespace alone, they go with it, soon after this.
        let pods = pods(kube, namespace).await;
        delete(kube, namespace, &found, until).await?;
        hurry(kube, namespace, &pods).await;
    }
    Ok(())
}

/// Begins the namespace's end, of this very namespace as it was looked at.
async fn delete(
    kube: &Kube,
    namespace: &str,
    found: &Namespace,
    until: Instant,
) -> Result<(), KubeError> {
    let namespaces: Api<Namespace> = Api::all(kube.client());
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: found.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::background()
    };
    let action = format!("delete Namespace {namespace}");
    let deleted = patient(kube, &action, until, || {
        namespaces.delete(namespace, &parameters).boxed()
    });
    match deleted.await {
        // Already on its way, or gone meanwhile.
        Err(error)
            if matches!(
                error.kind,
                KubeErrorKind::NotFound | KubeErrorKind::Conflict
            ) =>
        {
            Ok(())
        }
        result => result.map(drop),
    }
}

/// The namespace, if it is there.
async fn get_namespace(
    kube: &Kube,
    namespace: &str,
    until: Instant,
) -> Result<Option<Namespace>, KubeError> {
    let namespaces: Api<Namespace> = Api::all(kube.client());
    let action = format!("get Namespace {namespace}");
    patient(kube, &action, until, || {
        namespaces.get_opt(namespace).boxed()
    })
    .await
}

/// Refuses a namespace that is another's.
fn must_be_ours(found: &Namespace, namespace: &str, id: Uuid) -> Result<(), KubeError> {
    let labelled = drill(found.metadata.labels.as_ref());
    let is_labelled = labelled == Some(id.to_string().as_str());
    if is_labelled && is_named_after(namespace, id) {
        return Ok(());
    }
    let message = match labelled {
        Some(_) if is_labelled => format!(
            "its name does not end with the id of the drill {id}, whose label it carries: the \
             label was copied; nothing was touched"
        ),
        Some(other) => format!("it belongs to the drill {other}, not to {id}; nothing was touched"),
        None => "it does not carry walproof's labels; nothing was touched".to_owned(),
    };
    Err(KubeError::new(
        KubeErrorKind::Other,
        format!("delete Namespace {namespace}"),
        message,
    ))
}

/// The pods of the namespace, if they can be seen.
async fn pods(kube: &Kube, namespace: &str) -> Vec<String> {
    let pods: Api<Pod> = Api::namespaced(kube.client(), namespace);
    let action = format!("list Pods in {namespace}");
    let listed = kube.call(action, pods.list(&ListParams::default())).await;
    let pods = listed.map(|list| list.items).unwrap_or_default();
    let names = pods.into_iter().filter_map(|pod| pod.metadata.name);
    names.collect()
}

/// Tells pods to end soon: the operator gives a server minutes for its clients and its WAL.
async fn hurry(kube: &Kube, namespace: &str, names: &[String]) {
    let pods: Api<Pod> = Api::namespaced(kube.client(), namespace);
    let parameters = DeleteParams::default().grace_period(GRACE_SECONDS);
    let all = names.iter().map(|name| {
        let action = format!("delete Pod {namespace}/{name}");
        kube.call(action, pods.delete(name, &parameters))
    });
    for error in join_all(all).await.into_iter().filter_map(Result::err) {
        // They go with the namespace in any case.
        tracing::debug!(%error, "left to the namespace");
    }
}

/// Removes the second names of snapshots, by the drill's label. The snapshots stay. Whoever
/// may not see them could not have made them.
pub(super) async fn remove_contents(
    kube: &Kube,
    id: Uuid,
    until: Instant,
) -> Result<Vec<String>, KubeError> {
    let contents = kinds::CONTENT.api(kube, "");
    let selector = format!(
        "{}={},{}={id}",
        names::MANAGED_BY,
        names::WALPROOF,
        names::DRILL
    );
    let parameters = ListParams::default().labels(&selector);
    let action = "list VolumeSnapshotContents";
    let mut asked = false;
    loop {
        let list = match kube.call(action, contents.list(&parameters)).await {
            Ok(list) => list,
            Err(error)
                if matches!(
                    error.kind,
                    KubeErrorKind::NotFound | KubeErrorKind::Forbidden
                ) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        if list.items.is_empty() {
            return Ok(Vec::new());
        }
        if asked && Instant::now() >= until {
            return Ok(list
                .items
                .iter()
                .map(|one| in_words("VolumeSnapshotContent", one))
                .collect());
        }
        for content in &list.items {
            let Some(name) = &content.metadata.name else {
                continue;
            };
            let retain = content.data.pointer("/spec/deletionPolicy");
            if retain.and_then(serde_json::Value::as_str) != Some("Retain") {
                return Ok(vec![format!(
                    "VolumeSnapshotContent {name}: its deletion would delete the snapshot \
                     itself; not touched"
                )]);
            }
            if asked {
                continue;
            }
            let action = format!("delete VolumeSnapshotContent {name}");
            let parameters = DeleteParams::default();
            let deleted = contents.delete(name, &parameters);
            match kube.call(action, deleted).await {
                Ok(_) => {}
                Err(error) if error.kind == KubeErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        asked = true;
        tokio::time::sleep(LOOK).await;
    }
}

fn in_words(kind: &str, object: &kube::api::DynamicObject) -> String {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let finalizers = object.metadata.finalizers.clone().unwrap_or_default();
    format!("{kind} {name}{}", held_by(&finalizers.join(", ")))
}

/// What holds a namespace: objects with finalizers, else what its conditions say.
async fn holders(kube: &Kube, namespace: &Namespace) -> Vec<String> {
    let mut held = Vec::new();
    let name = namespace.metadata.name.as_deref().unwrap_or_default();
    let parameters = ListParams::default().limit(100);
    for kind in HOLDING {
        let objects = kind.api(kube, name);
        // Kinds that are not there or may not be seen are named by the conditions.
        let listed = kube
            .call("list what is left", objects.list(&parameters))
            .await;
        for object in listed.map(|list| list.items).unwrap_or_default() {
            held.push(in_words(kind.kind, &object));
        }
    }
    let status = namespace.status.clone().unwrap_or_default();
    for condition in status.conditions.unwrap_or_default() {
        if condition.status == "True" {
            let message = condition.message.unwrap_or_default();
            held.push(format!("Namespace {name}: {}: {message}", condition.type_));
        }
    }
    if held.is_empty() {
        held.push(format!(
            "Namespace {name}: the API server has not removed it yet"
        ));
    }
    held
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_label_that_was_copied_makes_no_namespace_ours() {
        let id = Uuid::parse_str("01936d2e-7c1a-7f00-8000-0123456789ab").unwrap();
        let labelled = |id: Uuid| -> Namespace {
            serde_json::from_value(json!({"metadata": {"labels": {
                names::MANAGED_BY: names::WALPROOF, names::DRILL: id.to_string(),
            }}}))
            .unwrap()
        };
        must_be_ours(&labelled(id), "drill-orders-456789ab", id).unwrap();
        let refused = |found: &Namespace, name: &str| {
            let error = must_be_ours(found, name, id).unwrap_err().to_string();
            assert!(error.ends_with("nothing was touched"), "{error}");
            error
        };
        assert!(refused(&labelled(id), "prod").contains("was copied"));
        let other = labelled(Uuid::nil());
        assert!(refused(&other, "drill-orders-456789ab").contains("belongs to the drill"));
        refused(&Namespace::default(), "drill-orders-456789ab");
    }
}
