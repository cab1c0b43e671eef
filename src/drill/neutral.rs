//! Asking a restored server whether it is as confined as it was told to be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;

use super::checks::sql::{ask, ask_value};
use super::proof::ProofItem;
use crate::finding::{Code, Finding};

/// What the server said about its confinement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SafetyReport {
    /// Every question with its answer.
    pub items: Vec<ProofItem>,
    /// Whether the server was asked and every answer is right; `None` when it could not
    /// be asked.
    pub holds: Option<bool>,
    /// Whether the server has no network. On this machine by the kernel's word, for the
    /// record: not every system grants it. In Kubernetes by trying from the server's pod:
    /// every connection was refused. `None` when it is not known.
    pub network_isolated: Option<bool>,
    /// Transactions that are prepared and hold their locks.
    pub prepared_transactions: Option<u64>,
    /// Subscriptions that would run on a real recovery.
    pub subscriptions: Option<u64>,
}

impl SafetyReport {
    /// Draws the conclusion. An unanswered question is not a right answer.
    pub fn conclude(&mut self) {
        self.holds = if self.items.is_empty() {
            None
        } else {
            Some(self.items.iter().all(|item| item.holds == Some(true)))
        };
    }

    /// The answers that are wrong, in words.
    pub fn violations(&self) -> Vec<String> {
        self.items
            .iter()
            .filter(|item| item.holds != Some(true))
            .map(|item| {
                format!(
                    "{}: expected {:?}, found {:?}",
                    item.name,
                    item.expected,
                    item.observed.as_deref().unwrap_or("no answer")
                )
            })
            .collect()
    }

    /// What to tell about it.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .violations()
            .into_iter()
            .map(|words| Finding::new(Code::SafetyViolated, "restored server", words))
            .collect();
        if let Some(count) = self.prepared_transactions.filter(|count| *count > 0) {
            findings.push(Finding::new(
                Code::PreparedTransactions,
                "restored server",
                format!("{count} prepared transactions are waiting for their second phase"),
            ));
        }
        findings
    }
}

/// Processes that a server may have which serves only us (`pg_stat_activity.backend_type`).
const KNOWN_PROCESSES: &str = "'client backend', 'checkpointer', 'background writer', 'walwriter', \
     'startup', 'autovacuum launcher', 'autovacuum worker', 'parallel worker', 'io worker', \
     'standalone backend'";

/// What a setting of a confined server must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Exactly this.
    Is(String),
    /// Something that begins with this.
    BeginsWith(String),
}

impl Wanted {
    fn item(&self, name: &str, found: Option<String>) -> ProofItem {
        match self {
            Self::Is(text) => ProofItem::compare(name, text.clone(), found),
            Self::BeginsWith(text) => ProofItem {
                name: name.to_owned(),
                expected: format!("{text}…"),
                holds: found.as_ref().map(|found| found.starts_with(text.as_str())),
                observed: found,
            },
        }
    }
}

/// What every restored server must say, wherever it runs. `preload` is what it may load.
fn common_settings(major: u32, preload: &[String]) -> Vec<(&'static str, Wanted)> {
    let is = |text: &str| Wanted::Is(text.to_owned());
    let mut settings = vec![
        ("archive_mode", is("off")),
        ("archive_command", is("")),
        ("archive_cleanup_command", is("")),
        ("recovery_end_command", is("")),
        ("max_logical_replication_workers", is("0")),
        ("shared_preload_libraries", Wanted::Is(preload.join(","))),
        ("session_preload_libraries", is("")),
        ("local_preload_libraries", is("")),
    ];
    if major >= 15 {
        settings.push(("archive_library", is("")));
    }
    settings
}

/// What a server on this machine must say: it has no network at all.
pub fn settings_here(major: u32, preload: &[String]) -> Vec<(&'static str, Wanted)> {
    let mut settings = common_settings(major, preload);
    settings.push(("primary_conninfo", Wanted::Is(String::new())));
    settings.push(("primary_slot_name", Wanted::Is(String::new())));
    settings.push(("listen_addresses", Wanted::Is(String::new())));
    settings
}

/// What the server of a recovery Cluster must say: the operator writes a `primary_conninfo`
/// and a slot's name for every instance, which may only be those of the Cluster itself.
pub fn settings_of_cluster(
    major: u32,
    preload: &[String],
    cluster: &str,
) -> Vec<(&'static str, Wanted)> {
    let mut settings = common_settings(major, preload);
    let own = Wanted::BeginsWith(format!("host={cluster}-rw "));
    settings.push(("primary_conninfo", own));
    let slot = Wanted::BeginsWith("_cnpg_".to_owned());
    settings.push(("primary_slot_name", slot));
    settings
}

/// Asks everything. `settings` is what must hold; the same questions are put at the target
/// and after promotion.
pub async fn ask_back(
    connection: &mut PgConnection,
    settings: &[(&'static str, Wanted)],
    report: &mut SafetyReport,
    stage: &str,
) -> Result<(), sqlx::Error> {
    for (name, wanted) in settings {
        // From pg_settings, because SHOW hides an empty archive_command behind
        // `(disabled)`; so does this view, for that one setting.
        let sql = format!("SELECT setting FROM pg_catalog.pg_settings WHERE name = '{name}'");
        let mut found = ask_value(connection, &sql).await?;
        if *name == "archive_command" && found.as_deref() == Some("(disabled)") {
            found = Some(String::new());
        }
        report
            .items
            .push(wanted.item(&format!("{name} {stage}"), found));
    }
    let processes = format!(
        "SELECT backend_type FROM pg_catalog.pg_stat_activity WHERE backend_type NOT IN \
         ({KNOWN_PROCESSES}) ORDER BY 1"
    );
    for (name, sql) in [
        (
            "wal-receivers",
            "SELECT status FROM pg_catalog.pg_stat_wal_receiver",
        ),
        (
            "replication-slots",
            "SELECT slot_name FROM pg_catalog.pg_replication_slots",
        ),
        ("foreign-processes", processes.as_str()),
    ] {
        let answer = ask(connection, sql).await?;
        let found: Vec<String> = answer
            .rows
            .into_iter()
            .filter_map(|row| row.into_iter().next().flatten())
            .take(20)
            .collect();
        let found = if found.is_empty() {
            "none".to_owned()
        } else {
            found.join(", ")
        };
        let item = ProofItem::compare(&format!("{name} {stage}"), "none", Some(found));
        report.items.push(item);
    }
    let count = |text: Option<String>| text.and_then(|text| text.parse().ok());
    report.prepared_transactions = count(
        ask_value(
            connection,
            "SELECT count(*) FROM pg_catalog.pg_prepared_xacts",
        )
        .await?,
    );
    report.subscriptions = count(
        ask_value(
            connection,
            "SELECT count(*) FROM pg_catalog.pg_subscription",
        )
        .await?,
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(items: &[Option<bool>]) -> SafetyReport {
        let mut report = SafetyReport {
            items: items
                .iter()
                .map(|holds| ProofItem {
                    name: "archive_mode".into(),
                    expected: "off".into(),
                    observed: holds.map(|_| "on".to_owned()),
                    holds: *holds,
                })
                .collect(),
            ..SafetyReport::default()
        };
        report.conclude();
        report
    }

    #[test]
    fn a_missing_answer_is_not_a_right_one() {
        assert_eq!(report(&[]).holds, None);
        assert_eq!(report(&[Some(true)]).holds, Some(true));
        assert_eq!(report(&[Some(true), Some(false)]).holds, Some(false));
        let silent = report(&[Some(true), None]);
        assert_eq!(silent.holds, Some(false));
        assert_eq!(silent.findings()[0].code, Code::SafetyViolated);
    }
}
