//! The JSON Schemas of the reports that programs read, generated from the types.

use schemars::JsonSchema;
use serde_json::Value;

use super::command::evidence::EvidenceVerifyReport;
use crate::drill::DrillReport;
use crate::kubernetes::definition::Manifest;
use crate::notify::NoticeDocument;
use crate::operation::backup_request::BackupRequestReport;
use crate::operation::definition::{CaptureReport, DefinitionList};
use crate::operation::fleet::{self, Fleet};
use crate::operation::request::{LIST_SCHEMA, RequestList, RequestPlan, RequestReport};
use crate::operation::scan::{self, ScanReport};
use crate::replicate::expire::{self, ExpireReport};
use crate::replicate::statement::{self, StatusReport};
use crate::replicate::{CompareReport, ReplicateReport};
use crate::verify::VerifyReport;

/// The schema of `walproof.verify/v1`, kept in the project as
/// `docs/schema/verify-report.v1.schema.json`.
pub fn verify_report() -> Value {
    schema_of::<VerifyReport>("walproof.verify/v1")
}

/// The schema of `walproof.drill/v1`, kept in the project as
/// `docs/schema/drill-report.v1.schema.json`.
pub fn drill_report() -> Value {
    schema_of::<DrillReport>("walproof.drill/v1")
}

/// The schema of `walproof.replicate-run/v1`, kept in the project as
/// `docs/schema/replicate-run.v1.schema.json`.
pub fn replicate_run() -> Value {
    schema_of::<ReplicateReport>(ReplicateReport::SCHEMA)
}

/// The schema of `walproof.replicate-compare/v1`, kept in the project as
/// `docs/schema/replicate-compare.v1.schema.json`.
pub fn replicate_compare() -> Value {
    schema_of::<CompareReport>(CompareReport::SCHEMA)
}

/// The schema of `walproof.replicate-status/v1`, kept in the project as
/// `docs/schema/replicate-status.v1.schema.json`.
pub fn replicate_status() -> Value {
    schema_of::<StatusReport>(statement::SCHEMA)
}

/// The schema of `walproof.replicate-expire/v1`, kept in the project as
/// `docs/schema/replicate-expire.v1.schema.json`.
pub fn replicate_expire() -> Value {
    schema_of::<ExpireReport>(expire::SCHEMA)
}

/// The schema of `walproof.notice/v1`, kept in the project as
/// `docs/schema/notice.v1.schema.json`.
pub fn notice() -> Value {
    schema_of::<NoticeDocument>(NoticeDocument::SCHEMA)
}

/// The schema of `walproof.evidence-verify/v1`, kept in the project as
/// `docs/schema/evidence-verify.v1.schema.json`.
pub fn evidence_verify() -> Value {
    schema_of::<EvidenceVerifyReport>(EvidenceVerifyReport::SCHEMA)
}

/// The schema of `walproof.status/v1`, kept in the project as
/// `docs/schema/status.v1.schema.json`.
pub fn status() -> Value {
    schema_of::<Fleet>(fleet::SCHEMA)
}

/// The schema of `walproof.kubernetes-scan/v1`, kept in the project as
/// `docs/schema/kubernetes-scan.v1.schema.json`.
pub fn kubernetes_scan() -> Value {
    schema_of::<ScanReport>(scan::SCHEMA)
}

/// The schema of `walproof.definition-capture/v1`, kept in the project as
/// `docs/schema/definition-capture.v1.schema.json`.
pub fn definition_capture() -> Value {
    schema_of::<CaptureReport>(CaptureReport::SCHEMA)
}

/// The schema of `walproof.definition-list/v1`, kept in the project as
/// `docs/schema/definition-list.v1.schema.json`.
pub fn definition_list() -> Value {
    schema_of::<DefinitionList>(DefinitionList::SCHEMA)
}

/// The schema of a stored definition's `manifest.json`, kept in the project as
/// `docs/schema/definition.v1.schema.json`.
pub fn definition() -> Value {
    schema_of::<Manifest>(Manifest::SCHEMA)
}

/// The schema of `walproof.backup-request/v1`, kept in the project as
/// `docs/schema/backup-request.v1.schema.json`.
pub fn backup_request() -> Value {
    schema_of::<BackupRequestReport>(BackupRequestReport::SCHEMA)
}

/// The schema of `walproof.request/v1`, kept in the project as
/// `docs/schema/request.v1.schema.json`.
pub fn request() -> Value {
    schema_of::<RequestReport>(RequestReport::SCHEMA)
}

/// The schema of `walproof.request-list/v1`, kept in the project as
/// `docs/schema/request-list.v1.schema.json`.
pub fn request_list() -> Value {
    schema_of::<RequestList>(LIST_SCHEMA)
}

/// The schema of `walproof.request-plan/v1`, kept in the project as
/// `docs/schema/request-plan.v1.schema.json`.
pub fn request_plan() -> Value {
    schema_of::<RequestPlan>(RequestPlan::SCHEMA)
}

/// As the reports are written: what is always there is required. The document's own name
/// is its first field.
fn schema_of<T: JsonSchema>(name: &str) -> Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), name.into());
    }
    if let Some(field) = schema
        .pointer_mut("/properties/schema")
        .and_then(Value::as_object_mut)
    {
        field.insert("const".to_owned(), name.into());
    }
    schema
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_committed_schemas_are_those_of_the_types() {
        for (file, schema) in [
            ("verify-report.v1.schema.json", verify_report()),
            ("drill-report.v1.schema.json", drill_report()),
            ("replicate-run.v1.schema.json", replicate_run()),
            ("replicate-compare.v1.schema.json", replicate_compare()),
            ("replicate-status.v1.schema.json", replicate_status()),
            ("replicate-expire.v1.schema.json", replicate_expire()),
            ("notice.v1.schema.json", notice()),
            ("evidence-verify.v1.schema.json", evidence_verify()),
            ("status.v1.schema.json", status()),
            ("kubernetes-scan.v1.schema.json", kubernetes_scan()),
            ("backup-request.v1.schema.json", backup_request()),
            ("definition-capture.v1.schema.json", definition_capture()),
            ("definition-list.v1.schema.json", definition_list()),
            ("definition.v1.schema.json", definition()),
            ("request.v1.schema.json", request()),
            ("request-list.v1.schema.json", request_list()),
            ("request-plan.v1.schema.json", request_plan()),
        ] {
            assert!(schema.pointer("/properties/schema/const").is_some());
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("docs/schema")
                .join(file);
            let generated = format!("{schema:#}\n");
            if std::env::var_os("WALPROOF_WRITE_SCHEMAS").is_some() {
                std::fs::write(&path, &generated).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == generated,
                "docs/schema/{file} is not what the types give; run this test with WALPROOF_WRITE_SCHEMAS=1"
            );
        }
    }
}
