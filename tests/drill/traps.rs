//! What recovery does that destroys production or waits for ever: defended or refused.
//! `docs/traps.md` maps every trap to its defence and its test.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::postgres::TestServer;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::{require, workload};
use crate::kit::{Place, check, reason_codes};
use crate::source::Source;

/// Every file below `directory` with its contents.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
    assert!(!found.is_empty(), "{} is empty", directory.display());
    found
}

/// A definition with one check of the number of rows.
fn rows(place: &Place, rows: i64) -> String {
    place.definition(&format!(
        "settings: {{fsync: 'off'}}\nchecks:\n- {{name: rows, database: postgres, sql: 'select count(*) from ledger', expect: '= {rows}'}}\n"
    ))
}

#[test]
fn tablespaces_made_or_dropped_after_the_base_never_touch_production() {
    require!(Postgres, S3, Barman);
    let source = Source::new(&[]);
    let server = &source.server;
    let old = server.create_tablespace("old");
    server.psql("create table in_old tablespace old as select generate_series(1, 100) id");
    source.back_up();
    server.psql("drop table in_old");
    server.psql("drop tablespace old");
    // What a replayed DROP TABLESPACE would remove if it reached the old location.
    let version = old.join("PG_15_202209061");
    std::fs::create_dir_all(&version).unwrap();
    std::fs::write(version.join("PRECIOUS"), "a new owner's").unwrap();
    let early = workload::write_moment(server, "early", 100, 2);
    let late = server.create_tablespace("late");
    server.psql("create table in_late tablespace late as select generate_series(1, 100) id");
    workload::write(server, "after", 100, 2);
    server.psql("drop table if exists no_such_table; checkpoint");
    let tree = source.tree();
    let (before_old, before_late) = (contents(&old), contents(&late));

    let place = Place::new();
    let report = place.drill(&tree.url(), &[]).expect_code(4).json();
    assert_eq!(report["ending"], "refused");
    assert_ne!(report["verdict"], "proven");
    let text = report["reasons"].to_string();
    assert!(text.contains(late.to_str().unwrap()), "{text}");
    let created = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["code"] == "wal-tablespace-created")
        .unwrap_or_else(|| panic!("{:#}", report["findings"]));
    let lsn = created["wal"]["begin"].as_str().unwrap();
    assert!(text.contains(lsn), "{lsn}: {text}");
    assert_eq!(report["log_tail"], "", "no server was started");
    place.assert_clean();

    // Up to the moment before it the drill is proven, and the drop stays in its own copy.
    let more = [
        "--target-name",
        "early",
        "--definition",
        &rows(&place, early.rows),
    ];
    let run = place.drill(&tree.url(), &more).expect_code(0);
    assert!(
        run.finding_codes()
            .contains(&"wal-tablespace-dropped".to_owned()),
        "{:?}",
        run.finding_codes()
    );
    place.assert_clean();
    assert_eq!(contents(&old), before_old);
    assert_eq!(contents(&late), before_late);
    assert_eq!(server.number("select count(*) from in_late"), 100);

    // Made and dropped again within the range: replay would still make the link.
    server.psql("drop table in_late");
    server.psql("drop tablespace late");
    let gone = source.tree();
    let report = place.drill(&gone.url(), &[]).expect_code(4).json();
    assert_eq!(report["ending"], "refused");
    place.assert_clean();
}

#[test]
fn an_idle_database_raised_settings_and_a_moment_of_minimal_wal() {
    require!(Postgres, S3, Barman);
    let mut source = Source::new(&[]);
    source.back_up();
    // Nothing was committed since: the tip is the last record, whatever it is.
    let idle = source.tree();
    let place = Place::new();
    let report = place.drill(&idle.url(), &[]).expect_code(0).json();
    assert_eq!(report["verdict"], "proven", "{:#}", report["reasons"]);
    assert_eq!(report["proof"]["state"], "held");
    assert!(report["measurements"]["recovery_point"].is_null());
    place.assert_clean();

    source.server.append_settings(&[
        ("max_connections", "250"),
        ("max_worker_processes", "21"),
        ("max_wal_senders", "22"),
        ("max_prepared_transactions", "23"),
        ("max_locks_per_transaction", "130"),
    ]);
    source.server.restart();
    let raised = workload::write_moment(&source.server, "raised", 100, 2);
    let tree = source.tree();
    let definition = rows(&place, raised.rows);
    let more = ["--definition", definition.as_str()];
    let run = place.drill(&tree.url(), &more).expect_code(0);
    let report = run.json();
    let required = &report["plan"]["wal"]["required_settings"];
    assert_eq!(required["max_connections"], 250);
    assert_eq!(required["max_worker_processes"], 21);
    assert_eq!(required["max_wal_senders"], 22);
    assert_eq!(required["max_prepared_transactions"], 23);
    assert_eq!(required["max_locks_per_transaction"], 130);
    assert_eq!(check(&report, "rows")["outcome"], "passed");
    assert!(
        run.finding_codes()
            .contains(&"wal-settings-raised".to_owned()),
        "{:?}",
        run.finding_codes()
    );
    place.assert_clean();

    // Everything was archived, and the little that follows stays in one segment: no gap by
    // name.
    source.server.append_settings(&[
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        ("archive_mode", "off"),
    ]);
    source.server.restart();
    source
        .server
        .psql("insert into ledger (label) values ('minimal')");
    source.server.append_settings(&[
        ("wal_level", "replica"),
        ("max_wal_senders", "10"),
        ("archive_mode", "on"),
    ]);
    source.server.restart();
    workload::write(&source.server, "after", 100, 2);
    let tree = source.tree();
    let run = place.drill(&tree.url(), &[]).expect_code(1);
    let report = run.json();
    assert_eq!(report["verdict"], "failed");
    let codes = reason_codes(&report);
    assert!(codes.contains(&"wal-level-minimal".to_owned()), "{codes:?}");
    assert!(!codes.contains(&"wal-gap".to_owned()), "{codes:?}");
    // What lies before it restores, and is proven to end there.
    assert_eq!(report["proof"]["state"], "held");
    let more = [
        "--target-name",
        "raised",
        "--definition",
        definition.as_str(),
    ];
    place.drill(&tree.url(), &more).expect_code(0);
    place.assert_clean();
}

#[test]
fn prepared_transactions_are_counted_and_shown() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions {
        prepared: true,
        ..RepositoryOptions::default()
    });
    let place = Place::new();
    let definition = place.definition(
        "checks:\n- {name: held, database: postgres, sql: 'select gid from pg_prepared_xacts', rows: [[left-open]]}\n",
    );
    let run = place
        .drill(&fixture.tree().url(), &["--definition", &definition])
        .expect_code(0);
    assert_eq!(run.json()["safety"]["prepared_transactions"], 1);
    assert_eq!(check(&run.json(), "held")["outcome"], "passed");
    assert!(
        run.finding_codes()
            .contains(&"prepared-transactions".to_owned())
    );
    place.assert_clean();
}

/// What is right although it looks wrong: a sequence ahead, unlogged tables empty.
#[test]
fn sequences_ahead_and_empty_unlogged_tables_are_healthy() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let place = Place::new();
    let definition = place.definition(
        "checks:\n\
         - {name: ahead, database: postgres, sql: 'select last_value - (select max(id) from ledger) between 0 and 32 from ledger_id_seq', expect: '= t'}\n\
         - {name: unlogged, database: postgres, sql: 'select count(*) from scratchpad', expect: '= 0'}\n\
         amcheck: {}\n",
    );
    let run = place
        .drill(&fixture.tree().url(), &["--definition", &definition])
        .expect_code(0);
    let report = run.json();
    for name in ["ahead", "unlogged", "amcheck"] {
        assert_eq!(check(&report, name)["outcome"], "passed", "{name}");
    }
    assert!(
        !run.finding_codes().contains(&"corruption-found".to_owned()),
        "{:?}",
        run.finding_codes()
    );
    place.assert_clean();
    assert!(TestServer::bin("pg_amcheck").is_file());
}
