//! The JSON Schema of an entry, generated from the types.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Body, LEDGER_ENTRY_SCHEMA};

/// An entry's text as types.
#[derive(Serialize, JsonSchema)]
struct Document {
    /// `walproof.dev/ledger-entry/v1`.
    #[schemars(extend("const" = LEDGER_ENTRY_SCHEMA))]
    schema: String,
    /// The entry's number: from 1, without gaps.
    sequence: u64,
    /// SHA-256 of the text of the entry before it; 64 zeros in the first.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    previous: String,
    /// When it happened.
    at: DateTime<Utc>,
    /// The cluster it is about.
    cluster: Option<String>,
    /// The copy it is about.
    copy: Option<String>,
    /// The run it is about.
    #[schemars(with = "Option<String>")]
    run_id: Option<Uuid>,
    #[serde(flatten)]
    body: Body,
}

/// The schema of an entry's text, kept in the project as
/// `evidence/ledger-entry.v1.schema.json`.
pub fn ledger_entry_schema() -> Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<Document>()
        .to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert(
            "title".to_owned(),
            "walproof ledger entry, version 1".into(),
        );
    }
    schema
}
