//! The walk over a located tree along the schema: collects every mistake, and gives the
//! value that the types are then read from.
//!
//! The schema is the one that is generated from the types, so there is nothing to keep in
//! step by hand. Only as much of JSON Schema is understood as those types make use of; a
//! test walks the schemas and refuses keywords that this walk would overlook.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::error::{Mistake, Place};
use super::suggest;
use super::tree::{Kind, Node, parse_bool};

/// Checks a document against a schema. The value is complete only when there is no mistake.
pub(super) fn check(file: &Path, root: &Node, schema: &Value) -> (Value, Vec<Mistake>) {
    let mut walk = Walk {
        file,
        definitions: schema.get("$defs"),
        mistakes: Vec::new(),
    };
    let value = walk.value(root, schema, "");
    (value, walk.mistakes)
}

struct Walk<'a> {
    file: &'a Path,
    definitions: Option<&'a Value>,
    mistakes: Vec<Mistake>,
}

/// Checks of text that say more than a pattern could, by the name of the definition.
fn check_text(definition: &str, text: &str) -> Option<Result<(), String>> {
    fn parse<T: std::str::FromStr>(text: &str) -> Result<(), String>
    where
        T::Err: std::fmt::Display,
    {
        text.parse::<T>()
            .map(|_| ())
            .map_err(|error| error.to_string())
    }
    Some(match definition {
        "Period" => parse::<super::Period>(text),
        "AloneSetting" => parse::<super::AloneSetting>(text),
        "ByteSize" => parse::<super::ByteSize>(text),
        "Bandwidth" => parse::<super::Bandwidth>(text),
        "Share" => parse::<super::Share>(text),
        "Zone" => parse::<super::Zone>(text),
        "CronExpression" => parse::<super::CronExpression>(text),
        "CalendarSpan" => parse::<super::CalendarSpan>(text),
        "ListenAddress" => parse::<super::ListenAddress>(text),
        "TimeWindow" => parse::<super::TimeWindow>(text),
        "Expectation" => parse::<super::Expectation>(text),
        "TargetText" => parse::<super::TargetText>(text),
        "StateUrl" => parse::<super::StateUrl>(text),
        "Endpoint" => parse::<super::Endpoint>(text),
        "Addressee" => parse::<super::Addressee>(text),
        "Mailbox" => parse::<super::Mailbox>(text),
        "Template" => parse::<super::Template>(text),
        "Name" => super::name::check_name(text),
        "VariableName" => super::name::check_variable(text),
        // The text of a URL with credentials in it must not come back in a message.
        "Location" if text.contains('@') => Err(
            "credentials do not go into a repository's URL; name them under `credentials`"
                .to_owned(),
        ),
        "Location" => parse::<crate::storage::Location>(text),
        _ => return None,
    })
}

/// Definitions whose scalars stay the text that was written: `1.50` is not `1.5`.
fn keeps_text(definition: &str) -> bool {
    matches!(definition, "Cell" | "SettingValue")
}

/// Whether a key looks like one that holds a secret.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    [
        "secret",
        "password",
        "passwd",
        "passphrase",
        "token",
        "access_key",
        "account_key",
        "private_key",
        "service_account",
        "credential",
        "api_key",
    ]
    .iter()
    .any(|word| key.contains(word))
}

const SECRET_HELP: &str = "secrets never stand in this file: name an environment variable or a file under the repository's `credentials`, as in `credentials: {secret_access_key: {env: ORDERS_SECRET}}`, `{file: /run/secrets/orders}` or `{kubernetes: {namespace: shop, name: s3, key: SECRET}}`";

const OTHER_SECRET_HELP: &str = "secrets never stand in this file: name an environment variable or a file that holds it, as in `{env: PAGER_URL}` or `{file: /run/secrets/pager-url}`";

/// What to do about a secret that stands where it does not belong.
fn secret_help(path: &str) -> &'static str {
    if path.is_empty() || path.starts_with("clusters") {
        SECRET_HELP
    } else {
        OTHER_SECRET_HELP
    }
}

impl<'a> Walk<'a> {
    fn mistake(&mut self, place: Place, message: impl Into<String>, help: Option<String>) {
        let mut mistake = Mistake::new(self.file, Some(place), message);
        mistake.help = help;
        self.mistakes.push(mistake);
    }

    /// The schema behind references, the name of the last definition passed, and whether
    /// null is allowed.
    fn resolve(&self, schema: &'a Value) -> (&'a Value, &'a str, bool) {
        let (mut schema, mut name, mut nullable) = (schema, "", false);
        // References of generated schemas do not form circles without a value between.
        for _ in 0..8 {
            if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
                name = reference.rsplit('/').next().unwrap_or_default();
                match self.definitions.and_then(|all| all.get(name)) {
                    Some(definition) => schema = definition,
                    None => break,
                }
            } else if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
                // An optional value of a named type.
                let is_null =
                    |choice: &&Value| choice.get("type").and_then(Value::as_str) == Some("null");
                nullable |= choices.iter().any(|choice| is_null(&choice));
                match choices.iter().find(|choice| !is_null(choice)) {
                    Some(choice) => schema = choice,
                    None => break,
                }
            } else {
                break;
            }
        }
        nullable |= types(schema).contains(&"null");
        (schema, name, nullable)
    }

    fn value(&mut self, node: &Node, schema: &'a Value, path: &str) -> Value {
        let (schema, definition, nullable) = self.resolve(schema);
        if node.is_null() && nullable {
            return Value::Null;
        }
        if definition == "SecretSource" && matches!(node.kind, Kind::Scalar { .. }) {
            self.mistake(
                node.place,
                format!("`{path}` holds a secret"),
                Some(secret_help(path).to_owned()),
            );
            return Value::Null;
        }
        let allowed = types(schema);
        match &node.kind {
            Kind::Mapping(_) if allowed.contains(&"object") => self.mapping(node, schema, path),
            Kind::Sequence(items) if allowed.contains(&"array") => {
                self.sequence(node, items, schema, path)
            }
            Kind::Scalar { text, plain } => {
                self.scalar(node, text, *plain, (schema, definition), path)
            }
            _ => self.wrong_type(node, &allowed, path),
        }
    }

    fn wrong_type(&mut self, node: &Node, allowed: &[&str], path: &str) -> Value {
        let subject = subject(path);
        self.mistake(
            node.place,
            format!(
                "{subject} must be {}, found {}",
                in_words(allowed),
                node.describe()
            ),
            None,
        );
        Value::Null
    }

    fn sequence(&mut self, node: &Node, items: &[Node], schema: &'a Value, path: &str) -> Value {
        if let Some(least) = schema.get("minItems").and_then(Value::as_u64)
            && (items.len() as u64) < least
        {
            self.mistake(
                node.place,
                format!("{} must have at least {least} entries", subject(path)),
                None,
            );
        }
        let Some(inner) = schema.get("items") else {
            return Value::Null;
        };
        items
            .iter()
            .enumerate()
            .map(|(index, item)| self.value(item, inner, &format!("{path}[{index}]")))
            .collect()
    }

    fn mapping(&mut self, node: &Node, schema: &'a Value, path: &str) -> Value {
        let Kind::Mapping(entries) = &node.kind else {
            return Value::Null;
        };
        let properties: &'a Map<String, Value> = match schema.get("properties") {
            Some(Value::Object(properties)) => properties,
            _ => return self.open_mapping(entries, schema, path),
        };
        self.keyed(entries, properties, schema, path);
        let mut result = Map::new();
        for (key, below) in entries {
            let Some(inner) = properties.get(&key.text) else {
                continue;
            };
            let required = is_required(schema, &key.text);
            let value_path = join(path, &key.text);
            if below.is_null() && !required && !self.resolve(inner).2 {
                // `replicas:` with nothing behind it is the same as no such key.
                continue;
            }
            let value = self.value(below, inner, &value_path);
            result.insert(key.text.clone(), value);
        }
        Value::Object(result)
    }

    /// A mapping whose keys are the user's own.
    fn open_mapping(
        &mut self,
        entries: &[(super::tree::Key, Node)],
        schema: &'a Value,
        path: &str,
    ) -> Value {
        self.duplicates(entries, path);
        let Some(inner) = schema.get("additionalProperties") else {
            return Value::Object(Map::new());
        };
        let mut result = Map::new();
        for (key, below) in entries {
            // A tier with nothing promised is still a tier.
            let value = if below.is_null() && types(self.resolve(inner).0).contains(&"object") {
                Value::Object(Map::new())
            } else {
                self.value(below, inner, &join(path, &key.text))
            };
            result.insert(key.text.clone(), value);
        }
        Value::Object(result)
    }

    /// Duplicate, unknown and missing keys of a mapping with known keys.
    fn keyed(
        &mut self,
        entries: &[(super::tree::Key, Node)],
        properties: &Map<String, Value>,
        schema: &Value,
        path: &str,
    ) {
        self.duplicates(entries, path);
        let known: Vec<&str> = properties.keys().map(String::as_str).collect();
        for (key, _) in entries {
            if properties.contains_key(&key.text) {
                continue;
            }
            if is_secret(&key.text) {
                self.mistake(
                    key.place,
                    format!("`{}` does not belong in {}", key.text, subject(path)),
                    Some(secret_help(path).to_owned()),
                );
            } else {
                self.mistake(
                    key.place,
                    format!("unknown key `{}` in {}", key.text, subject(path)),
                    Some(suggest::help(&key.text, "allowed", &known)),
                );
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if entries.iter().any(|(key, _)| key.text == name) {
                continue;
            }
            let place = entries
                .first()
                .map_or(Place { line: 1, column: 1 }, |(key, _)| key.place);
            let help = properties.get(name).and_then(explain);
            self.mistake(
                place,
                format!("{} lacks the key `{name}`", subject(path)),
                help,
            );
        }
    }

    fn duplicates(&mut self, entries: &[(super::tree::Key, Node)], path: &str) {
        let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
        for (key, _) in entries {
            if let Some(first) = seen.get(key.text.as_str()) {
                let first = first.line;
                self.mistake(
                    key.place,
                    format!(
                        "`{}` is written twice (first in line {first})",
                        join(path, &key.text)
                    ),
                    None,
                );
            } else {
                seen.insert(&key.text, key.place);
            }
        }
    }

    fn scalar(
        &mut self,
        node: &Node,
        text: &str,
        plain: bool,
        (schema, definition): (&'a Value, &str),
        path: &str,
    ) -> Value {
        if keeps_text(definition) {
            return match parse_bool(text).filter(|_| plain && definition == "Cell") {
                // As PostgreSQL prints truth values.
                Some(value) => if value { "t" } else { "f" }.into(),
                None if node.is_null() => self.wrong_type(node, &["string"], path),
                None => text.into(),
            };
        }
        if let Some(choices) = choices(schema) {
            if choices.contains(&text) {
                return text.into();
            }
            let help = suggest::help(text, "allowed", &choices);
            self.mistake(
                node.place,
                format!("`{path}` cannot be {text:?}"),
                Some(help),
            );
            return Value::Null;
        }
        let allowed = types(schema);
        if plain
            && allowed.contains(&"boolean")
            && let Some(value) = parse_bool(text)
        {
            return value.into();
        }
        if plain
            && allowed.contains(&"integer")
            && let Ok(number) = text.parse::<u64>()
        {
            return self.integer(node, number, schema, path);
        }
        // Text may be written without quotes even where it looks like a number.
        if allowed.contains(&"string") && !node.is_null() {
            match check_text(definition, text) {
                Some(Err(message)) => {
                    self.mistake(node.place, format!("`{path}`: {message}"), None);
                    return Value::Null;
                }
                Some(Ok(())) => {}
                None => {
                    let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
                    if (text.len() as u64) < least {
                        self.mistake(node.place, format!("`{path}` is empty"), None);
                    }
                    let most = schema.get("maxLength").and_then(Value::as_u64);
                    if let Some(most) = most.filter(|most| text.chars().count() as u64 > *most) {
                        let words = format!("`{path}` is longer than {most} characters");
                        self.mistake(node.place, words, None);
                    }
                }
            }
            return text.into();
        }
        self.wrong_type(node, &allowed, path)
    }

    fn integer(&mut self, node: &Node, number: u64, schema: &Value, path: &str) -> Value {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        #[expect(clippy::cast_precision_loss, reason = "the bounds here are small")]
        let value = number as f64;
        if least.is_some_and(|least| value < least) || most.is_some_and(|most| value > most) {
            let help = match (least, most) {
                (Some(least), Some(most)) if least >= most => format!("allowed: {least}"),
                (Some(least), Some(most)) => format!("allowed: {least} to {most}"),
                (Some(least), None) => format!("allowed: {least} and more"),
                (_, Some(most)) => format!("allowed: up to {most}"),
                _ => String::new(),
            };
            self.mistake(
                node.place,
                format!("`{path}` cannot be {number}"),
                Some(help),
            );
        }
        number.into()
    }
}

/// The first sentence of a property's description.
fn explain(property: &Value) -> Option<String> {
    let text = property.get("description").and_then(Value::as_str)?;
    let sentence = text.split(". ").next().unwrap_or(text);
    Some(sentence.replace('\n', " "))
}

fn is_required(schema: &Value, key: &str) -> bool {
    schema
        .get("required")
        .and_then(Value::as_array)
        .is_some_and(|required| required.iter().any(|name| name == key))
}

/// The types that a schema allows. Choices are text.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ if schema.get("oneOf").is_some() => vec!["string"],
        _ => Vec::new(),
    }
}

/// The words that a schema allows, if it lists them.
fn choices(schema: &Value) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return Some(words.iter().filter_map(Value::as_str).collect());
    }
    let variants = schema.get("oneOf").and_then(Value::as_array)?;
    Some(
        variants
            .iter()
            .filter_map(|variant| variant.get("const").and_then(Value::as_str))
            .collect(),
    )
}

fn in_words(types: &[&str]) -> String {
    let words: Vec<&str> = types
        .iter()
        .filter_map(|name| match *name {
            "object" => Some("a mapping (`key: value`)"),
            "array" => Some("a list"),
            "string" => Some("text"),
            "integer" => Some("a whole number"),
            "number" => Some("a number"),
            "boolean" => Some("true or false"),
            _ => None,
        })
        .collect();
    words.join(" or ")
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn subject(path: &str) -> String {
    if path.is_empty() {
        "the file".to_owned()
    } else {
        format!("`{path}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema;

    /// Every keyword that the generated schemas use is one that the walk understands or
    /// that has no meaning for it.
    #[test]
    fn no_keyword_is_overlooked() {
        fn visit(schema: &Value, path: &str) {
            for (keyword, value) in schema.as_object().into_iter().flatten() {
                let here = format!("{path}/{keyword}");
                match keyword.as_str() {
                    "$schema" | "title" | "description" | "default" | "examples" | "format"
                    | "type" | "const" | "enum" | "required" | "$ref" | "minimum" | "maximum"
                    | "minLength" | "maxLength" | "minItems" => {}
                    // Checked by the parser of the definition's type.
                    "pattern" => {
                        let name = path.rsplit('/').next().unwrap();
                        assert!(check_text(name, "").is_some(), "{here} has no parser");
                    }
                    "properties" | "$defs" => {
                        for (name, inner) in value.as_object().unwrap() {
                            visit(inner, &format!("{here}/{name}"));
                        }
                    }
                    "additionalProperties" if value.is_boolean() => {
                        assert_eq!(value, false, "{here}");
                    }
                    "items" | "additionalProperties" => visit(value, &here),
                    "anyOf" | "oneOf" => {
                        for inner in value.as_array().unwrap() {
                            visit(inner, &here);
                        }
                    }
                    other => panic!("{path}: the walk does not know {other:?}"),
                }
            }
        }
        visit(&schema::config(), "");
        visit(&schema::drill(), "");
    }
}
