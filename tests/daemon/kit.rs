//! A daemon with its configuration, its state and its log.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::damage::Tree;
use crate::common::http;
use crate::common::postgres::TestServer;
use crate::common::process::wait_until;
use crate::common::scratch;
use crate::common::walproof::{Run, command, run, run_command};

/// Long enough for anything on a busy machine.
pub const LIMIT: Duration = Duration::from_mins(2);

/// A small repository: one base backup and a few segments of 1 MiB.
pub fn repository() -> &'static Tree {
    static REPOSITORY: OnceLock<Tree> = OnceLock::new();
    REPOSITORY.get_or_init(|| {
        let server = TestServer::options().segment_size_mb(1).create();
        let tree = Tree::empty("orders");
        tree.archive(&server, false);
        let url = tree.url();
        let take = [
            "backup", "take", &url, "--output", "json", "--user", "postgres",
        ];
        run(&take, &server.environment()).expect_code(0);
        server.psql("CREATE TABLE t AS SELECT 1 AS a; SELECT pg_switch_wal()");
        server.archive_all();
        tree
    })
}

/// A directory with a configuration and a state.
pub struct Ground {
    pub directory: TempDir,
    pub state: String,
}

impl Ground {
    pub fn new() -> Self {
        let directory = scratch::directory();
        let state = format!("sqlite://{}/state.sqlite", directory.path().display());
        Self { directory, state }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn config(&self) -> PathBuf {
        self.path().join("walproof.yaml")
    }

    /// Writes the configuration: one cluster over the small repository and what is given.
    pub fn configure(&self, more: &str) {
        let text = format!(
            "version: 1\nstate: {}\nclusters:\n- name: orders\n  primary: {{url: '{}'}}\n{more}",
            self.state,
            repository().url()
        );
        self.write(&text);
    }

    /// Writes the configuration as a deployment does: another file takes its place.
    pub fn write(&self, text: &str) {
        let new = self.path().join("walproof.yaml.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.config()).unwrap();
    }

    pub fn walproof(&self, arguments: &[&str]) -> Run {
        run_command(self.command(arguments))
    }

    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        let config = self.config();
        let mut all = arguments.to_vec();
        all.extend(["--config", config.to_str().unwrap()]);
        command(&all, &[])
    }

    pub fn daemon(&self) -> Daemon {
        self.daemon_called("daemon")
    }

    pub fn daemon_called(&self, name: &str) -> Daemon {
        let log = self.path().join(format!("{name}.log"));
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = self
            .command(&["daemon", "--log-format", "json"])
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Daemon { child, log }
    }

    /// All entries of the ledger, as they are kept.
    pub fn entries(&self) -> Vec<Value> {
        let sql = "SELECT text FROM entries ORDER BY sequence";
        self.query(sql)
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    }

    pub fn entries_of(&self, kind: &str) -> Vec<Value> {
        let mut entries = self.entries();
        entries.retain(|entry| entry["kind"] == kind);
        entries
    }

    /// The first column of what the state answers.
    pub fn query(&self, sql: &str) -> Vec<String> {
        use sqlx::Row as _;
        let file = self.state.strip_prefix("sqlite://").unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(file)
            .busy_timeout(Duration::from_secs(30));
        let sql = sql.to_owned();
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async {
                let Ok(pool) = sqlx::SqlitePool::connect_with(options).await else {
                    return Vec::new();
                };
                let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&pool).await;
                pool.close().await;
                rows.unwrap_or_default()
                    .iter()
                    .map(|row| row.get::<String, _>(0))
                    .collect()
            })
    }

    pub fn number(&self, sql: &str) -> u64 {
        self.query(sql)
            .first()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    /// How many jobs have a status.
    pub fn jobs(&self, status: &str) -> u64 {
        self.number(&format!(
            "SELECT CAST(count(*) AS TEXT) FROM jobs WHERE status = '{status}'"
        ))
    }
}

/// A daemon that runs.
pub struct Daemon {
    pub child: Child,
    pub log: PathBuf,
}

impl Daemon {
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until something is so; the log is shown when it is not within the limit.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let begin = std::time::Instant::now();
        while !condition() {
            assert!(
                begin.elapsed() < LIMIT && self.is_running(),
                "in vain: {what}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn until_log(&mut self, words: &str) {
        let log = self.log.clone();
        self.until(words, || {
            std::fs::read_to_string(&log)
                .unwrap_or_default()
                .contains(words)
        });
    }

    /// What it answers at a path: the status and the text, status 0 if it does not answer.
    pub fn get(&self, path: &str) -> (u16, String) {
        let log = self.log();
        let port: String = log
            .rsplit("127.0.0.1:")
            .next()
            .unwrap_or_default()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        http::request(&format!("127.0.0.1:{port}"), "GET", path, &[], &[])
            .map_or((0, String::new()), |answer| (answer.status, answer.text()))
    }

    /// Asks it to stop and waits for its end.
    #[track_caller]
    pub fn stop(mut self) -> i32 {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let child = &mut self.child;
        let mut status = None;
        wait_until(LIMIT, "the daemon to end", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code().unwrap_or(-1)
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
        }
    }
}
