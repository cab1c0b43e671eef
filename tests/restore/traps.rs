//! Traps of recovery, each with its defence.

use walproof::finding::Code;
use walproof::restore::configuration::RecoveryAction;
use walproof::restore::{ResolveError, SET_ASIDE, Target, Watch, choose};

use crate::common::require;
use crate::common::source::Source;
use crate::common::workload;
use crate::place::{Place, open, replay_until_paused, wish};

#[tokio::test(flavor = "multi_thread")]
async fn a_tablespace_created_after_the_base_is_refused_and_not_before() {
    require!(Postgres, S3, Barman);
    let source = Source::new(&[]);
    source.back_up();
    workload::write_moment(&source.server, "early", 100, 2);
    let location = source.server.create_tablespace("later");
    let late = workload::write_moment(&source.server, "late", 100, 2);
    let tree = source.tree();
    let repository = open(&tree.url());
    let catalog = repository.catalog().await.unwrap();
    let watch = Watch::default();
    for target in [
        Target::Tip,
        Target::Name("late".to_owned()),
        Target::Xid {
            xid: late.xid,
            inclusive: true,
        },
    ] {
        let error = choose(&repository, &catalog, &wish(target.clone()), &watch)
            .await
            .unwrap_err();
        assert!(error.is_refusal(), "{target}: {error}");
        let ResolveError::TablespaceCreated {
            location: found,
            lsn,
            ..
        } = &error
        else {
            panic!("{target}: {error}");
        };
        assert_eq!(*found, location.display().to_string());
        assert!(error.to_string().contains(&lsn.to_string()), "{error}");
        assert_eq!(error.findings()[0].code, Code::WalTablespaceCreated);
    }
    // Nothing is written by a restore that is refused.
    let place = Place::new();
    let error = place
        .restore(
            &tree.url(),
            &catalog,
            wish(Target::Tip),
            RecoveryAction::Promote,
        )
        .await
        .unwrap_err();
    assert!(error.is_refusal() && !place.data().exists(), "{error}");
    // Up to a moment before it, all is well.
    let early = choose(
        &repository,
        &catalog,
        &wish(Target::Name("early".to_owned())),
        &watch,
    )
    .await
    .unwrap();
    assert_eq!(early.resolved.findings, []);

    // And from a base backup that has it.
    source.back_up();
    let tip = workload::write_moment(&source.server, "tip", 100, 2);
    let tree = source.tree();
    let catalog = open(&tree.url()).catalog().await.unwrap();
    let report = place
        .restore(
            &tree.url(),
            &catalog,
            wish(Target::Tip),
            RecoveryAction::Pause,
        )
        .await
        .unwrap();
    let mut server = place.server(&[]);
    assert_eq!(replay_until_paused(&mut server), report.expected_end);
    assert_eq!(server.number("select count(*) from ledger"), tip.rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_raised_after_the_base_are_met() {
    require!(Postgres, S3, Barman);
    let mut source = Source::new(&[("max_connections", "30")]);
    source.back_up();
    source.server.append_settings(&[
        ("max_connections", "130"),
        ("max_locks_per_transaction", "100"),
        ("max_prepared_transactions", "7"),
        ("max_worker_processes", "13"),
        ("max_wal_senders", "12"),
    ]);
    source.server.restart();
    let tip = workload::write_moment(&source.server, "tip", 100, 2);
    let tree = source.tree();
    let catalog = open(&tree.url()).catalog().await.unwrap();
    let place = Place::new();
    let report = place
        .restore(
            &tree.url(),
            &catalog,
            wish(Target::Tip),
            RecoveryAction::Pause,
        )
        .await
        .unwrap();
    assert_eq!(report.required.max_connections, 130);
    let mut server = place.server(&[]);
    assert_eq!(replay_until_paused(&mut server), report.expected_end);
    assert_eq!(server.number("select count(*) from ledger"), tip.rows);
    assert!(!server.log().contains("hot standby is not possible"));
    for (name, value) in [
        ("max_connections", "130"),
        ("max_locks_per_transaction", "100"),
        ("max_prepared_transactions", "7"),
        ("max_worker_processes", "13"),
        ("max_wal_senders", "12"),
    ] {
        assert_eq!(server.psql(&format!("show {name}")), value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn minimal_wal_ends_the_window_before_it() {
    require!(Postgres, S3, Barman);
    let mut source = Source::new(&[]);
    source.back_up();
    let before = workload::write_moment(&source.server, "before", 100, 2);
    // All that follows fits into one segment, so that the archive has no gap by name.
    source.server.archive_all();
    source.server.append_settings(&[
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        ("archive_mode", "off"),
    ]);
    source.server.restart();
    workload::write(&source.server, "unlogged in part", 100, 2);
    source.server.append_settings(&[
        ("wal_level", "replica"),
        ("max_wal_senders", "10"),
        ("archive_mode", "on"),
    ]);
    source.server.restart();
    workload::write_moment(&source.server, "after", 100, 2);
    let tree = source.tree();
    let repository = open(&tree.url());
    let catalog = repository.catalog().await.unwrap();
    let error = choose(
        &repository,
        &catalog,
        &wish(Target::Name("after".to_owned())),
        &Watch::default(),
    )
    .await
    .unwrap_err();
    assert!(error.to_string().contains("minimal"), "{error}");
    let place = Place::new();
    let report = place
        .restore(
            &tree.url(),
            &catalog,
            wish(Target::Tip),
            RecoveryAction::Pause,
        )
        .await
        .unwrap();
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.code == Code::WalLevelMinimal),
        "{:?}",
        report.findings
    );
    let mut server = place.server(&[]);
    assert_eq!(replay_until_paused(&mut server), report.expected_end);
    assert_eq!(server.number("select count(*) from ledger"), before.rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_from_a_standby_runs_on_its_own() {
    require!(Postgres, S3, Barman);
    let source = Source::new(&[]);
    workload::write(&source.server, "before", 100, 2);
    let standby = source.server.create_standby();
    source.server.wait_for_standby(&standby);
    // What production's configuration would do to the archive if it were in force.
    standby.append_settings(&[("archive_cleanup_command", "rm -rf /nowhere")]);
    let id = source.back_up_from(&standby);
    drop(standby);
    let tip = workload::write_moment(&source.server, "tip", 100, 2);
    let tree = source.tree();
    let catalog = open(&tree.url()).catalog().await.unwrap();
    assert!(
        catalog
            .backup(&id)
            .unwrap()
            .backup_label
            .as_ref()
            .unwrap()
            .contains("standby")
    );
    let place = Place::new();
    // The source still runs, and its address is in the backup's configuration.
    let report = place
        .restore(
            &tree.url(),
            &catalog,
            wish(Target::Tip),
            RecoveryAction::Promote,
        )
        .await
        .unwrap();
    let control = &report.extracted.facts.control_file;
    assert!(report.plan.target.consistent_at >= control.min_recovery_point);
    for name in ["archive_cleanup_command", "primary_conninfo"] {
        assert!(
            report
                .settings
                .set_aside
                .iter()
                .any(|setting| setting.name == name),
            "{name}"
        );
    }
    assert!(!place.data().join("standby.signal").exists());
    assert!(place.data().join(SET_ASIDE).is_dir());
    workload::write(&source.server, "never archived", 100, 2);
    let mut server = place.server(&[]);
    tokio::task::block_in_place(|| {
        server.start();
        server.wait_for_promotion();
    });
    assert_eq!(server.number("select count(*) from ledger"), tip.rows);
    assert_eq!(
        server.number("select count(*) from pg_stat_wal_receiver"),
        0
    );
    let log = server.log();
    assert!(log.contains("consistent recovery state reached"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_transactions_end_where_they_are_ended() {
    require!(Postgres, S3, Barman);
    let source = Source::new(&[("max_prepared_transactions", "4")]);
    source.back_up();
    workload::prepare_transaction(&source.server, "left");
    let xid: u32 = source
        .server
        .psql("select transaction from pg_prepared_xacts")
        .parse()
        .unwrap();
    workload::write(&source.server, "between", 100, 2);
    source.server.psql("commit prepared 'left'");
    workload::write(&source.server, "after", 100, 2);
    let tree = source.tree();
    let url = tree.url();
    let catalog = open(&url).catalog().await.unwrap();
    for (inclusive, rows, open_transactions) in [(true, 1, 0), (false, 0, 1)] {
        let place = Place::new();
        let target = Target::Xid { xid, inclusive };
        let report = place
            .restore(&url, &catalog, wish(target), RecoveryAction::Pause)
            .await
            .unwrap();
        let mut server = place.server(&[]);
        assert_eq!(replay_until_paused(&mut server), report.expected_end);
        let count = |label: &str| {
            server.number(&format!(
                "select count(*) from ledger where label = '{label}'"
            ))
        };
        assert_eq!(count("prepared"), rows, "inclusive {inclusive}");
        assert_eq!(count("between"), 100);
        assert_eq!(count("after"), 0);
        drop(report);
        server.psql("select pg_wal_replay_resume()");
        tokio::task::block_in_place(|| server.wait_for_promotion());
        assert_eq!(
            server.number("select count(*) from pg_prepared_xacts"),
            open_transactions,
            "inclusive {inclusive}"
        );
    }
}
