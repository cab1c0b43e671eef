//! Which permissions walproof needs, whether they are there, and the roles that give them.
//!
//! The scratch namespace of a drill has no name before the drill, and RBAC knows no
//! patterns: what is done in it must be granted in all namespaces. What is secret is
//! granted by name instead: everything that the operator makes in a scratch namespace is
//! called after the Cluster `drill` in it, so that `get secrets` is needed for two names
//! only, and for the source's credentials where they lie.

mod needs;
mod role;
mod trial;

pub use needs::{
    DrillForm, Source, for_backup, for_controller, for_definition, for_drill, for_drill_outside,
    for_executor, for_request, for_scan, for_scratch,
};
pub(crate) use role::{RBAC, subject};
pub use role::{roles, split_roles};
pub use trial::{Trial, try_namespace, try_out};

use std::fmt;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Api, PostParams};
use serde::Serialize;

use super::{Kube, KubeError, KubeErrorKind};

/// How many questions are under way at a time.
const AT_ONCE: usize = 8;

/// One thing that walproof must be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Permission {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `bind`.
    pub verb: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, such as `pods`.
    pub resource: &'static str,
    /// The subresource, such as `log`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subresource: Option<&'static str>,
    /// The one object that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The namespace. When absent all of them, or the resource has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What for.
    pub purpose: &'static str,
    /// Whether only some need it; the purpose says who.
    pub optional: bool,
}

impl Permission {
    /// The resource as RBAC writes it, with its subresource and group:
    /// `pods/log`, `clusters.postgresql.cnpg.io`.
    pub fn object(&self) -> String {
        let mut text = self.rbac_resource();
        if !self.group.is_empty() {
            text.push('.');
            text.push_str(self.group);
        }
        text
    }

    /// `pods/log`
    fn rbac_resource(&self) -> String {
        match self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.resource),
            None => self.resource.to_owned(),
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.object())?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in {namespace}"),
            None => Ok(()),
        }
    }
}

/// Whether a permission is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What was asked for.
    #[serde(flatten)]
    pub permission: Permission,
    /// Whether it may be done.
    pub allowed: bool,
    /// The authorizer's words, where it had any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Answer {
    /// Whether something that everybody needs is not there.
    pub fn is_missing(&self) -> bool {
        !self.allowed && !self.permission.optional
    }
}

/// Asks the API server for each permission (SelfSubjectAccessReview), in the order given.
/// Changes nothing, and everybody who is known to the API may ask.
pub async fn check(kube: &Kube, permissions: &[Permission]) -> Result<Vec<Answer>, KubeError> {
    let questions: Vec<_> = permissions
        .iter()
        .map(|permission| ask(kube, permission))
        .collect();
    stream::iter(questions)
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Whether a ClusterRole holds permissions, by its own rules: for one that is not bound yet.
///
/// # Errors
///
/// It cannot be read.
pub async fn check_role(
    kube: &Kube,
    role: &str,
    permissions: &[Permission],
) -> Result<Vec<Answer>, KubeError> {
    let roles: Api<ClusterRole> = Api::all(kube.client());
    let action = format!("get ClusterRole {role}");
    let rules = match kube.call(action, roles.get(role)).await {
        Ok(role) => role.rules.unwrap_or_default(),
        Err(error) if error.kind == KubeErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let answers = permissions.iter().map(|permission| Answer {
        allowed: rules.iter().any(|rule| gives(rule, permission)),
        permission: permission.clone(),
        reason: Some(format!("ClusterRole {role}, in scratch namespaces")),
    });
    Ok(answers.collect())
}

/// Whether a rule gives a permission (`k8s.io/kubernetes/pkg/apis/rbac/v1/evaluation_helpers.go`).
fn gives(rule: &PolicyRule, permission: &Permission) -> bool {
    let has = |values: Option<&Vec<String>>, wanted: &str| {
        values.is_some_and(|values| values.iter().any(|value| value == "*" || value == wanted))
    };
    let named = rule.resource_names.as_ref().is_none_or(|names| {
        let name = permission.name.as_ref();
        names.is_empty() || name.is_some_and(|name| names.contains(name))
    });
    has(Some(&rule.verbs), permission.verb)
        && has(rule.api_groups.as_ref(), permission.group)
        && has(rule.resources.as_ref(), &permission.rbac_resource())
        && named
}

async fn ask(kube: &Kube, permission: &Permission) -> Result<Answer, KubeError> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(kube.client());
    let text = |text: &str| Some(text.to_owned());
    let question = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: text(permission.verb),
                group: text(permission.group),
                resource: text(permission.resource),
                subresource: permission.subresource.and_then(text),
                name: permission.name.clone(),
                namespace: permission.namespace.clone(),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let parameters = PostParams::default();
    let action = format!("ask whether we may {permission}");
    let answer = kube
        .call(action, reviews.create(&parameters, &question))
        .await?;
    let status = answer.status.unwrap_or_default();
    Ok(Answer {
        permission: permission.clone(),
        allowed: status.allowed,
        reason: status.reason.filter(|reason| !reason.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_gives_what_it_names() {
        let rule: PolicyRule = serde_json::from_value(json!({
            "apiGroups": [""], "resources": ["secrets", "pods/log"],
            "resourceNames": ["drill-ca"], "verbs": ["get"],
        }))
        .unwrap();
        let wish = |verb, resource, subresource, name: Option<&str>| Permission {
            verb,
            group: "",
            resource,
            subresource,
            name: name.map(str::to_owned),
            namespace: None,
            purpose: "",
            optional: false,
        };
        assert!(gives(
            &rule,
            &wish("get", "secrets", None, Some("drill-ca"))
        ));
        assert!(gives(
            &rule,
            &wish("get", "pods", Some("log"), Some("drill-ca"))
        ));
        for refused in [
            wish("get", "secrets", None, None),
            wish("get", "secrets", None, Some("payroll")),
            wish("list", "secrets", None, Some("drill-ca")),
            wish("get", "pods", None, Some("drill-ca")),
            wish("get", "pods", Some("exec"), Some("drill-ca")),
        ] {
            assert!(!gives(&rule, &refused), "{refused}");
        }
        let all: PolicyRule = serde_json::from_value(json!({
            "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"],
        }))
        .unwrap();
        assert!(gives(&all, &wish("get", "pods", Some("exec"), Some("x"))));
    }
}
