//! The body of a webhook.

use serde::Serialize;
use serde_json::Value;

use super::super::Notice;
use crate::config::Template;

/// What a webhook is sent where its owner has no template.
#[derive(Serialize)]
struct Document<'a> {
    /// `walproof.notice/v1`.
    schema: &'static str,
    /// Whether it only tries whether notices arrive.
    test: bool,
    #[serde(flatten)]
    notice: &'a Notice,
}

/// The whole notice.
pub(in super::super) fn document(notice: &Notice) -> Value {
    let document = Document {
        schema: "walproof.notice/v1",
        test: notice.is_test(),
        notice,
    };
    // A notice is made of texts, and its keys are words: it can be JSON.
    serde_json::to_value(document).unwrap_or_default()
}

/// What the owner wants to be sent.
pub(in super::super) fn from_template(template: &Template, notice: &Notice) -> Value {
    template.fill(&|name| notice.field(name))
}
