//! The JSON Schemas of records, generated from the types.

use serde_json::Value;

use super::DrillRecord;

/// The schema of [`DrillRecord`], kept in the project as
/// `evidence/drill-record.v1.schema.json`.
pub fn drill_record_schema() -> Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<DrillRecord>()
        .to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert(
            "title".to_owned(),
            "walproof drill record, version 1".into(),
        );
    }
    schema
}

/// As it is committed: indented, with a newline at the end.
pub fn schema_text(schema: &Value) -> String {
    format!("{schema:#}\n")
}
