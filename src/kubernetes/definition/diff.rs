//! What differs between two definitions, by object and path.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::content::Content;

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The object, such as `Cluster shop/orders`.
    pub object: String,
    /// Where in it, such as `spec.postgresql.parameters.work_mem`; empty for the whole object.
    pub path: String,
    /// What happened to it.
    pub change: ChangeKind,
    /// What was there before.
    pub before: Option<Value>,
    /// What is there now.
    pub after: Option<Value>,
}

/// What happened to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// It is another.
    Changed,
}

/// What leads from one definition to another, in the order of a rebuild. Nothing when both are
/// the same.
pub fn diff(before: &Content, after: &Content) -> Vec<Change> {
    let mut changes = Vec::new();
    let facts = |content: &Content| serde_json::to_value(&content.facts).unwrap_or_default();
    compare(
        "facts",
        "",
        Some(&facts(before)),
        Some(&facts(after)),
        &mut changes,
    );
    let (old, new) = (objects(before), objects(after));
    let order: Vec<&String> = ordered(before, after, &old, &new);
    for title in order {
        compare(
            title,
            "",
            old.get(title).copied(),
            new.get(title).copied(),
            &mut changes,
        );
    }
    let (old, new) = (secrets(before), secrets(after));
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let title = format!("Secret {}/{name}", after.namespace);
        compare(&title, "", old.get(name), new.get(name), &mut changes);
    }
    let unread = |content: &Content| -> BTreeMap<String, Value> {
        let all = content.unread.iter();
        all.map(|one| (one.object.clone(), json!(one.reason)))
            .collect()
    };
    let (old, new) = (unread(before), unread(after));
    for object in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        compare(
            &format!("unread: {object}"),
            "",
            old.get(object),
            new.get(object),
            &mut changes,
        );
    }
    changes
}

fn objects(content: &Content) -> BTreeMap<String, &Value> {
    let all = content.objects.iter();
    all.map(|object| (object.title(), &object.manifest))
        .collect()
}

fn ordered<'a>(
    before: &Content,
    after: &Content,
    old: &'a BTreeMap<String, &Value>,
    new: &'a BTreeMap<String, &Value>,
) -> Vec<&'a String> {
    let mut ranked: Vec<(u8, String)> = before
        .objects
        .iter()
        .chain(&after.objects)
        .map(|object| (object.rank(), object.title()))
        .collect();
    ranked.sort();
    ranked.dedup();
    ranked
        .iter()
        .filter_map(|(_, title)| {
            let known = old
                .get_key_value(title)
                .or_else(|| new.get_key_value(title));
            known.map(|(title, _)| title)
        })
        .collect()
}

/// Secrets by name; who refers to them follows from the objects.
fn secrets(content: &Content) -> BTreeMap<String, Value> {
    let all = content.secrets.iter();
    all.map(|secret| {
        let said = json!({
            "present": secret.present, "keys": secret.keys, "wanted": secret.wanted,
            "optional": secret.optional,
        });
        (secret.name.clone(), said)
    })
    .collect()
}

fn compare(
    object: &str,
    path: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    changes: &mut Vec<Change>,
) {
    let mut push = |change: ChangeKind| {
        changes.push(Change {
            object: object.to_owned(),
            path: path.to_owned(),
            change,
            before: before.cloned(),
            after: after.cloned(),
        });
    };
    match (before, after) {
        (None, None) => {}
        (None, Some(_)) => push(ChangeKind::Added),
        (Some(_), None) => push(ChangeKind::Removed),
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                let path = below(path, key);
                compare(object, &path, old.get(key), new.get(key), changes);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => match (named(old), named(new)) {
            (Some(old), Some(new)) => {
                for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                    let path = format!("{path}[{name}]");
                    compare(
                        object,
                        &path,
                        old.get(name).copied(),
                        new.get(name).copied(),
                        changes,
                    );
                }
            }
            _ => {
                for index in 0..old.len().max(new.len()) {
                    let path = format!("{path}[{index}]");
                    compare(object, &path, old.get(index), new.get(index), changes);
                }
            }
        },
        (Some(_), Some(_)) => push(ChangeKind::Changed),
    }
}

fn below(path: &str, key: &str) -> String {
    let plain = key
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

/// The members of a list by their names, where every one has its own.
fn named(items: &[Value]) -> Option<BTreeMap<&str, &Value>> {
    let named: BTreeMap<&str, &Value> = items
        .iter()
        .filter_map(|item| Some((item.get("name")?.as_str()?, item)))
        .collect();
    (named.len() == items.len()).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::super::content::{CapturedObject, Facts, SecretNames};
    use super::*;

    fn content(spec: &Value, others: &[&str]) -> Content {
        let object = |kind: &str, name: &str, spec: &Value| {
            CapturedObject::of(&json!({
                "apiVersion": "postgresql.cnpg.io/v1", "kind": kind,
                "metadata": {"namespace": "shop", "name": name}, "spec": spec,
            }))
            .unwrap()
        };
        let mut content = Content {
            namespace: "shop".to_owned(),
            name: "orders".to_owned(),
            facts: Facts::default(),
            objects: vec![object("Cluster", "orders", spec)],
            secrets: Vec::new(),
            unread: Vec::new(),
        };
        for name in others {
            content.objects.push(object("Pooler", name, &json!({})));
        }
        content.sort();
        content
    }

    fn paths(changes: &[Change]) -> Vec<String> {
        changes
            .iter()
            .map(|change| format!("{:?} {} {}", change.change, change.object, change.path))
            .collect()
    }

    #[test]
    fn changes_are_named_by_object_and_path() {
        let before = content(
            &json!({"instances": 3, "a": {"x.y": 1}, "roles": [{"name": "r", "login": true}, {"name": "s"}],
                    "list": [1, 2]}),
            &["ro"],
        );
        let mut after = content(
            &json!({"instances": 5, "a": {"x.y": 2}, "roles": [{"name": "s"}, {"name": "r", "login": false}],
                    "list": [1], "new": {"k": 1}}),
            &["rw"],
        );
        after.facts.image = Some("x:18".to_owned());
        after.secrets.push(SecretNames {
            name: "login".to_owned(),
            keys: None,
            present: Some(false),
            wanted: Vec::new(),
            optional: false,
            referenced_by: Vec::new(),
        });
        let changes = diff(&before, &after);
        assert_eq!(
            paths(&changes),
            [
                "Changed facts image",
                "Changed Cluster shop/orders spec.a[\"x.y\"]",
                "Changed Cluster shop/orders spec.instances",
                "Removed Cluster shop/orders spec.list[1]",
                "Added Cluster shop/orders spec.new",
                "Changed Cluster shop/orders spec.roles[r].login",
                "Removed Pooler shop/ro ",
                "Added Pooler shop/rw ",
                "Added Secret shop/login ",
            ]
        );
        assert_eq!(changes[2].before, Some(json!(3)));
        assert_eq!(changes[2].after, Some(json!(5)));
    }

    #[test]
    fn the_same_has_no_changes() {
        let one = content(&json!({"instances": 3}), &["rw"]);
        assert_eq!(diff(&one, &one.clone()), []);
    }
}
