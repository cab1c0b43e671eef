//! Writing to the API: only what differs, and never over what somebody else wrote meanwhile.

use std::collections::VecDeque;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Map, Value, json};

use super::compile::Key;
use super::kind::{Around, Finalizer, Told, Tone};
use super::resources::{CLEANUP, GROUP, VERSION};
use crate::evidence::sha256_hex;
use crate::kubernetes::{KubeError, KubeErrorKind, time};

/// So many Events are remembered as told. One that is forgotten is refused by the API, which
/// has it by its name.
const REMEMBERED: usize = 4096;

/// A resource, as it is written to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its kind.
    pub(super) kind: ApiResource,
    /// Namespace and name.
    pub(super) key: Key,
    /// Its uid.
    pub(super) uid: String,
    /// The version that was looked at.
    pub(super) version: String,
    /// Its finalizers.
    pub(super) finalizers: Vec<String>,
    /// Its status as it is.
    pub(super) status: Value,
}

impl Target {
    /// Of an object as the API has it.
    pub(super) fn of(kind: ApiResource, metadata: &ObjectMeta, status: Value) -> Self {
        Self {
            kind,
            key: (
                metadata.namespace.clone().unwrap_or_default(),
                metadata.name.clone().unwrap_or_default(),
            ),
            uid: metadata.uid.clone().unwrap_or_default(),
            version: metadata.resource_version.clone().unwrap_or_default(),
            finalizers: metadata.finalizers.clone().unwrap_or_default(),
            status,
        }
    }

    fn api(&self, around: &Around) -> Api<DynamicObject> {
        Api::namespaced_with(around.kube.client(), &self.key.0, &self.kind)
    }

    fn title(&self) -> String {
        format!("{} {}/{}", self.kind.kind, self.key.0, self.key.1)
    }

    /// Whether the finalizer is there.
    pub(super) fn is_held(&self) -> bool {
        self.finalizers.iter().any(|one| one == CLEANUP)
    }
}

/// Writes, and remembers what was told.
#[derive(Debug, Default)]
pub(super) struct Writer {
    told: VecDeque<String>,
}

impl Writer {
    /// Brings the finalizer, the Events and the status to what they are to be. Gives whether
    /// something was written.
    ///
    /// # Errors
    ///
    /// The API does not answer or refuses. A conflict means that somebody was faster: what is
    /// watched tells, and then it is tried again.
    pub(super) async fn write(
        &mut self,
        around: &Around,
        target: &Target,
        finalizer: Finalizer,
        told: &[Told],
        status: &Value,
    ) -> Result<bool, KubeError> {
        for one in told {
            self.tell(around, target, one).await?;
        }
        // The last thing of a resource that goes: with its finalizer it is gone.
        let change = difference(&target.status, status);
        let mut wrote = false;
        if let Some(change) = change {
            let patch = json!({
                "metadata": {"resourceVersion": target.version},
                "status": change,
            });
            let api = target.api(around);
            let parameters = PatchParams::default();
            let patch = Patch::Merge(patch);
            let action = format!("write the status of {}", target.title());
            let patched = around
                .kube
                .call(action, api.patch_status(&target.key.1, &parameters, &patch))
                .await?;
            wrote = true;
            if target.is_held() != (finalizer == Finalizer::Held) {
                let version = patched.metadata.resource_version.unwrap_or_default();
                finalize(around, target, &version, finalizer).await?;
            }
            return Ok(wrote);
        }
        if target.is_held() != (finalizer == Finalizer::Held) {
            finalize(around, target, &target.version, finalizer).await?;
            wrote = true;
        }
        Ok(wrote)
    }

    /// One Event. Its name is made of what it says, so that it is there once, whoever tells it.
    async fn tell(
        &mut self,
        around: &Around,
        target: &Target,
        told: &Told,
    ) -> Result<(), KubeError> {
        let (namespace, name) = &target.key;
        let text = format!("{} {} {}", target.uid, told.reason, told.once);
        let digest: String = sha256_hex(text.as_bytes()).chars().take(16).collect();
        if self.told.contains(&digest) {
            return Ok(());
        }
        let short: String = name.chars().take(200).collect();
        let event = Event {
            action: Some(told.action.to_owned()),
            event_time: time::to_api_micro(around.now),
            metadata: ObjectMeta {
                name: Some(format!("{short}.{digest}")),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            note: Some(told.note.chars().take(1000).collect()),
            reason: Some(told.reason.to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some(format!("{GROUP}/{VERSION}")),
                kind: Some(target.kind.kind.clone()),
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                uid: Some(target.uid.clone()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some("walproof.dev/controller".to_owned()),
            reporting_instance: Some(format!("walproof-{}", around.lease.holder)),
            type_: Some(
                match told.tone {
                    Tone::Normal => "Normal",
                    Tone::Warning => "Warning",
                }
                .to_owned(),
            ),
            ..Event::default()
        };
        let events: Api<Event> = Api::namespaced(around.kube.client(), namespace);
        let action = format!("tell an event of {}", target.title());
        let created = around
            .kube
            .call(action, events.create(&PostParams::default(), &event))
            .await;
        match created {
            Ok(_) => {}
            Err(error) if error.kind == KubeErrorKind::AlreadyExists => {}
            // A namespace that goes takes no Events. The status says the same.
            Err(error) if !error.is_transient() => {
                tracing::warn!(%error, "an event is not told");
            }
            Err(error) => return Err(error),
        }
        self.told.push_back(digest);
        if self.told.len() > REMEMBERED {
            self.told.pop_front();
        }
        Ok(())
    }
}

/// Puts the finalizer there, or takes it away.
async fn finalize(
    around: &Around,
    target: &Target,
    version: &str,
    finalizer: Finalizer,
) -> Result<(), KubeError> {
    let mut finalizers: Vec<&str> = target
        .finalizers
        .iter()
        .map(String::as_str)
        .filter(|one| *one != CLEANUP)
        .collect();
    if finalizer == Finalizer::Held {
        finalizers.push(CLEANUP);
    }
    let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
    let api = target.api(around);
    let parameters = PatchParams::default();
    let patch = Patch::Merge(patch);
    let action = format!("write the finalizer of {}", target.title());
    let patched = around
        .kube
        .call(action, api.patch(&target.key.1, &parameters, &patch));
    match patched.await {
        Ok(_) => Ok(()),
        Err(error) if error.kind == KubeErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The merge patch from one value to another; `None` when they are the same.
pub(super) fn difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return Some(new.clone());
    };
    let mut patch = Map::new();
    for (key, value) in after {
        match before.get(key) {
            Some(known) => {
                if let Some(change) = difference(known, value) {
                    patch.insert(key.clone(), change);
                }
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let old = json!({"a": 1, "b": {"c": [1, 2], "d": 3}, "e": null});
        assert_eq!(difference(&old, &old), None);
        let new = json!({"a": 2, "b": {"c": [1], "d": 3}, "f": true, "e": null});
        assert_eq!(
            difference(&old, &new),
            Some(json!({"a": 2, "b": {"c": [1]}, "f": true}))
        );
        let new = json!({"b": {"c": [1, 2]}, "e": null});
        assert_eq!(
            difference(&old, &new),
            Some(json!({"a": null, "b": {"d": null}}))
        );
        assert_eq!(
            difference(&Value::Null, &json!({"a": 1})),
            Some(json!({"a": 1}))
        );
    }
}
