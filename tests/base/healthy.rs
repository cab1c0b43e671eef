//! What is healthy stays without a finding.

use std::process::Command;

use walproof::verify::base::PageCounts;

use super::*;
use crate::common::barman::BaseCodec;
use crate::common::postgres::TestServer;
use crate::common::repository::{Fixture, RepositoryOptions, TimelineSwitch};
use crate::common::source::Source;
use crate::common::{require, scratch};

/// Files and blocks that `pg_checksums` scans in a backup that is extracted as it is. It
/// wants a cluster that was shut down, so the control file is made to say so.
fn pg_checksums(tree: &Tree, backup: &str) -> (u64, u64) {
    let place = scratch::directory();
    let data = place.path().join("data");
    for key in tree.archives(backup) {
        let bytes = tree.read(&key);
        let extension = common::codec::extension(std::path::Path::new(&key));
        let bytes = common::codec::decode(extension, &bytes);
        let name = key.rsplit('/').next().unwrap();
        // An oid: linked as in a server.
        let into = match name.split(['.', '_']).next().unwrap() {
            "data" => data.clone(),
            oid => {
                let into = place.path().join(oid);
                let links = data.join("pg_tblspc");
                std::fs::create_dir_all(&links).unwrap();
                std::fs::create_dir_all(&into).unwrap();
                let link = links.join(oid);
                if !link.is_symlink() {
                    std::os::unix::fs::symlink(&into, link).unwrap();
                }
                into
            }
        };
        tar::Archive::new(&bytes[..]).unpack(&into).unwrap();
    }
    let control = data.join("global/pg_control");
    let mut bytes = std::fs::read(&control).unwrap();
    bytes[16] = 1;
    let crc = crc32c::crc32c(&bytes[..288]);
    bytes[288..292].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&control, bytes).unwrap();
    let output = Command::new(TestServer::bin("pg_checksums"))
        .arg("--check")
        .arg(&data)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |label: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(label)?.trim().parse().ok())
            .unwrap_or_else(|| panic!("{label} in {text} {output:?}"))
    };
    (number("Files scanned:"), number("Blocks scanned:"))
}

#[test]
fn every_codec_gives_no_finding_and_the_pages_of_pg_checksums() {
    require!(Postgres, S3, Barman);
    for base in [
        BaseCodec::None,
        BaseCodec::Gzip,
        BaseCodec::Bzip2,
        BaseCodec::Lz4,
        BaseCodec::Snappy,
    ] {
        let fixture = Fixture::get(&RepositoryOptions {
            base,
            ..RepositoryOptions::default()
        });
        let tree = fixture.tree();
        for (index, backup) in fixture.facts.backups.iter().enumerate() {
            let read = read(&tree, index);
            assert_eq!(read.findings(), [] as [&Finding; 0], "{base:?} {index}");
            let (files, blocks) = pg_checksums(&tree, &backup.id);
            assert_eq!(read.pages.read, blocks, "{base:?} {index}");
            assert_eq!(read.report.relation_files, files, "{base:?} {index}");
            assert!(read.report.checksums);
            let PageCounts {
                read: all,
                new,
                sound,
                without_checksum,
                suspect,
                healed,
                reset,
                corrupt,
                stale,
                beyond_end,
            } = read.pages;
            assert_eq!(all, new + sound + healed + reset, "{:?}", read.pages);
            assert_eq!(
                [without_checksum, suspect, corrupt, stale, beyond_end],
                [0; 5]
            );
            assert!(sound > 1_000, "{sound}");
            if index == 1 {
                assert!(read.report.blocks_compared > 100, "{:?}", read.report);
            }
            for archive in &read.report.archives {
                let stored = tree.read(&archive.key);
                assert_eq!(archive.stored_bytes, stored.len() as u64);
                let digest = walproof::codec::Sha256::of(&stored);
                assert_eq!(archive.sha256, Some(digest), "{}", archive.key);
            }
        }
    }
}

#[test]
fn several_parts_and_another_timeline_are_one_backup() {
    require!(Postgres, S3, Barman);
    for (max_archive_size, switch) in [
        (Some("2MB".to_owned()), TimelineSwitch::None),
        (None, TimelineSwitch::Promotion),
    ] {
        let fixture = Fixture::get(&RepositoryOptions {
            max_archive_size: max_archive_size.clone(),
            switch,
            ..RepositoryOptions::default()
        });
        let tree = fixture.tree();
        let read = read(&tree, 1);
        assert_eq!(read.findings(), [] as [&Finding; 0]);
        let (files, blocks) = pg_checksums(&tree, &fixture.facts.backups[1].id);
        assert_eq!(
            (read.report.relation_files, read.pages.read),
            (files, blocks)
        );
        if max_archive_size.is_some() {
            assert!(read.report.archives.len() > 2, "{:?}", read.report.archives);
        }
    }
}

/// Everything at once that changes files while they are copied.
const CHURN: &str = "
    create table short_lived (n int, filler text);
    insert into short_lived select n, repeat('y', 500) from generate_series(1, 300) n;
    create unlogged table if not exists unlogged_rows (n int primary key, filler text);
    insert into unlogged_rows select n, repeat('z', 500) from generate_series(1, 200) n on conflict do nothing;
    update unlogged_rows set filler = md5(random()::text) || repeat('z', 400);
    create temporary table passing as select repeat('t', 1000) from generate_series(1, 200);
    create table if not exists cut_off (n int, filler text);
    insert into cut_off select n, repeat('c', 500) from generate_series(1, 400) n;
    delete from cut_off where n > 20;
    vacuum cut_off;
    truncate short_lived;
    insert into short_lived values (1, 'again');
    vacuum full pg_class;
    alter table cut_off set tablespace far;
    alter table cut_off set tablespace pg_default;
    drop table short_lived;
    checkpoint;
";

#[test]
fn a_copy_of_a_busy_server_is_healthy() {
    require!(Postgres, S3, Barman);
    let s3 = crate::common::s3::S3Server::start();
    let barman = crate::common::barman::BarmanCloud::new(&s3, "", "orders");
    let server = TestServer::options()
        // The archiver must keep up.
        .segment_size_mb(16)
        .setting("archive_command", "true")
        .create();
    server.create_tablespace("far");
    crate::common::workload::create(&server, Some("far"));
    server.pgbench_init();
    let archiver = barman.archive(&server, crate::common::barman::WalCodec::Lz4);
    // A first backup, so that the WAL before the others is known.
    barman.backup(&server, BaseCodec::None, &["--jobs", "1"]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            let mut round = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                server.script(CHURN);
                std::thread::sleep(std::time::Duration::from_millis(300));
                if round % 4 == 0 {
                    server.psql("create database passing");
                    server.psql("drop database passing");
                }
            }
            round
        });
        for _ in 0..2 {
            let load = server.pgbench_start(2, 300, 3);
            barman.backup(&server, BaseCodec::None, &["--jobs", "1"]);
            load.wait();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(churn.join().unwrap() > 2);
    });
    server.archive_all();
    drop(archiver);
    let tree = Tree::copy_of(&s3.object("orders"), "orders");
    for index in 1..3 {
        let read = read(&tree, index);
        println!("{:?}", read.report);
        assert_eq!(read.findings(), [] as [&Finding; 0], "{:?}", read.pages);
        assert!(read.report.blocks_compared > 20);
    }
}

#[test]
fn a_copy_of_a_standby_and_of_a_cluster_without_checksums_is_healthy() {
    require!(Postgres, S3, Barman);
    let s3 = crate::common::s3::S3Server::start();
    let barman = crate::common::barman::BarmanCloud::new(&s3, "", "orders");
    let server = TestServer::options()
        .segment_size_mb(1)
        .data_checksums(false)
        .setting("archive_command", "true")
        .create();
    crate::common::workload::create(&server, None);
    server.pgbench_init();
    let archiver = barman.archive(&server, crate::common::barman::WalCodec::Lz4);
    barman.backup(&server, BaseCodec::Lz4, &["--jobs", "1"]);
    let standby = server.create_standby();
    crate::common::workload::write(&server, "more", 2_000, 4);
    server.wait_for_standby(&standby);
    server.psql("checkpoint");
    standby.psql("checkpoint");
    let load = server.pgbench_start(2, 200, 4);
    barman.backup(&standby, BaseCodec::Lz4, &["--jobs", "1"]);
    load.wait();
    server.archive_all();
    drop(archiver);
    let tree = Tree::copy_of(&s3.object("orders"), "orders");
    let read = read(&tree, 1);
    assert_eq!(read.findings(), [] as [&Finding; 0], "{:?}", read.pages);
    assert!(!read.report.checksums);
    assert_eq!(read.pages.sound, 0);
    assert!(read.pages.without_checksum > 1_000);
    let said = read.report.not_compared.join("; ");
    assert!(said.contains("no page checksums"), "{said}");
}

#[test]
fn a_gist_index_built_by_sorting_is_as_its_build_wrote_it() {
    require!(Postgres, S3, Barman);
    let source = Source::new(&[]);
    source
        .server
        .script("create table places (at point); insert into places select point(g, g) from generate_series(1, 5000) g;");
    source.back_up();
    source
        .server
        .script("create index by_place on places using gist (at); checkpoint;");
    let path = source
        .server
        .psql("select pg_relation_filepath('by_place')");
    source.back_up();
    // The build writes pages before it logs them; no later release than 16 does.
    let file = std::fs::read(source.server.data().join(path.trim())).unwrap();
    let page: &[u8; 8192] = file.first_chunk().unwrap();
    let version = source
        .server
        .number("select current_setting('server_version_num')::int");
    if version < 170_000 {
        assert_eq!(
            walproof::postgres::page::page_lsn(page),
            walproof::postgres::Lsn::new(1)
        );
    }
    let read = read(&source.tree(), 1);
    assert_eq!(read.findings(), [] as [&Finding; 0]);
    assert_eq!(read.pages.stale, 0);
}
