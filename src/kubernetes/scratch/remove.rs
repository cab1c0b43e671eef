//! Removing a scratch namespace, and proving that it is gone.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use uuid::Uuid;

use super::create::drill;
use super::kinds::{self, HOLDING};
use super::plan::is_named_after;
use crate::kubernetes::{Kube, KubeError, KubeErrorKind, names, time};

/// How often it is looked whether the namespace is gone.
const LOOK: Duration = Duration::from_millis(500);
/// Seconds that a pod has to end. Its data is thrown away.
const GRACE_SECONDS: u32 = 1;
/// So many volumes are read at a time.
const PAGE: u32 = 500;
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

/// A volume that was bound in the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    volume: String,
    claim: String,
    /// The claim's.
    uid: String,
    /// When the claim was made.
    claimed: Option<DateTime<Utc>>,
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
        if let Some(words) = volume_left(kube, one, until).await? {
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

/// A request, repeated while the API is away.
async fn patient<'a, T>(
    kube: &Kube,
    action: &str,
    until: Instant,
    mut request: impl FnMut() -> BoxFuture<'a, Result<T, kube::Error>>,
) -> Result<T, KubeError> {
    loop {
        match kube.call(action, request()).await {
            Err(error)
                if matches!(
                    error.kind,
                    KubeErrorKind::Unreachable | KubeErrorKind::Timeout
                ) && Instant::now() < until =>
            {
                tracing::debug!(%error, "trying again");
                tokio::time::sleep(LOOK).await;
            }
            result => return result,
        }
    }
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

/// The claims of a namespace cannot be seen.
#[derive(Clone, Copy)]
struct Blind {
    /// When the namespace was made.
    made: Option<DateTime<Utc>>,
}

/// The volumes that were seen bound to the namespace's claims.
#[derive(Default)]
struct Volumes {
    bound: Vec<Bound>,
    /// Set once the claims could not be seen: the right to see them goes with the namespace,
    /// where it is given by a binding in it.
    blind: Option<Blind>,
    /// Why they could not be seen.
    unseen: Option<String>,
}

impl Volumes {
    /// Looks for volumes that were not seen before, and tells them to go with their claim.
    async fn look(
        &mut self,
        kube: &Kube,
        namespace: &Namespace,
        until: Instant,
    ) -> Result<(), KubeError> {
        if self.blind.is_some() {
            return Ok(());
        }
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(kube.client(), name);
        let action = format!("list PersistentVolumeClaims in {name}");
        let parameters = ListParams::default();
        let listed = patient(kube, &action, until, || claims.list(&parameters).boxed());
        let list = match listed.await {
            Ok(list) => list,
            Err(error) if error.kind == KubeErrorKind::Forbidden => {
                let made = namespace.metadata.creation_timestamp.as_ref();
                self.blind = Some(Blind {
                    made: made.and_then(time::from_api),
                });
                return self.look_again(kube, name, until).await;
            }
            Err(error) => return Err(error),
        };
        for claim in list.items {
            let volume = claim.spec.and_then(|spec| spec.volume_name);
            let claimed = claim.metadata.creation_timestamp.as_ref();
            let claimed = claimed.and_then(time::from_api);
            if let (Some(volume), Some(claim), Some(uid)) =
                (volume, claim.metadata.name, claim.metadata.uid)
            {
                let bound = Bound {
                    volume,
                    claim,
                    uid,
                    claimed,
                };
                self.see(kube, bound).await;
            }
        }
        Ok(())
    }

    async fn see(&mut self, kube: &Kube, bound: Bound) {
        if self.bound.iter().all(|known| known.uid != bound.uid) {
            release_with_claim(kube, &bound).await;
            self.bound.push(bound);
        }
    }

    /// Where the claims could not be seen: the volumes themselves say whose they are. All of
    /// the cluster's are looked through, a page at a time, so not at every look.
    async fn look_again(
        &mut self,
        kube: &Kube,
        namespace: &str,
        until: Instant,
    ) -> Result<(), KubeError> {
        let Some(Blind { made }) = self.blind else {
            return Ok(());
        };
        let volumes: Api<PersistentVolume> = Api::all(kube.client());
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let action = "list PersistentVolumes";
            let listed = patient(kube, action, until, || volumes.list(&parameters).boxed());
            let page = match listed.await {
                Ok(page) => page,
                Err(error) if error.kind == KubeErrorKind::Forbidden => {
                    self.unseen = Some(format!(
                        "the volumes of {namespace} are not known, for this identity may look \
                         neither at PersistentVolumeClaims there nor at PersistentVolumes"
                    ));
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            for volume in page.items {
                let claim = volume.spec.and_then(|spec| spec.claim_ref);
                let claim = claim.filter(|claim| claim.namespace.as_deref() == Some(namespace));
                if let Some(claim) = claim
                    && let (Some(volume), Some(claim), Some(uid)) =
                        (volume.metadata.name, claim.name, claim.uid)
                {
                    let bound = Bound {
                        volume,
                        claim,
                        uid,
                        // A claim is never older than its namespace.
                        claimed: made,
                    };
                    self.see(kube, bound).await;
                }
            }
            match page.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => parameters.continue_token = Some(more),
                None => return Ok(()),
            }
        }
    }
}

/// Whether a volume is the one that was bound to the claim.
fn belongs(volume: &PersistentVolume, bound: &Bound) -> bool {
    let claim = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.claim_ref.as_ref());
    claim.and_then(|claim| claim.uid.as_deref()) == Some(bound.uid.as_str())
}

/// Whether a volume was provisioned for the claim. One that was there before was bound to it:
/// a person made it, or left it to be used again, and what it held before is that person's.
fn is_made_for(volume: &PersistentVolume, bound: &Bound) -> bool {
    const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
    let metadata = &volume.metadata;
    let annotations = metadata.annotations.as_ref();
    let provisioned = annotations.is_some_and(|all| all.contains_key(PROVISIONED_BY));
    let made = metadata.creation_timestamp.as_ref();
    let made = made.and_then(time::from_api);
    let after = made
        .zip(bound.claimed)
        .is_some_and(|(made, claimed)| made >= claimed);
    belongs(volume, bound) && provisioned && after
}

/// A volume that was provisioned for the claim goes with it, whatever its class says. One
/// that a person made is left to that person.
async fn release_with_claim(kube: &Kube, bound: &Bound) {
    let volumes: Api<PersistentVolume> = Api::all(kube.client());
    let name = bound.volume.as_str();
    let action = format!("get PersistentVolume {name}");
    // What cannot be seen or changed is found again, and named, when the namespace is gone.
    let Ok(Some(volume)) = kube.call(action, volumes.get_opt(name)).await else {
        return;
    };
    let spec = volume.spec.as_ref();
    let policy = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    if policy != Some("Retain") || !is_made_for(&volume, bound) {
        return;
    }
    let patch = json!({
        // Only this very volume, as it was looked at.
        "metadata": {
            "uid": volume.metadata.uid,
            "resourceVersion": volume.metadata.resource_version,
        },
        "spec": { "persistentVolumeReclaimPolicy": "Delete" },
    });
    let action = format!("patch PersistentVolume {name}");
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
    let patched = volumes.patch(name, &parameters, &patch);
    if let Err(error) = kube.call(action, patched).await {
        tracing::warn!(%error, "a volume of the drill is retained by its class");
    }
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

/// What is left of a volume, in words. Waits until it is gone.
async fn volume_left(
    kube: &Kube,
    bound: &Bound,
    until: Instant,
) -> Result<Option<String>, KubeError> {
    let volumes: Api<PersistentVolume> = Api::all(kube.client());
    let name = bound.volume.as_str();
    loop {
        let action = format!("get PersistentVolume {name}");
        let get = patient(kube, &action, until, || volumes.get_opt(name).boxed());
        let found = match get.await {
            Ok(found) => found,
            Err(error) if error.kind == KubeErrorKind::Forbidden => {
                return Ok(Some(format!(
                    "PersistentVolume {name} of {}: not known, for this identity may not look \
                     at volumes",
                    bound.claim
                )));
            }
            Err(error) => return Err(error),
        };
        let Some(volume) = found.filter(|volume| belongs(volume, bound)) else {
            return Ok(None);
        };
        let made_for = is_made_for(&volume, bound);
        let phase = volume.status.and_then(|status| status.phase);
        let phase = phase.unwrap_or_default();
        let spec = volume.spec.unwrap_or_default();
        let retained = spec.persistent_volume_reclaim_policy.as_deref() == Some("Retain");
        if phase == "Failed" || (retained && phase == "Released") || Instant::now() >= until {
            let why = match (retained, made_for) {
                (true, true) => "its class retains it; delete it and its data by hand",
                (true, false) => {
                    "it was not made for the drill and is left as it is; see whose it is, it now \
                     holds what the drill restored"
                }
                (false, _) => "its provisioner has not deleted it",
            };
            let finalizers = volume.metadata.finalizers.unwrap_or_default().join(", ");
            return Ok(Some(format!(
                "PersistentVolume {name} of {}: {phase}, {why}{}",
                bound.claim,
                held_by(&finalizers)
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn held_by(finalizers: &str) -> String {
    if finalizers.is_empty() {
        String::new()
    } else {
        format!(" (finalizers {finalizers})")
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
    use super::*;

    const UID: &str = "6d0b1f2e-58a8-4b8e-9a3c-0a1b2c3d4e5f";

    fn bound(claimed: Option<&str>) -> Bound {
        Bound {
            volume: "pv".to_owned(),
            claim: "drill-1".to_owned(),
            uid: UID.to_owned(),
            claimed: claimed.and_then(time::parse),
        }
    }

    fn volume(made: Option<&str>, provisioned: bool, uid: &str) -> PersistentVolume {
        let mut volume = json!({
            "metadata": {"name": "pv", "annotations": {"x": "y"}},
            "spec": {"claimRef": {"uid": uid}, "persistentVolumeReclaimPolicy": "Retain"},
        });
        if let Some(made) = made {
            volume["metadata"]["creationTimestamp"] = json!(made);
        }
        if provisioned {
            volume["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] = json!("csi");
        }
        serde_json::from_value(volume).unwrap()
    }

    #[test]
    fn only_a_volume_that_was_provisioned_for_the_claim_goes_with_it() {
        let (before, then, after) = (
            Some("2026-11-22T08:24:59Z"),
            Some("2026-11-22T08:25:00Z"),
            Some("2026-11-22T08:25:01Z"),
        );
        for (made, provisioned, uid, claimed, expected) in [
            (after, true, UID, then, true),
            // The API counts in seconds.
            (then, true, UID, then, true),
            // Retained from an earlier life, freed by a person, and bound again.
            (before, true, UID, then, false),
            (after, false, UID, then, false),
            (after, true, "another", then, false),
            (None, true, UID, then, false),
            (after, true, UID, None, false),
        ] {
            let volume = volume(made, provisioned, uid);
            assert_eq!(
                is_made_for(&volume, &bound(claimed)),
                expected,
                "{volume:?}"
            );
        }
    }

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
