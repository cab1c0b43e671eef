//! Which permissions walproof needs, and whether they are there.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use serde::Serialize;

use super::{Kube, KubeError};

/// How a drill's cluster is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DrillForm {
    /// Through the Barman Cloud plugin and its ObjectStore.
    #[default]
    Plugin,
    /// Through the operator's own `barmanObjectStore`.
    InTree,
    /// From volume snapshots.
    Snapshot,
}

/// One thing that walproof must be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Permission {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, such as `pods`.
    pub resource: &'static str,
    /// The subresource, such as `log`.
    pub subresource: Option<&'static str>,
    /// The one object that it is about.
    pub name: Option<String>,
    /// The namespace; all of them, or none for a resource without one, when absent.
    pub namespace: Option<String>,
    /// What for.
    pub purpose: &'static str,
}

/// Whether a permission is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What was asked for.
    pub permission: Permission,
    /// Whether it may be done.
    pub allowed: bool,
    /// The authorizer's words.
    pub reason: Option<String>,
}

/// Asks the API server for each permission (SelfSubjectAccessReview). Changes nothing.
pub async fn check(kube: &Kube, permissions: &[Permission]) -> Result<Vec<Answer>, KubeError> {
    let mut answers = Vec::with_capacity(permissions.len());
    for permission in permissions {
        answers.push(ask(kube, permission).await?);
    }
    Ok(answers)
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
    let answer = kube
        .call(
            "ask for a permission",
            reviews.create(&parameters, &question),
        )
        .await?;
    let status = answer.status.unwrap_or_default();
    Ok(Answer {
        permission: permission.clone(),
        allowed: status.allowed,
        reason: status.reason.filter(|reason| !reason.is_empty()),
    })
}
