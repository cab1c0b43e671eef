//! The settings of a Google Cloud Storage bucket: its resource in the JSON API.

use chrono::{DateTime, NaiveDate, Utc};
use reqwest::Method;
use serde::Deserialize;

use super::{
    DefaultRetention, Encryption, Known, LifecycleRule, ObjectLock, Posture, Public, Transition,
    why,
};
use crate::storage::remote::{Gcs, Remote};
use crate::storage::wire::{Answer, Ask, percent};
use crate::storage::{LockMode, StorageError, Store};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bucket {
    versioning: Option<Switch>,
    retention_policy: Option<RetentionPolicy>,
    object_retention: Option<ObjectRetention>,
    lifecycle: Option<Lifecycle>,
    iam_configuration: Option<IamConfiguration>,
    encryption: Option<Key>,
}

#[derive(Deserialize)]
struct Switch {
    #[serde(default)]
    enabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RetentionPolicy {
    /// Seconds.
    retention_period: Option<String>,
    #[serde(default)]
    is_locked: bool,
}

#[derive(Deserialize)]
struct ObjectRetention {
    mode: Option<String>,
}

#[derive(Deserialize)]
struct Lifecycle {
    #[serde(default)]
    rule: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    action: Action,
    #[serde(default)]
    condition: Condition,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    #[serde(rename = "type")]
    kind: String,
    storage_class: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Condition {
    age: Option<u32>,
    created_before: Option<NaiveDate>,
    is_live: Option<bool>,
    days_since_noncurrent_time: Option<u32>,
    num_newer_versions: Option<u32>,
    matches_prefix: Vec<String>,
    matches_suffix: Vec<String>,
    matches_storage_class: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IamConfiguration {
    public_access_prevention: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    default_kms_key_name: Option<String>,
}

#[derive(Deserialize)]
struct Policy {
    #[serde(default)]
    bindings: Vec<Binding>,
}

#[derive(Deserialize)]
struct Binding {
    #[serde(default)]
    role: String,
    #[serde(default)]
    members: Vec<String>,
}

/// Asks for the bucket, and who may do what with it.
pub(super) async fn posture(
    store: &Store,
    remote: &Remote,
    gcs: &Gcs,
) -> Result<Posture, StorageError> {
    let url = format!("{}/storage/v1/b/{}", gcs.base, percent(&gcs.bucket));
    let ask = Ask::new(Method::GET, url.clone());
    let answer = store.inspect(remote, &ask).await?;
    let server = answer.header("server").map(str::to_owned);
    let bucket: Bucket = match read(&answer, "the bucket's settings") {
        Known::Told(bucket) => bucket,
        Known::NotTold { why } => {
            return Ok(Posture {
                versioning: Known::not(&*why),
                object_lock: Known::not(&*why),
                lifecycle: Known::not(&*why),
                public: Known::not(&*why),
                encryption: Known::not(&*why),
                server,
            });
        }
    };
    let prevention = bucket
        .iam_configuration
        .as_ref()
        .and_then(|it| it.public_access_prevention.as_deref());
    let public = if prevention == Some("enforced") {
        Known::Told(Public::Blocked)
    } else {
        let answer = store
            .inspect(remote, &Ask::new(Method::GET, url + "/iam"))
            .await?;
        match read::<Policy>(&answer, "the bucket's policy") {
            Known::Told(policy) => Known::Told(policy.everybody()),
            Known::NotTold { why } => Known::not(why),
        }
    };
    Ok(Posture {
        versioning: Known::Told(bucket.versioning.as_ref().is_some_and(|it| it.enabled)),
        object_lock: Known::Told(bucket.lock()),
        lifecycle: Known::Told(bucket.lifecycle.map_or_else(Vec::new, |lifecycle| {
            lifecycle.rule.into_iter().flat_map(Rule::read).collect()
        })),
        public,
        // Google encrypts everything; only the key can be another's.
        encryption: Known::Told(Encryption {
            algorithm: Some("AES256".to_owned()),
            key: bucket.encryption.and_then(|it| it.default_kms_key_name),
        }),
        server,
    })
}

fn read<'a, T: Deserialize<'a>>(answer: &'a Answer, what: &str) -> Known<T> {
    if !answer.ok() {
        return Known::not(why(what, answer));
    }
    serde_json::from_slice(&answer.body).map_or_else(
        |error| Known::not(format!("{what}: the answer makes no sense: {error}")),
        Known::Told,
    )
}

impl Bucket {
    fn lock(&self) -> ObjectLock {
        let default = self.retention_policy.as_ref().and_then(|policy| {
            let seconds: u64 = policy.retention_period.as_ref()?.parse().ok()?;
            Some(DefaultRetention {
                mode: if policy.is_locked {
                    LockMode::Compliance
                } else {
                    LockMode::Governance
                },
                days: u32::try_from(seconds / 86_400).unwrap_or(u32::MAX),
            })
        });
        let each = self
            .object_retention
            .as_ref()
            .and_then(|it| it.mode.as_deref());
        ObjectLock {
            enabled: default.is_some() || each == Some("Enabled"),
            default,
        }
    }
}

impl Rule {
    /// A rule of ours for each prefix of one of theirs.
    fn read(self) -> Vec<LifecycleRule> {
        let Self { action, condition } = self;
        let mut only = Vec::new();
        if !condition.matches_suffix.is_empty() {
            only.push(format!(
                "names ending in {}",
                condition.matches_suffix.join(" or ")
            ));
        }
        if !condition.matches_storage_class.is_empty() {
            let classes = condition.matches_storage_class.join(" or ");
            only.push(format!("of class {classes}"));
        }
        let mut rule = LifecycleRule {
            only: (!only.is_empty()).then(|| only.join(", ")),
            enabled: true,
            ..LifecycleRule::default()
        };
        // What is known only of versions that are no longer the object.
        let noncurrent = condition.is_live == Some(false)
            || condition.days_since_noncurrent_time.is_some()
            || condition.num_newer_versions.is_some();
        match action.kind.as_str() {
            "Delete" if noncurrent => {
                rule.noncurrent_days = condition.days_since_noncurrent_time.or(Some(0));
            }
            "Delete" => {
                rule.expire_days = condition.age;
                rule.expire_date = condition
                    .created_before
                    .and_then(|day| day.and_hms_opt(0, 0, 0))
                    .map(|time| DateTime::<Utc>::from_naive_utc_and_offset(time, Utc));
                // Without any of both it deletes at once.
                if rule.expire_date.is_none() && rule.expire_days.is_none() {
                    rule.expire_days = Some(0);
                }
            }
            "SetStorageClass" if !noncurrent => {
                rule.transition = Some(Transition {
                    days: condition.age.unwrap_or_default(),
                    class: action.storage_class.unwrap_or_default(),
                });
            }
            "AbortIncompleteMultipartUpload" => rule.abort_multipart_days = condition.age,
            _ => return Vec::new(),
        }
        if condition.matches_prefix.is_empty() {
            return vec![rule];
        }
        let each = condition.matches_prefix.into_iter();
        each.map(|prefix| LifecycleRule {
            prefix,
            ..rule.clone()
        })
        .collect()
    }
}

impl Policy {
    fn everybody(&self) -> Public {
        let found = self.bindings.iter().find_map(|binding| {
            let who = binding
                .members
                .iter()
                .find(|who| matches!(who.as_str(), "allUsers" | "allAuthenticatedUsers"))?;
            Some(format!(
                "the bucket's policy gives {} to {who}",
                binding.role
            ))
        });
        found.map_or(Public::No, |how| Public::Yes { how })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_resource() {
        // After the reference's "Buckets" resource, with keys that nobody knows yet.
        let bucket: Bucket = serde_json::from_value(serde_json::json!({
            "kind": "storage#bucket",
            "versioning": {"enabled": true},
            "retentionPolicy": {"retentionPeriod": "2592000", "isLocked": true},
            "tomorrow": {"x": [1]},
            "lifecycle": {"rule": [
                {"action": {"type": "Delete"}, "condition": {"age": 30, "matchesPrefix": ["a/", "b/"]}},
                {"action": {"type": "Delete"}, "condition": {"numNewerVersions": 3}},
                {"action": {"type": "SetStorageClass", "storageClass": "ARCHIVE"},
                 "condition": {"age": 7, "matchesStorageClass": ["STANDARD"]}},
                {"action": {"type": "Delete"}, "condition": {"createdBefore": "2026-01-02"}},
            ]},
        }))
        .unwrap();
        assert_eq!(
            bucket.lock(),
            ObjectLock {
                enabled: true,
                default: Some(DefaultRetention {
                    mode: LockMode::Compliance,
                    days: 30
                }),
            }
        );
        let rules: Vec<_> = bucket
            .lifecycle
            .unwrap()
            .rule
            .into_iter()
            .flat_map(Rule::read)
            .collect();
        let told: Vec<_> = rules
            .iter()
            .map(|it| (it.prefix.as_str(), it.expire_days, it.noncurrent_days))
            .collect();
        assert_eq!(
            told,
            [
                ("a/", Some(30), None),
                ("b/", Some(30), None),
                ("", None, Some(0)),
                ("", None, None),
                ("", None, None)
            ]
        );
        assert_eq!(rules[3].transition.as_ref().unwrap().class, "ARCHIVE");
        assert_eq!(rules[3].only.as_deref(), Some("of class STANDARD"));
        assert_eq!(
            rules[4].expire_date.unwrap().to_rfc3339(),
            "2026-01-02T00:00:00+00:00"
        );
    }

    #[test]
    fn everybody_is_everybody() {
        let policy = |member: &str| Policy {
            bindings: vec![Binding {
                role: "roles/storage.objectViewer".to_owned(),
                members: vec![member.to_owned()],
            }],
        };
        assert!(matches!(policy("allUsers").everybody(), Public::Yes { .. }));
        assert_eq!(policy("user:a@example.com").everybody(), Public::No);
    }
}
