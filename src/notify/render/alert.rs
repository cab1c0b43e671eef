//! Alerts for Alertmanager's API version 2 (`POST /api/v2/alerts`).

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::super::{Notice, NoticeEvent};

/// A code as alerts are called: `wal-gap` is `WalGap`.
fn alert_name(code: &str) -> String {
    code.split('-')
        .flat_map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
        })
        .collect()
}

/// The list of one alert. While something is wrong the alert holds for `holds`, so that it
/// ends by itself only long after the last one that was sent; its labels are the same from
/// the first to the last, by which Alertmanager knows it again.
pub(in super::super) fn alerts(
    notice: &Notice,
    labels: &BTreeMap<String, String>,
    now: DateTime<Utc>,
    holds: Duration,
) -> Value {
    let moment = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let mut all = labels.clone();
    for (name, value) in [
        ("alertname", alert_name(&notice.code)),
        ("severity", notice.severity.as_str().to_owned()),
        ("cluster", notice.cluster.clone()),
        ("tier", notice.tier.clone().unwrap_or_default()),
        ("copy", notice.copy.clone()),
        ("code", notice.code.clone()),
        ("kind", notice.kind.as_str().to_owned()),
        ("incident", notice.id.to_string()),
    ] {
        // To Alertmanager an empty label is none, and some versions refuse it.
        if !value.is_empty() {
            all.insert(name.to_owned(), value);
        }
    }
    let holds = match notice.event {
        NoticeEvent::Test => TimeDelta::minutes(1),
        _ => TimeDelta::from_std(holds).unwrap_or(TimeDelta::days(1)),
    };
    let ends_at = match notice.event {
        NoticeEvent::Resolved => notice.resolved_at.unwrap_or(now).min(now),
        _ => now + holds,
    };
    let mut annotations = BTreeMap::new();
    for (name, value) in [
        ("summary", super::plain::subject(notice)),
        ("description", notice.summary.clone()),
        ("consequence", notice.consequence.clone()),
        ("action", notice.what_to_do.clone()),
        ("object", notice.object.clone()),
        ("runbook_url", notice.runbook_url.clone()),
    ] {
        if !value.is_empty() {
            annotations.insert(name, value);
        }
    }
    let mut alert = json!({
        "labels": all,
        "annotations": annotations,
        // An alert must not end before it begins.
        "startsAt": moment(notice.opened_at.min(ends_at)),
        "endsAt": moment(ends_at),
    });
    if let (Some(url), Some(alert)) = (&notice.walproof_url, alert.as_object_mut()) {
        alert.insert("generatorURL".to_owned(), url.clone().into());
    }
    json!([alert])
}

#[cfg(test)]
mod tests {
    use super::super::super::notice::Facts;
    use super::super::super::testing::facts;
    use super::super::super::{Notice, Setting};
    use super::*;

    #[test]
    fn what_is_resolved_has_the_labels_of_what_was_wrong() {
        assert_eq!(alert_name("objective-missed-rpo"), "ObjectiveMissedRpo");
        let opened = facts().opened_at;
        let closed = Facts {
            closed_at: Some(opened + TimeDelta::hours(1)),
            message: "other words",
            ..facts()
        };
        let now = opened + TimeDelta::hours(2);
        let extra = BTreeMap::from([("team".to_owned(), "dba".to_owned())]);
        let alert = |facts: &Facts<'_>, event| {
            let notice = Notice::new(facts, event, &Setting::default());
            alerts(&notice, &extra, now, Duration::from_hours(12))[0].clone()
        };
        let firing = alert(&facts(), NoticeEvent::Firing);
        let resolved = alert(&closed, NoticeEvent::Resolved);
        assert_eq!(firing["labels"], resolved["labels"]);
        assert_eq!(firing["labels"]["team"], "dba");
        assert_eq!(firing["labels"]["alertname"], "WalGap");
        assert_eq!(firing["startsAt"], "2026-11-21T02:40:00.000Z");
        assert_eq!(firing["endsAt"], "2026-11-21T16:40:00.000Z");
        assert_eq!(resolved["endsAt"], "2026-11-21T03:40:00.000Z");
    }
}
