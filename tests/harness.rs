//! Proof that what the tests stand on works: a real server archives with Barman Cloud to a
//! real S3 server, is backed up, lost, and restored by Barman's own tools, row for row.

mod common;

use common::barman::{BarmanCloud, BaseCodec, WalCodec};
use common::damage::Tree;
use common::postgres::TestServer;
use common::repository::{Fixture, RepositoryOptions, TimelineSwitch};
use common::require;
use common::s3::{READER, S3Server};
use common::{codec, process, waldump, workload};

#[test]
fn barman_archives_backs_up_and_restores_row_for_row() {
    require!(Postgres, S3, Barman);
    let s3 = S3Server::start();
    let barman = BarmanCloud::new(&s3, "", "plain");
    let server = TestServer::options().segment_size_mb(1).create();
    let archiver = barman.archive(&server, WalCodec::Zstd);
    workload::create(&server, None);
    workload::write(&server, "before", 100, 2);
    let backup = barman.backup(&server, BaseCodec::Lz4, &[]);
    workload::write(&server, "after", 500, 5);
    let expected = workload::moment(&server, "end");
    server.archive_all();

    let list = barman.list();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0]["status"], "DONE");
    assert_eq!(list[0]["backup_id"], backup.as_str());
    assert_eq!(list[0]["systemid"], server.system_id().to_string());

    let wal: Vec<String> = std::fs::read_dir(&archiver.plain_wal)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.len() == 24)
        .collect();
    let restored = barman.restore_to_server(&backup, &wal, &[]);
    assert_eq!(
        restored.number("select count(*) from ledger"),
        expected.rows
    );
    assert_eq!(
        restored.number("select count(*) from heartbeat"),
        expected.beats
    );
    assert_eq!(restored.number("select count(*) from scratchpad"), 0);

    // What the relay stored and what the tool's own command line stores is the same object.
    let name = wal.iter().max().unwrap();
    let key = format!("plain/wals/{}/{name}.zst", &name[..16]);
    let relayed = std::fs::read(s3.object(&key)).unwrap();
    barman
        .wal_archive(WalCodec::Zstd, &archiver.plain_wal.join(name))
        .unwrap();
    assert_eq!(std::fs::read(s3.object(&key)).unwrap(), relayed);
    assert_eq!(
        codec::decode(".zst", &relayed),
        std::fs::read(archiver.plain_wal.join(name)).unwrap()
    );
}

#[test]
fn a_repository_with_a_promotion_restores_to_its_tip_with_barman() {
    require!(Postgres, S3, Barman);
    let options = RepositoryOptions {
        switch: TimelineSwitch::AbandonedBranch,
        ..RepositoryOptions::default()
    };
    let fixture = Fixture::get(&options);
    let facts = &fixture.facts;
    assert_eq!(facts.backups.len(), 2);
    assert!(facts.abandoned_rows > 0);
    let tree = fixture.tree();
    assert_eq!(
        tree.backups(),
        facts
            .backups
            .iter()
            .map(|b| b.id.clone())
            .collect::<Vec<_>>()
    );
    assert!(
        tree.keys().contains(&"wals/00000002.history.gz".to_owned()),
        "{:?}",
        tree.keys()
    );
    assert!(tree.segments_of(1).len() > 5 && !tree.segments_of(2).is_empty());
    for name in tree.segments() {
        let key = tree.wal_key(&name);
        let stored = codec::decode(".gz", &tree.read(&key));
        assert_eq!(
            stored,
            std::fs::read(fixture.plain_wal().join(&name)).unwrap(),
            "{name}"
        );
    }

    let (s3, _) = fixture.s3();
    let barman = BarmanCloud::new(&s3, common::repository::PREFIX, common::repository::SERVER);
    let mut wal = tree.segments();
    wal.push("00000002.history".to_owned());
    let restored = barman.restore_to_server(&facts.backups[0].id, &wal, &["far"]);
    let tip = facts.tip();
    assert_eq!(restored.number("select count(*) from ledger"), tip.rows);
    assert_eq!(restored.number("select sum(id) from ledger"), tip.sum);
    assert_eq!(
        restored.number("select count(*) from ledger where label = 'abandoned'"),
        0
    );
    assert_eq!(
        restored.number("select count(*) from ledger_far"),
        facts.far_rows
    );
    assert_eq!(
        restored.number("select sum(abalance) from pgbench_accounts"),
        facts.balance
    );
    assert_eq!(restored.system_id(), facts.system_id);
}

#[test]
fn the_last_commit_that_waldump_reads_is_the_tip() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let facts = &fixture.facts;
    let start = waldump::lsn(&facts.backups[0].begin_xlog);
    let records = waldump::records(&fixture.plain_wal(), 1, start);
    let last = waldump::last_commit(&records).unwrap();
    assert_eq!(last.commit_time(), Some(facts.tip().time));
    assert_eq!(last.xid, facts.tip().xid);
    assert!(last.start < waldump::lsn(&facts.tip().lsn));
}

#[test]
fn damage_changes_what_it_says() {
    let tree = Tree::empty("orders");
    tree.write(
        "wals/0000000100000000/000000010000000000000002.gz",
        &codec::encode(".gz", b"two"),
    );
    tree.write(
        "wals/0000000100000000/000000010000000000000003.gz",
        &codec::encode(".gz", b"three"),
    );
    assert_eq!(tree.segments().len(), 2);
    let key = tree.wal_key("000000010000000000000002");
    let other = tree.wal_key("000000010000000000000003");
    tree.swap(&key, &other);
    assert_eq!(codec::decode(".gz", &tree.read(&key)), b"three");
    tree.change_inside(&key, |bytes| bytes[0] = b'T');
    assert_eq!(codec::decode(".gz", &tree.read(&key)), b"Three");
    tree.duplicate(&key, "", |bytes| bytes.truncate(2));
    assert_eq!(tree.wal_keys("000000010000000000000002").len(), 2);
    tree.delete_wal("000000010000000000000003");
    assert_eq!(tree.segments(), ["000000010000000000000002"]);
    for extension in ["", ".gz", ".bz2", ".xz", ".zst", ".lz4", ".snappy"] {
        let bytes = vec![7_u8; 100_000];
        assert_eq!(
            codec::decode(extension, &codec::encode(extension, &bytes)),
            bytes
        );
    }
}

#[test]
fn a_server_archives_straight_into_a_tree() {
    require!(Postgres);
    for gzip in [true, false] {
        let tree = Tree::empty("orders");
        let server = TestServer::options().segment_size_mb(1).create();
        tree.archive(&server, gzip);
        workload::create(&server, None);
        workload::write(&server, "some", 2000, 2);
        let last = server.archive_all();
        let key = tree.wal_key(&last);
        assert_eq!(codec::extension(key.as_ref()) == ".gz", gzip);
        assert_eq!(tree.segments().last(), Some(&last));
        assert_eq!(
            codec::decode(codec::extension(key.as_ref()), &tree.read(&key)).len(),
            1 << 20
        );
    }
}

#[test]
fn the_reader_can_read_and_cannot_write() {
    require!(S3, Barman);
    let s3 = S3Server::start();
    let file = s3.object("pg/orders/wals/probe");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, "hello").unwrap();
    let script = "
import boto3, sys
from botocore.exceptions import ClientError
s3 = boto3.client('s3')
assert s3.get_object(Bucket='backups', Key='pg/orders/wals/probe')['Body'].read() == b'hello'
assert s3.list_objects_v2(Bucket='backups')['KeyCount'] == 1
try:
    s3.put_object(Bucket='backups', Key='x', Body=b'')
    sys.exit('the reader could write')
except ClientError as error:
    assert error.response['Error']['Code'] == 'AccessDenied', error
";
    let python = common::require::barman_bin().join("python");
    process::run(
        std::process::Command::new(python)
            .args(["-c", script])
            .envs(s3.environment_for(READER)),
    );
    assert!(!s3.object("x").exists());
}
