//! NetworkPolicies: nothing in, nothing out, but what recovery needs.

use serde_json::{Value, json};

use super::meta;
use crate::kubernetes::scratch::invariant::is_too_wide;
use crate::kubernetes::scratch::{ManifestError, Peer, ScratchPlan, Side};

/// The policies: one that refuses all, one for each direction that allows.
pub(super) fn manifests(plan: &ScratchPlan) -> Result<Vec<Value>, ManifestError> {
    let network = &plan.network;
    let outwards = [&network.dns, &network.api_server, &network.store];
    let outwards = outwards.into_iter().flatten();
    let inwards = network.operator.iter().chain(&network.walproof);
    let egress = outwards
        .map(|peer| rule(peer, "to"))
        .collect::<Result<Vec<_>, _>>()?;
    let ingress = inwards
        .map(|peer| rule(peer, "from"))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(vec![
        policy(
            plan,
            "deny",
            &json!({ "policyTypes": ["Ingress", "Egress"] }),
        ),
        policy(
            plan,
            "egress",
            &json!({ "policyTypes": ["Egress"], "egress": egress }),
        ),
        policy(
            plan,
            "ingress",
            &json!({ "policyTypes": ["Ingress"], "ingress": ingress }),
        ),
    ])
}

fn policy(plan: &ScratchPlan, name: &str, rules: &Value) -> Value {
    let mut spec = rules.clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.insert("podSelector".to_owned(), json!({}));
    }
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta::in_namespace(plan, &format!("{}-{name}", super::POLICY)),
        "spec": spec,
    })
}

/// One rule. A rule without sides or without ports would mean all of them.
fn rule(peer: &Peer, direction: &str) -> Result<Value, ManifestError> {
    let missing = |what| ManifestError::Missing {
        what,
        hint: "an empty one would allow every one",
    };
    let sides = match &peer.side {
        Side::Pods { labels, .. } if labels.is_empty() => {
            return Err(missing("labels of a network peer"));
        }
        Side::Pods { namespace, labels } => vec![json!({
            "namespaceSelector": {
                "matchLabels": { "kubernetes.io/metadata.name": namespace },
            },
            "podSelector": { "matchLabels": labels },
        })],
        Side::Addresses(blocks) if blocks.is_empty() => {
            return Err(missing("addresses of a network peer"));
        }
        Side::Addresses(blocks) => {
            if let Some(all) = blocks.iter().find(|block| is_too_wide(block)) {
                return Err(ManifestError::Value {
                    what: "an address block of the network plan".to_owned(),
                    value: all.clone(),
                    hint: "a recovered server must not reach every address; \
                           name the object store's blocks (IPv4 /8 and IPv6 /16 at the widest)",
                });
            }
            blocks
                .iter()
                .map(|block| json!({ "ipBlock": { "cidr": block } }))
                .collect()
        }
    };
    if peer.ports.is_empty() {
        return Err(missing("ports of a network peer"));
    }
    let ports: Vec<Value> = peer
        .ports
        .iter()
        .map(|port| json!({ "protocol": port.protocol.as_str(), "port": port.number }))
        .collect();
    Ok(json!({ direction: sides, "ports": ports }))
}
