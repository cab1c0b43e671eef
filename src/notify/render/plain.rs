//! Words for people: the subject and the body of a mail.

use std::fmt::Write as _;

use super::super::{Notice, NoticeEvent};
use super::{moment, stretch};

/// One line: `[critical] orders/primary: wal-gap`.
pub fn subject(notice: &Notice) -> String {
    let severity = notice.severity.as_str();
    let place = notice.place();
    match notice.event {
        NoticeEvent::Test => "[test] walproof: a test, nothing is wrong".to_owned(),
        NoticeEvent::Firing => format!("[{severity}] {place}: {}", notice.code),
        NoticeEvent::Repeat => format!("[{severity}, still] {place}: {}", notice.code),
        NoticeEvent::Resolved => format!("[resolved] {place}: {}", notice.code),
    }
}

/// The whole: what is wrong, what it costs, what to do, and where to read on.
pub fn plain(notice: &Notice) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut part = |title: &str, body: &str| {
        if !body.is_empty() {
            let _ = write!(text, "{title}\n  {body}\n\n");
        }
    };
    match (notice.event, notice.resolved_at) {
        (NoticeEvent::Test, _) => part("This is a test", &notice.summary),
        (NoticeEvent::Resolved, until) => {
            part("This is right again", &notice.summary);
            if let Some(until) = until {
                part(
                    "It was wrong",
                    &format!(
                        "from {} to {} ({})",
                        moment(notice.opened_at),
                        moment(until),
                        stretch(until - notice.opened_at)
                    ),
                );
            }
        }
        (event, _) => {
            let title = if event == NoticeEvent::Repeat {
                "Still wrong"
            } else {
                "What is wrong"
            };
            part(title, &notice.summary);
            part("What it costs", &notice.consequence);
            part("What to do", &notice.what_to_do);
        }
    }
    part("Run book", &notice.runbook_url);
    let mut facts = vec![("severity", notice.severity.as_str().to_owned())];
    if !notice.is_test() {
        facts.push(("cluster", notice.cluster.clone()));
        facts.push(("copy", notice.copy.clone()));
        facts.push(("tier", notice.tier.clone().unwrap_or_default()));
        facts.push(("object", notice.object.clone()));
        facts.push(("code", notice.code.clone()));
        facts.push(("found by", notice.kind.as_str().to_owned()));
    }
    facts.push(("since", moment(notice.opened_at)));
    facts.push(("incident", notice.id.to_string()));
    facts.push(("walproof", notice.walproof_url.clone().unwrap_or_default()));
    for (name, value) in facts {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<9} {value}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::super::notice::Facts;
    use super::super::super::testing::facts;
    use super::super::super::{Notice, NoticeEvent, Setting};
    use super::*;

    #[test]
    fn every_event_in_words() {
        let setting = Setting::default();
        let closed = Facts {
            closed_at: Some(facts().opened_at + chrono::TimeDelta::minutes(200)),
            ..facts()
        };
        let mut all = String::new();
        for (facts, event) in [
            (facts(), NoticeEvent::Firing),
            (facts(), NoticeEvent::Repeat),
            (closed, NoticeEvent::Resolved),
        ] {
            let notice = Notice::new(&facts, event, &setting);
            let _ = write!(all, "Subject: {}\n\n{}\n", subject(&notice), plain(&notice));
        }
        let mut test = Notice::test("pager", facts().opened_at, &setting);
        test.id = uuid::Uuid::nil();
        let _ = write!(all, "Subject: {}\n\n{}", subject(&test), plain(&test));
        insta::assert_snapshot!(all);
    }
}
