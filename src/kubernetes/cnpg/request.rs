//! Asking CloudNativePG for a backup, and following what becomes of it.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Backup, BackupMethod, PLUGIN, resources};
use crate::kubernetes::names::{CLUSTER, MANAGED_BY, WALPROOF, label_value};
use crate::kubernetes::{Kube, KubeError, KubeErrorKind};

/// How often a Backup is looked at.
const BEAT: Duration = Duration::from_secs(1);
/// For how long the API may be out of reach while a Backup is followed.
const AWAY: Duration = Duration::from_mins(2);
/// The longest name of a `Backup`: CloudNativePG uses it as a label's value.
const MAX_NAME: usize = 63;

/// How a Backup that was followed ended.
#[derive(Clone, Debug, PartialEq)]
pub enum BackupEnd {
    /// The operator calls it completed.
    Completed(Box<Backup>),
    /// The operator has given it up.
    Failed(Box<Backup>),
    /// It was still under way when the time was over. Nobody stopped it.
    Unfinished(Box<Backup>),
    /// Somebody deleted it.
    Gone,
}

/// A name for a `Backup` of a Cluster: `orders-walproof-20261122085223-7c1e`. The end, of
/// `id`, keeps two that are asked for in one second apart.
pub fn name(cluster: &str, now: DateTime<Utc>, id: Uuid) -> String {
    let tail = id.as_u128() & 0xffff;
    let end = format!("-walproof-{}-{tail:04x}", now.format("%Y%m%d%H%M%S"));
    let room = MAX_NAME.saturating_sub(end.len());
    let begin: String = cluster.chars().take(room).collect();
    format!("{}{end}", begin.trim_end_matches(['-', '.']))
}

/// The `Backup` to create.
pub fn manifest(namespace: &str, name: &str, cluster: &str, method: BackupMethod) -> Value {
    let mut spec = json!({
        "cluster": {"name": cluster},
        "method": method.as_str(),
    });
    if method == BackupMethod::Plugin
        && let Some(spec) = spec.as_object_mut()
    {
        spec.insert("pluginConfiguration".to_owned(), json!({"name": PLUGIN}));
    }
    json!({
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Backup",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {MANAGED_BY: WALPROOF, CLUSTER: label_value(cluster)},
        },
        "spec": spec,
    })
}

/// Creates a `Backup` ([`manifest`]); the operator does the work.
pub async fn create(
    kube: &Kube,
    namespace: &str,
    name: &str,
    manifest: Value,
) -> Result<Backup, KubeError> {
    let action = format!("create backup {namespace}/{name}");
    let other = |words: String| KubeError::new(KubeErrorKind::Other, &action, words);
    let object: DynamicObject =
        serde_json::from_value(manifest).map_err(|error| other(error.to_string()))?;
    let api: Api<DynamicObject> =
        Api::namespaced_with(kube.client(), namespace, &resources::backup());
    let parameters = PostParams::default();
    let made = kube.call(&action, api.create(&parameters, &object)).await?;
    let made = serde_json::to_value(made).map_err(|error| other(error.to_string()))?;
    Backup::parse(made).map_err(|error| other(error.to_string()))
}

/// Follows a `Backup` until it ends or `limit` is over. `tell` is given it whenever its
/// phase is another one. An API that does not answer is asked again for two minutes.
pub async fn follow(
    kube: &Kube,
    namespace: &str,
    name: &str,
    limit: Duration,
    tell: &(dyn Fn(&Backup) + Send + Sync),
) -> Result<BackupEnd, KubeError> {
    let begin = Instant::now();
    let resource = resources::backup();
    let mut heard = Instant::now();
    let mut phase: Option<String> = None;
    loop {
        let read = resources::read(kube, &resource, namespace, name);
        let answer = tokio::time::timeout(Kube::REQUEST_TIMEOUT, read).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(KubeError::new(
                KubeErrorKind::Timeout,
                format!("read backup {namespace}/{name}"),
                "no answer in time",
            ))
        });
        let seen = match answer {
            Ok(Some(value)) => Some(Backup::parse(value).map_err(|error| {
                KubeError::new(
                    KubeErrorKind::Other,
                    format!("read backup {namespace}/{name}"),
                    error.to_string(),
                )
            })?),
            Ok(None) => return Ok(BackupEnd::Gone),
            Err(error) if error.is_transient() && heard.elapsed() < AWAY => None,
            Err(error) => return Err(error),
        };
        if let Some(backup) = seen {
            heard = Instant::now();
            if phase.as_ref() != Some(&backup.phase) {
                tell(&backup);
                phase = Some(backup.phase.clone());
            }
            if backup.is_completed() {
                return Ok(BackupEnd::Completed(Box::new(backup)));
            }
            if backup.is_failed() {
                return Ok(BackupEnd::Failed(Box::new(backup)));
            }
            if begin.elapsed() >= limit {
                return Ok(BackupEnd::Unfinished(Box::new(backup)));
            }
        }
        tokio::time::sleep(BEAT.min(limit.saturating_sub(begin.elapsed()))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_into_a_label() {
        let now = "2026-11-22T08:52:23Z".parse().unwrap();
        let (one, two) = (Uuid::from_u128(0x0abc), Uuid::from_u128(0x7c1e));
        let orders = "orders-walproof-20261122085223";
        assert_eq!(name("orders", now, one), format!("{orders}-0abc"));
        assert_eq!(name("orders", now, two), format!("{orders}-7c1e"));
        let long = name(&format!("{}-{}", "x".repeat(33), "y".repeat(40)), now, one);
        let begin = "x".repeat(33);
        assert_eq!(long, format!("{begin}-walproof-20261122085223-0abc"));
        assert!(name(&"x".repeat(253), now, one).len() <= MAX_NAME);
    }

    #[test]
    fn each_method_says_what_the_operator_must_know() {
        for (method, word, plugin) in [
            (BackupMethod::Plugin, "plugin", Some(PLUGIN)),
            (BackupMethod::InTree, "barmanObjectStore", None),
            (BackupMethod::VolumeSnapshot, "volumeSnapshot", None),
        ] {
            let made = manifest("shop", "b", "orders", method);
            assert_eq!(made["spec"]["method"], word);
            assert_eq!(made["spec"]["cluster"]["name"], "orders");
            assert_eq!(made["spec"]["pluginConfiguration"]["name"].as_str(), plugin);
            // Read back, it is the Backup that was meant.
            let view = Backup::parse(made).unwrap();
            assert_eq!((view.method, view.cluster.as_str()), (method, "orders"));
        }
    }
}
