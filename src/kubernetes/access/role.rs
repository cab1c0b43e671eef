//! Roles that give permissions, as manifests.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Permission;
use crate::kubernetes::Identity;
use crate::kubernetes::names::{MANAGED_BY, WALPROOF};

/// The API group of roles and bindings.
pub(crate) const RBAC: &str = "rbac.authorization.k8s.io";

/// A ClusterRole for what is needed everywhere and a Role for each namespace, all called
/// `name`, and their bindings to an identity.
pub fn roles(name: &str, permissions: &[Permission], identity: &Identity) -> Vec<Value> {
    let mut scopes: BTreeMap<Option<&str>, Vec<&Permission>> = BTreeMap::new();
    for permission in permissions {
        let scope = permission.namespace.as_deref();
        scopes.entry(scope).or_default().push(permission);
    }
    let mut manifests = Vec::new();
    for (namespace, permissions) in scopes {
        let (role, binding) = match namespace {
            Some(_) => ("Role", "RoleBinding"),
            None => ("ClusterRole", "ClusterRoleBinding"),
        };
        let mut metadata = json!({ "name": name, "labels": { MANAGED_BY: WALPROOF } });
        if let (Some(namespace), Some(metadata)) = (namespace, metadata.as_object_mut()) {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
        manifests.push(json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": role,
            "metadata": metadata,
            "rules": rules(&permissions),
        }));
        manifests.push(json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": binding,
            "metadata": metadata,
            "roleRef": { "apiGroup": RBAC, "kind": role, "name": name },
            "subjects": [subject(identity)],
        }));
    }
    manifests
}

/// The same where the rights inside of scratch namespaces are a ClusterRole of their own, called
/// `scratch_role`. Nothing binds it: walproof does, in each scratch namespace alone.
pub fn split_roles(
    name: &str,
    outside: &[Permission],
    scratch_role: &str,
    scratch: &[Permission],
    identity: &Identity,
) -> Vec<Value> {
    let mut manifests = roles(name, outside, identity);
    let scratch: Vec<&Permission> = scratch.iter().collect();
    manifests.push(json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "ClusterRole",
        "metadata": { "name": scratch_role, "labels": { MANAGED_BY: WALPROOF } },
        "rules": rules(&scratch),
    }));
    manifests
}

/// The rules of some permissions: the verbs of an object together, the names that share
/// verbs together, the resources of a group that share verbs together.
fn rules(permissions: &[&Permission]) -> Vec<Value> {
    let mut verbs: BTreeMap<(&str, String, Option<&str>), BTreeSet<&str>> = BTreeMap::new();
    for permission in permissions {
        let name = permission.name.as_deref();
        let object = (permission.group, permission.rbac_resource(), name);
        verbs.entry(object).or_default().insert(permission.verb);
    }
    let mut plain: BTreeMap<(&str, BTreeSet<&str>), Vec<String>> = BTreeMap::new();
    let mut named: BTreeMap<(&str, String, BTreeSet<&str>), Vec<&str>> = BTreeMap::new();
    for ((group, resource, name), verbs) in verbs {
        match name {
            Some(name) => named
                .entry((group, resource, verbs))
                .or_default()
                .push(name),
            None => plain.entry((group, verbs)).or_default().push(resource),
        }
    }
    let plain = plain.into_iter().map(|((group, verbs), resources)| {
        json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
    });
    let named = named.into_iter().map(|((group, resource, verbs), names)| {
        json!({
            "apiGroups": [group],
            "resources": [resource],
            "resourceNames": names,
            "verbs": verbs,
        })
    });
    plain.chain(named).collect()
}

/// An identity as a binding names it.
pub(crate) fn subject(identity: &Identity) -> Value {
    let account = identity
        .username
        .strip_prefix("system:serviceaccount:")
        .and_then(|account| account.split_once(':'));
    match account {
        Some((namespace, name)) => {
            json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name })
        }
        None => json!({ "apiGroup": RBAC, "kind": "User", "name": identity.username }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DrillForm, Source, for_drill};
    use super::*;

    fn identity(username: &str) -> Identity {
        Identity {
            username: username.to_owned(),
            groups: Vec::new(),
        }
    }

    /// Every verb, object and name that rules give, one by one.
    fn spelled(role: &Value) -> BTreeSet<String> {
        let strings = |value: &Value| -> Vec<String> {
            serde_json::from_value(value.clone()).unwrap_or_default()
        };
        let mut all = BTreeSet::new();
        for rule in role["rules"].as_array().unwrap() {
            let mut names = strings(&rule["resourceNames"]);
            if names.is_empty() {
                names.push("*".to_owned());
            }
            for group in strings(&rule["apiGroups"]) {
                for resource in strings(&rule["resources"]) {
                    for verb in strings(&rule["verbs"]) {
                        for name in &names {
                            all.insert(format!("{verb} {group}/{resource} {name}"));
                        }
                    }
                }
            }
        }
        all
    }

    #[test]
    fn roles_give_what_is_needed_and_nothing_else() {
        let source = Source {
            namespace: Some("shop".to_owned()),
            secrets: vec!["a".to_owned(), "b".to_owned()],
        };
        let needs = for_drill(DrillForm::Plugin, &source);
        let manifests = roles("walproof-drill", &needs, &identity("jane"));
        let kinds: Vec<&str> = manifests
            .iter()
            .map(|manifest| manifest["kind"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds,
            ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]
        );
        for (role, namespace) in [(&manifests[0], None), (&manifests[2], Some("shop"))] {
            assert_eq!(role["metadata"]["namespace"].as_str(), namespace);
            let wanted: BTreeSet<String> = needs
                .iter()
                .filter(|need| need.namespace.as_deref() == namespace)
                .map(|need| {
                    let name = need.name.as_deref().unwrap_or("*");
                    format!(
                        "{} {}/{} {name}",
                        need.verb,
                        need.group,
                        need.rbac_resource()
                    )
                })
                .collect();
            assert_eq!(spelled(role), wanted);
        }
    }

    #[test]
    fn service_accounts_are_bound_as_such() {
        let needs = for_drill(DrillForm::InTree, &Source::default());
        let of = |username: &str| {
            let manifests = roles("x", &needs, &identity(username));
            assert_eq!(manifests.len(), 2);
            manifests[1]["subjects"][0].clone()
        };
        assert_eq!(
            of("system:serviceaccount:backups:walproof"),
            json!({ "kind": "ServiceAccount", "namespace": "backups", "name": "walproof" })
        );
        assert_eq!(of("jane@example.com")["kind"], "User");
    }
}
