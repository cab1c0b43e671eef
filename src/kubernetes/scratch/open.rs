//! Opening a scratch namespace to those who asked for what was restored in it: their pods
//! reach PostgreSQL's port, and nobody else's do. What its own pods reach stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
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
    own(kube, &action, namespace, id).await?;
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

/// The scratch namespace of a request, as it is now.
async fn own(kube: &Kube, action: &str, namespace: &str, id: Uuid) -> Result<Namespace, KubeError> {
    let namespaces: Api<Namespace> = Api::all(kube.client());
    let found = kube.call(action, namespaces.get(namespace)).await?;
    if drill(found.metadata.labels.as_ref()) == Some(id.to_string().as_str()) {
        return Ok(found);
    }
    let message = "it is not this request's";
    Err(KubeError::new(KubeErrorKind::Conflict, action, message))
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

/// The Secret of a person. It belongs to the scratch namespace: when that goes, whoever
/// removes it and whatever became of walproof meanwhile, the cluster's garbage collection
/// takes the Secret along.
fn placed(
    (namespace, name): (&str, &str),
    of: &Namespace,
    mut labels: BTreeMap<String, String>,
    data: BTreeMap<String, Vec<u8>>,
) -> Option<Secret> {
    labels.insert(names::MANAGED_BY.to_owned(), names::WALPROOF.to_owned());
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        name: of.metadata.name.clone()?,
        uid: of.metadata.uid.clone()?,
        ..OwnerReference::default()
    };
    Some(Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(
            data.into_iter()
                .map(|(key, value)| (key, ByteString(value)))
                .collect(),
        ),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}

/// Makes a Secret for a person in a namespace of theirs, which goes with the scratch namespace
/// `of` at the latest. `labels` are put beside walproof's own.
///
/// # Errors
///
/// The scratch namespace is not that drill's. The API does not take the Secret; one of this
/// name that is there is nobody's to overwrite.
pub async fn place_secret(
    kube: &Kube,
    (namespace, name): (&str, &str),
    (of, id): (&str, Uuid),
    labels: BTreeMap<String, String>,
    data: BTreeMap<String, Vec<u8>>,
) -> Result<PlacedSecret, KubeError> {
    let action = format!("create Secret {namespace}/{name}");
    let no_uid = || KubeError::new(KubeErrorKind::Other, &action, "the answer bears no uid");
    let of = own(kube, &action, of, id).await?;
    let secret = placed((namespace, name), &of, labels, data).ok_or_else(no_uid)?;
    let secrets: Api<Secret> = Api::namespaced(kube.client(), namespace);
    let params = PostParams::default();
    let made = kube
        .call(action.as_str(), secrets.create(&params, &secret))
        .await?;
    Ok(PlacedSecret {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: made.metadata.uid.ok_or_else(no_uid)?,
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
    fn a_placed_secret_goes_with_the_scratch_namespace() {
        let of: Namespace = serde_json::from_value(json!({
            "metadata": {"name": "walproof-request-orders-1", "uid": "uid-1"},
        }))
        .unwrap();
        let labels = BTreeMap::from([(names::REQUEST.to_owned(), "1".to_owned())]);
        let place = ("shop", "recovered");
        let secret = placed(place, &of, labels.clone(), BTreeMap::new()).unwrap();
        let made = serde_json::to_value(&secret).unwrap();
        assert_eq!(made["metadata"]["namespace"], "shop");
        // Nothing that blocks the end of the namespace, for which a further right is needed.
        assert_eq!(
            made["metadata"]["ownerReferences"],
            json!([{
                "apiVersion": "v1",
                "kind": "Namespace",
                "name": "walproof-request-orders-1",
                "uid": "uid-1",
            }])
        );
        assert_eq!(made["metadata"]["labels"][names::REQUEST], "1");
        // Without an owner it would outlive all of it.
        assert!(placed(place, &Namespace::default(), labels, BTreeMap::new()).is_none());
    }

    #[test]
    fn nobody_named_is_nobody_let_in() {
        assert_eq!(policy("walproof-x", Uuid::nil(), &BTreeSet::new()), None);
    }
}
