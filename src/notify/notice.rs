//! What is told: one incident in words, without secrets or data of the database.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Redactor;
use crate::config::{Config, NoticeKind};
use crate::finding::{Code, Severity};

/// Where the project's own run books lie.
const RUNBOOKS: &str = "https://walproof.dev/runbooks";
/// A sentence is at most this long, in characters.
const SENTENCE: usize = 600;
/// The name of an object is at most this long, in characters.
const OBJECT: usize = 300;

/// Why a notice is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeEvent {
    /// Something has become wrong.
    Firing,
    /// It is still wrong.
    Repeat,
    /// It is no longer wrong.
    Resolved,
    /// Nothing is wrong: somebody tries whether notices arrive.
    Test,
}

impl NoticeEvent {
    /// The word used in output and in the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Repeat => "repeat",
            Self::Resolved => "resolved",
            Self::Test => "test",
        }
    }
}

/// Whether it is wrong now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeStatus {
    /// It is.
    Firing,
    /// It was.
    Resolved,
}

impl NoticeStatus {
    /// The word used in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// What is told of one incident. Holds no secret and no data of the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// The incident.
    #[schemars(with = "String")]
    pub id: Uuid,
    /// Why it is sent.
    pub event: NoticeEvent,
    /// Whether it is wrong now.
    pub status: NoticeStatus,
    /// The finding's code, which names the run book too.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's tier.
    pub tier: Option<String>,
    /// Which copy; empty where no copy is meant.
    pub copy: String,
    /// The kind of work that found it.
    pub kind: NoticeKind,
    /// The object it concerns.
    pub object: String,
    /// What is wrong, in one sentence.
    pub summary: String,
    /// What it costs.
    pub consequence: String,
    /// What to do.
    pub what_to_do: String,
    /// Where the run book lies.
    pub runbook_url: String,
    /// Where walproof is reached, if anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walproof_url: Option<String>,
    /// Since when it is wrong.
    pub opened_at: DateTime<Utc>,
    /// Since when it is right again.
    pub resolved_at: Option<DateTime<Utc>>,
    /// The same in all notices of one incident; receivers join them by it.
    pub dedup_key: String,
}

/// An incident as a notice is made from it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The incident.
    pub id: Uuid,
    /// The cluster's name, or the last part of a URL.
    pub cluster: &'a str,
    /// Which copy; empty where no copy is meant.
    pub copy: &'a str,
    /// The kind of work that found it, as a word.
    pub kind: &'a str,
    /// The finding's code, as a word.
    pub code: &'a str,
    /// How much it matters.
    pub severity: Severity,
    /// The object it concerns.
    pub object: &'a str,
    /// What was seen.
    pub message: &'a str,
    /// Since when it is wrong.
    pub opened_at: DateTime<Utc>,
    /// Since when it is right again.
    pub closed_at: Option<DateTime<Utc>>,
}

/// What the configuration adds to every notice.
#[derive(Clone, Debug)]
pub struct Setting {
    runbooks: String,
    external_url: Option<String>,
    tiers: std::collections::BTreeMap<String, String>,
    redactor: Redactor,
}

impl Default for Setting {
    /// What holds without a configuration.
    fn default() -> Self {
        Self {
            runbooks: RUNBOOKS.to_owned(),
            external_url: None,
            tiers: std::collections::BTreeMap::new(),
            redactor: Redactor::default(),
        }
    }
}

impl Setting {
    /// By this configuration; its secrets are read, to keep them out of notices.
    pub fn of(config: &Config) -> Self {
        let notifications = config.notifications.as_ref();
        let trimmed = |url: &str| url.trim_end_matches('/').to_owned();
        Self {
            runbooks: notifications
                .and_then(|all| all.runbooks.as_ref())
                .map_or_else(|| RUNBOOKS.to_owned(), |url| trimmed(url.as_str())),
            external_url: notifications
                .and_then(|all| all.external_url.as_ref())
                .map(|url| trimmed(url.as_str())),
            tiers: config
                .clusters
                .iter()
                .filter_map(|cluster| Some((cluster.name.clone(), cluster.tier.clone()?)))
                .collect(),
            redactor: Redactor::of(config),
        }
    }

    /// What keeps secrets out.
    pub const fn redactor(&self) -> &Redactor {
        &self.redactor
    }
}

/// Findings whose message may repeat what a restored server said or held.
fn speaks_of_data(code: &str) -> bool {
    [
        Code::CheckFailed,
        Code::CorruptionFound,
        Code::RecoveryFailed,
        Code::SafetyViolated,
    ]
    .iter()
    .any(|known| known.as_str() == code)
}

impl Notice {
    /// What is told of an incident.
    pub fn new(facts: &Facts<'_>, event: NoticeEvent, setting: &Setting) -> Self {
        let known = Code::ALL.iter().find(|code| code.as_str() == facts.code);
        let clean = |text: &str, limit| shortened(&setting.redactor.clean(text), limit);
        let summary = if speaks_of_data(facts.code) {
            format!(
                "{} (what the restored server said is in the report: `walproof history {}`)",
                words(facts.code),
                facts.cluster
            )
        } else if facts.message.is_empty() {
            words(facts.code)
        } else {
            facts.message.to_owned()
        };
        Self {
            id: facts.id,
            event,
            status: if event == NoticeEvent::Resolved {
                NoticeStatus::Resolved
            } else {
                NoticeStatus::Firing
            },
            code: facts.code.to_owned(),
            severity: facts.severity,
            cluster: clean(facts.cluster, OBJECT),
            tier: setting.tiers.get(facts.cluster).cloned(),
            copy: facts.copy.to_owned(),
            kind: NoticeKind::of_word(facts.kind),
            object: clean(facts.object, OBJECT),
            summary: clean(&summary, SENTENCE),
            consequence: known.map_or("", |code| code.consequence()).to_owned(),
            what_to_do: known
                .map_or("Read the run book.", |code| code.action())
                .to_owned(),
            runbook_url: format!("{}/{}.md", setting.runbooks, facts.code),
            walproof_url: setting.external_url.clone(),
            opened_at: facts.opened_at,
            resolved_at: facts.closed_at.filter(|_| event == NoticeEvent::Resolved),
            dedup_key: format!("walproof/{}", facts.id),
        }
    }

    /// A notice that tells of nothing but that notices arrive.
    pub fn test(receiver: &str, now: DateTime<Utc>, setting: &Setting) -> Self {
        let id = Uuid::now_v7();
        Self {
            id,
            event: NoticeEvent::Test,
            status: NoticeStatus::Firing,
            code: "notify-test".to_owned(),
            severity: Severity::Info,
            cluster: "none".to_owned(),
            tier: None,
            copy: String::new(),
            kind: NoticeKind::Schedule,
            object: format!("receiver {receiver}"),
            summary: "This is a test: somebody ran `walproof notify test`. Nothing is wrong."
                .to_owned(),
            consequence: "None: it shows that notices of walproof arrive here.".to_owned(),
            what_to_do: "Nothing.".to_owned(),
            runbook_url: format!("{}/README.md", setting.runbooks),
            walproof_url: setting.external_url.clone(),
            opened_at: now,
            resolved_at: None,
            dedup_key: format!("walproof/test/{id}"),
        }
    }

    /// Whether it only tries whether notices arrive.
    pub fn is_test(&self) -> bool {
        self.event == NoticeEvent::Test
    }

    /// The cluster, and the copy if one is meant: `orders`, `orders/second-region`.
    pub fn place(&self) -> String {
        if self.copy.is_empty() {
            self.cluster.clone()
        } else {
            format!("{}/{}", self.cluster, self.copy)
        }
    }

    /// The value of a template's place; empty for one that has none.
    pub fn field(&self, name: &str) -> String {
        let moment = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        match name {
            "id" => self.id.to_string(),
            "event" => self.event.as_str().to_owned(),
            "status" => self.status.as_str().to_owned(),
            "code" => self.code.clone(),
            "severity" => self.severity.as_str().to_owned(),
            "cluster" => self.cluster.clone(),
            "tier" => self.tier.clone().unwrap_or_default(),
            "copy" => self.copy.clone(),
            "kind" => self.kind.as_str().to_owned(),
            "object" => self.object.clone(),
            "summary" => self.summary.clone(),
            "consequence" => self.consequence.clone(),
            "what_to_do" => self.what_to_do.clone(),
            "runbook_url" => self.runbook_url.clone(),
            "opened_at" => moment(self.opened_at),
            "resolved_at" => self.resolved_at.map(moment).unwrap_or_default(),
            "dedup_key" => self.dedup_key.clone(),
            _ => String::new(),
        }
    }
}

/// A code as words: `wal-gap` is `wal gap`.
fn words(code: &str) -> String {
    code.replace('-', " ")
}

/// The beginning of a text, with `…` where something was left out.
fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::facts;
    use super::*;
    use crate::config::TEMPLATE_FIELDS;

    #[test]
    fn what_a_restored_server_said_is_not_repeated() {
        for code in ["check-failed", "corruption-found", "recovery-failed"] {
            let facts = Facts {
                code,
                message: "the value differs (seen: 4111 1111 1111 1111)",
                ..facts()
            };
            let notice = Notice::new(&facts, NoticeEvent::Firing, &Setting::default());
            let all = serde_json::to_string(&notice).unwrap();
            assert!(!all.contains("4111"), "{all}");
        }
        let notice = Notice::new(&facts(), NoticeEvent::Firing, &Setting::default());
        assert!(notice.summary.contains("2 segments"), "{}", notice.summary);
    }

    #[test]
    fn texts_are_bounded() {
        let long = "ß".repeat(5000);
        let facts = Facts {
            object: &long,
            message: &long,
            ..facts()
        };
        let notice = Notice::new(&facts, NoticeEvent::Firing, &Setting::default());
        assert_eq!(notice.summary.chars().count(), SENTENCE + 1);
        assert_eq!(notice.object.chars().count(), OBJECT + 1);
    }

    #[test]
    fn every_place_of_a_template_has_a_value() {
        let facts = Facts {
            closed_at: Some(Utc::now()),
            ..facts()
        };
        let mut notice = Notice::new(&facts, NoticeEvent::Resolved, &Setting::default());
        notice.tier = Some("gold".to_owned());
        for field in TEMPLATE_FIELDS {
            assert!(!notice.field(field).is_empty(), "{field}");
        }
    }
}
