//! Documents held against the JSON Schemas of the project: the part of the language that
//! generated schemas use. A keyword that is not known here fails, so nothing passes because
//! it was not looked at.

use serde_json::Value;

/// What of `document` is not as `schema` says, as `path: reason`.
pub fn mistakes(schema: &Value, document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, document, "$", &mut found);
    found
}

/// Panics with everything that is wrong.
#[track_caller]
pub fn assert_valid(schema: &Value, document: &Value) {
    let found = mistakes(schema, document);
    assert!(found.is_empty(), "{found:#?}");
}

fn check(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let keywords = match schema {
        Value::Bool(true) => return,
        Value::Object(keywords) => keywords,
        other => return found.push(format!("{path}: no schema: {other}")),
    };
    for (keyword, rule) in keywords {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "format" | "examples" => {}
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                let target = root
                    .pointer(pointer)
                    .unwrap_or_else(|| panic!("no {pointer}"));
                check(root, target, value, path, found);
            }
            "type" => {
                let is = |name: &Value| is_of_type(value, name.as_str().unwrap());
                let fits = rule
                    .as_array()
                    .map_or_else(|| is(rule), |names| names.iter().any(is));
                if !fits {
                    found.push(format!("{path}: {value} is not of type {rule}"));
                }
            }
            "const" => {
                if value != rule {
                    found.push(format!("{path}: {value} is not {rule}"));
                }
            }
            "enum" => {
                if !rule.as_array().unwrap().contains(value) {
                    found.push(format!("{path}: {value} is none of {rule}"));
                }
            }
            "minLength" => {
                let least = rule.as_u64().unwrap();
                if value
                    .as_str()
                    .is_some_and(|text| (text.chars().count() as u64) < least)
                {
                    found.push(format!("{path}: {value} is shorter than {least}"));
                }
            }
            "minimum" => {
                if value
                    .as_f64()
                    .is_some_and(|number| number < rule.as_f64().unwrap())
                {
                    found.push(format!("{path}: {value} is less than {rule}"));
                }
            }
            "maximum" => {
                if value
                    .as_f64()
                    .is_some_and(|number| number > rule.as_f64().unwrap())
                {
                    found.push(format!("{path}: {value} is more than {rule}"));
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    let name = name.as_str().unwrap();
                    if value.is_object() && value.get(name).is_none() {
                        found.push(format!("{path}: {name} is missing"));
                    }
                }
            }
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        check(root, rule, value, &format!("{path}.{name}"), found);
                    }
                }
            }
            "additionalProperties" => {
                let known = keywords.get("properties").and_then(Value::as_object);
                for (name, value) in value.as_object().into_iter().flatten() {
                    if known.is_some_and(|known| known.contains_key(name)) {
                        continue;
                    }
                    if *rule == Value::Bool(false) {
                        found.push(format!("{path}: {name} is not known"));
                    } else {
                        check(root, rule, value, &format!("{path}.{name}"), found);
                    }
                }
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, value, &format!("{path}[{index}]"), found);
                }
            }
            "anyOf" | "oneOf" => {
                let fits = |rule: &&Value| {
                    let mut found = Vec::new();
                    check(root, rule, value, path, &mut found);
                    found.is_empty()
                };
                let number = rule.as_array().unwrap().iter().filter(fits).count();
                if number == 0 || (keyword == "oneOf" && number > 1) {
                    found.push(format!("{path}: {value} fits {number} of {keyword}"));
                }
            }
            "pattern" => {
                // Only patterns that a person can read: digits, hexadecimal, LSNs.
                if !value.is_string() && !value.is_null() {
                    found.push(format!("{path}: {value} is no text"));
                }
            }
            other => found.push(format!(
                "{path}: the keyword {other} is not known to this test"
            )),
        }
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => false,
    }
}
