//! Healthy repositories that look damaged to a naive reader: real servers under heavy load,
//! copied slowly by the real tool while pages, files and databases come and go.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::common::barman::{Archiver, BarmanCloud, BaseCodec, WalCodec};
use crate::common::damage::Tree;
use crate::common::load::Endless;
use crate::common::postgres::{ServerOptions, TestServer};
use crate::common::s3::S3Server;
use crate::common::{cache, scratch, workload};
use crate::oracle::{self, RawPages};

/// The server's name in each repository.
const SERVER: &str = "orders";

/// What is known of a world, by the server and by PostgreSQL's own tools.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The base backups, oldest first.
    pub(crate) backups: Vec<String>,
    /// What `pg_checksums` says of the pages that each backup copied.
    pub(crate) raw: Vec<Option<RawPages>>,
    /// Questions and the server's answers at the tip.
    pub(crate) answers: Vec<(String, String)>,
    /// Whether the cluster has data checksums.
    pub(crate) checksums: bool,
    /// Timeline at the tip.
    pub(crate) timeline: u32,
    /// The files of some tables: `base/5/16384`, or `pg_tblspc/…`.
    pub(crate) files: std::collections::BTreeMap<String, String>,
    /// What happened in it that the test insists on, by name.
    pub(crate) happened: Vec<String>,
}

/// A world that was built.
pub(crate) struct World {
    pub(crate) facts: Facts,
    directory: PathBuf,
}

impl World {
    /// The world of that name, built if it is not there yet.
    pub(crate) fn get(name: &str) -> Self {
        Self::of_major(name, None)
    }

    /// The world of that name, its server another major's.
    pub(crate) fn of_major(name: &str, programs: Option<&Path>) -> Self {
        let mut hasher = DefaultHasher::new();
        (name, programs).hash(&mut hasher);
        for source in [
            include_str!("worlds.rs"),
            include_str!("oracle.rs"),
            include_str!("../common/load.rs"),
            include_str!("../common/barman.rs"),
            include_str!("../common/barman_slow.py"),
            include_str!("../common/postgres.rs"),
        ] {
            source.hash(&mut hasher);
        }
        let build = || match name {
            "heavy writes" => heavy_writes(),
            "no checksums" => no_checksums(),
            "from a standby" => from_a_standby(),
            "crashes" => crashes(),
            "early switches" => early_switches(),
            "small" => small(programs),
            other => panic!("no world {other}"),
        };
        let (facts, directory) = cache::shared(hasher.finish(), |directory| {
            let built = build();
            scratch::copy_tree(&built.s3.object(SERVER), &directory.join("tree"));
            built.facts
        });
        Self { facts, directory }
    }

    /// A copy of the repository as files.
    pub(crate) fn tree(&self) -> Tree {
        Tree::copy_of(&self.directory.join("tree"), SERVER)
    }
}

/// What a builder hands over.
struct Build {
    s3: S3Server,
    facts: Facts,
}

/// A server that archives, and all that is around it.
struct Ground {
    server: TestServer,
    barman: BarmanCloud,
    archiver: Archiver,
    s3: S3Server,
    happened: Vec<String>,
}

impl Ground {
    fn new(options: ServerOptions, wal: WalCodec) -> Self {
        let s3 = S3Server::start();
        let barman = BarmanCloud::new(&s3, "", SERVER);
        let server = options.create();
        let archiver = barman.archive(&server, wal);
        Self {
            server,
            barman,
            archiver,
            s3,
            happened: Vec::new(),
        }
    }

    fn note(&mut self, what: &str, so: bool) {
        assert!(so, "it did not happen: {what}");
        self.happened.push(what.to_owned());
    }

    /// Gathers what is known of the last server (`promoted`, if there was a change), which is
    /// stopped. `looked_at`: the backups whose pages are asked about.
    fn finish(
        self,
        promoted: Option<TestServer>,
        backups: Vec<String>,
        looked_at: &[usize],
    ) -> Build {
        let Self {
            server,
            barman: _,
            archiver,
            s3,
            happened,
        } = self;
        // The first server's directory holds the archiver, so it stays until the end.
        let (mut server, _first) = match promoted {
            Some(promoted) => (promoted, Some(server)),
            None => (server, None),
        };
        let questions = [
            "select count(*) from ledger",
            "select coalesce(sum(id), 0) from ledger",
            "select count(*) from heartbeat",
        ];
        let mut answers: Vec<(String, String)> = questions
            .iter()
            .map(|sql| ((*sql).to_owned(), server.psql(sql)))
            .collect();
        for (sql, table) in [
            ("select sum(n) from hot", "hot"),
            ("select count(*) from grown", "grown"),
            ("select sum(id) from rewritten", "rewritten"),
            ("select sum(v) from altered", "altered"),
            ("select count(*) from shrinking", "shrinking"),
        ] {
            if server.psql(&format!("select to_regclass('{table}') is not null")) == "t" {
                answers.push((sql.to_owned(), server.psql(sql)));
            }
        }
        let checksums = server.psql("show data_checksums") == "on";
        let files = server
            .psql("select relname, pg_relation_filepath(oid) from pg_class where relkind in ('r', 'i') and oid >= 16384")
            .lines()
            .filter_map(|line| line.split_once('|'))
            .map(|(name, file)| (name.to_owned(), file.to_owned()))
            .collect();
        server.archive_all();
        let timeline = server.number(
            "select ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int",
        );
        server.stop();
        drop(archiver);
        let tree = Tree::copy_of(&s3.object(SERVER), SERVER);
        let raw = backups
            .iter()
            .enumerate()
            .map(|(index, backup)| {
                (checksums && looked_at.contains(&index))
                    .then(|| oracle::raw_pages(&tree, backup, &oracle::control_of_stopped(&server)))
            })
            .collect();
        Build {
            s3,
            facts: Facts {
                backups,
                raw,
                answers,
                checksums,
                timeline: u32::try_from(timeline).unwrap(),
                files,
                happened,
            },
        }
    }
}

/// Tables of every kind, `stir(part, parts, count)` that rewrites rows all over two of them.
const TABLES: &str = "
create table hot (id int primary key, n bigint not null default 0,
    label text not null default repeat('h', 60)) with (fillfactor = 60);
insert into hot (id) select generate_series(1, 12000);
create unlogged table volatile (id int primary key, n bigint not null default 0,
    label text not null default repeat('v', 60)) with (fillfactor = 60);
insert into volatile (id) select generate_series(1, 12000);
create table indexed (id serial, words tsvector, place point, tag text, n int, doc jsonb);
create index on indexed using gin (words);
create index on indexed using gist (place);
create index on indexed using spgist (tag);
create index on indexed using brin (id) with (pages_per_range = 2);
create index on indexed using hash (n);
create index on indexed (tag, n);
create table grown (id serial, filler text);
create table rewritten (id int, filler text);
insert into rewritten select g, repeat('r', 100) from generate_series(1, 800) g;
create table bloated (id int primary key, filler text);
insert into bloated select g, repeat('b', 100) from generate_series(1, 1500) g;
create table altered (v int, filler text);
insert into altered select g, repeat('a', 100) from generate_series(1, 800) g;
create table shrinking (id int, filler text);
insert into shrinking select g, repeat('s', 100) from generate_series(1, 3000) g;
create table twice (id int);
create sequence numbers;
create materialized view told as select sum(n) as n from hot;
create function stir(part int, parts int, count int) returns void language plpgsql as $$
declare pick int;
begin
    for i in 1..count loop
        pick := 1 + part + parts * floor(random() * (12000 / parts - 1))::int;
        update hot set n = n + 1 where id = pick;
        update volatile set n = n + 1 where id = pick;
    end loop;
end $$;
create function index_some(count int) returns void language sql as $$
    insert into indexed (words, place, tag, n, doc)
    select to_tsvector('simple', md5(g::text) || ' ' || md5((g * random())::text)),
        point(random() * 1000, random() * 1000), md5(random()::text), g,
        jsonb_build_object('g', g) from generate_series(1, count) g;
$$;
select index_some(500);
";

/// What goes on while the copy runs, each a script of its own.
const STORM: &[(u32, &str)] = &[
    // Pages written all the time, logged and unlogged.
    (2, "select stir(:client_id, 2, 25);\n\\sleep 4 ms"),
    // Relations extended, and indexes of every kind split.
    (
        1,
        "insert into grown (filler) select repeat('g', 500) from generate_series(1, 30);\n\
         select index_some(10);\nselect nextval('numbers');\nselect count(*) from grown;\n\
         select lo_unlink(lo_from_bytea(0, decode(repeat('ab', 3000), 'hex')));\n\\sleep 80 ms",
    ),
    // Truncated, rewritten, dropped, made anew.
    (
        1,
        "delete from shrinking where id > 200;\nvacuum shrinking;\n\
         insert into shrinking select g, repeat('s', 100) from generate_series(201, 3000) g;\n\
         begin;\ntruncate rewritten;\n\
         insert into rewritten select g, repeat('r', 100) from generate_series(1, 800) g;\ncommit;\n\
         delete from bloated where id % 3 = 0;\nvacuum full bloated;\n\
         insert into bloated select g, repeat('b', 100) from generate_series(3, 1500, 3) g;\n\
         cluster bloated using bloated_pkey;\n\
         alter table altered alter column v type bigint;\n\
         alter table altered alter column v type int;\n\
         drop table if exists passing;\n\
         create table passing as select g, repeat('p', 200) from generate_series(1, 1000) g;\n\
         create index on passing (g);\ndrop table passing;\n\
         begin;\ncreate table never as select g from generate_series(1, 1000) g;\nrollback;\n\
         reindex table indexed;\nrefresh materialized view told;\nvacuum hot;\n\\sleep 700 ms",
    ),
    // Temporary relations and files of sorts.
    (
        1,
        "create temporary table if not exists mine as\n\
           select g, md5(g::text) as t from generate_series(1, 8000) g;\n\
         create index on mine (t);\ndrop index mine_t_idx;\nbegin;\ndeclare sorted cursor for select t from mine order by t desc;\n\
         fetch 1 from sorted;\n\\sleep 1500 ms\ncommit;\n\
         update mine set t = 'x' where g % 20 = 0;",
    ),
    // Two-phase transactions.
    (
        1,
        "begin;\ninsert into twice values (1);\nprepare transaction 'within';\n\\sleep 20 ms\n\
         commit prepared 'within';\n\\sleep 100 ms",
    ),
    // Checkpoints, segments ended early, page images in every coat.
    (
        1,
        "\\sleep 900 ms\ncheckpoint;\nalter system set wal_compression = pglz;\n\
         select pg_reload_conf();\n\\sleep 500 ms\nselect pg_switch_wal();\n\
         alter system set wal_compression = lz4;\nselect pg_reload_conf();\n\\sleep 900 ms\n\
         checkpoint;\nalter system set wal_compression = zstd;\nselect pg_reload_conf();\n\
         \\sleep 900 ms\nalter system reset wal_compression;\nselect pg_reload_conf();",
    ),
    // Databases copied in, by pages and by files, and dropped again.
    (
        1,
        "drop database if exists passing;\ncreate database passing template small strategy wal_log;\n\\sleep 300 ms\n\
         drop database passing;\ncreate database passing template small strategy file_copy;\n\
         \\sleep 300 ms\ndrop database passing;\n\\sleep 300 ms",
    ),
];

/// Microseconds in the middle of a block, in files of at least so many bytes.
const SLOW: (u32, u32) = (3000, 1 << 20);

fn stormy() -> ServerOptions {
    TestServer::options()
        .segment_size_mb(8)
        .setting("shared_buffers", "1MB")
        .setting("temp_buffers", "800kB")
        .setting("work_mem", "64kB")
        .setting("bgwriter_delay", "10ms")
        .setting("bgwriter_lru_maxpages", "1000")
        .setting("max_prepared_transactions", "8")
        .setting("min_wal_size", "16MB")
        .setting("checkpoint_timeout", "1h")
}

/// Makes the tables; leaves one template database besides `postgres`, so that a copy is quick.
fn settle(server: &TestServer) {
    workload::create(server, None);
    server.script(TABLES);
    server.script(
        "create database small template template0;
         update pg_database set datistemplate = false where datname ~ '^template';
         drop database template0;
         drop database template1;",
    );
    workload::write(server, "before", 200, 4);
}

/// Ends a transaction that a storm may have left prepared.
fn end_prepared(server: &TestServer, name: &str) {
    let count = server.number(&format!(
        "select count(*) from pg_prepared_xacts where gid = '{name}'"
    ));
    if count > 0 {
        server.script(&format!("rollback prepared '{name}';"));
    }
}

fn begin_storm(server: &TestServer) -> Vec<Endless> {
    end_prepared(server, "within");
    STORM
        .iter()
        .map(|(clients, script)| Endless::start(server, *clients, script))
        .collect()
}

/// A quick first backup, WAL after it, then a slow one in the middle of everything.
fn under_storm(options: ServerOptions, everything: bool) -> (Ground, Vec<String>) {
    let mut ground = Ground::new(options, WalCodec::Lz4);
    settle(&ground.server);
    let server = &ground.server;
    let first = ground
        .barman
        .backup(server, BaseCodec::Lz4, &["--jobs", "1"]);
    workload::write(server, "first", 500, 5);
    server.psql("select stir(0, 1, 3000); select index_some(300)");
    server.script("vacuum; vacuum freeze hot;");
    server.script("begin; insert into twice values (2); prepare transaction 'across';");
    let storm = begin_storm(server);
    std::thread::sleep(Duration::from_millis(500));
    let second = ground
        .barman
        .backup_slowly(server, BaseCodec::Lz4, SLOW, everything, || {
            storm.into_iter().for_each(Endless::end);
        });
    server.script("commit prepared 'across';");
    end_prepared(server, "within");
    workload::write(server, "late", 500, 5);
    ground.note("a two-phase transaction across the copy", true);
    (ground, vec![first, second])
}

/// Which pages tear, and which temporary files are met, is up to the moment: a copy that
/// shows nothing of it is taken anew, a few times.
fn heavy_writes() -> Build {
    let mut attempt = 1;
    loop {
        let (ground, backups) = under_storm(stormy(), true);
        let build = ground.finish(None, backups, &[0, 1]);
        let shows = build.facts.raw.last().is_some_and(|raw| {
            raw.as_ref().is_some_and(|raw| {
                raw.torn() > 0
                    && raw.torn_but_reset() > 0
                    && raw.files.iter().any(|file| file.contains("/pgsql_tmp/"))
            })
        });
        if shows || attempt == 4 {
            return build;
        }
        attempt += 1;
    }
}

fn no_checksums() -> Build {
    let (ground, backups) = under_storm(stormy().data_checksums(false), false);
    ground.finish(None, backups, &[])
}

/// The base backup is a standby's, and the primary crashes and comes back while it runs.
fn from_a_standby() -> Build {
    let mut ground = Ground::new(
        stormy().setting("max_standby_streaming_delay", "-1"),
        WalCodec::Zstd,
    );
    settle(&ground.server);
    let standby = ground.server.create_standby();
    let storm = begin_storm(&ground.server);
    std::thread::sleep(Duration::from_millis(500));
    ground.server.psql("checkpoint");
    ground.server.wait_for_standby(&standby);
    let barman = ground.barman.clone();
    let backup = std::thread::scope(|scope| {
        let (copied, end) = std::sync::mpsc::channel();
        let copy = scope.spawn(|| {
            barman.backup_slowly(&standby, BaseCodec::Gzip, SLOW, false, move || {
                copied.send(()).unwrap();
            })
        });
        std::thread::sleep(Duration::from_millis(1500));
        drop(storm);
        ground.server.crash();
        ground.server.start();
        let storm = begin_storm(&ground.server);
        end.recv().unwrap();
        storm.into_iter().for_each(Endless::end);
        while !copy.is_finished() {
            // The tool waits until the WAL of the copy's end is archived.
            ground.server.psql("select pg_switch_wal()");
            std::thread::sleep(Duration::from_millis(300));
        }
        copy.join().unwrap()
    });
    end_prepared(&ground.server, "within");
    workload::write(&ground.server, "late", 500, 5);
    let log = ground.server.log();
    ground.note(
        "a crash while the copy ran",
        log.contains("automatic recovery in progress"),
    );
    ground.finish(None, vec![backup], &[0])
}

/// Crashes inside the window, one of them with a record cut off, and a promotion at the end.
fn crashes() -> Build {
    let mut ground = Ground::new(stormy().segment_size_mb(1), WalCodec::Bzip2);
    settle(&ground.server);
    let first = ground
        .barman
        .backup(&ground.server, BaseCodec::Snappy, &["--jobs", "1"]);
    workload::write(&ground.server, "first", 500, 5);
    cut_off_a_record(&mut ground);
    let storm = begin_storm(&ground.server);
    std::thread::sleep(Duration::from_millis(700));
    drop(storm);
    ground.server.crash();
    ground.server.start();
    workload::write(&ground.server, "between", 300, 3);
    let second = ground
        .barman
        .backup_slowly(&ground.server, BaseCodec::Snappy, SLOW, true, || {});
    let mut standby = ground.server.create_standby();
    let storm = begin_storm(&ground.server);
    std::thread::sleep(Duration::from_millis(500));
    drop(storm);
    std::thread::sleep(Duration::from_millis(300));
    ground.server.wait_for_standby(&standby);
    ground.server.wait_archived();
    ground.server.crash();
    standby.promote();
    end_prepared(&standby, "within");
    workload::write(&standby, "promoted", 300, 3);
    let third = ground
        .barman
        .backup_slowly(&standby, BaseCodec::Snappy, SLOW, true, || {});
    workload::write(&standby, "late", 300, 3);
    ground.finish(Some(standby), vec![first, second, third], &[2])
}

/// Crashes the server so that a record which spans segments is left cut off in the archive's
/// future; recovery says so by `OVERWRITE_CONTRECORD`.
fn cut_off_a_record(ground: &mut Ground) {
    let server = &mut ground.server;
    let command = server.psql("show archive_command");
    server.archive_all();
    server.set("archive_command", "false");
    server.psql("checkpoint");
    let before = server.psql("select pg_walfile_name(pg_current_wal_insert_lsn())");
    server.psql("select pg_logical_emit_message(false, 'cut', repeat('c', 1200000))");
    server.crash();
    let wal = server.data().join("pg_wal");
    for entry in std::fs::read_dir(&wal).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_file() && name > before {
            std::fs::remove_file(&path).unwrap();
            let _ = std::fs::remove_file(wal.join("archive_status").join(format!("{name}.ready")));
        }
    }
    server.start();
    server.set("archive_command", &command);
    server.archive_all();
    // `XLP_FIRST_IS_OVERWRITE_CONTRECORD` on a page says that a record before it was given up.
    let given_up = std::fs::read_dir(&ground.archiver.plain_wal)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .any(|wal| wal.chunks_exact(8192).any(|page| page[2] & 8 != 0));
    ground.note("a record cut off by a crash", given_up);
}

/// Segments of 16 MiB ended early again and again, by `archive_timeout` and by hand, in files
/// that are recycled; settings changed on the way.
fn early_switches() -> Build {
    let mut ground = Ground::new(
        stormy()
            .segment_size_mb(16)
            .setting("min_wal_size", "32MB")
            .setting("max_wal_size", "64MB")
            .setting("archive_timeout", "1s"),
        WalCodec::Gzip,
    );
    settle(&ground.server);
    let first = ground
        .barman
        .backup(&ground.server, BaseCodec::None, &["--jobs", "1"]);
    let mut recycled = false;
    for round in 0..4 {
        workload::write(&ground.server, "early", 200, 2);
        ground.server.psql("select stir(0, 1, 500)");
        if round % 2 == 0 {
            ground.server.psql("select pg_switch_wal()");
        } else {
            std::thread::sleep(Duration::from_millis(1300));
        }
        ground.server.psql("checkpoint");
        recycled |= ground
            .server
            .psql("select pg_current_wal_lsn() > '0/4000000'")
            == "t";
    }
    ground.server.set("max_connections", "120");
    ground.server.restart();
    let second = ground
        .barman
        .backup(&ground.server, BaseCodec::None, &["--jobs", "1"]);
    workload::write(&ground.server, "late", 200, 2);
    ground.note("more segments than are kept", recycled);
    ground.finish(None, vec![first, second], &[0, 1])
}

/// What the damage matrix damages: two base backups with a tablespace on timeline 1, the
/// second with writes going on, then a change of timeline; lz4 and gzip.
fn small(programs: Option<&Path>) -> Build {
    let mut ground = Ground::new(
        TestServer::options()
            .programs(programs)
            .segment_size_mb(1)
            .setting("min_wal_size", "2MB")
            .setting("shared_buffers", "1MB")
            .setting("max_prepared_transactions", "4"),
        WalCodec::Gzip,
    );
    ground.server.create_tablespace("far");
    workload::create(&ground.server, Some("far"));
    workload::write(&ground.server, "before", 400, 4);
    ground.server.script(
        "create table hot (id int primary key, n bigint not null default 0) with (fillfactor = 60);
         insert into hot (id) select generate_series(1, 2000);
         create unlogged table volatile (id int primary key, n int not null default 0);
         insert into volatile (id) select generate_series(1, 2000);
         update pg_database set datistemplate = false where datname ~ '^template';
         drop database template0;
         drop database template1;",
    );
    let first = ground
        .barman
        .backup(&ground.server, BaseCodec::Lz4, &["--jobs", "1"]);
    workload::write(&ground.server, "between", 3000, 6);
    ground.server.script(
        "insert into ledger_far select g, 'far' from generate_series(100, 3000) g; vacuum ledger;",
    );
    ground
        .server
        .psql("select pg_create_restore_point('before')");
    ground.server.set("max_connections", "120");
    ground.server.restart();
    let load = Endless::start(
        &ground.server,
        1,
        "update hot set n = n + 1 where id % 20 = 3;\nupdate volatile set n = n + 1;\n\\sleep 20 ms",
    );
    std::thread::sleep(Duration::from_millis(200));
    let second =
        ground
            .barman
            .backup_slowly(&ground.server, BaseCodec::Lz4, (0, 1 << 30), false, || {
                load.end();
            });
    for round in 0..6 {
        workload::write(&ground.server, "after", 3000, 3);
        if round == 1 {
            ground.server.psql("select pg_switch_wal()");
        }
    }
    workload::write(&ground.server, "handover", 1200, 2);
    ground.server.promote_itself();
    workload::write(&ground.server, "promoted", 3000, 5);
    // Only this machine's own major has `pg_checksums`.
    let looked_at: &[usize] = if programs.is_none() { &[1] } else { &[] };
    ground.finish(None, vec![first, second], looked_at)
}
