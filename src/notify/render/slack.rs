//! A message for Slack's incoming webhooks, and for what speaks like them: Mattermost and
//! Rocket.Chat understand `text` and `attachments` too.

use serde_json::{Value, json};

use super::super::{Notice, NoticeEvent};
use super::plain::subject;
use crate::finding::Severity;

/// `&`, `<` and `>` begin links and mentions (`<!channel>`) in Slack.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn color(notice: &Notice) -> &'static str {
    match (notice.event, notice.severity) {
        (NoticeEvent::Resolved, _) => "#2eb67d",
        (NoticeEvent::Test, _) | (_, Severity::Info) => "#8a8a8a",
        (_, Severity::Warning) => "#ecb22e",
        (_, Severity::Critical) => "#e01e5a",
    }
}

/// The message.
pub(in super::super) fn message(notice: &Notice) -> Value {
    let subject = escaped(&subject(notice));
    let mut lines = vec![escaped(&notice.summary)];
    if matches!(notice.event, NoticeEvent::Firing | NoticeEvent::Repeat) {
        for (title, text) in [
            ("What it costs", &notice.consequence),
            ("What to do", &notice.what_to_do),
        ] {
            if !text.is_empty() {
                lines.push(format!("*{title}:* {}", escaped(text)));
            }
        }
    }
    let mut fields = Vec::new();
    let mut field = |title: &str, value: &str, short: bool| {
        if !value.is_empty() {
            fields.push(json!({"title": title, "value": escaped(value), "short": short}));
        }
    };
    if !notice.is_test() {
        field("Tier", notice.tier.as_deref().unwrap_or_default(), true);
        field("Since", &super::moment(notice.opened_at), true);
        if let Some(until) = notice.resolved_at {
            field("Until", &super::moment(until), true);
        }
        field("Object", &notice.object, false);
    }
    json!({
        "text": subject,
        "attachments": [{
            "fallback": subject,
            "color": color(notice),
            "title": "Run book",
            "title_link": notice.runbook_url,
            "text": lines.join("\n"),
            "fields": fields,
            "footer": format!("walproof, incident {}", notice.id),
            "mrkdwn_in": ["text"],
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::notice::Facts;
    use super::super::super::testing::facts;
    use super::super::super::{Notice, Setting};
    use super::*;

    #[test]
    fn nobody_can_be_called_through_the_name_of_an_object() {
        let facts = Facts {
            object: "<!channel> & <https://evil.example|click>",
            ..facts()
        };
        let notice = Notice::new(&facts, NoticeEvent::Firing, &Setting::default());
        let text = message(&notice).to_string();
        assert!(
            !text.contains("<!channel>") && !text.contains("<https"),
            "{text}"
        );
        assert!(text.contains("&lt;!channel&gt; &amp; "), "{text}");
    }
}
