//! What a resource outside of the controller's own namespace may not do: the controller's
//! rights are not those of whoever may write resources.

use serde_json::Value;

use super::Fault;
use crate::config::{Credentials, RepositoryConfig};
use crate::storage::Scheme;

/// Fills in the namespace of Secrets that name none, all the way down.
pub(super) fn fill_namespace(value: &mut Value, namespace: &str) {
    match value {
        Value::Object(members) => {
            if let Some(secret) = members.get_mut("kubernetes").and_then(Value::as_object_mut)
                && secret.contains_key("key")
            {
                secret
                    .entry("namespace")
                    .or_insert_with(|| namespace.to_owned().into());
            }
            for below in members.values_mut() {
                fill_namespace(below, namespace);
            }
        }
        Value::Array(items) => {
            for item in items {
                fill_namespace(item, namespace);
            }
        }
        _ => {}
    }
}

/// A copy that a resource in `namespace`, which is not the controller's own, names in `field`.
pub(super) fn copy(copy: &RepositoryConfig, namespace: &str, field: &str) -> Result<(), Fault> {
    if copy.url.scheme() == Scheme::File || copy.ca_file.is_some() {
        return Err((
            "LocalPathNotAllowed",
            format!(
                "`{field}`: paths of the controller's own machine belong to resources in its own namespace"
            ),
        ));
    }
    let credentials = copy.credentials.iter().flat_map(Credentials::sources);
    let sources = credentials.chain(copy.ca.iter().map(|source| ("ca", source)));
    for (key, source) in sources {
        let Some(secret) = source.kubernetes.as_ref() else {
            return Err((
                "SecretNotAllowed",
                format!(
                    "`{field}`: `{key}` is read from the controller's own environment or files, which belong to resources in its own namespace; name a Secret (`kubernetes: {{name: …, key: …}}`)"
                ),
            ));
        };
        if secret.namespace != namespace {
            return Err((
                "SecretNotAllowed",
                format!(
                    "`{field}`: `{key}` names {secret}; a resource in {namespace} may name Secrets of {namespace} only"
                ),
            ));
        }
    }
    if !has_credentials(copy) {
        return Err((
            "CredentialsMissing",
            format!(
                "`{field}`: without credentials of its own it would be reached as the controller itself, which is for resources in the controller's own namespace; name `credentials`"
            ),
        ));
    }
    Ok(())
}

/// Whether a repository is reached by credentials of its own, and never as the controller.
pub(super) fn has_credentials(copy: &RepositoryConfig) -> bool {
    let Some(credentials) = &copy.credentials else {
        return false;
    };
    match copy.url.scheme() {
        Scheme::File => false,
        Scheme::S3 => {
            credentials.access_key_id.is_some() && credentials.secret_access_key.is_some()
        }
        Scheme::Gcs => credentials.service_account_key.is_some(),
        Scheme::Azure => {
            credentials.connection_string.is_some()
                || credentials.account_key.is_some()
                || credentials.sas_token.is_some()
        }
    }
}

/// What a drill that a resource in `namespace`, which is not the controller's own, defines, or
/// how a RecoveryRequest there restores.
pub(in crate::controller) fn drill(definition: &Value, namespace: &str) -> Result<(), Fault> {
    let word = |path: &str| definition.pointer(path).and_then(Value::as_str);
    let refused = |what: &str| {
        let message = format!("{what} belongs to resources in the controller's own namespace");
        Err(("NotAllowed", message))
    };
    if word("/environment") != Some("cnpg") {
        return refused("`environment: local`, a restore on the controller's own machine,");
    }
    if definition.get("scratch").is_some() {
        return refused("`scratch`, a path of the controller's own machine,");
    }
    let source = word("/cnpg/source/namespace");
    if source.is_some_and(|source| source != namespace) {
        return refused("`cnpg.source` in another namespace");
    }
    let definition_of = word("/cnpg/definition");
    if definition_of.is_some_and(|text| text != "captured") {
        return refused("`cnpg.definition` as a path of the controller's own machine");
    }
    for (path, what) in [
        (
            "/cnpg/store_cidrs",
            "`cnpg.storeCidrs`, which opens the restored database's network,",
        ),
        (
            "/cnpg/service_account_annotations",
            "`cnpg.serviceAccountAnnotations`, which grants a role,",
        ),
    ] {
        let given = definition.pointer(path);
        let empty = given.is_none_or(|value| {
            value.is_null()
                || value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(serde_json::Map::is_empty)
        });
        if !empty {
            return refused(what);
        }
    }
    Ok(())
}
