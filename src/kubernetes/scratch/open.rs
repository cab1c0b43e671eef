//! Opening a scratch namespace to those who asked for what was restored in it: their pods
//! reach PostgreSQL's port, and nobody else's do. What its own pods reach stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::POLICY;
use super::create::drill;
use crate::kubernetes::{Kube, KubeError, KubeErrorKind, names};

/// PostgreSQL's port in the pods.
const POSTGRES_PORT: u16 = 5432;

/// The policy that lets pods of these namespaces in, to PostgreSQL's port alone. `None`
/// without any: an empty list of sides would allow all of them.
fn policy(namespace: &str, id: Uuid, from: &BTreeSet<String>) -> Option<Value> {
    if from.is_empty() {
        return None;
    }
    let sides: Vec<Value> = from
        .iter()
        .map(|name| {
            json!({"namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": name},
            }})
        })
        .collect();
    Some(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": format!("{POLICY}-access"),
            "namespace": namespace,
            "labels": {
                (names::MANAGED_BY): names::WALPROOF,
                (names::DRILL): id.to_string(),
            },
        },
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [{
                "from": sides,
                "ports": [{"protocol": "TCP", "port": POSTGRES_PORT}],
            }],
        },
    }))
}

/// Lets pods of the namespaces `from` in, to PostgreSQL's port alone; without any nobody.
///
/// # Errors
///
/// The namespace is not that drill's, or the API does not take the policy.
pub async fn open(
    kube: &Kube,
    namespace: &str,
    id: Uuid,
    from: &BTreeSet<String>,
) -> Result<(), KubeError> {
    let action = format!("open namespace {namespace}");
    let namespaces: Api<Namespace> = Api::all(kube.client());
    let found = kube
        .call(action.as_str(), namespaces.get(namespace))
        .await?;
    if drill(found.metadata.labels.as_ref()) != Some(id.to_string().as_str()) {
        let message = "it is not this request's";
        return Err(KubeError::new(KubeErrorKind::Conflict, action, message));
    }
    let Some(policy) = policy(namespace, id, from) else {
        return Ok(());
    };
    let policy: NetworkPolicy = serde_json::from_value(policy)
        .map_err(|error| KubeError::new(KubeErrorKind::Other, &action, error.to_string()))?;
    let policies: Api<NetworkPolicy> = Api::namespaced(kube.client(), namespace);
    let params = PostParams::default();
    let action = format!("create NetworkPolicy {namespace}/{POLICY}-access");
    match kube.call(action, policies.create(&params, &policy)).await {
        Err(error) if error.kind != KubeErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// A Secret that was made in a namespace of somebody else: which one exactly, so that never
/// another of the same name is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedSecret {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// Makes a Secret for a person in a namespace of theirs. `labels` are put beside walproof's
/// own.
///
/// # Errors
///
/// The API does not take it; one of this name that is there is nobody's to overwrite.
pub async fn place_secret(
    kube: &Kube,
    (namespace, name): (&str, &str),
    labels: BTreeMap<String, String>,
    data: BTreeMap<String, Vec<u8>>,
) -> Result<PlacedSecret, KubeError> {
    let action = format!("create Secret {namespace}/{name}");
    let mut labels = labels;
    labels.insert(names::MANAGED_BY.to_owned(), names::WALPROOF.to_owned());
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        data: Some(
            data.into_iter()
                .map(|(key, value)| (key, ByteString(value)))
                .collect(),
        ),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    };
    let secrets: Api<Secret> = Api::namespaced(kube.client(), namespace);
    let params = PostParams::default();
    let made = kube
        .call(action.as_str(), secrets.create(&params, &secret))
        .await?;
    let uid = made
        .metadata
        .uid
        .ok_or_else(|| KubeError::new(KubeErrorKind::Other, action, "the answer bears no uid"))?;
    Ok(PlacedSecret {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid,
    })
}

/// Removes a Secret that [`place_secret`] made. One that is gone, or another of its name, is
/// left as it is.
///
/// # Errors
///
/// The API does not answer, or refuses.
pub async fn remove_secret(kube: &Kube, placed: &PlacedSecret) -> Result<(), KubeError> {
    let secrets: Api<Secret> = Api::namespaced(kube.client(), &placed.namespace);
    let action = format!("delete Secret {}/{}", placed.namespace, placed.name);
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(placed.uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match kube
        .call(action, secrets.delete(&placed.name, &params))
        .await
    {
        Err(error)
            if !matches!(
                error.kind,
                KubeErrorKind::NotFound | KubeErrorKind::Conflict
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_namespaces_come_in_and_to_one_port() {
        let from: BTreeSet<String> = ["shop", "billing"].map(str::to_owned).into();
        let policy = policy("walproof-x", Uuid::nil(), &from).unwrap();
        let rules = policy["spec"]["ingress"].as_array().unwrap();
        assert_eq!(rules.len(), 1);
        let sides = rules[0]["from"].as_array().unwrap();
        let named: Vec<&Value> = sides
            .iter()
            .map(|side| {
                assert_eq!(side.as_object().unwrap().len(), 1);
                &side["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            })
            .collect();
        assert_eq!(named, ["billing", "shop"]);
        assert_eq!(
            rules[0]["ports"],
            json!([{"protocol": "TCP", "port": 5432}])
        );
        // It opens nothing outwards.
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
        assert!(policy["spec"].get("egress").is_none());
        serde_json::from_value::<NetworkPolicy>(policy).unwrap();
    }

    #[test]
    fn nobody_named_is_nobody_let_in() {
        assert_eq!(policy("walproof-x", Uuid::nil(), &BTreeSet::new()), None);
    }
}
