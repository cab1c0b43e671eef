//! The JSON Schemas of the configuration files, generated from the types.

use serde_json::Value;

use super::{ConfigFile, DrillDefinition};

/// The schema of `walproof.yaml`, kept in the project as
/// `docs/schema/walproof.schema.json`.
pub fn config() -> Value {
    titled(schemars::schema_for!(ConfigFile), "walproof.yaml")
}

/// The schema of a drill definition, kept in the project as
/// `docs/schema/drill.schema.json`.
pub fn drill() -> Value {
    titled(
        schemars::schema_for!(DrillDefinition),
        "walproof drill definition",
    )
}

/// As it is committed: indented, with a newline at the end.
pub fn to_text(schema: &Value) -> String {
    format!("{schema:#}\n")
}

fn titled(schema: schemars::Schema, title: &str) -> Value {
    let mut value = schema.to_value();
    if let Some(object) = value.as_object_mut() {
        object.insert("title".to_owned(), title.into());
    }
    value
}
