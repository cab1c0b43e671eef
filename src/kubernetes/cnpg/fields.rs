//! Fields of an object of the API, by JSON pointer. What is absent, null or empty is `None`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

/// An object that is not of the shape that its kind has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read {object}: {problem}")]
pub struct ViewError {
    /// Kind, namespace and name.
    pub object: String,
    /// What is missing or wrong.
    pub problem: String,
}

/// Name and namespace of an object.
pub(super) struct Identity {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Name and namespace, or why there are none.
pub(super) fn identity(kind: &str, value: &Value) -> Result<Identity, ViewError> {
    let required = |field: &str| {
        text(value, &format!("/metadata/{field}")).ok_or_else(|| ViewError {
            object: kind.to_owned(),
            problem: format!("metadata.{field} is missing"),
        })
    };
    Ok(Identity {
        namespace: required("namespace")?,
        name: required("name")?,
    })
}

/// A text that is not empty.
pub(super) fn text(value: &Value, pointer: &str) -> Option<String> {
    let text = value.pointer(pointer)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// A number, or a text that is one.
pub(super) fn number<N: TryFrom<u64>>(value: &Value, pointer: &str) -> Option<N> {
    let found = value.pointer(pointer)?;
    let number = found
        .as_u64()
        .or_else(|| found.as_str().and_then(|text| text.parse().ok()))?;
    N::try_from(number).ok()
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value, pointer: &str) -> Option<bool> {
    value.pointer(pointer)?.as_bool()
}

/// A moment in RFC 3339.
pub(super) fn moment(value: &Value, pointer: &str) -> Option<DateTime<Utc>> {
    let text = value.pointer(pointer)?.as_str()?;
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|moment| moment.to_utc())
}

/// The members of a list.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The texts of a list; what is no text is left out.
pub(super) fn texts(value: &Value, pointer: &str) -> Vec<String> {
    list(value, pointer)
        .iter()
        .filter_map(|member| member.as_str().map(str::to_owned))
        .collect()
}

/// The texts of an object by their keys; numbers and booleans as they are written.
pub(super) fn text_map(value: &Value, pointer: &str) -> BTreeMap<String, String> {
    let members = value.pointer(pointer).and_then(Value::as_object);
    members
        .into_iter()
        .flatten()
        .filter_map(|(key, member)| {
            let text = match member {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                _ => return None,
            };
            Some((key.clone(), text))
        })
        .collect()
}
