//! What we read of data pages, manifests, maps and transaction status equals what
//! PostgreSQL's own programs say of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod oracle;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use oracle::server::{Installation, Server};
use walproof::postgres::manifest::{BackupManifest, FileHasher, ManifestReader};
use walproof::postgres::page::{BLOCK_SIZE, checksum, judge};
use walproof::postgres::transaction_status::{StatusRange, StatusTruncation, truncated_to};
use walproof::postgres::wal::{WalStream, WalStreamOptions, first_record};
use walproof::postgres::{
    ControlFile, ManifestError, PageVerdict, RelationFile, RelationMap, SegmentSize, TablespaceMap,
    TimelineHistory, TimelineId,
};

/// Relations of every kind: with free space and visibility maps, TOAST, sequences, unlogged,
/// of every index method, in a tablespace, in another database.
const RELATIONS: &str = "
    create table rows as select i, repeat(i::text, 50) filler from generate_series(1, 20000) i;
    create table long (t text);
    alter table long alter t set storage external;
    insert into long select repeat(md5(i::text), 300) from generate_series(1, 100) i;
    create unlogged table fleeting as select i from generate_series(1, 5000) i;
    create index on fleeting (i);
    create index on rows using btree (i);
    create index on rows using hash (i);
    create index on rows using brin (i);
    create index on rows using spgist (filler);
    create table points as select point(i, i) p, array[i] a from generate_series(1, 2000) i;
    create index on points using gist (p);
    create index on points using gin (a);
    create sequence numbers;
    select nextval('numbers') \\g /dev/null
    delete from rows where i % 3 = 0;
    vacuum;
    create database other;
    checkpoint;";

fn one_mib() -> SegmentSize {
    SegmentSize::new(1 << 20).unwrap()
}

fn cluster(installation: Installation) -> Server {
    Server::create_with(installation, one_mib(), &["--data-checksums"])
}

fn control_file(server: &Server) -> ControlFile {
    ControlFile::parse(&std::fs::read(server.data().join("global/pg_control")).unwrap()).unwrap()
}

/// The relation files of a data directory with their paths.
fn relation_files(data: &Path) -> BTreeMap<RelationFile, PathBuf> {
    let mut found = BTreeMap::new();
    let mut directories = vec![data.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(data).unwrap().to_str().unwrap();
            if let Some(file) = RelationFile::parse(name) {
                let version = name.split('/').find(|part| part.starts_with("PG_"));
                assert_eq!(file.path(version.unwrap_or("")), name);
                found.insert(file, path);
            }
        }
    }
    found
}

/// What is wrong with a page: file, block within the fork, checksum computed and found.
type BadPage = (String, u32, u16, u16);

#[derive(Default)]
struct Pages {
    files: u64,
    blocks: u64,
    new: u64,
    bad: BTreeSet<BadPage>,
    /// What pg_checksums does not look at.
    beyond: BTreeSet<(String, u32)>,
}

fn our_pages(server: &Server) -> Pages {
    let segment_blocks = control_file(server).relation_segment_blocks;
    let data = server.data();
    let mut pages = Pages::default();
    for (file, path) in relation_files(&data) {
        let bytes = std::fs::read(&path).unwrap();
        let name = path.strip_prefix(&data).unwrap().to_str().unwrap();
        let (blocks, rest) = bytes.as_chunks::<BLOCK_SIZE>();
        assert!(rest.is_empty(), "{name}");
        pages.files += 1;
        let first = file.first_block(segment_blocks).unwrap();
        for (block, page) in (first..).zip(blocks) {
            pages.blocks += 1;
            match judge(page, block, true) {
                PageVerdict::Sound { .. } => {}
                PageVerdict::New => pages.new += 1,
                PageVerdict::BadChecksum {
                    found, computed, ..
                } => {
                    // The tool counts within the file.
                    let bad = (name.to_owned(), block - first, computed, found);
                    pages.bad.insert(bad);
                }
                PageVerdict::BadHeader { .. } | PageVerdict::NotAllZero => {
                    pages.beyond.insert((name.to_owned(), block - first));
                }
            }
        }
    }
    pages
}

/// Files, blocks and failures as `pg_checksums` counts them.
fn their_pages(server: &Server) -> (u64, u64, BTreeSet<BadPage>) {
    let data = server.data();
    let output = server.run("pg_checksums", &["--check", "-D", data.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let number = |label: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(label));
        let line = line.unwrap_or_else(|| panic!("{label} in {text}"));
        line.split(':').nth(1).unwrap().trim().parse().unwrap()
    };
    let mut bad = BTreeSet::new();
    for line in String::from_utf8(output.stderr).unwrap().lines() {
        let Some((_, rest)) = line.split_once("checksum verification failed in file \"") else {
            continue;
        };
        let (path, rest) = rest.split_once("\", block ").unwrap();
        let (block, rest) = rest.split_once(": calculated checksum ").unwrap();
        let (computed, found) = rest.split_once(" but block contains ").unwrap();
        let path = Path::new(path).strip_prefix(&data).unwrap();
        let hex = |text: &str| u16::from_str_radix(text, 16).unwrap();
        let path = path.to_str().unwrap().to_owned();
        bad.insert((path, block.parse().unwrap(), hex(computed), hex(found)));
    }
    assert_eq!(number("Bad checksums"), bad.len() as u64);
    (number("Files scanned"), number("Blocks scanned"), bad)
}

#[test]
fn page_verdicts_equal_pg_checksums() {
    pages_alike(Installation::debian());
}

fn pages_alike(installation: Installation) {
    let server = cluster(installation);
    // Nothing may change between two looks.
    server.sql("alter system set autovacuum = off");
    server.sql("select pg_reload_conf()");
    server.sql(
        "create tablespace beside location '';
         create table elsewhere tablespace beside as select generate_series(1, 1000) i",
    );
    server.sql(RELATIONS);
    let heap = server.sql("select pg_relation_filepath('rows')");
    let toast = server
        .sql("select pg_relation_filepath(reltoastrelid) from pg_class where relname = 'long'");
    let outside = server.sql("select pg_relation_filepath('elsewhere')");
    assert!(outside.starts_with("pg_tblspc/"));
    if !server.installation().has("pg_checksums") {
        checksums_by_sql(&server);
    }
    server.stop("fast");

    let good = our_pages(&server);
    assert!(good.blocks > 3000, "{}", good.blocks);
    assert!(good.bad.is_empty(), "{:?}", good.bad);
    assert!(good.beyond.is_empty(), "{:?}", good.beyond);
    if server.installation().has("pg_checksums") {
        assert_eq!(
            their_pages(&server),
            (good.files, good.blocks, BTreeSet::new())
        );
    }

    // A second file of a relation, as large ones have: its blocks are counted on.
    let data = server.data();
    let mut second = std::fs::read(data.join(&heap)).unwrap()[..2 * BLOCK_SIZE].to_vec();
    for (block, page) in (131_072..).zip(second.as_chunks_mut::<BLOCK_SIZE>().0) {
        let sum = checksum(page, block).to_le_bytes();
        page[8..10].copy_from_slice(&sum);
    }
    std::fs::write(data.join(format!("{heap}.1")), &second).unwrap();

    let damage = |path: &str, change: &dyn Fn(&mut [u8])| {
        let path = data.join(path);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
    };
    let at = |block: usize, byte: usize| block * BLOCK_SIZE + byte;
    damage(&heap, &|bytes| {
        bytes[at(3, 5000)] ^= 1; // a row
        bytes[at(5, 2)] ^= 0x80; // the LSN
        bytes[at(7, 8)] ^= 1; // the checksum itself
        bytes[at(9, 4096)..at(10, 0)].fill(0); // a torn page
        bytes.copy_within(at(11, 0)..at(12, 0), at(13, 0)); // another block's page
        bytes[at(15, 0)..at(16, 0)].fill(0); // looks new
        bytes[at(17, 14)..at(17, 16)].fill(0); // claims to be new
        bytes[at(19, 0)..at(20, 0)].fill(0xFF);
    });
    damage(&format!("{heap}.1"), &|bytes| bytes[at(1, 100)] ^= 1);
    damage(&format!("{heap}_fsm"), &|bytes| bytes[at(0, 100)] ^= 1);
    damage(&format!("{heap}_vm"), &|bytes| bytes[at(0, 100)] ^= 1);
    damage(&toast, &|bytes| bytes[at(2, 8191)] ^= 0x10);
    damage(&outside, &|bytes| bytes[at(1, 7000)] ^= 0x10);
    damage("global/1260", &|bytes| bytes[at(0, 8000)] ^= 0x10);

    let ours = our_pages(&server);
    let named: BTreeSet<_> = ours
        .bad
        .iter()
        .map(|(file, block, ..)| (&**file, *block))
        .collect();
    let second = format!("{heap}.1");
    let (fsm, vm) = (format!("{heap}_fsm"), format!("{heap}_vm"));
    let mut expected: BTreeSet<(&str, u32)> = [3, 5, 7, 9, 13, 19]
        .into_iter()
        .map(|block| (&*heap, block))
        .collect();
    expected.extend([(&*second, 1), (&*fsm, 0), (&*vm, 0)]);
    expected.extend([(&*toast, 2), (&*outside, 1), ("global/1260", 0)]);
    assert_eq!(named, expected);
    assert_eq!(ours.new, good.new + 1);
    assert_eq!(ours.beyond, BTreeSet::from([(heap.clone(), 17)]));
    if server.installation().has("pg_checksums") {
        let (files, blocks, bad) = their_pages(&server);
        assert_eq!((ours.files, ours.blocks), (files, blocks));
        assert_eq!(ours.bad, bad);
    }
}

/// Where `pg_checksums` is not to be had, the extension pageinspect has its function.
fn checksums_by_sql(server: &Server) {
    server.sql("create extension pageinspect");
    let theirs = server.sql(
        "select pg_relation_filepath(c.oid), b, page_checksum(page, b::int) & 65535
         from (select oid from pg_class where relname in ('rows', 'rows_i_idx')) c,
             generate_series(0, pg_relation_size(c.oid) / 8192 - 1) b,
             get_raw_page(c.oid::regclass::text, b::int) page",
    );
    let mut count = 0;
    for line in theirs.lines() {
        let [path, block, sum] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let bytes = std::fs::read(server.data().join(path)).unwrap();
        let block: u32 = block.parse().unwrap();
        let page = &bytes.as_chunks::<BLOCK_SIZE>().0[block as usize];
        // The function has no sum for a new page; 16 adds several at once.
        if sum.is_empty() {
            assert_eq!(judge(page, block, true), PageVerdict::New, "{line}");
            continue;
        }
        assert_eq!(checksum(page, block).to_string(), sum, "{line}");
        count += 1;
    }
    assert!(count > 200, "{count}");
}

#[test]
fn relation_maps_equal_pg_class() {
    maps_alike(Installation::debian());
}

fn maps_alike(installation: Installation) {
    let server = cluster(installation);
    server.sql("create database other");
    // Moves mapped catalogs to new files.
    server.sql("vacuum full pg_class; reindex table pg_proc; vacuum full pg_authid");
    server.sql("checkpoint");
    for database in ["postgres", "other", "template1"] {
        let directory = server.sql(&format!(
            "select 'base/' || oid from pg_database where datname = '{database}'"
        ));
        for (directory, shared) in [(&*directory, "false"), ("global", "true")] {
            let theirs = server.sql_in(
                database,
                &format!(
                    "select oid, pg_relation_filenode(oid) from pg_class
                     where relfilenode = 0 and relkind in ('r', 'i', 't') and relisshared = {shared}
                     order by oid"
                ),
            );
            let path = server.data().join(directory).join(RelationMap::FILE_NAME);
            let bytes = std::fs::read(path).unwrap();
            let expected = if server.installation().major >= 16 {
                524
            } else {
                512
            };
            assert_eq!(bytes.len(), expected);
            let map = RelationMap::parse(&bytes).unwrap();
            let ours: BTreeMap<u32, u32> = map
                .mappings
                .iter()
                .map(|mapping| (mapping.oid, mapping.relation))
                .collect();
            let ours: Vec<String> = ours
                .iter()
                .map(|(oid, file)| format!("{oid}\t{file}"))
                .collect();
            assert_eq!(ours.join("\n"), theirs, "{directory}");
            assert!(map.mappings.len() > 10);
        }
    }
    // A server refuses the damaged map that we refuse.
    server.stop("fast");
    let path = server.data().join("global").join(RelationMap::FILE_NAME);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[12] ^= 1;
    assert!(RelationMap::parse(&bytes).is_err());
}

#[test]
fn the_checkpoints_counters_equal_the_functions() {
    counters_alike(Installation::debian());
}

fn counters_alike(installation: Installation) {
    let server = cluster(installation);
    server.sql(
        "create table counted as select generate_series(1, 10) i;
         begin; select 1 from counted for share; savepoint a; update counted set i = i; commit;
         checkpoint",
    );
    let theirs = server.sql(
        "select next_xid, next_oid, next_multixact_id, next_multi_offset, oldest_xid,
             oldest_multi_xid, oldest_active_xid, oldest_commit_ts_xid, newest_commit_ts_xid
         from pg_control_checkpoint()",
    );
    let file = control_file(&server);
    let point = file.checkpoint;
    let ours = [
        format!("{}:{}", point.next_xid >> 32, point.next_xid & 0xFFFF_FFFF),
        point.next_oid.to_string(),
        point.next_multi.to_string(),
        point.next_multi_offset.to_string(),
        point.oldest_xid.to_string(),
        point.oldest_multi.to_string(),
        point.oldest_active_xid.to_string(),
        point.oldest_commit_time_xid.to_string(),
        point.newest_commit_time_xid.to_string(),
    ];
    assert_eq!(ours.join("\t"), theirs);
    assert!(point.next_multi > 1 && point.oldest_active_xid > 3);
    assert!(file.pages_must_match_checksums());
}

/// Every file that must be there is there, with the size that it must have; and of the
/// newest, which grows page by page, not one page more is there than is asked for.
fn check_status(server: &Server, range: &StatusRange) -> Vec<String> {
    let needed: Vec<_> = range.files().collect();
    for (at, one) in needed.iter().enumerate() {
        let path = server.data().join(one.file.to_string());
        let size = std::fs::metadata(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", one.file))
            .len();
        assert!(size >= one.least_bytes, "{}: {size}", one.file);
        if at + 1 == needed.len() {
            assert_eq!(size, one.least_bytes, "{}", one.file);
        }
    }
    needed.iter().map(|one| one.file.to_string()).collect()
}

#[test]
fn transaction_status_files_are_those_of_a_real_cluster() {
    status_alike(Installation::debian());
}

fn status_alike(installation: Installation) {
    const BURN: &str =
        "do $$ begin for i in 1..3000 loop perform txid_current(); commit; end loop; end $$";
    let server = cluster(installation);
    let data = server.data();
    let point = control_file(&server).checkpoint;
    let range = StatusRange::transactions(&point);
    assert_eq!(check_status(&server, &range), ["pg_xact/0000"]);

    // Go where the first file ends, and pass over into the second.
    let jump = |xid: u32| {
        server.stop("fast");
        let file = data.join(format!("pg_xact/{:04X}", xid >> 20));
        let pages = u64::from((xid >> 15) % 32) + 1;
        let handle = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&file)
            .unwrap();
        handle.set_len(pages * 8192).unwrap();
        server.give(&file);
        let output = server.run(
            "pg_resetwal",
            &["-x", &xid.to_string(), "-D", data.to_str().unwrap()],
        );
        assert!(output.status.success(), "{output:?}");
        server.start();
    };
    jump((1 << 20) - 1500);
    server.sql(BURN);
    server.sql("checkpoint");
    let range = StatusRange::transactions(&control_file(&server).checkpoint);
    assert_eq!(
        check_status(&server, &range),
        ["pg_xact/0000", "pg_xact/0001"]
    );

    // Many multixacts: each row of two thousand is locked by two transactions at once.
    server.sql(
        "create table locked as select generate_series(1, 2000) i;
         do $$ begin for k in 1..2 loop for r in 1..2000 loop begin
           perform 1 from locked where i = r for share;
           begin perform 1 from locked where i = r for update; exception when others then null; end;
         exception when others then null; end; end loop; commit; end loop; end $$;",
    );
    server.sql("checkpoint");
    let point = control_file(&server).checkpoint;
    assert!(point.next_multi > 2100, "{}", point.next_multi);
    let offsets = StatusRange::multixact_offsets(&point).unwrap();
    assert_eq!(
        check_status(&server, &offsets),
        ["pg_multixact/offsets/0000"]
    );
    let (file, at) = walproof::postgres::transaction_status::offset_place(point.oldest_multi);
    let bytes = std::fs::read(data.join(file.to_string())).unwrap();
    let at = usize::try_from(at).unwrap();
    let oldest_offset = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(oldest_offset, 1);
    let members = StatusRange::multixact_members(&point, oldest_offset).unwrap();
    assert_eq!(
        check_status(&server, &members),
        ["pg_multixact/members/0000"]
    );

    // Freezing everything takes the first file away, with a record that says so.
    server.sql("update pg_database set datallowconn = true");
    let before = server.sql("select pg_current_wal_insert_lsn()");
    for database in ["template0", "template1", "postgres"] {
        server.sql_in(database, "vacuum freeze");
    }
    server.sql("checkpoint");
    assert!(!data.join("pg_xact/0000").exists());
    let point = control_file(&server).checkpoint;
    assert!(point.oldest_xid >= 1 << 20);
    assert_eq!(
        check_status(&server, &StatusRange::transactions(&point)),
        ["pg_xact/0001"]
    );
    let truncated = truncations(&server);
    assert!(
        truncated.contains(&StatusTruncation::Transactions {
            oldest_xid: point.oldest_xid
        }),
        "{truncated:?} after {before}"
    );

    // Around the end of the numbers, in steps that keep the oldest within reach.
    for xid in [1_900_000_000_u32, 3_800_000_000, 4_294_966_000] {
        jump(xid);
        for database in ["template0", "template1", "postgres"] {
            server.sql_in(database, "vacuum freeze");
        }
    }
    server.sql(BURN);
    server.sql("checkpoint");
    let point = control_file(&server).checkpoint;
    assert_eq!(point.next_xid >> 32, 1);
    assert!(u64::from(point.oldest_xid) > point.next_xid & 0xFFFF_FFFF);
    assert_eq!(
        check_status(&server, &StatusRange::transactions(&point)),
        ["pg_xact/0FFF", "pg_xact/0000"]
    );
}

/// What the records in `pg_wal` took away.
fn truncations(server: &Server) -> Vec<StatusTruncation> {
    let segments = oracle::segments(&server.pg_wal(), TimelineId::FIRST, server.segment_size);
    let bytes = std::fs::read(&segments[0].1).unwrap();
    let mut stream = WalStream::new(WalStreamOptions {
        segment_size: server.segment_size,
        system_id: None,
        history: TimelineHistory::first(),
        start: first_record(&bytes).unwrap().unwrap(),
    });
    let mut found = Vec::new();
    for (number, path) in segments {
        let bytes = std::fs::read(path).unwrap();
        let pushed = stream.push_segment(number, &bytes, &mut |record| {
            found.extend(truncated_to(record));
            std::ops::ControlFlow::Continue(())
        });
        if pushed.is_err() {
            break;
        }
    }
    found
}

/// Takes a plain base backup; `None` where the program is not to be had.
fn base_backup(server: &Server, algorithm: &str) -> PathBuf {
    let target = server.scratch(&format!("backup-{algorithm}"));
    let output = server.run(
        "pg_basebackup",
        &[
            "-U",
            "postgres",
            "--checkpoint=fast",
            "--no-sync",
            "--wal-method=none",
            "--no-estimate-size",
            &format!("--manifest-checksums={algorithm}"),
            "-D",
            target.to_str().unwrap(),
        ],
    );
    assert!(output.status.success(), "{output:?}");
    target
}

#[test]
fn manifests_are_judged_as_pg_verifybackup_judges_them() {
    manifests_alike(Installation::debian());
}

fn manifests_alike(installation: Installation) {
    let server = cluster(installation);
    // A name that is no text.
    let name = std::ffi::OsString::from_vec(b"odd\xff name".to_vec());
    std::fs::write(server.data().join(&name), "odd").unwrap();
    server.give(&server.data().join(&name));
    for algorithm in ["CRC32C", "SHA224", "SHA256", "SHA384", "SHA512", "NONE"] {
        let backup = base_backup(&server, algorithm);
        let verify = |manifest: &Path| {
            let output = server.run(
                "pg_verifybackup",
                &[
                    "--no-parse-wal",
                    "--manifest-path",
                    manifest.to_str().unwrap(),
                    backup.to_str().unwrap(),
                ],
            );
            // 18 has some of its words on the other stream.
            let words = [
                output.stdout,
                output.stderr,
                output.status.to_string().into(),
            ]
            .concat();
            (
                output.status.success(),
                String::from_utf8_lossy(&words).into_owned(),
            )
        };
        let path = backup.join("backup_manifest");
        let (sound, words) = verify(&path);
        // One build of 18's program dies over every backup, whole ones as well.
        let dies = words.contains("signal: 11");
        assert!(
            sound || (dies && server.installation().major == 18),
            "{words}"
        );
        let bytes = std::fs::read(&path).unwrap();
        let manifest = BackupManifest::parse(&bytes).unwrap();
        let version = u32::from(server.installation().major >= 17) + 1;
        assert_eq!(manifest.summary.version, version);
        assert_eq!(
            manifest.summary.system_id,
            (version == 2).then(|| control_file(&server).system_id)
        );
        assert_eq!(manifest.summary.wal_ranges.len(), 1);
        let mut listed = BTreeSet::new();
        for file in &manifest.list {
            let path = backup.join(std::ffi::OsStr::from_bytes(&file.path));
            let content = std::fs::read(&path).unwrap();
            assert_eq!(content.len() as u64, file.size);
            assert_eq!(file.checksum.is_none(), algorithm == "NONE");
            if let Some(checksum) = file.checksum {
                let mut hasher = FileHasher::new(checksum.algorithm());
                hasher.update(&content);
                assert_eq!(hasher.finish(), checksum, "{}", path.display());
            }
            assert!(listed.insert(file.path.clone()));
        }
        assert!(listed.contains(b"odd\xff name".as_slice()));
        assert!(listed.len() > 900, "{}", listed.len());
        if dies {
            eprintln!("  pg_verifybackup dies: no damaged manifests");
        } else if algorithm == "CRC32C" {
            damaged_manifests(&server, &bytes, &verify);
        }
    }
}

/// Both refuse the same texts, and for the like reason: the text or its checksum.
fn damaged_manifests(server: &Server, good: &[u8], verify: &dyn Fn(&Path) -> (bool, String)) {
    let directory = server.scratch("manifests");
    let text = String::from_utf8(good.to_vec()).unwrap();
    let head = &text[..text.find("\"Manifest-Checksum\"").unwrap()];
    let first = text
        .lines()
        .find(|line| line.starts_with("{ \"Path\""))
        .unwrap();
    let sealed = |head: &str| {
        let mut text = head.to_owned();
        let digest = walproof::codec::Sha256::of(head.as_bytes());
        writeln!(text, "\"Manifest-Checksum\": \"{digest}\"}}").unwrap();
        text
    };
    let swap = |from: &str, to: &str| {
        assert!(head.contains(from), "{from}");
        sealed(&head.replacen(from, to, 1))
    };
    let version = "\"PostgreSQL-Backup-Manifest-Version\": ";
    let number = u32::from(server.installation().major >= 17) + 1;
    let size = first
        .split("\"Size\": ")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    let sum = first
        .split("\"Checksum\": \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let texts = [
        sealed(head),
        text.clone(),
        text.trim_end().to_owned(),
        text[..text.len() / 2].to_owned(),
        text.replacen("GMT", "GMX", 1),
        head.to_owned(),
        swap(version, "\"Other-Version\": "),
        swap(&format!("{version}{number}"), &format!("{version}9")),
        swap("\"Files\": [", "\"Filez\": ["),
        swap("\"WAL-Ranges\": [", "\"WAL-Range\": ["),
        swap("\"Path\": ", "\"Pith\": "),
        swap("\"Path\": ", "\"Encoded-Path\": "),
        swap("\"Size\": ", "\"Siz\": "),
        swap(&format!("\"Size\": {size}"), "\"Size\": \"three\""),
        swap(
            &format!("\"Size\": {size}"),
            &format!("\"Size\": \"{size}\""),
        ),
        swap(
            "\"Checksum-Algorithm\": \"CRC32C\"",
            "\"Checksum-Algorithm\": \"MD5\"",
        ),
        swap(
            "\"Checksum-Algorithm\": \"CRC32C\"",
            "\"Checksum-Algorithm\": \"crc32c\"",
        ),
        swap("\"Checksum-Algorithm\": \"CRC32C\", ", ""),
        swap(
            sum,
            &sum.replace(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'], "x"),
        ),
        swap("\"Timeline\": 1", "\"Timeline\": \"x\""),
        swap("\"Timeline\": 1, ", ""),
        swap("\"Start-LSN\": \"0/", "\"Start-LSN\": \"x/"),
        swap(" },\n{", " },\n,{"),
        swap(" },\n{", " }\n{"),
        swap("\n],\n\"WAL", ",\n],\n\"WAL"),
        swap("],\n\"WAL", "]\n\"WAL"),
    ];
    let mut refused = 0;
    let mut differ = Vec::new();
    for (at, text) in texts.into_iter().enumerate() {
        let path = directory.join(at.to_string());
        std::fs::write(&path, &text).unwrap();
        server.give(&path);
        let (_, words) = verify(&path);
        let theirs = if words.contains("manifest checksum mismatch") {
            "checksum"
        } else if [
            "could not parse",
            "parsing failed",
            "unrecognized checksum",
            "invalid checksum",
        ]
        .iter()
        .any(|part| words.contains(part))
        {
            "text"
        } else {
            "none"
        };
        let ours = match BackupManifest::parse(text.as_bytes()) {
            Ok(_) => "none",
            Err(ManifestError::BadChecksum { .. }) => "checksum",
            Err(_) => "text",
        };
        if ours != theirs {
            differ.push(format!("text {at}: {ours}, {theirs}: {words}"));
        }
        refused += u32::from(ours != "none");
    }
    assert!(differ.is_empty(), "{differ:#?}");
    assert!(refused > 15);
    // A negative size, which the program wraps around: it takes the text, and then finds
    // that no file is so large.
    let negative = swap(&format!("\"Size\": {size}"), "\"Size\": -3");
    assert!(BackupManifest::parse(negative.as_bytes()).is_err());

    let mut reader = ManifestReader::new();
    let mut count = 0;
    for piece in good.chunks(777) {
        reader.push(piece, &mut |_| count += 1).unwrap();
    }
    assert_eq!(reader.finish().unwrap().files, count);
}

#[test]
fn tablespace_maps_are_read_back() {
    tablespaces_alike(Installation::debian());
}

fn tablespaces_alike(installation: Installation) {
    let server = cluster(installation);
    let mut expected = BTreeMap::new();
    for (at, name) in [
        "plain",
        " two  spaces ",
        "line\nbreak",
        "return\rand\nbreak",
    ]
    .into_iter()
    .enumerate()
    {
        let path = server.scratch(name);
        let path = path.to_str().unwrap();
        server.sql(&format!("create tablespace t{at} location '{path}'"));
        let oid = server.sql(&format!(
            "select oid from pg_tablespace where spcname = 't{at}'"
        ));
        expected.insert(oid.parse::<u32>().unwrap(), path.as_bytes().to_vec());
    }
    let (start, stop) = if server.installation().major >= 15 {
        ("pg_backup_start('x', true)", "pg_backup_stop(false)")
    } else {
        (
            "pg_start_backup('x', true, false)",
            "pg_stop_backup(false, false)",
        )
    };
    let hex = server.sql(&format!(
        "select {start} \\g /dev/null\nselect encode(convert_to(spcmapfile, 'UTF8'), 'hex') from {stop}"
    ));
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
        .collect();
    // The function may cut the last line break off; the file that a backup tool writes of it
    // has what the function gave.
    let map = TablespaceMap::parse(&bytes).unwrap();
    let ours: BTreeMap<_, _> = map
        .tablespaces
        .into_iter()
        .map(|one| (one.oid, one.location))
        .collect();
    assert_eq!(ours, expected);
}

/// The directories with other majors' programs are told by `WALPROOF_TEST_SERVERS`,
/// separated by colons. What needs a program that is not there is left out, and said.
#[test]
#[ignore = "needs WALPROOF_TEST_SERVERS"]
fn other_majors_are_read_alike() {
    let paths = std::env::var("WALPROOF_TEST_SERVERS").unwrap();
    for path in paths.split(':') {
        let installation = Installation::at(Path::new(path));
        println!("PostgreSQL {} in {path}", installation.major);
        pages_alike(installation.clone());
        maps_alike(installation.clone());
        counters_alike(installation.clone());
        tablespaces_alike(installation.clone());
        if installation.has("pg_resetwal") {
            status_alike(installation.clone());
        } else {
            println!("  without pg_resetwal: no jumps between transactions");
        }
        if installation.has("pg_basebackup") && installation.has("pg_verifybackup") {
            manifests_alike(installation);
        } else {
            println!("  without pg_basebackup and pg_verifybackup: no manifests");
        }
    }
}
