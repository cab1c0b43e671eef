//! Repositories that the real Barman Cloud tools made; their own listing is the oracle.

use std::path::PathBuf;
use std::process::Command;

use chrono::{DateTime, Utc};
use walproof::codec::Codec;
use walproof::postgres::WalFileName;
use walproof::repository::{ArchiveContents, BackupStatus, BaseBackup, Keep, discover, open};

use crate::common::barman::{BarmanCloud, BaseCodec, WalCodec};
use crate::common::postgres::TestServer;
use crate::common::s3::S3Server;
use crate::common::workload;
use crate::common::{process, require};
use crate::s3::store;

fn base_codec(codec: BaseCodec) -> Codec {
    match codec {
        BaseCodec::None => Codec::None,
        BaseCodec::Gzip => Codec::Gzip,
        BaseCodec::Bzip2 => Codec::Bzip2,
        BaseCodec::Snappy => Codec::Snappy,
        BaseCodec::Lz4 => Codec::Lz4,
    }
}

fn wal_codec(codec: WalCodec) -> Codec {
    match codec {
        WalCodec::None => Codec::None,
        WalCodec::Gzip => Codec::Gzip,
        WalCodec::Bzip2 => Codec::Bzip2,
        WalCodec::Xz => Codec::Xz,
        WalCodec::Snappy => Codec::Snappy,
        WalCodec::Zstd => Codec::Zstd,
        WalCodec::Lz4 => Codec::Lz4,
    }
}

/// Compares a backup with what `barman-cloud-backup-list --format json` says of it.
pub(crate) fn assert_same(backup: &BaseBackup, listed: &serde_json::Value) {
    let text = |key: &str| listed[key].as_str().map(str::to_owned);
    let time = |key: &str| -> Option<DateTime<Utc>> {
        let time = DateTime::parse_from_rfc3339(listed[key].as_str()?).unwrap();
        Some(time.to_utc())
    };
    assert_eq!(Some(backup.id.clone()), text("backup_id"));
    let status = match backup.status {
        BackupStatus::Done => "DONE",
        BackupStatus::Failed => "FAILED",
        BackupStatus::Started => "STARTED",
        _ => "?",
    };
    assert_eq!(Some(status.to_owned()), text("status"));
    assert_eq!(
        backup.begin_lsn.map(|lsn| lsn.to_string()),
        text("begin_xlog")
    );
    assert_eq!(backup.end_lsn.map(|lsn| lsn.to_string()), text("end_xlog"));
    assert_eq!(backup.begin_time, time("begin_time_iso"));
    assert_eq!(backup.end_time, time("end_time_iso"));
    assert_eq!(backup.system_id.map(|id| id.to_string()), text("systemid"));
    assert_eq!(
        serde_json::json!(backup.backup_label),
        evaluated(&listed["backup_label"])
    );
    assert_eq!(backup.error, text("error"));
    assert_eq!(backup.name, text("backup_name"));
    assert_eq!(
        backup.timeline.map(|timeline| u64::from(timeline.0)),
        listed["timeline"].as_u64()
    );
    assert_eq!(
        backup.server_version.map(u64::from),
        listed["version"].as_u64()
    );
    assert_eq!(backup.cluster_size, listed["cluster_size"].as_u64());
    assert_eq!(
        Some(backup.segment_size.bytes()),
        listed["xlog_segment_size"].as_u64()
    );
    let tablespaces: Vec<serde_json::Value> = backup
        .tablespaces
        .iter()
        .map(|tablespace| serde_json::json!([tablespace.name, tablespace.oid, tablespace.location]))
        .collect();
    let listed = evaluated(&listed["tablespaces"]);
    if tablespaces.is_empty() {
        assert_eq!(listed, serde_json::Value::Null);
    } else {
        assert_eq!(serde_json::Value::from(tablespaces), listed);
    }
}

/// A Python literal, by Python's own reader. Barman's listing shows some values as it
/// writes them.
fn evaluated(value: &serde_json::Value) -> serde_json::Value {
    let Some(literal) = value.as_str() else {
        return value.clone();
    };
    let text = process::run(
        Command::new("python3")
            .args(["-I", "-c"])
            .arg("import ast, json, sys; print(json.dumps(ast.literal_eval(sys.argv[1])))")
            .arg(literal),
    );
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_of_barman_is_read_as_barman_lists_it() {
    require!(Postgres, S3, Barman);
    let s3 = S3Server::start();
    let mut server = TestServer::options().segment_size_mb(1).create();
    let archiver = BarmanCloud::new(&s3, "", "cluster").archive(&server, WalCodec::Gzip);
    server.create_tablespace("far");
    workload::create(&server, Some("far"));
    let barman = BarmanCloud::new(&s3, "", "cluster");
    for codec in BaseCodec::ALL {
        workload::write(&server, codec.extension(), 200, 2);
        barman.backup(&server, codec, &["--name", &format!("with-{codec:?}")]);
    }
    // Incompressible bytes, so that a base has several parts (10 MB is the least allowed).
    server.psql(
        "create table noise as select string_agg(sha256(random()::text::bytea), '') as bytes \
         from generate_series(1, 300000) n group by n % 200; checkpoint",
    );
    let parts = barman.backup(&server, BaseCodec::None, &["--max-archive-size", "10MB"]);
    barman.keep(&parts, "standalone");
    server.archive_all();
    server.stop();

    let repository = open(store(&s3, "cluster"));
    let catalog = repository.catalog().await.unwrap();
    assert_eq!(catalog.findings, []);
    assert_eq!(catalog.notes, Vec::<String>::new());
    assert_eq!(catalog.unknown.count, 0, "{:?}", catalog.unknown);
    assert_eq!(catalog.wal.segment_size.bytes(), 1 << 20);
    let listed = barman.list();
    assert_eq!(catalog.backups.len(), listed.len());
    for (backup, listed) in catalog.backups.iter().zip(&listed) {
        assert_same(backup, listed);
        assert_eq!(
            backup.unknown_fields.len(),
            0,
            "{:?}",
            backup.unknown_fields
        );
    }
    for (backup, codec) in catalog.backups.iter().zip(BaseCodec::ALL) {
        assert_eq!(backup.archives.len(), 2, "{:?}", backup.archives);
        assert!(
            backup
                .archives
                .iter()
                .all(|archive| archive.codec == base_codec(codec))
        );
    }
    let last = catalog.backup(&parts).unwrap();
    assert_eq!(last.keep, Some(Keep::Standalone));
    let data: Vec<u32> = last
        .archives
        .iter()
        .filter(|archive| archive.contents == ArchiveContents::Data)
        .map(|archive| archive.part)
        .collect();
    assert!(data.len() > 2, "{:?}", last.archives);
    assert!(
        data.iter()
            .copied()
            .eq(0..u32::try_from(data.len()).unwrap())
    );

    // WAL with every codec, each in a folder of its own.
    let mut plain: Vec<PathBuf> = std::fs::read_dir(&archiver.plain_wal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().len() == 24)
        .collect();
    plain.sort();
    // The last was switched early: mostly zeros.
    let few = [plain.first().unwrap(), plain.last().unwrap()];
    for codec in WalCodec::ALL {
        let folder = format!("wal-{codec:?}");
        for file in few {
            BarmanCloud::new(&s3, "", &folder)
                .wal_archive(codec, file)
                .unwrap();
        }
        let repository = open(store(&s3, &folder));
        let catalog = repository.catalog().await.unwrap();
        assert_eq!(catalog.backups, []);
        // Read by 16 MiB, 1 MiB segments would be odd in size or name: WAL itself tells.
        assert!(!catalog.wal.segment_size_guessed);
        assert_eq!(catalog.wal.segment_size.bytes(), 1 << 20);
        assert_eq!(catalog.wal.count(), 2, "{:?}", catalog.wal);
        for file in few {
            let name: WalFileName = file.file_name().unwrap().to_str().unwrap().parse().unwrap();
            let objects = repository.wal_objects(&catalog, name);
            assert_eq!(objects.len(), 1, "{codec:?} {name}");
            assert_eq!(objects[0].codec, wal_codec(codec));
            let bytes = repository.read_wal(&objects[0], 1 << 20).await.unwrap();
            assert!(bytes == std::fs::read(file).unwrap(), "{codec:?} {name}");
        }
    }

    let found = discover(&store(&s3, "")).await.unwrap();
    assert_eq!(found.len(), 8);
    assert_eq!(found[0].server, "cluster");
    assert_eq!(found[0].finished_backups, 6);
    assert_eq!(found[0].system_ids[0].0, server.system_id());
}
