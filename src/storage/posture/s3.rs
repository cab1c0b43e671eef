//! The settings of an S3 bucket.

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{
    DefaultRetention, Encryption, Known, LifecycleRule, ObjectLock, Posture, Public, Transition,
    why,
};
use crate::storage::remote::{Remote, S3};
use crate::storage::wire::{Answer, Ask};
use crate::storage::{LockMode, StorageError, Store};

/// Asks for everything, one after the other: it is asked seldom.
pub(super) async fn posture(
    store: &Store,
    remote: &Remote,
    s3: &S3,
) -> Result<Posture, StorageError> {
    let ask = async |setting: &str| {
        let ask = Ask::new(Method::GET, format!("{}/?{setting}=", s3.bucket));
        store.inspect(remote, &ask).await
    };
    let versioning = ask("versioning").await?;
    let server = versioning.header("server").map(str::to_owned);
    let lock = ask("object-lock").await?;
    let lifecycle = ask("lifecycle").await?;
    let encryption = ask("encryption").await?;
    let access = Access {
        block: ask("publicAccessBlock").await?,
        status: ask("policyStatus").await?,
        policy: ask("policy").await?,
        acl: ask("acl").await?,
    };
    Ok(Posture {
        versioning: told(&versioning, "versioning", &[], |it: Versioning| {
            it.status.as_deref() == Some("Enabled")
        }),
        object_lock: told(
            &lock,
            "object lock",
            &["ObjectLockConfigurationNotFoundError"],
            LockSettings::read,
        ),
        lifecycle: told(
            &lifecycle,
            "lifecycle rules",
            &["NoSuchLifecycleConfiguration"],
            |it: Lifecycle| it.rules.into_iter().map(Rule::read).collect(),
        ),
        public: access.judge(),
        encryption: told(
            &encryption,
            "encryption",
            &["ServerSideEncryptionConfigurationNotFoundError"],
            EncryptionSettings::read,
        ),
        server,
    })
}

/// Reads an answer. Some codes mean that there is no such setting, which is what an empty
/// document says.
fn told<D: DeserializeOwned + Default, T>(
    answer: &Answer,
    what: &str,
    absent: &[&str],
    read: impl FnOnce(D) -> T,
) -> Known<T> {
    if !answer.ok() {
        if absent.contains(&answer.refusal().code.as_str()) {
            return Known::Told(read(D::default()));
        }
        return Known::not(why(what, answer));
    }
    match quick_xml::de::from_str(&answer.text()) {
        Ok(document) => Known::Told(read(document)),
        Err(error) => Known::not(format!("{what}: the answer makes no sense: {error}")),
    }
}

#[derive(Default, Deserialize)]
struct Versioning {
    #[serde(rename = "Status")]
    status: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct LockSettings {
    object_lock_enabled: Option<String>,
    rule: Option<LockRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LockRule {
    default_retention: Option<LockDefault>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LockDefault {
    mode: Option<String>,
    days: Option<u32>,
    years: Option<u32>,
}

impl LockSettings {
    fn read(self) -> ObjectLock {
        let default = self.rule.and_then(|rule| rule.default_retention);
        ObjectLock {
            enabled: self.object_lock_enabled.as_deref() == Some("Enabled"),
            default: default.and_then(|default| {
                let days = default
                    .days
                    .or_else(|| default.years?.checked_mul(365))
                    .filter(|days| *days > 0)?;
                let mode = match default.mode.as_deref()? {
                    "COMPLIANCE" => LockMode::Compliance,
                    _ => LockMode::Governance,
                };
                Some(DefaultRetention { mode, days })
            }),
        }
    }
}

#[derive(Default, Deserialize)]
struct Lifecycle {
    #[serde(default, rename = "Rule")]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    #[serde(rename = "ID")]
    id: Option<String>,
    /// Of the first version of this setting.
    #[serde(rename = "Prefix")]
    prefix: Option<String>,
    #[serde(rename = "Filter")]
    filter: Option<Filter>,
    #[serde(rename = "Status")]
    status: Option<String>,
    #[serde(rename = "Expiration")]
    expiration: Option<Expiration>,
    #[serde(rename = "NoncurrentVersionExpiration")]
    noncurrent: Option<Noncurrent>,
    #[serde(default, rename = "Transition")]
    transitions: Vec<Move>,
    #[serde(rename = "AbortIncompleteMultipartUpload")]
    abort: Option<Abort>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Filter {
    prefix: Option<String>,
    tag: Vec<Tag>,
    object_size_greater_than: Option<u64>,
    object_size_less_than: Option<u64>,
    and: Option<Box<Filter>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Expiration {
    days: Option<u32>,
    date: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Noncurrent {
    noncurrent_days: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Move {
    days: Option<u32>,
    #[serde(default)]
    storage_class: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Abort {
    days_after_initiation: Option<u32>,
}

impl Filter {
    fn prefix(&self) -> Option<&str> {
        let inner = || self.and.as_ref()?.prefix();
        self.prefix.as_deref().or_else(inner)
    }

    fn only(&self, words: &mut Vec<String>) {
        for Tag { key, value } in &self.tag {
            words.push(format!("tag {key}={value}"));
        }
        if let Some(size) = self.object_size_greater_than {
            words.push(format!("more than {size} bytes"));
        }
        if let Some(size) = self.object_size_less_than {
            words.push(format!("less than {size} bytes"));
        }
        if let Some(and) = &self.and {
            and.only(words);
        }
    }
}

impl Rule {
    fn read(self) -> LifecycleRule {
        let filter = self.filter.unwrap_or_default();
        let mut only = Vec::new();
        filter.only(&mut only);
        let first = self.transitions.into_iter().filter_map(|to| {
            Some(Transition {
                days: to.days?,
                class: to.storage_class,
            })
        });
        LifecycleRule {
            id: self.id.filter(|id| !id.is_empty()),
            prefix: filter
                .prefix()
                .or(self.prefix.as_deref())
                .unwrap_or_default()
                .to_owned(),
            only: (!only.is_empty()).then(|| only.join(", ")),
            enabled: self.status.as_deref() == Some("Enabled"),
            expire_days: self.expiration.as_ref().and_then(|it| it.days),
            expire_date: self.expiration.and_then(|it| it.date),
            noncurrent_days: self.noncurrent.and_then(|it| it.noncurrent_days),
            transition: first.min_by_key(|to| to.days),
            abort_multipart_days: self.abort.and_then(|it| it.days_after_initiation),
        }
    }
}

#[derive(Default, Deserialize)]
struct EncryptionSettings {
    #[serde(default, rename = "Rule")]
    rules: Vec<EncryptionRule>,
}

#[derive(Deserialize)]
struct EncryptionRule {
    #[serde(rename = "ApplyServerSideEncryptionByDefault")]
    default: Option<EncryptionDefault>,
}

#[derive(Deserialize)]
struct EncryptionDefault {
    #[serde(rename = "SSEAlgorithm")]
    algorithm: Option<String>,
    #[serde(rename = "KMSMasterKeyID")]
    key: Option<String>,
}

impl EncryptionSettings {
    fn read(self) -> Encryption {
        let default = self.rules.into_iter().find_map(|rule| rule.default);
        let (algorithm, key) = default.map_or((None, None), |it| (it.algorithm, it.key));
        Encryption { algorithm, key }
    }
}

/// What tells who may read.
struct Access {
    block: Answer,
    status: Answer,
    policy: Answer,
    acl: Answer,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Block {
    #[serde(rename = "BlockPublicAcls")]
    acls: Option<String>,
    #[serde(rename = "IgnorePublicAcls")]
    ignore_acls: Option<String>,
    #[serde(rename = "BlockPublicPolicy")]
    policy: Option<String>,
    #[serde(rename = "RestrictPublicBuckets")]
    restrict: Option<String>,
}

/// Amazon writes `TRUE` and `true`.
fn is_true(text: Option<&String>) -> bool {
    text.is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct PolicyStatus {
    is_public: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Acl {
    access_control_list: Grants,
}

#[derive(Default, Deserialize)]
struct Grants {
    #[serde(default, rename = "Grant")]
    grants: Vec<Grant>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Grant {
    grantee: Option<Grantee>,
    permission: Option<String>,
}

#[derive(Deserialize)]
struct Grantee {
    #[serde(rename = "URI")]
    uri: Option<String>,
    #[serde(rename = "ID")]
    id: Option<String>,
}

impl Access {
    fn judge(&self) -> Known<Public> {
        let absent = ["NoSuchPublicAccessBlockConfiguration"];
        let block = match told(
            &self.block,
            "the block of public access",
            &absent,
            |it: Block| it,
        ) {
            Known::Told(block) => block,
            // Without it, policy and access list stand for themselves.
            Known::NotTold { .. } => Block::default(),
        };
        let no_acls = is_true(block.ignore_acls.as_ref());
        let no_policy = is_true(block.restrict.as_ref());
        if no_acls && no_policy && is_true(block.acls.as_ref()) && is_true(block.policy.as_ref()) {
            return Known::Told(Public::Blocked);
        }
        let policy = if no_policy {
            Known::Told(None)
        } else {
            self.policy()
        };
        let acl = if no_acls {
            Known::Told(None)
        } else {
            told(&self.acl, "the access list", &[], Acl::everybody)
        };
        match (policy, acl) {
            (Known::Told(Some(how)), _) | (_, Known::Told(Some(how))) => {
                Known::Told(Public::Yes { how })
            }
            (Known::Told(None), Known::Told(None)) => Known::Told(Public::No),
            (Known::NotTold { why }, _) | (_, Known::NotTold { why }) => Known::not(why),
        }
    }

    /// By what the policy lets everybody in. The server's own judgement is not enough: MinIO
    /// calls a bucket public only where everybody may also write.
    fn policy(&self) -> Known<Option<String>> {
        let absent = ["NoSuchBucketPolicy"];
        let by = |is: bool| is.then(|| "the bucket's policy allows everybody".to_owned());
        let judged = told(
            &self.status,
            "the policy's status",
            &absent,
            |it: PolicyStatus| it.is_public.map(|it| is_true(Some(&it))),
        );
        let judged = judged.told().copied().flatten();
        if judged == Some(true) {
            return Known::Told(by(true));
        }
        if !self.policy.ok() {
            return if judged.is_some() || self.policy.refusal().code == "NoSuchBucketPolicy" {
                Known::Told(None)
            } else {
                Known::not(why("the policy", &self.policy))
            };
        }
        match serde_json::from_slice(&self.policy.body) {
            Ok(policy) => Known::Told(by(allows_everybody(&policy))),
            Err(_) => Known::not("the policy makes no sense"),
        }
    }
}

/// Whether a statement allows something to everybody, without conditions.
fn allows_everybody(policy: &serde_json::Value) -> bool {
    let statements = match policy.get("Statement") {
        Some(serde_json::Value::Array(all)) => all.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let star = |value: &serde_json::Value| match value {
        serde_json::Value::Array(all) => all.iter().any(|one| one == "*"),
        one => one == "*",
    };
    statements.iter().any(|statement| {
        let everybody = statement
            .get("Principal")
            .is_some_and(|who| star(who) || who.get("AWS").is_some_and(star));
        everybody
            && statement.get("Effect").is_some_and(|it| it == "Allow")
            && statement.get("Condition").is_none()
    })
}

impl Acl {
    /// Who of everybody is granted something. Groups have URIs; versitygw says "all-users".
    fn everybody(self) -> Option<String> {
        self.access_control_list
            .grants
            .into_iter()
            .find_map(|grant| {
                let grantee = grant.grantee?;
                let who = grantee.uri.or(grantee.id)?;
                let group = who.rsplit('/').next().unwrap_or_default();
                let public = matches!(group, "AllUsers" | "AuthenticatedUsers" | "all-users");
                let what = grant.permission.unwrap_or_default();
                public.then(|| format!("the bucket's access list grants {what} to {group}"))
            })
    }
}
