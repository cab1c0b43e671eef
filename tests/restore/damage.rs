//! When WAL or archives fail: recovery stops and never promotes, and nothing is left over.

use std::sync::Arc;
use std::time::Duration;

use walproof::finding::Code;
use walproof::postgres::RequiredSettings;
use walproof::repository::Repository;
use walproof::restore::configuration::{
    ClientAccess, KeptSettings, RecoveryAction, RecoverySettings, ServerSettings, pg_hba_conf,
    postgresql_conf,
};
use walproof::restore::wal::wal_fetch_command;
use walproof::restore::{
    Choice, ExtractOptions, RestoreError, RunError, TablespaceMap, Target, WalServer,
    WalServerOptions, Watch, choose, extract,
};
use walproof::storage::{StorageOptions, Store};

use crate::common::damage::Tree;
use crate::common::postgres::TestServer;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::{require, scratch};
use crate::place::{Place, listing, open, wish, wish_from};

/// Extracts for a served recovery and gives the server, not started, and its WAL server.
async fn serve(place: &Place, repository: Repository, choice: &Choice) -> (TestServer, WalServer) {
    let catalog = repository.catalog().await.unwrap();
    let report = extract(
        &repository,
        &choice.backup,
        &place.data(),
        &TablespaceMap::default(),
        &ExtractOptions {
            sync: false,
            parallel: 2,
        },
        &Watch::default(),
    )
    .await
    .unwrap();
    let mut options = WalServerOptions::new(place.keep.path().join("wal.sock"));
    options.owner = scratch::server_user().map(|user| (user.uid.as_raw(), user.gid.as_raw()));
    let wal = WalServer::start(
        repository,
        Arc::new(catalog),
        choice.resolved.plan.clone(),
        options,
    )
    .unwrap();
    let mut required = RequiredSettings::default();
    required.raise_to_control_file(&report.facts.control_file);
    required.raise(choice.resolved.required);
    let conf = postgresql_conf(&ServerSettings {
        major: report.facts.major,
        required,
        kept: KeptSettings::default(),
        recovery: RecoverySettings {
            restore_command: wal_fetch_command(&place.program, wal.socket()),
            target_lsn: choice.resolved.stop_record,
            timeline: choice.resolved.timeline,
            action: RecoveryAction::Promote,
        },
        socket_directory: None,
        port: TestServer::PORT,
        preload: Vec::new(),
        extra: Vec::new(),
    });
    std::fs::write(place.data().join("postgresql.conf"), conf).unwrap();
    std::fs::write(
        place.data().join("pg_hba.conf"),
        pg_hba_conf(ClientAccess::SocketTrust),
    )
    .unwrap();
    std::fs::write(place.data().join("recovery.signal"), "").unwrap();
    // Tablespaces lie beside the data directory, so the whole place is given away.
    let server = TestServer::adopt(
        Arc::clone(&place.keep),
        &place.data(),
        &[("fsync", "off"), ("shared_buffers", "32MB")],
    );
    (server, wal)
}

fn middle_segment(tree: &Tree, choice: &Choice) -> String {
    let stretch = choice.resolved.plan.segments[0];
    let begin = stretch.first.0 + (stretch.last.0 - stretch.first.0) / 2;
    tree.segments()
        .into_iter()
        .find(|name| {
            name.parse::<walproof::postgres::SegmentName>()
                .unwrap()
                .number(choice.resolved.plan.segment_size)
                .unwrap()
                .0
                == begin
        })
        .unwrap()
}

async fn tip_of_first(fixture: &Fixture, url: &str) -> Choice {
    let repository = open(url);
    let catalog = repository.catalog().await.unwrap();
    choose(
        &repository,
        &catalog,
        &wish_from(&fixture.facts.backups[0].id, Target::Tip),
        &Watch::default(),
    )
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_served_recovery_ends_at_the_tip_and_tells_what_it_was_given() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let choice = tip_of_first(&fixture, &tree.url()).await;
    let place = Place::new();
    let (mut server, wal) = serve(&place, open(&tree.url()), &choice).await;
    tokio::task::block_in_place(|| {
        server.start();
        server.wait_for_promotion();
    });
    let tip = fixture.facts.tip();
    assert_eq!(server.number("select count(*) from ledger"), tip.rows);
    let log = wal.stop();
    assert_eq!(log.stopped_by(), None);
    let mut names: Vec<&str> = log.served.iter().map(|file| file.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len() as u64, choice.resolved.plan.count());
    // The digests are those of what the server itself had archived.
    for file in &log.served {
        let plain = std::fs::read(fixture.plain_wal().join(&file.name)).unwrap();
        assert_eq!(
            walproof::codec::Sha256::of(&plain).to_string(),
            file.sha256,
            "{}",
            file.name
        );
    }
    assert!(
        log.refused
            .iter()
            .any(|file| file.name == "00000002.history"),
        "{:?}",
        log.refused
    );
    assert!(!place.keep.path().join("wal.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_vanishes_or_rots_stops_the_served_recovery() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    for what in ["gone", "cut", "another segment"] {
        let tree = fixture.tree();
        let choice = tip_of_first(&fixture, &tree.url()).await;
        let place = Place::new();
        let (mut server, wal) = serve(&place, open(&tree.url()), &choice).await;
        let name = middle_segment(&tree, &choice);
        let key = tree.wal_key(&name);
        match what {
            "gone" => tree.delete(&key),
            "cut" => tree.halve(&key),
            _ => {
                let segments = tree.segments();
                let other = tree.wal_key(segments.last().unwrap());
                let bytes = tree.read(&other);
                tree.write(&key, &bytes);
            }
        }
        let log = tokio::task::block_in_place(|| {
            server.start_without_waiting();
            server.wait_for_end()
        });
        assert!(log.contains("FATAL"), "{what}: {log}");
        assert!(!log.contains("archive recovery complete"), "{what}: {log}");
        let report = wal.stop();
        let stopped = report
            .stopped_by()
            .unwrap_or_else(|| panic!("{what}: {report:?}"));
        assert_eq!(stopped.name, name, "{what}");
        assert_eq!(stopped.exit_code, 200, "{what}: {}", stopped.words);
        // The cause stands in the server's log too.
        assert!(log.contains("recovery must stop"), "{what}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_down_stops_the_served_recovery() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (mut s3, url) = fixture.s3();
    let options = StorageOptions {
        endpoint: Some(s3.endpoint()),
        environment: s3.environment(),
        retry_time: Duration::from_secs(1),
        ..StorageOptions::default()
    };
    let store = Store::open(&url.parse().unwrap(), &options).unwrap();
    let repository = walproof::repository::open(store);
    let catalog = repository.catalog().await.unwrap();
    let choice = choose(&repository, &catalog, &wish(Target::Tip), &Watch::default())
        .await
        .unwrap();
    let place = Place::new();
    let (mut server, wal) = serve(&place, repository, &choice).await;
    s3.interrupt();
    let log = tokio::task::block_in_place(|| {
        server.start_without_waiting();
        server.wait_for_end()
    });
    assert!(log.contains("FATAL"), "{log}");
    assert!(log.contains("cannot tell"), "{log}");
    assert!(!log.contains("archive recovery complete"), "{log}");
    let report = wal.stop();
    assert_eq!(report.stopped_by().unwrap().exit_code, 201, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walproof_that_dies_stops_the_recovery_it_serves() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let choice = tip_of_first(&fixture, &tree.url()).await;
    let place = Place::new();
    let (mut server, wal) = serve(&place, open(&tree.url()), &choice).await;
    drop(wal);
    let log = tokio::task::block_in_place(|| {
        server.start_without_waiting();
        server.wait_for_end()
    });
    assert!(log.contains("FATAL"), "{log}");
    assert!(!log.contains("archive recovery complete"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_vanishes_stops_the_standalone_recovery() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let url = tree.url();
    let catalog = open(&url).catalog().await.unwrap();
    let place = Place::new();
    let first = &fixture.facts.backups[0].id;
    place
        .restore(
            &url,
            &catalog,
            wish_from(first, Target::Tip),
            RecoveryAction::Promote,
        )
        .await
        .unwrap();
    let choice = tip_of_first(&fixture, &url).await;
    let name = middle_segment(&tree, &choice);
    tree.delete_wal(&name);
    let mut server = place.server(&[]);
    let log = tokio::task::block_in_place(|| {
        server.start_without_waiting();
        server.wait_for_end()
    });
    assert!(log.contains("FATAL"), "{log}");
    assert!(
        log.contains(&name) && log.contains("recovery must stop"),
        "{log}"
    );
    assert!(!log.contains("archive recovery complete"), "{log}");

    // Asked beforehand, the tip lies before the hole, and the hole is named.
    let catalog = open(&url).catalog().await.unwrap();
    let before = choose(
        &open(&url),
        &catalog,
        &wish_from(first, Target::Tip),
        &Watch::default(),
    )
    .await
    .unwrap();
    assert!(before.resolved.end < choice.resolved.end);
    let gap = before
        .resolved
        .findings
        .iter()
        .find(|finding| finding.code == Code::WalGap)
        .unwrap();
    assert!(
        gap.object.contains(&name) || gap.message.contains(&name),
        "{gap:?}"
    );
    // A target behind the hole is refused with the hole's name.
    let words = choose(
        &open(&url),
        &catalog,
        &wish_from(first, Target::Time(fixture.facts.moment("late").time)),
        &Watch::default(),
    )
    .await
    .unwrap_err()
    .to_string();
    assert!(
        words.contains(&name) && words.contains("missing"),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_archive_is_named_and_nothing_is_left() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let backup = fixture.facts.backups[1].id.clone();
    for what in ["cut", "gone", "cut between members", "another's label"] {
        let tree = fixture.tree();
        let url = tree.url();
        let catalog = open(&url).catalog().await.unwrap();
        let data = tree
            .archives(&backup)
            .into_iter()
            .find(|key| key.contains("/data.tar"))
            .unwrap();
        match what {
            "cut" => tree.halve(&data),
            "gone" => tree.delete(&data),
            "cut between members" => tree.change_inside(&data, |bytes| {
                // Without its last 10 KiB the archive has no end marker.
                while bytes.last() == Some(&0) {
                    bytes.pop();
                }
                let whole = bytes.len().next_multiple_of(512);
                bytes.resize(whole, 0);
            }),
            _ => {
                let other = fixture.facts.backups[0].id.clone();
                let bytes = tree.read(&data.replace(&backup, &other));
                tree.write(&data, &bytes);
            }
        }
        let place = Place::new();
        let before = listing(place.keep.path());
        let error = place
            .restore(
                &url,
                &catalog,
                wish_from(&backup, Target::Tip),
                RecoveryAction::Pause,
            )
            .await
            .unwrap_err();
        let found = error.findings();
        let code = found
            .first()
            .unwrap_or_else(|| panic!("{what}: {error}"))
            .code;
        if what == "another's label" {
            assert_eq!(code, Code::BackupInfoContradictory, "{what}: {error}");
        } else {
            assert_eq!(code, Code::BackupDamaged, "{what}: {error}");
            assert!(error.to_string().contains("data.tar"), "{what}: {error}");
        }
        assert!(!error.is_unreachable() && !error.is_refusal(), "{what}");
        assert_eq!(listing(place.keep.path()), before, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_stopped_leaves_nothing() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let repository = open(&tree.url());
    let catalog = repository.catalog().await.unwrap();
    let place = Place::new();
    let before = listing(place.keep.path());
    let watch = Watch::default();
    watch.cancel.cancel();
    let error = extract(
        &repository,
        &catalog.backups[1],
        &place.data(),
        &TablespaceMap::default(),
        &ExtractOptions::default(),
        &watch,
    )
    .await
    .unwrap_err();
    assert!(matches!(error, RestoreError::Cancelled), "{error}");
    assert_eq!(listing(place.keep.path()), before);
    let options = place.options(&tree.url(), wish(Target::Tip), RecoveryAction::Pause);
    let error = walproof::restore::run(&repository, &catalog, &options, &watch)
        .await
        .unwrap_err();
    assert!(matches!(&error, RunError::Resolve(_)) && error.is_cancelled());
    assert_eq!(listing(place.keep.path()), before);
}
