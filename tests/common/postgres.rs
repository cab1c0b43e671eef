//! PostgreSQL servers of a test's own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::process::{self, Server, wait_until};
use super::{require, scratch};

const PATIENCE: Duration = Duration::from_mins(1);

/// How a server is made. Start with [`TestServer::options`].
#[derive(Clone, Debug)]
pub struct ServerOptions {
    segment_size_mb: u32,
    data_checksums: bool,
    settings: Vec<(String, String)>,
    start: bool,
    programs: Option<PathBuf>,
}

/// A PostgreSQL server in a temporary directory, reachable by its Unix socket only, so that
/// no two tests can ever meet. The superuser is `postgres`, without password.
#[derive(Debug)]
pub struct TestServer {
    directory: Arc<TempDir>,
    home: PathBuf,
    process: Option<Server>,
    /// Of another major; clients are always those of [`TestServer::bin`].
    programs: Option<PathBuf>,
}

impl ServerOptions {
    /// `initdb --wal-segsize`, in MiB. Default 16; 1 gives many segments for little work.
    #[must_use]
    pub fn segment_size_mb(mut self, size: u32) -> Self {
        self.segment_size_mb = size;
        self
    }

    /// `initdb --data-checksums`. Default on.
    #[must_use]
    pub fn data_checksums(mut self, on: bool) -> Self {
        self.data_checksums = on;
        self
    }

    /// A line of `postgresql.conf`; the last one of a name counts.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The directory of another major's `initdb` and `postgres`.
    #[must_use]
    pub fn programs(mut self, directory: Option<&Path>) -> Self {
        self.programs = directory.map(Path::to_owned);
        self
    }

    /// `initdb` only.
    #[must_use]
    pub fn stopped(mut self) -> Self {
        self.start = false;
        self
    }

    /// Makes the cluster and starts it.
    pub fn create(self) -> TestServer {
        let directory = Arc::new(scratch::directory());
        let home = directory.path().join("pg");
        let mut server = TestServer {
            directory,
            home,
            process: None,
            programs: self.programs,
        };
        scratch::server_directory(&server.home);
        scratch::server_directory(&server.socket_directory());
        let mut initdb = scratch::as_server_user(server.program("initdb"));
        initdb
            .arg("--pgdata")
            .arg(server.data())
            .args([
                "--username=postgres",
                "--auth=trust",
                "--no-sync",
                "--encoding=UTF8",
            ])
            .arg("--locale=C")
            .arg(format!("--wal-segsize={}", self.segment_size_mb))
            .current_dir("/");
        if self.data_checksums {
            initdb.arg("--data-checksums");
        }
        process::run(&mut initdb);
        server.append_settings(&[
            ("archive_mode", "on"),
            // Nothing is archived until a test says where: segments wait.
            ("archive_command", ""),
            ("autovacuum", "off"),
            ("fsync", "off"),
            ("listen_addresses", ""),
            ("log_line_prefix", "%m [%p] "),
            ("max_wal_senders", "10"),
            ("shared_buffers", "32MB"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            // The commit times that the tests compare with come from the server's own books.
            ("track_commit_timestamp", "on"),
            ("wal_level", "replica"),
        ]);
        server.append_settings(
            &self
                .settings
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect::<Vec<_>>(),
        );
        server.append_settings(&[(
            "unix_socket_directories",
            server.socket_directory().to_str().unwrap(),
        )]);
        if self.start {
            server.start();
        }
        server
    }
}

impl TestServer {
    /// The port, which names the socket's file.
    pub const PORT: u16 = 5432;

    /// How a new server is made.
    pub fn options() -> ServerOptions {
        ServerOptions {
            segment_size_mb: 16,
            data_checksums: true,
            settings: Vec::new(),
            start: true,
            programs: None,
        }
    }

    /// Takes over a data directory that a restore has filled: gives it to the server's user
    /// and sets `settings` (`postgresql.conf` is made if there is none). Not started.
    /// `keep` is what holds the directory.
    pub fn adopt(keep: Arc<TempDir>, data: &Path, settings: &[(&str, &str)]) -> Self {
        let home = data.parent().unwrap().to_owned();
        assert!(
            data.ends_with("data"),
            "an adopted directory is called data"
        );
        let server = Self {
            directory: keep,
            home,
            process: None,
            programs: None,
        };
        scratch::server_directory(&server.socket_directory());
        scratch::give_to_server_user(&server.home);
        std::fs::set_permissions(data, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .unwrap();
        server.append_settings(settings);
        server.append_settings(&[(
            "unix_socket_directories",
            server.socket_directory().to_str().unwrap(),
        )]);
        server
    }

    /// A program of the PostgreSQL installation.
    pub fn bin(program: &str) -> PathBuf {
        require::postgres_bin()
            .expect("no PostgreSQL: run scripts/install")
            .join(program)
    }

    /// A program of this server's own major.
    fn program(&self, name: &str) -> PathBuf {
        self.programs
            .as_ref()
            .map_or_else(|| Self::bin(name), |directory| directory.join(name))
    }

    /// The directory that holds all of this server and goes with it.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// What keeps the directory alive.
    pub fn keep(&self) -> Arc<TempDir> {
        Arc::clone(&self.directory)
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// The directory of the socket: the `host` of a connection.
    pub fn socket_directory(&self) -> PathBuf {
        self.home.join("s")
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.home.join("log")
    }

    /// Connection settings for clients that read the environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("PGHOST", self.socket_directory().to_str().unwrap()),
            ("PGPORT", &Self::PORT.to_string()),
            ("PGUSER", "postgres"),
            ("PGDATABASE", "postgres"),
            ("PGTZ", "UTC"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Appends to `postgresql.conf`; takes effect with the next start or reload.
    pub fn append_settings(&self, settings: &[(&str, &str)]) {
        let file = self.data().join("postgresql.conf");
        let mut text = std::fs::read_to_string(&file).unwrap_or_default();
        for (name, value) in settings {
            writeln!(text, "{name} = '{}'", value.replace('\'', "''")).unwrap();
        }
        std::fs::write(&file, text).unwrap();
        scratch::give_to_server_user(&file);
    }

    /// Starts the server and waits until it answers.
    pub fn start(&mut self) {
        self.start_without_waiting();
        let mut ended = false;
        wait_until(PATIENCE, "the server to answer", || {
            ended = self.process.as_mut().is_none_or(Server::ended);
            ended || self.try_psql("select 1").is_ok()
        });
        assert!(!ended, "the server ended:\n{}", self.log());
    }

    /// Starts the server; for those that are expected to fail or to recover for long.
    pub fn start_without_waiting(&mut self) {
        assert!(self.process.is_none(), "the server runs already");
        let data = self.data();
        self.process = Some(Server::start(
            &self.program("postgres"),
            &["-D", data.to_str().unwrap()],
            &[("TZ".to_owned(), "UTC".to_owned())],
            true,
            "QUIT",
            &self.log_file(),
        ));
    }

    /// Waits for the server to end by itself; gives its log.
    pub fn wait_for_end(&mut self) -> String {
        self.process
            .as_mut()
            .expect("the server does not run")
            .wait(PATIENCE);
        self.process = None;
        self.log()
    }

    /// Waits until recovery is over and the server takes writes.
    pub fn wait_for_promotion(&mut self) {
        let mut ended = false;
        wait_until(PATIENCE, "the end of recovery", || {
            ended = self.process.as_mut().is_none_or(Server::ended);
            ended || self.try_psql("select pg_is_in_recovery()").as_deref() == Ok("f")
        });
        assert!(!ended, "the server ended:\n{}", self.log());
    }

    /// The postmaster's process id.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Server::id)
    }

    /// Fast shutdown: a shutdown checkpoint is written, WAL is archived.
    pub fn stop(&mut self) {
        self.end(Signal::SIGINT);
    }

    /// `kill -9`: nothing is written any more.
    pub fn crash(&mut self) {
        self.end(Signal::SIGKILL);
        // The postmaster's children follow as soon as they notice; a new server refuses to
        // start before.
        let data = self.data().canonicalize().unwrap();
        wait_until(PATIENCE, "the crashed server's children to end", || {
            !std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
                std::fs::read_link(entry.path().join("cwd")).ok().as_ref() == Some(&data)
            })
        });
    }

    fn end(&mut self, signal: Signal) {
        let mut process = self.process.take().expect("the server does not run");
        process.signal(signal);
        process.wait(PATIENCE);
    }

    /// Fast shutdown and start.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(Self::bin(program));
        command
            .envs(self.environment())
            .env_remove("PGOPTIONS")
            .current_dir("/");
        command
    }

    /// Runs SQL in `database` as one script; gives the rows, unaligned, or psql's error.
    pub fn try_psql_in(&self, database: &str, sql: &str) -> Result<String, String> {
        process::try_run(
            self.client("psql")
                .args([
                    "-X",
                    "-A",
                    "-t",
                    "-q",
                    "-v",
                    "ON_ERROR_STOP=1",
                    "-d",
                    database,
                ])
                .args(["-c", sql]),
        )
    }

    /// Runs SQL; `Err` holds psql's words.
    pub fn try_psql(&self, sql: &str) -> Result<String, String> {
        self.try_psql_in("postgres", sql)
    }

    /// Runs SQL, which must succeed; gives the rows, unaligned, columns split by `|`.
    pub fn psql(&self, sql: &str) -> String {
        self.try_psql(sql)
            .unwrap_or_else(|failure| panic!("{failure}\nserver log:\n{}", self.log()))
    }

    /// Runs SQL statement by statement, as from a file: each commits by itself.
    pub fn script(&self, sql: &str) {
        let mut command = self.client("psql");
        command.args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            "postgres",
            "-f",
            "-",
        ]);
        process::run_with_input(&mut command, sql);
    }

    /// A count.
    pub fn number(&self, sql: &str) -> i64 {
        let text = self.psql(sql);
        text.parse()
            .unwrap_or_else(|_| panic!("{sql}: not a number: {text:?}"))
    }

    /// `ALTER SYSTEM SET` and reload.
    pub fn set(&self, name: &str, value: &str) {
        let value = value.replace('\'', "''");
        self.psql(&format!("alter system set {name} = '{value}'"));
        self.psql("select pg_reload_conf()");
        // The archiver reads the file when it gets the signal; a moment is enough, but the
        // new value must be seen before a test goes on.
        wait_until(PATIENCE, "the reload", || {
            self.psql(&format!("select current_setting('{name}')"))
                .replace('\'', "''")
                == value
                || self.psql(&format!(
                    "select pending_restart or setting <> '' from pg_settings where name = '{name}'"
                )) == "t"
        });
    }

    /// `pgbench -i`, with 10,000 accounts left of 100,000: a base backup is quicker, and
    /// pgbench does not mind that most of its updates find no row.
    pub fn pgbench_init(&self) {
        process::run(self.client("pgbench").args(["-i", "-q"]));
        self.script(
            "delete from pgbench_accounts where aid > 10000; vacuum full pgbench_accounts;",
        );
    }

    /// Starts a pgbench load of `rate` transactions per second that ends by itself after
    /// `seconds`.
    pub fn pgbench_start(&self, clients: u32, rate: u32, seconds: u32) -> Load {
        let child = self
            .client("pgbench")
            .args(["-n", "-c", &clients.to_string(), "-T", &seconds.to_string()])
            .args(["-R", &rate.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("cannot run pgbench");
        Load(child)
    }

    /// Runs `transactions` of pgbench to the end.
    pub fn pgbench(&self, transactions: u32) {
        process::run(
            self.client("pgbench")
                .args(["-n", "-t", &transactions.to_string()]),
        );
    }

    /// Makes a tablespace in a directory beside the data directory.
    pub fn create_tablespace(&self, name: &str) -> PathBuf {
        let location = self.home.join("tablespaces").join(name);
        scratch::server_directory(&location);
        scratch::give_to_server_user(location.parent().unwrap());
        self.psql(&format!(
            "create tablespace {name} location '{}'",
            location.display()
        ));
        location
    }

    /// `pg_controldata` as a map of its lines.
    pub fn control_data(data: &Path) -> BTreeMap<String, String> {
        process::run(
            Command::new(Self::bin("pg_controldata"))
                .arg(data)
                .env("LC_ALL", "C"),
        )
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
    }

    /// The database system identifier.
    pub fn system_id(&self) -> u64 {
        Self::control_data(&self.data())["Database system identifier"]
            .parse()
            .unwrap()
    }

    /// Ends the current segment and waits until everything is archived. Gives the name of
    /// the last segment that was ended.
    pub fn archive_all(&self) -> String {
        // 13 cannot subtract from an LSN itself.
        let end = super::waldump::lsn(&self.psql("select pg_switch_wal()"));
        let last = super::waldump::lsn_text(end - 1);
        let segment = self.psql(&format!("select pg_walfile_name('{last}')"));
        self.wait_archived();
        segment
    }

    /// Waits until nothing is left to archive.
    pub fn wait_archived(&self) {
        let status = self.data().join("pg_wal/archive_status");
        wait_until(PATIENCE, "WAL to be archived", || {
            !std::fs::read_dir(&status)
                .unwrap()
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().ends_with(".ready"))
        });
    }

    /// Makes a streaming standby by `pg_basebackup -R`, with tablespaces beside it. It
    /// archives nothing until promoted, then by the same command as this server.
    pub fn create_standby(&self) -> Self {
        let directory = Arc::new(scratch::directory());
        let home = directory.path().join("pg");
        let mut standby = Self {
            directory,
            home,
            process: None,
            programs: None,
        };
        scratch::server_directory(&standby.home);
        scratch::server_directory(&standby.socket_directory());
        let mut backup = scratch::as_server_user(Self::bin("pg_basebackup"));
        backup
            .envs(self.environment())
            .current_dir("/")
            .env_remove("PGDATABASE");
        backup.arg("-D").arg(standby.data()).args([
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
        ]);
        for location in self
            .psql("select pg_tablespace_location(oid) from pg_tablespace where spcname !~ '^pg_'")
            .lines()
        {
            let name = Path::new(location).file_name().unwrap();
            let target = standby.home.join("tablespaces").join(name);
            backup
                .arg("-T")
                .arg(format!("{location}={}", target.display()));
        }
        process::run(&mut backup);
        standby.append_settings(&[(
            "unix_socket_directories",
            standby.socket_directory().to_str().unwrap(),
        )]);
        standby.start();
        standby
    }

    /// Waits until `standby` has replayed all that this server has written.
    pub fn wait_for_standby(&self, standby: &Self) {
        let lsn = self.psql("select pg_current_wal_flush_lsn()");
        wait_until(PATIENCE, "the standby to catch up", || {
            standby.psql(&format!(
                "select pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn"
            )) == "t"
        });
    }

    /// Stops the server, starts it as a standby of nobody, and promotes that: the next
    /// timeline in the same directory.
    pub fn promote_itself(&mut self) {
        self.stop();
        let signal = self.data().join("standby.signal");
        std::fs::write(&signal, "").unwrap();
        scratch::give_to_server_user(&signal);
        self.start();
        self.promote();
    }

    /// Promotes a standby and waits until it takes writes and has a checkpoint on its new
    /// timeline.
    pub fn promote(&mut self) {
        self.psql("select pg_promote()");
        self.wait_for_promotion();
        self.psql("checkpoint");
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Immediate shutdown: the directory goes anyway, but its processes must be gone.
            process.signal(Signal::SIGQUIT);
            for _ in 0..400 {
                if process.ended() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// A pgbench load in the background.
#[derive(Debug)]
pub struct Load(Child);

impl Load {
    /// Waits for its end.
    pub fn wait(mut self) {
        let status = self.0.wait().unwrap();
        assert!(status.success(), "pgbench: {status}");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
