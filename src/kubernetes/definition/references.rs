//! Which Secrets and ConfigMaps an object refers to.
//!
//! The kinds of CloudNativePG refer in a few shapes, wherever they stand: `{name, key}`, a
//! name beside `…Secret`, and what pods have (`secretRef`, `secretName`, projected volumes).
//! They are found by shape, so that a field of a newer version is not overlooked.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// What is referred to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// ConfigMaps, by name, with what refers to them.
    pub config_maps: BTreeMap<String, BTreeSet<String>>,
    /// Secrets, by name.
    pub secrets: BTreeMap<String, SecretReference>,
}

/// How a Secret is referred to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretReference {
    /// The keys that are named.
    pub keys: BTreeSet<String>,
    /// Whether some reference is not marked optional.
    pub needed: bool,
    /// What refers to it.
    pub by: BTreeSet<String>,
}

/// Parents of `{name, …}` without a key that mean a Secret, beside those that end in `Secret`.
const SECRETS: [&str; 4] = ["secret", "secretRef", "imagePullSecrets", "secretKeyRef"];

/// The same for ConfigMaps, beside those that end in `ConfigMap`.
const CONFIG_MAPS: [&str; 3] = ["configMap", "configMapRef", "configMapKeyRef"];

impl References {
    /// Adds what an object refers to. `title` names the object.
    pub fn of(&mut self, title: &str, manifest: &Value) {
        if let Some(spec) = manifest.get("spec") {
            self.walk(title, "spec", "", spec);
        }
    }

    fn walk(&mut self, title: &str, path: &str, parent: &str, value: &Value) {
        match value {
            Value::Array(items) => {
                for item in items {
                    self.walk(title, path, parent, item);
                }
            }
            Value::Object(members) => {
                self.object(title, path, parent, members);
                for (key, value) in members {
                    self.walk(title, &format!("{path}.{key}"), key, value);
                }
            }
            // `serverTLSSecret: name`, `secretName: name`, `imagePullSecrets: [name]`.
            Value::String(name)
                if !name.is_empty() && (parent == "secretName" || parent.ends_with("Secret")) =>
            {
                self.secret(title, path, name, &[], true);
            }
            _ => {}
        }
    }

    fn object(&mut self, title: &str, path: &str, parent: &str, members: &Map<String, Value>) {
        let text = |key: &str| {
            let found = members.get(key).and_then(Value::as_str);
            found.filter(|text| !text.is_empty())
        };
        let Some(name) = text("name") else { return };
        let needed = members.get("optional").and_then(Value::as_bool) != Some(true);
        let config = CONFIG_MAPS.contains(&parent)
            || parent.ends_with("ConfigMap")
            || parent == "configMapRefs";
        if config {
            let by = format!("{title} {path}");
            self.config_maps
                .entry(name.to_owned())
                .or_default()
                .insert(by);
            return;
        }
        let keys: Vec<&str> = match (text("key"), members.get("items")) {
            (Some(key), _) => vec![key],
            (None, Some(Value::Array(items))) => items
                .iter()
                .filter_map(|item| item.get("key")?.as_str())
                .collect(),
            (None, _) => Vec::new(),
        };
        let by_key = text("key").is_some()
            && members
                .keys()
                .all(|key| matches!(key.as_str(), "name" | "key" | "optional"));
        let by_parent =
            SECRETS.contains(&parent) || parent.ends_with("Secret") || parent == "secretRefs";
        if by_key || by_parent {
            self.secret(title, path, name, &keys, needed);
        }
    }

    fn secret(&mut self, title: &str, path: &str, name: &str, keys: &[&str], needed: bool) {
        let reference = self.secrets.entry(name.to_owned()).or_default();
        reference.needed |= needed;
        reference.by.insert(format!("{title} {path}"));
        for key in keys {
            reference.keys.insert((*key).to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_shape_of_reference_is_found_and_nothing_else() {
        let mut found = References::default();
        found.of(
            "Cluster shop/orders",
            &json!({"spec": {
                "superuserSecret": {"name": "super"},
                "enableSuperuserAccess": true,
                "bootstrap": {"initdb": {
                    "database": "app", "owner": "app", "secret": {"name": "app-login"},
                    "postInitApplicationSQLRefs": {
                        "configMapRefs": [{"name": "sql", "key": "a.sql"}],
                        "secretRefs": [{"name": "hush-sql", "key": "b.sql"}],
                    },
                }},
                "certificates": {"serverTLSSecret": "tls", "serverCASecret": "ca"},
                "managed": {"roles": [{"name": "reader", "passwordSecret": {"name": "reader-login"}}]},
                "monitoring": {
                    "customQueriesConfigMap": [{"name": "queries", "key": "q"}],
                    "customQueriesSecret": [{"name": "hush-queries", "key": "q"}],
                },
                "externalClusters": [{"name": "old", "password": {"name": "old-login", "key": "pw"}}],
                "plugins": [{"name": "barman-cloud.cloudnative-pg.io", "parameters": {"barmanObjectName": "store"}}],
                "imagePullSecrets": [{"name": "registry"}],
                "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "env", "key": "x", "optional": true}}},
                        {"name": "Y", "valueFrom": {"configMapKeyRef": {"name": "plain", "key": "y"}}}],
                "envFrom": [{"secretRef": {"name": "all-env"}}, {"configMapRef": {"name": "all-plain"}}],
                "projectedVolumeTemplate": {"sources": [
                    {"secret": {"name": "projected", "items": [{"key": "k", "path": "p"}]}},
                    {"configMap": {"name": "projected-map"}},
                ]},
                "tablespaces": [{"name": "ts", "owner": {"name": "app"}}],
                "imageCatalogRef": {"kind": "ImageCatalog", "name": "catalog", "major": 17},
            }}),
        );
        let secrets: Vec<&str> = found.secrets.keys().map(String::as_str).collect();
        assert_eq!(
            secrets,
            [
                "all-env",
                "app-login",
                "ca",
                "env",
                "hush-queries",
                "hush-sql",
                "old-login",
                "projected",
                "reader-login",
                "registry",
                "super",
                "tls"
            ]
        );
        let maps: Vec<&str> = found.config_maps.keys().map(String::as_str).collect();
        assert_eq!(
            maps,
            ["all-plain", "plain", "projected-map", "queries", "sql"]
        );
        assert!(!found.secrets["env"].needed && found.secrets["super"].needed);
        assert!(found.secrets["projected"].keys.contains("k"));
        assert!(found.secrets["old-login"].keys.contains("pw"));
        assert_eq!(
            found.secrets["old-login"].by.first().map(String::as_str),
            Some("Cluster shop/orders spec.externalClusters.password")
        );
    }

    #[test]
    fn a_store_refers_to_its_credentials_and_authority() {
        let mut found = References::default();
        found.of(
            "ObjectStore shop/store",
            &json!({"spec": {"configuration": {
                "destinationPath": "s3://b",
                "endpointCA": {"name": "ca", "key": "ca.crt"},
                "s3Credentials": {"accessKeyId": {"name": "keys", "key": "ID"},
                                  "secretAccessKey": {"name": "keys", "key": "SECRET"}},
            }}}),
        );
        assert_eq!(found.secrets["keys"].keys.len(), 2);
        assert_eq!(found.secrets.len(), 2);
    }
}
