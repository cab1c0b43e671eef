//! A type of the configuration inside a resource.

use std::any::TypeId;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::structural;

/// A `T` of the configuration as a resource writes it: the same shape, with keys in camelCase.
///
/// It is kept as it was written: what a schema of the API server cannot check is checked with
/// the rest of the configuration, so that one resource with a mistake in it never hides the
/// others. [`Self::snake`] gives the keys that the configuration has.
pub struct Mirrored<T> {
    value: Value,
    of: PhantomData<fn() -> T>,
}

impl<T: JsonSchema + 'static> Mirrored<T> {
    /// As it is written in a resource.
    pub const fn new(value: Value) -> Self {
        Self {
            value,
            of: PhantomData,
        }
    }

    /// As it is written in a resource.
    pub const fn as_written(&self) -> &Value {
        &self.value
    }

    /// As the configuration writes it.
    pub fn snake(&self) -> Value {
        snake(&self.value, &schema_of::<T>())
    }

    /// What the configuration writes, as a resource writes it.
    pub fn of(value: &Value) -> Self {
        Self::new(camel(value, &schema_of::<T>()))
    }
}

impl<T> Clone for Mirrored<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            of: PhantomData,
        }
    }
}

impl<T> Serialize for Mirrored<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Mirrored<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(Self {
            value,
            of: PhantomData,
        })
    }
}

impl<T> PartialEq for Mirrored<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T> fmt::Debug for Mirrored<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: JsonSchema> JsonSchema for Mirrored<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Mirrored{}", T::schema_name()).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = generate::<T>();
        structural::make(&mut schema);
        rename(&mut schema);
        Schema::try_from(schema).unwrap_or_default()
    }
}

/// The schema of a type of the configuration, with everything in its place.
fn generate<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

type Schemas = RwLock<HashMap<TypeId, Arc<Value>>>;

/// Schemas are asked for again and again; there are as many as types that are mirrored.
static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::default);

fn schema_of<T: JsonSchema + 'static>() -> Arc<Value> {
    let id = TypeId::of::<T>();
    let known = SCHEMAS.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(schema) = known.get(&id) {
        return Arc::clone(schema);
    }
    drop(known);
    let mut schema = generate::<T>();
    structural::make(&mut schema);
    let schema = Arc::new(schema);
    let mut all = SCHEMAS.write().unwrap_or_else(PoisonError::into_inner);
    all.insert(id, Arc::clone(&schema));
    schema
}

/// `ca_file` as `caFile`.
pub(super) fn camel_case(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    let mut upper = false;
    for c in key.chars() {
        if c == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            text.extend(c.to_uppercase());
        } else {
            text.push(c);
        }
    }
    text
}

/// Renames the properties of a schema.
fn rename(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get_mut("properties") {
                let renamed: Map<String, Value> = std::mem::take(properties)
                    .into_iter()
                    .map(|(key, value)| (camel_case(&key), value))
                    .collect();
                *properties = renamed;
            }
            if let Some(Value::Array(required)) = members.get_mut("required") {
                for name in required {
                    if let Value::String(text) = name {
                        *text = camel_case(text);
                    }
                }
            }
            members.values_mut().for_each(rename);
        }
        Value::Array(items) => items.iter_mut().for_each(rename),
        _ => {}
    }
}

fn snake(value: &Value, schema: &Value) -> Value {
    keys(value, schema, &|written, known| {
        camel_case(known) == written
    })
}

fn camel(value: &Value, schema: &Value) -> Value {
    match (value, schema.get("properties").and_then(Value::as_object)) {
        (Value::Object(members), Some(properties)) => members
            .iter()
            .map(|(key, below)| match properties.get(key) {
                Some(inner) => (camel_case(key), camel(below, inner)),
                None => (key.clone(), below.clone()),
            })
            .collect(),
        (Value::Object(members), None) => match schema.get("additionalProperties") {
            Some(inner) => members
                .iter()
                .map(|(key, below)| (key.clone(), camel(below, inner)))
                .collect(),
            None => value.clone(),
        },
        (Value::Array(items), _) => match schema.get("items") {
            Some(inner) => items.iter().map(|item| camel(item, inner)).collect(),
            None => value.clone(),
        },
        _ => value.clone(),
    }
}

/// Keys that a schema knows get its names; those that it does not know stay, so that the check
/// of the configuration names them.
fn keys(value: &Value, schema: &Value, same: &dyn Fn(&str, &str) -> bool) -> Value {
    match value {
        Value::Object(members) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let further = schema.get("additionalProperties");
            members
                .iter()
                .map(|(key, below)| {
                    let known =
                        properties.and_then(|all| all.iter().find(|(name, _)| same(key, name)));
                    match (known, further) {
                        (Some((name, inner)), _) => (name.clone(), keys(below, inner, same)),
                        (None, Some(inner)) => (key.clone(), keys(below, inner, same)),
                        (None, None) => (key.clone(), below.clone()),
                    }
                })
                .collect()
        }
        Value::Array(items) => match schema.get("items") {
            Some(inner) => items.iter().map(|item| keys(item, inner, same)).collect(),
            None => value.clone(),
        },
        _ => value.clone(),
    }
}
