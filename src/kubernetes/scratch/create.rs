//! Making the objects of a scratch namespace.

use std::time::{Duration, Instant};

use kube::api::{DynamicObject, PostParams};
use serde_json::Value;

use super::kinds::Kind;
use crate::kubernetes::access::{self, DrillForm};
use crate::kubernetes::{Kube, KubeError, KubeErrorKind, names};

/// How often a wish is repeated that may succeed by itself.
const TRIES: u32 = 6;
/// The wait before the first repetition; it doubles.
const WAIT: Duration = Duration::from_millis(500);
/// How long a binding may take to have its effect.
const SETTLE: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(250);

/// Makes the objects in their order, and calls `on_each` with each that is there. An object
/// that is already there passes if it is the same drill's, as after an answer that was lost.
/// What was made before an error stays: [`remove`](super::remove()) removes it.
///
/// # Errors
///
/// The API refuses an object, or another's is there under its name.
pub async fn create(
    kube: &Kube,
    manifests: &[Value],
    mut on_each: impl FnMut(&Value) + Send,
) -> Result<(), KubeError> {
    let mut bound = false;
    for manifest in manifests {
        one(kube, manifest, false, bound).await?;
        if manifest.get("kind").and_then(Value::as_str) == Some("RoleBinding") {
            bound = true;
            settle(kube, manifest, manifests).await?;
        }
        on_each(manifest);
    }
    Ok(())
}

/// Waits until the rights that a binding gives are known to who judges requests. It learns of
/// a binding by itself, mostly within milliseconds.
///
/// # Errors
///
/// The role that was bound does not hold what a drill needs, or is not there.
async fn settle(kube: &Kube, binding: &Value, manifests: &[Value]) -> Result<(), KubeError> {
    let text = |pointer: &str| {
        let text = binding.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default()
    };
    let namespace = text("/metadata/namespace");
    let needed = access::for_scratch(form_of(manifests), Some(namespace));
    let until = Instant::now() + SETTLE;
    loop {
        let answers = access::check(kube, &needed).await?;
        let missing: Vec<String> = answers
            .iter()
            .filter(|answer| answer.is_missing())
            .map(|answer| answer.permission.to_string())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            let role = text("/roleRef/name");
            return Err(KubeError::new(
                KubeErrorKind::Forbidden,
                format!("take the rights of ClusterRole {role} in {namespace}"),
                format!(
                    "it does not let walproof {}; `walproof kubernetes check --scratch-role {role} \
                     --print-role` prints the one that does",
                    missing.join(", ")
                ),
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What the objects recover from.
fn form_of(manifests: &[Value]) -> DrillForm {
    let has = |kind: &str| {
        let of = |one: &Value| one.get("kind").and_then(Value::as_str) == Some(kind);
        manifests.iter().any(of)
    };
    match (has("VolumeSnapshot"), has("ObjectStore")) {
        // Without an ObjectStore its WAL is the operator's matter, and nothing is made for it.
        (true, _) => DrillForm::Snapshot,
        (false, true) => DrillForm::Plugin,
        (false, false) => DrillForm::InTree,
    }
}

/// Asks the API server, with all its admission, whether it would take the objects, without
/// making any (`dryRun=All`). Objects in a namespace that is not there cannot be asked about:
/// give one that is.
///
/// # Errors
///
/// The first that it would not take.
pub async fn dry_run(kube: &Kube, manifests: &[Value]) -> Result<(), KubeError> {
    for manifest in manifests {
        one(kube, manifest, true, false).await?;
    }
    Ok(())
}

/// `bound`: whether the right to do so was given a moment ago, so that not every API server
/// need know of it.
async fn one(kube: &Kube, manifest: &Value, dry_run: bool, bound: bool) -> Result<(), KubeError> {
    let text = |pointer: &str| {
        let text = manifest.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default()
    };
    let namespace = text("/metadata/namespace");
    let name = text("/metadata/name");
    let action = if namespace.is_empty() {
        format!("create {} {name}", text("/kind"))
    } else {
        format!("create {} {namespace}/{name}", text("/kind"))
    };
    let Some(kind) = Kind::of(manifest) else {
        let message = "walproof makes no objects of this kind";
        return Err(KubeError::new(KubeErrorKind::Other, action, message));
    };
    let object: DynamicObject = serde_json::from_value(manifest.clone())
        .map_err(|error| KubeError::new(KubeErrorKind::Other, &action, error.to_string()))?;
    let api = kind.api(kube, namespace);
    let parameters = PostParams {
        dry_run,
        field_manager: Some(names::WALPROOF.to_owned()),
    };
    let mut wait = WAIT;
    let mut tries = 1;
    loop {
        let made = kube.call(&action, api.create(&parameters, &object)).await;
        let Err(error) = made else {
            return Ok(());
        };
        // A quota refuses a second object of a kind before anybody looks at its name.
        if matches!(
            error.kind,
            KubeErrorKind::AlreadyExists | KubeErrorKind::Quota
        ) {
            let there = match kube.call(&action, api.get_opt(name)).await {
                // An answer was lost. Nobody else makes this in a namespace of ours, and to
                // look at it is not among what a drill must be allowed.
                Err(asked)
                    if asked.kind == KubeErrorKind::Forbidden
                        && error.kind == KubeErrorKind::AlreadyExists
                        && !namespace.is_empty() =>
                {
                    return Ok(());
                }
                there => there?,
            };
            let is_ours = there.is_some_and(|there| {
                there.metadata.deletion_timestamp.is_none()
                    && drill(there.metadata.labels.as_ref())
                        .is_some_and(|id| id == text("/metadata/labels/walproof.dev~1drill"))
            });
            return if is_ours { Ok(()) } else { Err(error) };
        }
        let early = bound && error.kind == KubeErrorKind::Forbidden;
        if !(error.is_transient() || early) || tries >= TRIES {
            return Err(error);
        }
        tracing::debug!(%error, "trying again");
        tokio::time::sleep(wait).await;
        wait *= 2;
        tries += 1;
    }
}

/// The drill that labels name.
pub(super) fn drill(labels: Option<&std::collections::BTreeMap<String, String>>) -> Option<&str> {
    let labels = labels?;
    let managed = labels.get(names::MANAGED_BY)?;
    if managed != names::WALPROOF {
        return None;
    }
    labels.get(names::DRILL).map(String::as_str)
}
