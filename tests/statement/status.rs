//! The statement about all copies of a cluster.

use walproof::cli::contract;

use crate::Ground;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::{json_schema, require, scratch};

/// A primary and a second copy as files.
fn ground(replication: &str) -> (Fixture, Ground, std::path::PathBuf) {
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let place = scratch::directory().keep();
    for name in ["primary", "second"] {
        scratch::copy_tree(tree.root(), &place.join(name));
    }
    let cluster = format!(
        "  primary: {{url: 'file://{0}/primary', place: Frankfurt}}\n  replicas: [{{name: second, url: 'file://{0}/second', place: Dublin, media: tape, replication: {{{replication}}}}}]\n",
        place.display()
    );
    (fixture, Ground::new(&cluster, "", Vec::new()), place)
}

const STATUS: [&str; 3] = ["replicate", "status", "orders"];

#[test]
fn equal_copies_hold_and_are_not_behind() {
    require!(Postgres, S3, Barman);
    let (fixture, ground, _) = ground("lag: 1m");
    let run = ground.run(&STATUS).expect_code(0);
    let status = run.json();
    json_schema::assert_valid(&contract::replicate_status(), &status);
    assert_eq!(status["schema"], "walproof.replicate-status/v1");
    let statement = &status["statement"];
    assert_eq!(statement["holds"], true, "{statement:#}");
    assert_eq!(statement["copies"], 3);
    assert_eq!(statement["elsewhere"], serde_json::json!(["second"]));
    let copies = status["copies"].as_array().unwrap();
    for copy in copies {
        assert_eq!(copy["holds"]["usable_backups"], 2);
        assert_eq!(
            copy["holds"]["newest_backup"],
            fixture.facts.backups[1].id.as_str()
        );
        let to = copy["exposure"]["since"].as_str().unwrap();
        assert_eq!(copy["holds"]["recoverable_to"], to);
    }
    let lag = &copies[1]["lag"];
    for name in ["seconds", "segments", "bytes", "backups"] {
        assert_eq!(lag[name], 0, "{name}");
    }
    assert!(copies[0]["lag"].is_null());
    let text = ground.text(&STATUS).expect_code(0).stdout;
    assert!(text.contains("3-2-1 holds"), "{text}");
    // Nobody has drilled either.
    assert!(text.contains("by count, unproven"), "{text}");
    assert!(text.contains("unproven   primary, second: "), "{text}");
    assert!(
        text.lines()
            .all(|line| line.chars().count() <= 100 || line.contains("file://")),
        "{text}"
    );
}

#[test]
fn a_copy_that_is_behind_is_measured_and_told() {
    require!(Postgres, S3, Barman);
    let (fixture, ground, place) = ground("lag: 1s");
    let segments = fixture.tree().segments();
    let lacking = &segments[segments.len() - 3..];
    let tree = fixture.tree();
    for name in lacking {
        for key in tree.wal_keys(name) {
            std::fs::remove_file(place.join("second").join(key)).unwrap();
        }
    }
    std::thread::sleep(std::time::Duration::from_secs(2));
    let run = ground.run(&STATUS).expect_code(1);
    assert_eq!(run.finding_codes(), ["copy-lag"]);
    let status = run.json();
    let lag = &status["copies"][1]["lag"];
    assert_eq!(lag["segments"], 3);
    assert!(lag["bytes"].as_u64().unwrap() > 2 * fixture.facts.segment_size);
    assert!(lag["seconds"].as_i64().unwrap() >= 0);
    assert!(lag["waiting_since"].is_string());
    // The exposure of the two differs by as much.
    let since = |copy: usize| {
        let text = status["copies"][copy]["exposure"]["since"]
            .as_str()
            .unwrap();
        text.parse::<chrono::DateTime<chrono::Utc>>().unwrap()
    };
    assert_eq!((since(0) - since(1)).num_seconds(), lag["seconds"]);
    assert_eq!(status["copies"][0]["findings"], serde_json::json!([]));
    let text = ground.text(&STATUS).expect_code(1).stdout;
    assert!(text.contains("3 segments"), "{text}");
}

#[test]
fn a_backup_that_the_copy_lacks_is_counted() {
    require!(Postgres, S3, Barman);
    let (fixture, ground, place) = ground("");
    let second = place.join(format!("second/base/{}", fixture.facts.backups[1].id));
    std::fs::remove_dir_all(second).unwrap();
    let status = ground.run(&STATUS).expect_code(0).json();
    assert_eq!(status["copies"][1]["lag"]["backups"], 1);
    assert_eq!(status["copies"][1]["lag"]["bytes"], 0);
}

#[test]
fn a_copy_that_cannot_be_reached_is_shown_and_does_not_count() {
    require!(Postgres, S3, Barman);
    let (_, ground, place) = ground("lag: 1m");
    std::fs::rename(place.join("second"), place.join("away")).unwrap();
    let run = ground.run(&STATUS).expect_code(3);
    let status = run.json();
    json_schema::assert_valid(&contract::replicate_status(), &status);
    assert_eq!(status["statement"]["holds"], false);
    assert!(status["copies"][1]["error"].is_string());
    assert!(status["copies"][1]["lag"].is_null());
    let text = ground.text(&STATUS).expect_code(3).stdout;
    assert!(text.contains("3-2-1 does not hold"), "{text}");
    // The primary gone, the copy stands and is shown.
    std::fs::rename(place.join("away"), place.join("second")).unwrap();
    std::fs::rename(place.join("primary"), place.join("away")).unwrap();
    let status = ground.run(&STATUS).expect_code(3).json();
    assert_eq!(status["copies"][1]["holds"]["usable_backups"], 2);
    assert!(status["copies"][1]["lag"].is_null());
    // A problem goes before what could not be looked at.
    std::fs::remove_dir_all(place.join("second/base")).unwrap();
    ground.run(&STATUS).expect_code(1);
}

#[test]
fn proofs_of_each_copy_are_told_apart() {
    require!(Postgres, S3, Barman);
    let (_, ground, _) = ground("");
    ground
        .run(&["verify", "orders", "--copy", "second"])
        .expect_code(0);
    ground
        .run(&["replicate", "compare", "orders"])
        .expect_code(0);
    let status = ground.run(&STATUS).expect_code(0).json();
    let proofs = |copy: usize| status["copies"][copy]["proofs"].clone();
    assert!(proofs(0)["verification"].is_null());
    assert!(proofs(1)["verification"]["at"].is_string());
    assert!(proofs(1)["comparison"]["at"].is_string());
    assert!(proofs(1)["drill"].is_null());
    let text = ground.text(&STATUS).expect_code(0).stdout;
    assert!(text.contains("never drilled; never verified"), "{text}");
}
