//! Targets in the past: rows before are there, rows after are not.

use chrono::{SecondsFormat, TimeDelta};

use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::kit::{Place, check};

#[test]
fn each_kind_of_target_ends_where_it_says() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (facts, tree) = (&fixture.facts, fixture.tree());
    let (middle, tip) = (facts.moment("middle"), facts.tip());
    let time = middle.time.to_rfc3339_opts(SecondsFormat::Micros, true);
    let xid = tip.xid.to_string();
    for (more, rows) in [
        (&["--target-name", "middle"][..], middle.rows),
        (&["--target-time", &time], middle.rows),
        (&["--target-xid", &xid], tip.rows),
        (&["--target-lsn", &tip.lsn, "--exclusive"], tip.rows),
    ] {
        let place = Place::new();
        let definition = place.definition(&format!(
            "checks:\n- {{name: rows, database: postgres, sql: 'select count(*) from ledger', expect: '= {rows}'}}\n"
        ));
        let mut arguments = vec!["--definition", &definition];
        arguments.extend(more);
        // Nothing later lies behind the very last commit, so there an LSN past it is
        // refused before anything starts.
        let run = place.drill(&tree.url(), &arguments);
        if more.contains(&"--target-lsn") && run.code == Some(1) {
            assert!(
                run.finding_codes()
                    .contains(&"target-unreachable".to_owned())
            );
            continue;
        }
        let report = run.expect_code(0).json();
        assert_eq!(report["proof"]["state"], "held", "{more:?}");
        assert_eq!(check(&report, "rows")["outcome"], "passed", "{more:?}");
        place.assert_clean();
    }
}

#[test]
fn one_record_before_the_last_commit_is_without_it() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let place = Place::new();
    let tip = fixture.facts.tip();
    let xid = tip.xid.to_string();
    let more = ["--target-xid", &xid, "--exclusive"];
    let report = place
        .drill(&fixture.tree().url(), &more)
        .expect_code(0)
        .json();
    assert_eq!(
        report["plan"]["expected_end"]["next_commit"]["xid"],
        tip.xid
    );
    let item = report["proof"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["name"] == "next-commit")
        .unwrap();
    assert_eq!(item["holds"], true);
    place.assert_clean();
}

#[test]
fn a_time_past_the_last_commit_is_explained_before_anything_starts() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let place = Place::new();
    let late =
        (fixture.facts.tip().time + TimeDelta::hours(1)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let run = place
        .drill(&fixture.tree().url(), &["--target-time", &late])
        .expect_code(1);
    assert!(
        run.finding_codes()
            .contains(&"target-unreachable".to_owned())
    );
    assert!(
        run.json()["reasons"][0]["text"]
            .as_str()
            .unwrap()
            .contains("tip")
    );
    place.assert_clean();
}
