//! `walproof backup take`: what it writes, Barman's own tools list and restore.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use walproof::backup::{ServerAddress, TakeError, TakeOptions, TakeProgress, push, take};
use walproof::codec::Codec;
use walproof::repository::{ArchiveContents, BackupStatus, open};
use walproof::storage::{StorageOptions, Store};

use crate::barman::assert_same;
use crate::common::barman::BarmanCloud;
use crate::common::postgres::TestServer;
use crate::common::require;
use crate::common::s3::S3Server;
use crate::common::{scratch, workload};
use crate::s3::store;

fn address(server: &TestServer) -> ServerAddress {
    ServerAddress {
        host: Some(server.socket_directory().to_str().unwrap().to_owned()),
        port: Some(TestServer::PORT),
        user: Some("postgres".to_owned()),
        database: None,
    }
}

/// A server whose segments wait in a directory until a test pushes them.
fn server_with_spool() -> (TestServer, PathBuf) {
    let server = TestServer::options().segment_size_mb(1).create();
    let spool = server.home().join("spool");
    scratch::server_directory(&spool);
    server.set(
        "archive_command",
        &format!("cp %p {0}/.%f && mv {0}/.%f {0}/%f", spool.display()),
    );
    (server, spool)
}

/// Pushes what has arrived in the spool; gives the names of segments and histories.
async fn push_spool(store: &Store, spool: &Path, codec: Codec) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(spool).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Ok(wal) = name.parse() else { continue };
        push(store, &path, wal, codec).await.unwrap();
        if !name.contains('.') {
            names.push(name);
        }
    }
    names
}

fn quiet(_: TakeProgress) {}

#[tokio::test(flavor = "multi_thread")]
async fn barman_lists_and_restores_what_walproof_took() {
    require!(Postgres, S3, Barman);
    let s3 = S3Server::start();
    let (server, spool) = server_with_spool();
    server.create_tablespace("far");
    workload::create(&server, Some("far"));
    server.pgbench_init();
    workload::write(&server, "before", 500, 5);
    let barman = BarmanCloud::new(&s3, "", "taken");
    let store = store(&s3, "taken");

    let mut files = Vec::new();
    for codec in [
        Codec::Gzip,
        Codec::None,
        Codec::Bzip2,
        Codec::Snappy,
        Codec::Lz4,
    ] {
        let load = server.pgbench_start(2, 50, 3);
        let options = TakeOptions {
            codec,
            name: Some(format!("it's {codec}")),
            // Several parts, and never a file in two.
            max_archive_size: 1_000_000,
            ..TakeOptions::new(store.clone(), address(&server))
        };
        let heard = Mutex::new(Vec::new());
        let report = take(
            options,
            &|progress| heard.lock().unwrap().push(progress),
            std::future::pending(),
        )
        .await
        .unwrap();
        load.wait();
        assert_eq!(report.notes, Vec::<String>::new());
        assert!(report.files > 900, "{report:?}");
        files.push(report.files);
        assert!(matches!(heard.lock().unwrap()[0], TakeProgress::Checkpoint));
        assert!(heard.lock().unwrap().len() > 1);
        workload::write(&server, "after", 100, 1);
    }
    let expected = workload::moment(&server, "end");
    let far = server.number("select count(*) from ledger_far");
    server.archive_all();
    server.wait_archived();
    let wal = push_spool(&store, &spool, Codec::Zstd).await;

    let catalog = open(store).catalog().await.unwrap();
    assert_eq!(catalog.findings, []);
    assert_eq!(catalog.unknown.count, 0, "{:?}", catalog.unknown);
    let listed = barman.list();
    assert_eq!(listed.len(), 5);
    for (backup, listed) in catalog.backups.iter().zip(&listed) {
        assert_same(backup, listed);
        assert_eq!(backup.status, BackupStatus::Done);
        let count = |contents| {
            backup
                .archives
                .iter()
                .filter(|archive| archive.contents == contents)
                .count()
        };
        assert!(count(ArchiveContents::Data) > 2, "{:?}", backup.archives);
        assert_eq!(backup.tablespaces.len(), 1);
        assert!(count(ArchiveContents::Tablespace(backup.tablespaces[0].oid)) >= 1);
        for at in backup.begin_lsn.into_iter().chain(backup.end_lsn) {
            let number = catalog.wal.segment_size.segment_of(at);
            let timeline = backup.timeline.unwrap();
            assert!(catalog.wal.timelines[&timeline].run_of(number).is_some());
        }
    }
    // The oldest replays the most.
    let oldest = &catalog.backups[0];
    let timeline = oldest.timeline.unwrap();
    let first = catalog
        .wal
        .segment_size
        .segment_of(oldest.begin_lsn.unwrap());
    let first = catalog.wal.name(timeline, first).to_string();
    let needed: Vec<String> = wal.into_iter().filter(|name| *name >= first).collect();
    let restored = barman.restore_to_server(&oldest.id, &needed, &["far"]);
    for (sql, wanted) in [
        ("select count(*) from ledger", expected.rows),
        ("select sum(id) from ledger", expected.sum),
        ("select count(*) from ledger_far", far),
        ("select count(*) from pg_replication_slots", 0),
    ] {
        assert_eq!(restored.number(sql), wanted, "{sql}");
    }
    let balance = "select sum(abalance) from pgbench_accounts";
    assert_eq!(restored.psql(balance), server.psql(balance));
    restored.psql("create extension amcheck");
    restored.psql(
        "select bt_index_check(c.oid, true) from pg_class c join pg_am a on a.oid = c.relam \
         where a.amname = 'btree' and c.relpersistence = 'p' and c.relkind = 'i'",
    );

    // The other codecs: Barman extracts every file that was copied.
    for (backup, files) in catalog.backups.iter().zip(files).skip(1) {
        let directory = scratch::directory();
        let (data, place) = (directory.path().join("data"), directory.path().join("far"));
        barman
            .restore(&backup.id, &data, &[("far", &place)])
            .unwrap();
        assert_eq!(
            count_files(&data) + count_files(&place),
            files,
            "{}",
            backup.id
        );
        let label = std::fs::read_to_string(data.join("backup_label")).unwrap();
        assert_eq!(Some(label), backup.backup_label);
        assert!(data.join("global/pg_control").is_file());
    }
}

/// Files below a directory, without those that no backup counts: the control file and the
/// backup label, which are made apart.
fn count_files(directory: &Path) -> u64 {
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            count += count_files(&entry.path());
        } else if kind.is_file()
            && entry.file_name() != "pg_control"
            && entry.file_name() != "backup_label"
        {
            count += 1;
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_backup_is_failed_and_leaves_nothing_running() {
    require!(Postgres, S3, Barman);
    let s3 = S3Server::start();
    let (server, _spool) = server_with_spool();
    let store = store(&s3, "stopped");
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let stop = Mutex::new(Some(stop));
    let options = TakeOptions {
        codec: Codec::Bzip2,
        ..TakeOptions::new(store.clone(), address(&server))
    };
    let error = take(
        options,
        &|progress| {
            if let TakeProgress::Copying { .. } = progress
                && let Some(stop) = stop.lock().unwrap().take()
            {
                stop.send(()).unwrap();
            }
        },
        async { stopped.await.unwrap() },
    )
    .await
    .unwrap_err();
    assert!(matches!(error, TakeError::Interrupted { .. }), "{error}");
    // Otherwise the server says that it had to abort the backup by itself.
    assert!(
        !server.log().contains("aborting backup"),
        "{}",
        server.log()
    );
    assert_eq!(
        server.number(
            "select count(*) from pg_stat_activity where application_name = 'walproof backup'"
        ),
        0
    );

    let catalog = open(store).catalog().await.unwrap();
    assert_eq!(catalog.backups.len(), 1);
    assert_eq!(catalog.backups[0].status, BackupStatus::Failed);
    assert_eq!(
        catalog.backups[0].archives,
        [],
        "nothing half-uploaded is visible"
    );
    let listed = BarmanCloud::new(&s3, "", "stopped").list();
    assert_same(&catalog.backups[0], &listed[0]);
    assert!(listed[0]["error"].as_str().unwrap().contains("interrupted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_the_archive_succeeds_or_says_why() {
    require!(Postgres);
    let (server, spool) = server_with_spool();
    let directory = tempfile::tempdir().unwrap();
    let location = format!("file://{}", directory.path().display());
    let store = Store::open(&location.parse().unwrap(), &StorageOptions::default()).unwrap();
    let options = TakeOptions {
        wait_for_archive: Some(Duration::from_secs(2)),
        ..TakeOptions::new(store.clone(), address(&server))
    };

    // Nobody pushes.
    let error = take(options.clone(), &quiet, std::future::pending())
        .await
        .unwrap_err();
    let TakeError::NotArchived { id, segment, .. } = &error else {
        panic!("{error}");
    };
    assert!(
        error.to_string().contains("the server last archived"),
        "{error}"
    );
    let catalog = open(store.clone()).catalog().await.unwrap();
    assert_eq!(catalog.backup(id).unwrap().status, BackupStatus::Done);
    assert_eq!(segment.len(), 24);

    // Somebody does.
    let pushing = async {
        loop {
            push_spool(&store, &spool, Codec::Gzip).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let patient = TakeOptions {
        wait_for_archive: Some(Duration::from_mins(1)),
        ..options
    };
    let report = tokio::select! {
        report = take(patient, &quiet, std::future::pending()) => report.unwrap(),
        () = pushing => unreachable!(),
    };
    assert_eq!(report.archived, Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_backed_up_and_members_come_in_order() {
    require!(Postgres);
    let outside = scratch::directory();
    let ident = outside.path().join("far_ident.conf");
    std::fs::write(&ident, "# nobody\n").unwrap();
    let primary = TestServer::options()
        .segment_size_mb(1)
        .setting("ident_file", ident.to_str().unwrap())
        .create();
    let standby = primary.create_standby();
    primary.psql("create table t (n int); checkpoint");
    primary.wait_for_standby(&standby);
    let directory = tempfile::tempdir().unwrap();
    let location = format!("file://{}", directory.path().display());
    let store = Store::open(&location.parse().unwrap(), &StorageOptions::default()).unwrap();
    let options = TakeOptions {
        codec: Codec::None,
        ..TakeOptions::new(store.clone(), address(&standby))
    };
    let report = take(options, &quiet, std::future::pending()).await.unwrap();
    assert!(
        report.notes[0].starts_with("taken from a standby"),
        "{:?}",
        report.notes
    );

    let catalog = open(store).catalog().await.unwrap();
    assert_eq!(catalog.findings, []);
    let backup = &catalog.backups[0];
    assert!(
        backup
            .backup_label
            .as_ref()
            .unwrap()
            .contains("BACKUP FROM: standby")
    );
    assert_eq!(backup.system_id.unwrap().0, primary.system_id());
    assert_eq!(backup.archives.len(), 1);
    let archive = std::fs::File::open(directory.path().join(&backup.archives[0].key)).unwrap();
    let members: Vec<String> = tar::Archive::new(archive)
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(members[0], ".");
    assert_eq!(
        members[members.len() - 3..],
        ["global/pg_control", "far_ident.conf", "backup_label"]
    );
    for absent in [
        "standby.signal",
        "postmaster.pid",
        "backup_manifest",
        "tablespace_map",
    ] {
        assert!(!members.iter().any(|member| member == absent), "{absent}");
    }
    assert!(!members.iter().any(|member| member.starts_with("pg_wal/")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_said() {
    require!(Postgres);
    let directory = tempfile::tempdir().unwrap();
    let location = format!("file://{}", directory.path().display());
    let store = Store::open(&location.parse().unwrap(), &StorageOptions::default()).unwrap();
    let server = TestServer::options()
        .setting("archive_mode", "off")
        .create();
    let options = TakeOptions::new(store.clone(), address(&server));

    let error = take(options.clone(), &quiet, std::future::pending())
        .await
        .unwrap_err();
    assert!(matches!(error, TakeError::NotArchiving), "{error}");
    let elsewhere = TakeOptions {
        address: ServerAddress {
            port: Some(1),
            ..address(&server)
        },
        ..options.clone()
    };
    let error = take(elsewhere, &quiet, std::future::pending())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("check that the server runs"),
        "{error}"
    );
    let unreadable = TakeOptions {
        codec: Codec::Zstd,
        ..options
    };
    let error = take(unreadable, &quiet, std::future::pending())
        .await
        .unwrap_err();
    assert!(matches!(error, TakeError::Codec(Codec::Zstd)), "{error}");
    assert!(open(store).catalog().await.unwrap().is_empty());
}
