//! Run books say what a person needs at 03:00: those of findings in the same six steps, those
//! of alerts in seven, as they also say who does what; and their index says what the codes
//! and the alerts say.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use walproof::finding::Code;

fn page(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("runbooks")
        .join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|_| String::new())
}

/// The alerts of the rules, with the severities that each can have.
fn alerts() -> BTreeMap<String, BTreeSet<String>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/walproof.rules.yaml");
    let rules: serde_json::Value =
        serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut alerts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for group in rules["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            if let Some(alert) = rule["alert"].as_str() {
                let severity = rule["labels"]["severity"].as_str().unwrap();
                let severities = alerts.entry(alert.to_owned()).or_default();
                severities.insert(severity.to_owned());
            }
        }
    }
    assert!(alerts.len() > 15, "{alerts:?}");
    alerts
}

fn has_sections(name: &str, sections: &[&str]) {
    let text = page(&format!("{name}.md"));
    let parts: Vec<&str> = text.split("\n## ").collect();
    assert_eq!(parts.len(), 1 + sections.len(), "{name}");
    for (part, section) in parts[1..].iter().zip(sections) {
        let body = part
            .strip_prefix(section)
            .unwrap_or_else(|| panic!("{name}: {section}"));
        assert!(body.trim().len() > 10, "{name}: {section} says nothing");
    }
}

const SECTIONS: [&str; 6] = [
    "Meaning",
    "Impact",
    "First five minutes",
    "Diagnosis",
    "Repair",
    "How to close",
];

#[test]
fn each_page_has_the_six_sections_in_order_and_something_in_each() {
    for code in Code::ALL {
        has_sections(code.as_str(), &SECTIONS);
    }
}

#[test]
fn each_page_of_an_alert_also_says_who_does_what() {
    let [meaning, impact, first, diagnosis, repair, close] = SECTIONS;
    let sections = [meaning, impact, first, diagnosis, repair, "Who", close];
    for alert in alerts().keys() {
        has_sections(alert, &sections);
        let text = page(&format!("{alert}.md"));
        for role in ["Responsible", "Accountable", "Consulted", "Informed"] {
            let line = format!("\n- {role}: ");
            assert!(text.contains(&line), "{alert}: {role}");
        }
    }
}

/// A link to another page leads somewhere.
#[test]
fn links_between_pages_hold() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks");
    let mut links = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1) {
            let target = target.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                links += 1;
                assert!(
                    directory.join(target).exists(),
                    "{}: {target}",
                    path.display()
                );
            }
        }
    }
    assert!(links > 100, "{links}");
}

#[test]
fn the_index_lists_each_alert_with_its_severities() {
    let index = page("README.md");
    for (alert, severities) in alerts() {
        // The warning first, as it comes first.
        let severities: Vec<String> = severities.into_iter().rev().collect();
        let line = format!("| [{alert}]({alert}.md) | {} | ", severities.join(", "));
        assert!(index.contains(&line), "runbooks/README.md lacks: {line}");
    }
}

#[test]
fn the_index_lists_each_code_with_its_severity_and_consequence() {
    let index = page("README.md");
    for code in Code::ALL {
        let line = format!(
            "| [{code}]({code}.md) | {} | {} |",
            code.severity().as_str(),
            code.consequence()
        );
        assert!(index.contains(&line), "runbooks/README.md lacks: {line}");
    }
}

#[test]
fn there_are_no_pages_of_codes_or_alerts_that_do_not_exist() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks");
    let alerts = alerts();
    let known: Vec<&str> = Code::ALL
        .iter()
        .map(|code| code.as_str())
        .chain(alerts.keys().map(String::as_str))
        .collect();
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let code = name.trim_end_matches(".md");
        assert!(
            code == "README" || known.contains(&code),
            "runbooks/{name} is of no code and no alert"
        );
    }
}
