//! The body of a webhook.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::super::Notice;
use crate::config::Template;

/// What a webhook is sent where its owner has no template.
#[derive(Serialize, JsonSchema)]
pub struct NoticeDocument {
    /// `walproof.notice/v1`.
    pub schema: &'static str,
    /// Whether it only tries whether notices arrive.
    pub test: bool,
    /// What is told.
    #[serde(flatten)]
    pub notice: Notice,
}

impl NoticeDocument {
    /// The document's own name.
    pub const SCHEMA: &'static str = "walproof.notice/v1";
}

/// The whole notice.
pub(in super::super) fn document(notice: &Notice) -> Value {
    let document = NoticeDocument {
        schema: NoticeDocument::SCHEMA,
        test: notice.is_test(),
        notice: notice.clone(),
    };
    // A notice is made of texts, and its keys are words: it can be JSON.
    serde_json::to_value(document).unwrap_or_default()
}

/// What the owner wants to be sent.
pub(in super::super) fn from_template(template: &Template, notice: &Notice) -> Value {
    template.fill(&|name| notice.field(name))
}
