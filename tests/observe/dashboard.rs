//! The dashboard: every query is one that Prometheus understands, over metrics that exist.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use walproof::server::{CATALOGUE, MetricKind};

use crate::common::prometheus::Prometheus;
use crate::common::require;
use crate::file;

/// Every name by which a metric can be asked for.
pub(crate) fn metrics() -> BTreeSet<String> {
    CATALOGUE
        .iter()
        .flat_map(|metric| {
            let name = metric.name();
            match metric.kind() {
                MetricKind::Histogram => ["_bucket", "_sum", "_count"]
                    .iter()
                    .map(|suffix| format!("{name}{suffix}"))
                    .collect(),
                _ => vec![name],
            }
        })
        .collect()
}

/// The names of metrics and recorded series in a query; what stands in quotes is none.
pub(crate) fn names_in(query: &str) -> BTreeSet<String> {
    let outside: Vec<&str> = query.split('"').step_by(2).collect();
    outside
        .iter()
        .flat_map(|text| text.split(|it: char| !it.is_ascii_alphanumeric() && !"_:".contains(it)))
        .filter(|word| word.starts_with("walproof") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(file("deploy/grafana/walproof.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Every panel, also those within rows.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        found.push(panel);
        found.extend(panel["panels"].as_array().into_iter().flatten());
    }
    found
}

/// Every query with the title of its panel, the variables as Grafana would put them.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = panels(dashboard)
        .iter()
        .flat_map(|panel| {
            let title = panel["title"].as_str().unwrap_or_default().to_owned();
            let targets = panel["targets"].as_array().into_iter().flatten();
            targets.map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
        })
        .collect();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            let series = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.rsplit_once(','))
                .map(|(series, _)| series.to_owned())
                .unwrap();
            found.push((variable["name"].to_string(), series));
        }
    }
    for (_, query) in &mut found {
        for (variable, value) in [
            ("$__rate_interval", "5m"),
            ("$__range", "1d"),
            ("$__interval", "1m"),
            ("$job", "walproof"),
            ("$tier", "gold|silver"),
            ("$cluster", "orders|billing"),
        ] {
            *query = query.replace(variable, value);
        }
        assert!(!query.contains('$'), "{query}");
    }
    found
}

#[test]
fn every_query_asks_for_what_exists() {
    let dashboard = dashboard();
    let mut known = metrics();
    let rules = crate::rules::rules();
    for group in rules["groups"].as_array().unwrap() {
        let records = group["rules"].as_array().unwrap().iter();
        known.extend(records.filter_map(|rule| Some(rule["record"].as_str()?.to_owned())));
    }
    let queries = queries(&dashboard);
    assert!(queries.len() > 30, "{}", queries.len());
    for (title, query) in &queries {
        let names = names_in(query);
        assert!(
            !names.is_empty() || query.contains("ALERTS"),
            "{title}: {query}"
        );
        for name in names {
            assert!(known.contains(&name), "{title}: {name}");
        }
    }
    // The other way: what does not exist is seen.
    assert!(!known.contains("walproof_exposure"));
    assert_eq!(
        names_in("sum(walproof_a{b=\"walproof_c\"}) / walproof:d:e > 0"),
        ["walproof:d:e".to_owned(), "walproof_a".to_owned()].into()
    );
}

#[test]
fn prometheus_understands_every_query() {
    require!(Prometheus);
    let prometheus = Prometheus::start("global: {}\n", &[]);
    for (title, query) in queries(&dashboard()) {
        let answer = prometheus.query(&query);
        assert_eq!(answer["status"], "success", "{title}: {query}: {answer}");
    }
    let wrong = prometheus.query("sum(walproof_exposure_seconds");
    assert_eq!(wrong["status"], "error");
    assert_eq!(wrong["errorType"], "bad_data");
}

/// What Grafana needs of a dashboard: ids once, everything within its 24 columns and without
/// overlap, a data source that the reader chooses, rows as the issue names them.
#[test]
fn it_is_built_as_grafana_expects() {
    let dashboard = dashboard();
    for field in ["title", "uid"] {
        assert!(
            dashboard[field]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{field}"
        );
    }
    assert!(dashboard["id"].is_null(), "an id belongs to one Grafana");
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    let mut ids = BTreeSet::new();
    let mut taken: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let mut rows = Vec::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap().to_owned();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{title}");
        for column in x..x + w {
            for line in y..y + h {
                let other = taken.insert((column, line), title.clone());
                assert_eq!(other, None, "{title} covers another panel");
            }
        }
        let kind = panel["type"].as_str().unwrap();
        if kind == "row" {
            rows.push(title);
            continue;
        }
        assert!(
            [
                "stat",
                "timeseries",
                "table",
                "bargauge",
                "heatmap",
                "state-timeline"
            ]
            .contains(&kind),
            "{title}: {kind}"
        );
        assert!(
            panel["description"]
                .as_str()
                .is_some_and(|text| text.len() > 20),
            "{title}"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let mut names = BTreeSet::new();
        for target in panel["targets"].as_array().unwrap() {
            assert!(names.insert(target["refId"].as_str().unwrap()), "{title}");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    assert_eq!(rows, ["Fleet", "Cluster", "Drill", "Replication", "Daemon"]);
    let variables: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(variables, ["datasource", "job", "tier", "cluster"]);
}
