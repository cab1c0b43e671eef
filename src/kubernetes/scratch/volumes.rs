//! The volumes of a scratch namespace: they hold a copy of production, and go with it.

use std::time::Instant;

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::patience::{LOOK, patient};
use crate::kubernetes::{Kube, KubeError, KubeErrorKind, time};

/// So many volumes are read at a time.
const PAGE: u32 = 500;

/// A volume that was bound in the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    volume: String,
    claim: String,
    /// The claim's.
    uid: String,
    /// When the claim was made.
    claimed: Option<DateTime<Utc>>,
}

/// The claims of a namespace cannot be seen.
#[derive(Clone, Copy)]
struct Blind {
    /// When the namespace was made.
    made: Option<DateTime<Utc>>,
}

/// The volumes that were seen bound to the namespace's claims.
#[derive(Default)]
pub(super) struct Volumes {
    pub(super) bound: Vec<Bound>,
    /// Set once the claims could not be seen: the right to see them goes with the namespace,
    /// where it is given by a binding in it.
    blind: Option<Blind>,
    /// Why they could not be seen.
    pub(super) unseen: Option<String>,
}

impl Volumes {
    /// Looks for volumes that were not seen before, and tells them to go with their claim.
    pub(super) async fn look(
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
    pub(super) async fn look_again(
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

/// What is left of a volume, in words. Waits until it is gone.
pub(super) async fn left(
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

/// What an object waits for before it goes, in words.
pub(super) fn held_by(finalizers: &str) -> String {
    if finalizers.is_empty() {
        String::new()
    } else {
        format!(" (finalizers {finalizers})")
    }
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
}
