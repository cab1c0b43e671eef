//! Repositories made by the real tools from a real server, with the facts that a test may
//! hold them against.
//!
//! Building one takes ten to fifteen seconds, so it is built once per set of options and shared
//! ([`cache::shared`]). A test gets a copy of its own: as files ([`Fixture::tree`]) or in an S3
//! server ([`Fixture::s3`]).

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::barman::{BarmanCloud, BaseCodec, WalCodec};
use super::damage::Tree;
use super::postgres::TestServer;
use super::s3::S3Server;
use super::workload::{self, Moment};
use super::{cache, scratch};

/// The prefix of the repository in its bucket.
pub const PREFIX: &str = "pg";
/// The server's name in the repository.
pub const SERVER: &str = "orders";

/// What happens between the backups and the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TimelineSwitch {
    /// Nothing: one timeline.
    None,
    /// The primary is killed and a standby promoted; it writes and archives timeline 2.
    Promotion,
    /// The same, but the old primary lives on for a while: it writes rows labelled
    /// `abandoned` and archives them on timeline 1.
    AbandonedBranch,
}

/// What the repository is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RepositoryOptions {
    /// The codec of the base backups.
    pub base: BaseCodec,
    /// The codec of WAL.
    pub wal: WalCodec,
    /// MiB per segment.
    pub segment_size_mb: u32,
    /// A tablespace called `far`, with table `ledger_far`, from before the first backup.
    pub tablespace: bool,
    /// A change of timeline after the second backup.
    pub switch: TimelineSwitch,
    /// `--max-archive-size` of the base backups: several parts per backup if small.
    pub max_archive_size: Option<String>,
    /// A transaction left prepared (`left-open`) before the tip.
    pub prepared: bool,
}

impl Default for RepositoryOptions {
    /// lz4 bases (the quickest), gzip WAL, 1 MiB segments, a tablespace, one timeline.
    fn default() -> Self {
        Self {
            base: BaseCodec::Lz4,
            wal: WalCodec::Gzip,
            segment_size_mb: 1,
            tablespace: true,
            switch: TimelineSwitch::None,
            max_archive_size: None,
            prepared: false,
        }
    }
}

/// What `backup.info` said of a base backup when it was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFacts {
    /// The backup's id.
    pub id: String,
    /// The timeline on which it was taken.
    pub timeline: u32,
    /// The segment of its begin.
    pub begin_wal: String,
    /// The segment of its end.
    pub end_wal: String,
    /// The LSN of its begin.
    pub begin_xlog: String,
    /// The LSN of its end.
    pub end_xlog: String,
}

/// What is known of a repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// How it was made.
    pub options: RepositoryOptions,
    /// The database system identifier.
    pub system_id: u64,
    /// Bytes per segment.
    pub segment_size: u64,
    /// The major version of PostgreSQL.
    pub major: u32,
    /// The base backups, oldest first: two.
    pub backups: Vec<BackupFacts>,
    /// Moments in order: `first` and `middle` after the first backup, `late` after the
    /// second, `promoted` on timeline 2 if there is one, and the last one, `tip`: its commit
    /// is the last in the archive.
    pub moments: Vec<Moment>,
    /// Where timeline 2 leaves timeline 1.
    pub switch_lsn: Option<String>,
    /// Rows of the abandoned branch (label `abandoned`), never part of the database.
    pub abandoned_rows: i64,
    /// `pgbench_accounts`: the sum of all balances at the tip.
    pub balance: i64,
    /// Rows of `ledger_far` at the tip.
    pub far_rows: i64,
}

impl Facts {
    /// The moment of that name.
    #[track_caller]
    pub fn moment(&self, name: &str) -> &Moment {
        self.moments
            .iter()
            .find(|moment| moment.name == name)
            .unwrap_or_else(|| panic!("no moment {name}"))
    }

    /// The last moment.
    pub fn tip(&self) -> &Moment {
        self.moment("tip")
    }
}

/// A repository that was built, and is not to be changed.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// What is known of it.
    pub facts: Facts,
    directory: PathBuf,
}

impl Fixture {
    /// The repository of these options, built if it is not there yet.
    pub fn get(options: &RepositoryOptions) -> Self {
        let mut hasher = DefaultHasher::new();
        options.hash(&mut hasher);
        for source in [
            include_str!("repository.rs"),
            include_str!("workload.rs"),
            include_str!("postgres.rs"),
            include_str!("barman.rs"),
        ] {
            source.hash(&mut hasher);
        }
        let (facts, directory) =
            cache::shared(hasher.finish(), |directory| build(options, directory));
        Self { facts, directory }
    }

    /// A copy as files.
    pub fn tree(&self) -> Tree {
        Tree::copy_of(&self.directory.join("tree"), SERVER)
    }

    /// An S3 server that holds a copy, and the repository's URL in it.
    pub fn s3(&self) -> (S3Server, String) {
        let s3 = S3Server::start();
        s3.fill(&format!("{PREFIX}/{SERVER}"), &self.directory.join("tree"));
        (s3, format!("s3://{}/{PREFIX}/{SERVER}", S3Server::BUCKET))
    }

    /// Every archived WAL file as the server wrote it, without codec. Not to be changed.
    pub fn plain_wal(&self) -> PathBuf {
        self.directory.join("plain")
    }
}

fn build(options: &RepositoryOptions, directory: &Path) -> Facts {
    let s3 = S3Server::start();
    let barman = BarmanCloud::new(&s3, PREFIX, SERVER);
    let primary = TestServer::options()
        .segment_size_mb(options.segment_size_mb)
        .setting(
            "min_wal_size",
            &format!("{}MB", options.segment_size_mb * 2),
        )
        .setting("max_prepared_transactions", "4")
        // What was written before the first backup is nobody's concern.
        .setting("archive_command", "true")
        .create();
    if options.tablespace {
        primary.create_tablespace("far");
    }
    workload::create(&primary, options.tablespace.then_some("far"));
    primary.pgbench_init();
    primary.archive_all();
    let archiver = barman.archive(&primary, options.wal);

    let mut backup_options = vec!["--jobs", "1"];
    if let Some(size) = &options.max_archive_size {
        backup_options.extend(["--max-archive-size", size]);
    }
    let mut moments = Vec::new();
    workload::write(&primary, "before", 200, 4);
    back_up_under_load(&barman, &primary, options.base, &backup_options);
    moments.push(workload::write_moment(&primary, "first", 500, 5));
    primary.psql("select pg_switch_wal()");
    moments.push(workload::write_moment(&primary, "middle", 5000, 10));
    primary.psql("create index on ledger (label)");
    back_up_under_load(&barman, &primary, options.base, &backup_options);
    moments.push(workload::write_moment(&primary, "late", 5000, 10));
    primary.archive_all();

    let mut switch_lsn = None;
    let mut abandoned_rows = 0;
    let mut servers = vec![primary];
    if options.switch != TimelineSwitch::None {
        let primary = &mut servers[0];
        let mut standby = primary.create_standby();
        workload::write(primary, "handover", 100, 2);
        primary.wait_for_standby(&standby);
        if options.switch == TimelineSwitch::Promotion {
            primary.crash();
        }
        standby.promote();
        if options.switch == TimelineSwitch::AbandonedBranch {
            workload::write(primary, "abandoned", 3000, 3);
            abandoned_rows =
                primary.number("select count(*) from ledger where label = 'abandoned'");
            primary.archive_all();
        }
        switch_lsn = Some(history_switch(&standby));
        moments.push(workload::write_moment(&standby, "promoted", 2000, 5));
        standby.archive_all();
        servers.push(standby);
    }
    // The first server's directory holds the archiver, so that server lives on.
    let server = servers.last().unwrap();
    let mut facts = finish(options, &barman, server, moments);
    facts.switch_lsn = switch_lsn;
    facts.abandoned_rows = abandoned_rows;
    scratch::copy_tree(
        &s3.object(&format!("{PREFIX}/{SERVER}")),
        &directory.join("tree"),
    );
    scratch::copy_tree(&archiver.plain_wal, &directory.join("plain"));
    facts
}

/// Ends the workload on `server` and gathers what is known.
fn finish(
    options: &RepositoryOptions,
    barman: &BarmanCloud,
    server: &TestServer,
    mut moments: Vec<Moment>,
) -> Facts {
    if options.prepared {
        workload::prepare_transaction(server, "left-open");
    }
    server.pgbench(100);
    workload::write(server, "tip", 300, 3);
    moments.push(workload::moment(server, "tip"));
    let far_rows = if options.tablespace {
        server.number("select count(*) from ledger_far")
    } else {
        0
    };
    let balance = server.number("select sum(abalance) from pgbench_accounts");
    server.archive_all();
    let text = |value: &serde_json::Value, name: &str| value[name].as_str().unwrap().to_owned();
    let backups = barman
        .list()
        .iter()
        .map(|backup| BackupFacts {
            id: text(backup, "backup_id"),
            timeline: backup["timeline"]
                .to_string()
                .trim_matches('"')
                .parse()
                .unwrap(),
            begin_wal: text(backup, "begin_wal"),
            end_wal: text(backup, "end_wal"),
            begin_xlog: text(backup, "begin_xlog"),
            end_xlog: text(backup, "end_xlog"),
        })
        .collect();
    Facts {
        options: options.clone(),
        system_id: server.system_id(),
        segment_size: u64::from(options.segment_size_mb) << 20,
        major: u32::try_from(server.number("show server_version_num") / 10_000).unwrap(),
        backups,
        moments,
        switch_lsn: None,
        abandoned_rows: 0,
        balance,
        far_rows,
    }
}

fn back_up_under_load(
    barman: &BarmanCloud,
    server: &TestServer,
    codec: BaseCodec,
    options: &[&str],
) {
    let load = server.pgbench_start(2, 300, 2);
    barman.backup(server, codec, options);
    load.wait();
}

/// The switch point in the last line of the newest history file.
fn history_switch(server: &TestServer) -> String {
    let text = std::fs::read_to_string(server.data().join("pg_wal/00000002.history")).unwrap();
    let line = text.lines().rfind(|line| line.starts_with('1')).unwrap();
    line.split('\t').nth(1).unwrap().to_owned()
}
