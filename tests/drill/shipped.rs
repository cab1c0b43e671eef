//! The definitions that ship in `drills/`, each run as it stands, and the sample of evidence.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::json_schema::{assert_valid, mistakes};
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::common::walproof;
use crate::kit::{Place, check, reason_codes};

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn document(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(project(path)).unwrap()).unwrap()
}

#[track_caller]
fn assert_passed(report: &Value, names: &[&str]) {
    for name in names {
        let check = check(report, name);
        assert_eq!(check["outcome"], "passed", "{check:#}");
    }
    assert_eq!(report["checks"].as_array().unwrap().len(), names.len());
}

/// With the cluster's heartbeat, from a configuration beside the shipped definition. The
/// report and its record are as their schemas say.
#[test]
fn the_nightly_drill_is_proven() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (tree, place) = (fixture.tree(), Place::new());
    let config = place.path().join("walproof.yaml");
    let text = format!(
        "version: 1\nclusters:\n  - name: orders\n    primary: {{url: '{}'}}\n    \
         heartbeat: {{database: postgres, table: heartbeat, column: beat_at}}\n",
        tree.url()
    );
    std::fs::write(&config, text).unwrap();
    std::fs::create_dir(place.path().join("drills")).unwrap();
    std::fs::copy(
        project("drills/nightly.yaml"),
        place.path().join("drills/nightly.yaml"),
    )
    .unwrap();
    let report = place
        .drill("orders", &["--config", config.to_str().unwrap()])
        .expect_code(0)
        .json();
    assert_eq!(report["verdict"], "proven");
    assert_eq!(report["name"], "nightly");
    assert_passed(&report, &["every database opens", "heartbeat", "amcheck"]);
    place.assert_clean();
    assert_valid(
        &document("docs/schema/drill-report.v1.schema.json"),
        &report,
    );

    let state = format!("sqlite://{}/state.sqlite", place.path().display());
    let shown = walproof::run(
        &[
            "drill", "show", "last", "--output", "json", "--state", &state,
        ],
        &[],
    )
    .expect_code(0)
    .json();
    let schema = document("evidence/drill-record.v1.schema.json");
    assert_valid(&schema, &shown["record"]);
}

/// `time:-1h` reaches back before any repository that a test has just made, so the moment
/// comes from the command line; all else is the file's.
#[test]
fn the_way_back_to_a_moment_is_proven() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (tree, place) = (fixture.tree(), Place::new());
    let file = project("drills/point-in-time.yaml");
    let middle = fixture.facts.moment("middle").time;
    let moment = middle.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let definition = ["--definition", file.to_str().unwrap()];
    let report = place
        .drill(
            &tree.url(),
            &[definition[0], definition[1], "--target-time", &moment],
        )
        .expect_code(0)
        .json();
    assert_passed(
        &report,
        &[
            "every database opens",
            "the server left recovery",
            "no index is left invalid",
        ],
    );
    assert_eq!(
        report["measurements"]["recovery_point"]["xid"],
        fixture.facts.moment("middle").xid
    );
    place.assert_clean();

    // A moment before the first base backup: said, not proven.
    let early = ["--target-time", "2001-01-01T00:00:00Z"];
    let refused = place.drill(
        &tree.url(),
        &[definition[0], definition[1], early[0], early[1]],
    );
    let refused = refused.expect_code(1).json();
    assert_eq!(reason_codes(&refused), ["target-unreachable"]);
}

#[test]
fn the_deep_look_is_proven() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (tree, place) = (fixture.tree(), Place::new());
    let file = project("drills/deep.yaml");
    let report = place
        .drill(&tree.url(), &["--definition", file.to_str().unwrap()])
        .expect_code(0)
        .json();
    assert_passed(&report, &["every database opens", "amcheck", "checksums"]);
    place.assert_clean();
}

#[test]
fn every_definition_that_ships_is_run_here() {
    let mut names: Vec<String> = std::fs::read_dir(project("drills"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    // `kubernetes.yaml` is run by tests/kubernetes/drill.rs, on a cluster.
    let shipped = [
        "deep.yaml",
        "kubernetes.yaml",
        "nightly.yaml",
        "point-in-time.yaml",
    ];
    assert_eq!(names, shipped);
}

#[test]
fn the_sample_of_evidence_is_a_record_and_names_no_machine() {
    let schema = document("evidence/drill-record.v1.schema.json");
    let sample = document("evidence/sample-drill-record.json");
    assert_valid(&schema, &sample);
    assert_eq!(sample["verdict"], "proven");
    let text = sample.to_string();
    for word in [
        "/tmp",
        "/var",
        "/home",
        "/root",
        "/work",
        "file://",
        "127.0.0.1",
    ] {
        assert!(!text.contains(word), "{word}");
    }

    // The other way: what is wrong is seen.
    let mut damaged = sample.clone();
    damaged["verdict"] = json!("green");
    damaged["phases"][0]["duration_ms"] = json!("0.1 s");
    damaged.as_object_mut().unwrap().remove("limits");
    let found = mistakes(&schema, &damaged).join("\n");
    for place in ["$.verdict", "$.phases[0].duration_ms", "limits is missing"] {
        assert!(found.contains(place), "{place}: {found}");
    }
}
