//! Secrets: the object store's credentials, and those for pulling the image.

use serde_json::{Map, Value, json};

use super::{STORE_SECRET, meta};
use crate::kubernetes::scratch::ScratchPlan;

/// The store's credentials. None when they come from the pods' identity.
pub(super) fn store(plan: &ScratchPlan) -> Option<Value> {
    if plan.store.secret.is_empty() {
        return None;
    }
    let data: Map<String, Value> = plan
        .store
        .secret
        .iter()
        .map(|(key, value)| (key.clone(), json!(base64(value.expose()))))
        .collect();
    Some(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": meta::in_namespace(plan, STORE_SECRET),
        "type": "Opaque",
        "immutable": true,
        "data": data,
    }))
}

/// Those for pulling images.
pub(super) fn pull(plan: &ScratchPlan) -> Vec<Value> {
    plan.pull_secrets
        .iter()
        .map(|(name, value)| {
            json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": meta::in_namespace(plan, name),
                "type": "kubernetes.io/dockerconfigjson",
                "data": { ".dockerconfigjson": base64(value.expose()) },
            })
        })
        .collect()
}

/// RFC 4648 base64, by the type that the API's own Secret has.
fn base64(bytes: &[u8]) -> String {
    match serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec())) {
        Ok(Value::String(text)) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_base64() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"labaccess", "bGFiYWNjZXNz"),
            (b"\xff\x00", "/wA="),
        ] {
            assert_eq!(base64(bytes), text);
        }
    }
}
