//! Incidents of what a configuration no longer knows: nobody will look there again, so they
//! end with its acceptance, and nobody is told of them for ever.

use chrono::{DateTime, Utc};

use super::overdue;
use crate::config::{Config, DrillDefinition};
use crate::finding::Code;
use crate::state::StateError;
use crate::state::{Incident, IncidentChanges, IncidentFilter, IncidentKey, IncidentKind, State};

/// What the acceptance of a configuration, read from the file that `scope` names, ends.
pub(super) async fn by(
    state: &State,
    config: &Config,
    scope: &str,
    now: DateTime<Utc>,
) -> Result<IncidentChanges, StateError> {
    let open = state.incidents(true, &IncidentFilter::default()).await?;
    if open.is_empty() {
        return Ok(IncidentChanges::default());
    }
    let since = match state.entries(0, 1).await?.first() {
        Some(entry) => entry.content().map_or(now, |content| content.at),
        None => now,
    };
    let proofs = state.proofs().await?;
    let overdue = overdue::ended(config, &open, &proofs, since, now);
    let refused = open.iter().filter(|incident| {
        incident.code == Code::ConfigurationRefused.as_str() && incident.scope == scope
    });
    let unknown = open.iter().filter(|incident| !is_known(config, incident));
    let mut closes: Vec<IncidentKey> = Vec::new();
    for incident in overdue.into_iter().chain(refused).chain(unknown) {
        let key = IncidentKey::from(incident);
        if !closes.contains(&key) {
            tracing::info!(cluster = %key.cluster, copy = %key.copy, code = %key.code, "ends with the configuration");
            closes.push(key);
        }
    }
    Ok(IncidentChanges {
        closes,
        ..IncidentChanges::default()
    })
}

/// Whether what an incident is about is in the configuration. What was found at a URL that is
/// no copy of any cluster, and what is about no cluster at all, is not asked after there.
fn is_known(config: &Config, incident: &Incident) -> bool {
    let cluster = config.cluster(&incident.cluster);
    if incident.copy.is_empty() {
        return incident.cluster.is_empty()
            || incident.kind != IncidentKind::Schedule
            || cluster.is_some();
    }
    let Some(cluster) = cluster else {
        return false;
    };
    if !cluster.copies().any(|(label, _)| label == incident.copy) {
        return false;
    }
    incident.kind != IncidentKind::Drill
        || incident.scope.is_empty()
        || has_drill(config, &incident.cluster, &incident.scope)
}

/// Whether a cluster has a drill of this name: one that is defined for it or for any, or the
/// plain one of a cluster for which none is defined.
fn has_drill(config: &Config, cluster: &str, name: &str) -> bool {
    match config.drill(name) {
        Some(drill) => {
            let clusters = &drill.definition.clusters;
            clusters.is_empty() || clusters.iter().any(|one| one == cluster)
        }
        None => {
            name == DrillDefinition::plain("plain").name
                && config.drills_of(cluster).next().is_none()
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::config::StateUrl;
    use crate::evidence::Verdict;
    use crate::finding::{Finding, Severity};
    use crate::state::{Completion, DepthRank, NewIncident, NewRun, Outcome, RunKind};

    fn config(text: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("drills")).unwrap();
        for (name, clusters) in [("nightly", "[orders]"), ("any", "[]")] {
            std::fs::write(
                directory.path().join(format!("drills/{name}.yaml")),
                format!("version: 1\nname: {name}\nclusters: {clusters}\n"),
            )
            .unwrap();
        }
        let file = directory.path().join("walproof.yaml");
        std::fs::write(&file, format!("version: 1\n{text}")).unwrap();
        crate::config::load(&file).unwrap()
    }

    const CLUSTERS: &str = "clusters:
- {name: orders, primary: {url: 'file:///a'}, replicas: [{name: far, url: 'file:///b'}]}
- {name: billing, primary: {url: 'file:///c'}}
";

    #[test]
    fn what_the_configuration_names_is_known() {
        let config = config(CLUSTERS);
        let known = |kind, cluster: &str, copy: &str, scope: &str| {
            let incident = Incident {
                id: Uuid::nil(),
                cluster: cluster.to_owned(),
                copy: copy.to_owned(),
                kind,
                scope: scope.to_owned(),
                code: "wal-gap".to_owned(),
                severity: Severity::Critical,
                object: String::new(),
                message: String::new(),
                count: 1,
                depth: DepthRank::LISTED,
                opened_at: DateTime::UNIX_EPOCH,
                last_seen_at: DateTime::UNIX_EPOCH,
                closed_at: None,
                opened_by: None,
                closed_by: None,
            };
            is_known(&config, &incident)
        };
        let (verify, drill) = (IncidentKind::Verify, IncidentKind::Drill);
        for (expected, kind, cluster, copy, scope) in [
            (true, verify, "orders", "primary", ""),
            (true, verify, "orders", "far", ""),
            (false, verify, "orders", "near", ""),
            (false, verify, "gone", "primary", ""),
            // A look at a URL, whatever its last part is called.
            (true, verify, "gone", "", ""),
            (true, IncidentKind::Schedule, "", "", "/etc/walproof.yaml"),
            (true, IncidentKind::Schedule, "orders", "", ""),
            (false, IncidentKind::Schedule, "gone", "", ""),
            (true, drill, "orders", "primary", "nightly"),
            (true, drill, "billing", "primary", "any"),
            // Of another cluster; of none any more.
            (false, drill, "billing", "primary", "nightly"),
            (false, drill, "orders", "primary", "weekly"),
            // The plain one is for clusters without any.
            (false, drill, "orders", "primary", "plain"),
            (true, drill, "billing", "primary", "plain"),
        ] {
            let seen = known(kind, cluster, copy, scope);
            assert_eq!(seen, expected, "{kind:?} {cluster}/{copy}/{scope}");
        }
    }

    #[tokio::test]
    async fn what_is_gone_ends_and_what_stays_stays() {
        let directory = tempfile::tempdir().unwrap();
        let url = StateUrl::sqlite(directory.path().join("state.sqlite"));
        let state = State::open(&url).await.unwrap();
        let now = Utc::now();
        for (cluster, copy) in [("orders", "far"), ("orders", "primary"), ("elsewhere", "")] {
            let run = state
                .begin_run(&NewRun {
                    kind: RunKind::Verify,
                    cluster: cluster.to_owned(),
                    copy: copy.to_owned(),
                    location: "file:///x".to_owned(),
                })
                .await
                .unwrap();
            let outcome = Outcome {
                verdict: Some(Verdict::Failed),
                exit_code: 1,
                summary: String::new(),
                findings: vec![Finding::new(Code::WalGap, "wals/1", "a gap")],
                report: None,
            };
            let end = Completion::default();
            state.finish_run(run, &outcome, &end).await.unwrap();
        }
        for (cluster, code, scope) in [
            ("orders", Code::DrillOverdue, ""),
            ("", Code::ConfigurationRefused, "/mine"),
            ("", Code::ConfigurationRefused, "/other"),
        ] {
            let new = NewIncident {
                cluster: cluster.to_owned(),
                copy: String::new(),
                kind: IncidentKind::Schedule,
                scope: scope.to_owned(),
                code: code.as_str().to_owned(),
                severity: code.severity(),
                object: String::new(),
                message: String::new(),
                by: None,
            };
            state.open_incident(&new, now).await.unwrap();
        }
        let told = async |text: &str| {
            let changes = by(&state, &config(text), "/mine", now).await.unwrap();
            let mut told: Vec<String> = changes
                .closes
                .iter()
                .map(|key| format!("{}/{}/{}/{}", key.cluster, key.copy, key.scope, key.code))
                .collect();
            told.sort();
            told
        };
        let refused = "//".to_owned() + "/mine/configuration-refused";
        // No tier wants a drill.
        let overdue = "orders///drill-overdue".to_owned();
        assert_eq!(told(CLUSTERS).await, [refused.clone(), overdue.clone()]);
        let without = "clusters:\n- {name: orders, primary: {url: 'file:///a'}}\n";
        let drills = without.to_owned();
        assert_eq!(
            told(&drills).await,
            [
                refused.clone(),
                overdue.clone(),
                "orders/far//wal-gap".to_owned()
            ]
        );
    }
}
