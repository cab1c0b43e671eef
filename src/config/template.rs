//! The body of a webhook as its owner wants it: JSON with places to fill in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// JSON whose texts have places to fill in: `{"text": "{{severity}}: {{summary}}"}`.
///
/// What is filled in can never change the form of the JSON, as it is put into its texts
/// after they were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    body: Value,
}

/// What a place may be called.
pub const TEMPLATE_FIELDS: [&str; 17] = [
    "id",
    "event",
    "status",
    "code",
    "severity",
    "cluster",
    "tier",
    "copy",
    "kind",
    "object",
    "summary",
    "consequence",
    "what_to_do",
    "runbook_url",
    "opened_at",
    "resolved_at",
    "dedup_key",
];

/// A template is at most this long, in bytes.
const LIMIT: usize = 64 << 10;

/// A text that is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a template: {0}")]
pub struct ParseTemplateError(String);

impl Template {
    /// The JSON with each place filled in by what `value` gives for its name.
    pub fn fill(&self, value: &impl Fn(&str) -> String) -> Value {
        filled(&self.body, value)
    }
}

fn filled(body: &Value, value: &impl Fn(&str) -> String) -> Value {
    match body {
        Value::String(text) => {
            let mut full = String::with_capacity(text.len());
            for piece in pieces(text) {
                match piece {
                    Piece::Text(text) => full.push_str(text),
                    Piece::Place(name) => full.push_str(&value(name)),
                }
            }
            Value::String(full)
        }
        Value::Array(items) => items.iter().map(|item| filled(item, value)).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, below)| (key.clone(), filled(below, value)))
            .collect(),
        other => other.clone(),
    }
}

enum Piece<'a> {
    Text(&'a str),
    Place(&'a str),
}

/// A text and its places. An opening without an end is text.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        let Some((name, after)) = behind.split_once("}}") else {
            break;
        };
        pieces.push(Piece::Text(before));
        pieces.push(Piece::Place(name.trim()));
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// The first place that is called as nothing is.
fn unknown(body: &Value) -> Option<&str> {
    match body {
        Value::String(text) => pieces(text).into_iter().find_map(|piece| match piece {
            Piece::Place(name) if !TEMPLATE_FIELDS.contains(&name) => Some(name),
            _ => None,
        }),
        Value::Array(items) => items.iter().find_map(unknown),
        Value::Object(entries) => entries.values().find_map(unknown),
        _ => None,
    }
}

impl FromStr for Template {
    type Err = ParseTemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > LIMIT {
            return Err(ParseTemplateError(format!("longer than {LIMIT} bytes")));
        }
        let body: Value = serde_json::from_str(text).map_err(|error| {
            ParseTemplateError(format!(
                "it is no JSON ({error}); places stand within its texts, as in {{\"text\": \"{{{{summary}}}}\"}}"
            ))
        })?;
        if let Some(name) = unknown(&body) {
            return Err(ParseTemplateError(super::suggest::help(
                name,
                &format!("there is no place {name:?}; allowed"),
                &TEMPLATE_FIELDS,
            )));
        }
        Ok(Self {
            text: text.to_owned(),
            body,
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Template {
    type Error = ParseTemplateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text
    }
}

impl schemars::JsonSchema for Template {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^\s*[\[{\x22]",
            "description": "JSON with places to fill in: {\"text\": \"{{severity}}: {{summary}}\"}.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_cannot_change_the_form() {
        let template: Template =
            r#"{"a": ["{{ code }}/{{cluster}}", 1, "{{", "}} {{code"], "b": {"c": true}}"#
                .parse()
                .unwrap();
        let evil = r#"", "b": "{{cluster}}"#;
        let filled = template.fill(&|name| {
            if name == "code" {
                evil.to_owned()
            } else {
                name.to_uppercase()
            }
        });
        assert_eq!(
            filled,
            serde_json::json!({
                "a": [format!("{evil}/CLUSTER"), 1, "{{", "}} {{code"],
                "b": {"c": true},
            })
        );
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, words) in [
            ("text {{summary}}", "it is no JSON"),
            (r#"{"a": {{summary}}}"#, "it is no JSON"),
            (r#"{"a": "{{sumary}}"}"#, "did you mean `summary`?"),
            (r#"["{{env.SECRET}}"]"#, "there is no place"),
        ] {
            let error = text.parse::<Template>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
