//! From a schema of the configuration to one that the API server takes: structural, without
//! references, without what only editors understand.

use serde_json::{Map, Value};

/// Keywords that the API server does not know or has no use for.
const DROPPED: [&str; 6] = [
    "$schema", "$defs", "title", "examples", "default", "example",
];

/// Makes a schema structural, all the way down.
pub(super) fn make(schema: &mut Value) {
    match schema {
        // `true`: anything.
        Value::Bool(_) => *schema = anything(),
        Value::Object(members) => object(members),
        _ => {}
    }
}

fn anything() -> Value {
    serde_json::json!({"x-kubernetes-preserve-unknown-fields": true})
}

fn object(members: &mut Map<String, Value>) {
    for key in DROPPED {
        members.remove(key);
    }
    choices(members);
    types(members);
    if let Some(only) = members.remove("const") {
        members.insert("enum".to_owned(), Value::Array(vec![only]));
    }
    // uint8 and the like; `minimum` says what matters.
    let format = members.get("format").and_then(Value::as_str);
    if format.is_some_and(|format| format.starts_with("uint")) {
        members.remove("format");
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(make);
        // Not both: what is unknown is pruned anyway.
        members.remove("additionalProperties");
    }
    if members.get("additionalProperties") == Some(&Value::Bool(false)) {
        members.remove("additionalProperties");
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(key) {
            make(inner);
        }
    }
    if members.is_empty() || members.keys().all(|key| key == "description") {
        members.insert(
            "x-kubernetes-preserve-unknown-fields".to_owned(),
            Value::Bool(true),
        );
    }
}

/// An optional type is that type; a choice of constants is an `enum`.
fn choices(members: &mut Map<String, Value>) {
    for key in ["anyOf", "oneOf", "allOf"] {
        let Some(Value::Array(mut all)) = members.remove(key) else {
            continue;
        };
        all.retain(|choice| !is_null(choice));
        let constants: Option<Vec<Value>> = all
            .iter()
            .map(|choice| match (choice.get("const"), choice.get("enum")) {
                (Some(constant), _) => Some(vec![constant.clone()]),
                (None, Some(Value::Array(some))) => Some(some.clone()),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(|some| some.concat());
        if let Some(constants) = constants {
            members.insert("type".to_owned(), "string".into());
            members.insert("enum".to_owned(), Value::Array(constants));
        } else if let [Value::Object(_)] = all.as_slice()
            && let Some(Value::Object(only)) = all.pop()
        {
            for (key, value) in only {
                // What is said of the field itself is more to the point.
                members.entry(key).or_insert(value);
            }
            choices(members);
        }
    }
}

fn is_null(choice: &Value) -> bool {
    choice.get("type").and_then(Value::as_str) == Some("null")
        || choice.get("enum") == Some(&serde_json::json!([null]))
        || choice.get("const") == Some(&Value::Null)
}

/// One type, or any scalar.
fn types(members: &mut Map<String, Value>) {
    members.remove("nullable");
    let Some(Value::Array(all)) = members.get("type") else {
        return;
    };
    let real: Vec<Value> = all
        .iter()
        .filter(|one| one.as_str() != Some("null"))
        .cloned()
        .collect();
    if let [only] = real.as_slice() {
        let only = only.clone();
        members.insert("type".to_owned(), only);
    } else {
        members.remove("type");
        members.insert(
            "x-kubernetes-preserve-unknown-fields".to_owned(),
            Value::Bool(true),
        );
    }
}
