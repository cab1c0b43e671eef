//! Healthy repositories are proven, to the last commit.

use crate::common::repository::{Fixture, RepositoryOptions, TimelineSwitch};
use crate::common::require;
use crate::kit::{Place, assert_phases_add_up, check};

#[test]
fn a_repository_by_barman_is_proven_to_its_last_commit() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (facts, tree) = (&fixture.facts, fixture.tree());
    let place = Place::new();
    let tip = facts.tip();
    let definition = place.definition(&format!(
        "checks:\n\
         - {{name: rows, database: postgres, sql: 'select count(*) from ledger', expect: '= {}'}}\n\
         - {{name: sum, database: postgres, sql: 'select sum(id) from ledger', expect: '= {}'}}\n\
         - {{name: far, database: postgres, sql: 'select count(*) from ledger_far', expect: '= {}'}}\n\
         - {{name: balance, database: postgres, sql: 'select sum(abalance) from pgbench_accounts', expect: '= {}'}}\n\
         - {{name: fresh, database: postgres, sql: 'select max(written_at) from ledger', expect: 'max age 5m'}}\n\
         - {{name: exact, database: postgres, sql: 'select 1, null, true', rows: [[1, null, t]]}}\n\
         amcheck: {{}}\n",
        tip.rows, tip.sum, facts.far_rows, facts.balance
    ));
    let more = ["--definition", &definition, "--rpo", "1h", "--rto", "10m"];
    let report = place.drill(&tree.url(), &more).expect_code(0).json();

    assert_eq!(report["verdict"], "proven");
    assert_eq!(report["reasons"].as_array().unwrap().len(), 0);
    assert_eq!(report["proof"]["state"], "held");
    assert_eq!(report["proof"]["asked_at_target"], true);
    assert_eq!(report["safety"]["holds"], true);
    let point = &report["measurements"]["recovery_point"];
    assert_eq!(point["xid"], tip.xid);
    let time: chrono::DateTime<chrono::Utc> = point["time"].as_str().unwrap().parse().unwrap();
    assert_eq!(time, tip.time);
    assert_eq!(report["plan"]["backup"]["id"], facts.backups[1].id.as_str());
    for name in [
        "every database opens",
        "rows",
        "sum",
        "far",
        "balance",
        "fresh",
        "exact",
        "amcheck",
    ] {
        assert_eq!(
            check(&report, name)["outcome"],
            "passed",
            "{name}: {}",
            check(&report, name)
        );
    }
    assert_eq!(report["rpo"]["state"], "met");
    assert_eq!(report["rto"]["state"], "met");
    assert!(
        report["measurements"]["wal_bytes_replayed"]
            .as_u64()
            .unwrap()
            > 0
    );
    let service = report["measurements"]["time_to_service"].as_u64().unwrap();
    assert!(service <= report["measurements"]["time_to_verified"].as_u64().unwrap());
    assert_phases_add_up(&report);
    assert_eq!(report["phases"].as_array().unwrap().len(), 9);
    if nix::unistd::Uid::effective().is_root() {
        assert_eq!(report["environment"]["network_isolated"], true);
    }
    for kept in report["environment"]["kept"].as_array().unwrap() {
        assert!(
            std::path::Path::new(kept.as_str().unwrap()).is_file(),
            "{kept}"
        );
    }
    place.assert_clean();

    let state = format!("sqlite://{}/state.sqlite", place.path().display());
    let shown = crate::common::walproof::run(
        &[
            "drill", "show", "last", "--output", "json", "--state", &state,
        ],
        &[],
    )
    .expect_code(0)
    .json();
    let record = &shown["record"];
    assert_eq!(record["schema"], "walproof.dev/drill-record/v1");
    assert_eq!(record["verdict"], "proven");
    assert_eq!(record["run_id"], report["id"]);
    assert_eq!(record["end_of_recovery"]["agrees"], true);
    assert_eq!(
        record["end_of_recovery"]["reached_lsn"],
        report["plan"]["expected_end"]["end"]
    );
    assert_eq!(record["source"]["system_id"], facts.system_id.to_string());
    assert_eq!(record["phases"].as_array().unwrap().len(), 9);
    assert!(
        !record["source"]["wal"]["digests"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    // The description and both archives, each with its digest.
    assert_eq!(record["source"]["metadata"].as_array().unwrap().len(), 3);
    assert!(!record.to_string().contains("observed"));
}

#[test]
fn a_promotion_is_followed_and_the_abandoned_branch_is_not() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions {
        switch: TimelineSwitch::AbandonedBranch,
        ..RepositoryOptions::default()
    });
    let (facts, tree) = (&fixture.facts, fixture.tree());
    let place = Place::new();
    let definition = place.definition(&format!(
        "checks:\n\
         - {{name: rows, database: postgres, sql: 'select count(*) from ledger', expect: '= {}'}}\n\
         - {{name: abandoned, database: postgres, sql: \"select count(*) from ledger where label = 'abandoned'\", expect: '= 0'}}\n",
        facts.tip().rows
    ));
    let report = place
        .drill(&tree.url(), &["--definition", &definition])
        .expect_code(0)
        .json();
    assert_eq!(report["verdict"], "proven");
    assert_eq!(report["plan"]["expected_end"]["timeline"], 2);
    assert_eq!(report["proof"]["new_timeline"], 3);
    assert_eq!(
        report["measurements"]["recovery_point"]["xid"],
        facts.tip().xid
    );
    place.assert_clean();
}

#[test]
fn a_dry_run_shows_the_plan_and_writes_nothing() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let place = Place::new();
    let plan = place
        .drill(&fixture.tree().url(), &["--dry-run"])
        .expect_code(0)
        .json();
    assert_eq!(plan["schema"], "walproof.drill-plan/v1");
    assert_eq!(plan["target"], "tip");
    assert_eq!(
        plan["expected_end"]["recovery_point"]["xid"],
        fixture.facts.tip().xid
    );
    assert!(!place.scratch().exists());
}
