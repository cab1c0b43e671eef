//! The record as a whole: its schema, its file, its sample.

use std::path::Path;

use super::{DrillRecord, RecordFile, drill_record_schema, schema_text, sha256_hex};

/// A record with something in every field.
pub(crate) fn sample() -> DrillRecord {
    serde_json::from_str(include_str!("sample.json")).unwrap()
}

#[test]
fn the_committed_schema_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("evidence/drill-record.v1.schema.json");
    let generated = schema_text(&drill_record_schema());
    if std::env::var_os("WALPROOF_WRITE_SCHEMAS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "evidence/drill-record.v1.schema.json is not what the types give; run this test with WALPROOF_WRITE_SCHEMAS=1"
    );
}

/// Reading and writing change nothing: no field is lost, renamed or added.
#[test]
fn the_sample_goes_through_unchanged() {
    let before: serde_json::Value = serde_json::from_str(include_str!("sample.json")).unwrap();
    let after = serde_json::to_value(sample()).unwrap();
    assert_eq!(before, after);
}

#[test]
fn readers_ignore_fields_that_they_do_not_know() {
    let mut value = serde_json::to_value(sample()).unwrap();
    value["reviewer"] = "somebody".into();
    value["source"]["region"] = "eu-central-1".into();
    let record: DrillRecord = serde_json::from_value(value).unwrap();
    assert_eq!(record, sample());
}

/// Records from before `alone` was known go through without it.
#[test]
fn records_without_later_fields_stay_as_they_are() {
    let mut value = serde_json::to_value(sample()).unwrap();
    value.as_object_mut().unwrap().remove("alone");
    let record: DrillRecord = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(record.alone, None);
    assert_eq!(serde_json::to_value(record).unwrap(), value);
    let schema = drill_record_schema();
    let required = schema["required"].as_array().unwrap();
    assert!(!required.contains(&"alone".into()));
}

#[test]
fn times_are_written_in_utc_with_zone() {
    let value = serde_json::to_value(sample()).unwrap();
    assert_eq!(value["started_at"], "2026-11-21T02:00:00.250Z");
}

#[test]
fn a_file_is_written_once_and_never_over_another() {
    let directory = tempfile::tempdir().unwrap();
    let records = directory.path().join("state/records");
    let file = RecordFile::new(&sample()).unwrap();
    assert_eq!(
        file.name,
        "2026-11-21-orders-0199f0a1-0000-7000-8000-000000000001.json"
    );
    let path = file.write(&records).unwrap();
    let text = std::fs::read(&path).unwrap();
    assert_eq!(sha256_hex(&text), file.sha256);
    assert_eq!(file.write(&records).unwrap(), path);

    let mut other = sample();
    other.reasons = vec!["changed later".to_owned()];
    let refused = RecordFile::new(&other).unwrap().write(&records);
    assert!(refused.unwrap_err().to_string().contains("exists"));
    assert_eq!(std::fs::read(&path).unwrap(), text);
    let left: Vec<_> = std::fs::read_dir(&records).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_name_from_a_bucket_never_leaves_the_directory() {
    let mut record = sample();
    record.source.cluster = "../../etc/ä b".to_owned();
    let name = RecordFile::new(&record).unwrap().name;
    assert!(name.starts_with("2026-11-21-______etc___b-"), "{name}");
}
