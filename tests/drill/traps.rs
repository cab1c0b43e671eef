//! What PostgreSQL's recovery does that destroys or waits for ever: defended or refused.

use crate::common::barman::{BarmanCloud, BaseCodec, WalCodec};
use crate::common::damage::Tree;
use crate::common::postgres::TestServer;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::common::s3::S3Server;
use crate::common::workload;
use crate::kit::Place;

/// A repository with one backup, after which `change` was made to the server.
fn repository(change: impl FnOnce(&mut TestServer)) -> Tree {
    let s3 = S3Server::start();
    let barman = BarmanCloud::new(&s3, "", "orders");
    let mut server = TestServer::options().segment_size_mb(1).create();
    let _archiver = barman.archive(&server, WalCodec::Gzip);
    workload::create(&server, None);
    workload::write(&server, "before", 100, 2);
    barman.backup(&server, BaseCodec::Lz4, &[]);
    change(&mut server);
    workload::write(&server, "after", 100, 2);
    server.archive_all();
    Tree::copy_of(&s3.object("orders"), "orders")
}

#[test]
fn a_tablespace_made_after_the_base_is_refused_and_production_stays_whole() {
    require!(Postgres, S3, Barman);
    let mut location = None;
    let tree = repository(|server| {
        let directory = server.create_tablespace("late");
        server.psql("create table late (id int) tablespace late");
        server.psql("insert into late select generate_series(1, 100)");
        location = Some(directory);
    });
    let place = Place::new();
    let report = place.drill(&tree.url(), &[]).expect_code(4).json();
    assert_eq!(report["ending"], "refused");
    let text = report["reasons"].to_string();
    assert!(text.contains(location.unwrap().to_str().unwrap()), "{text}");
    assert!(
        report["findings"]
            .to_string()
            .contains("wal-tablespace-created")
    );
    place.assert_clean();
}

#[test]
fn settings_raised_after_the_base_do_not_stop_recovery() {
    require!(Postgres, S3, Barman);
    let tree = repository(|server| {
        server.set("max_connections", "250");
        server.set("max_worker_processes", "21");
        server.set("max_locks_per_transaction", "130");
        server.restart();
    });
    let place = Place::new();
    let report = place.drill(&tree.url(), &[]).expect_code(0).json();
    let required = &report["plan"]["wal"]["required_settings"];
    assert_eq!(required["max_connections"], 250);
    assert_eq!(required["max_worker_processes"], 21);
    assert_eq!(required["max_locks_per_transaction"], 130);
    place.assert_clean();
}

#[test]
fn wal_level_minimal_for_a_moment_fails_the_drill() {
    require!(Postgres, S3, Barman);
    let tree = repository(|server| {
        server.append_settings(&[
            ("wal_level", "minimal"),
            ("max_wal_senders", "0"),
            ("archive_mode", "off"),
        ]);
        server.restart();
        workload::write(server, "minimal", 10, 1);
        server.append_settings(&[
            ("wal_level", "replica"),
            ("max_wal_senders", "10"),
            ("archive_mode", "on"),
        ]);
        server.restart();
    });
    let place = Place::new();
    let run = place.drill(&tree.url(), &[]).expect_code(1);
    let codes = run.finding_codes();
    assert!(
        codes.contains(&"wal-level-minimal".to_owned()) || codes.contains(&"wal-gap".to_owned()),
        "{codes:?}"
    );
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
    let run = place.drill(&fixture.tree().url(), &[]).expect_code(0);
    assert_eq!(run.json()["safety"]["prepared_transactions"], 1);
    assert!(
        run.finding_codes()
            .contains(&"prepared-transactions".to_owned())
    );
    place.assert_clean();
}
