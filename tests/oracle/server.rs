//! One PostgreSQL server of the machine's own packages, in a directory of its own.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use walproof::postgres::SegmentSize;

/// A cluster; stopped at once and removed when dropped.
pub(crate) struct Server {
    directory: tempfile::TempDir,
    installation: Installation,
    pub(crate) segment_size: SegmentSize,
}

/// Where the programs are. Clients (psql, pgbench, ...) are always Debian's.
#[derive(Clone)]
pub(crate) struct Installation {
    /// Has initdb, pg_ctl and postgres.
    pub(crate) binaries: PathBuf,
    pub(crate) major: u32,
}

const CLIENTS: &str = "/usr/lib/postgresql/15/bin";

impl Installation {
    /// Debian's PostgreSQL 15.
    pub(crate) fn debian() -> Self {
        Self::at(Path::new(CLIENTS))
    }

    /// Another major's programs.
    pub(crate) fn at(binaries: &Path) -> Self {
        let postgres = binaries.join("postgres");
        let output = Command::new(&postgres).arg("--version").output();
        let output = output.unwrap_or_else(|error| {
            panic!("{}: {error}; install PostgreSQL there", postgres.display())
        });
        let text = String::from_utf8(output.stdout).unwrap();
        let version = text.split(' ').nth(2).unwrap();
        Self {
            binaries: binaries.to_owned(),
            major: version.split('.').next().unwrap().parse().unwrap(),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.binaries.join(name).exists()
    }

    /// A program of the server's.
    fn program(&self, name: &str) -> Command {
        as_server(&self.binaries.join(name))
    }
}

/// A command with the user and surroundings that PostgreSQL wants: it refuses root.
fn as_server(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env("TZ", "UTC").env("LC_ALL", "C").current_dir("/");
    if nix::unistd::geteuid().is_root() {
        let user = nix::unistd::User::from_name("postgres").unwrap().unwrap();
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

fn client(name: &str) -> Command {
    as_server(&Path::new(CLIENTS).join(name))
}

/// Makes a path the server's own.
fn give_to_server(path: &Path) {
    if nix::unistd::geteuid().is_root() {
        let user = nix::unistd::User::from_name("postgres").unwrap().unwrap();
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
    }
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

impl Server {
    /// Makes a cluster with all settings that the tests want, and starts it.
    pub(crate) fn create(installation: Installation, segment_size: SegmentSize) -> Self {
        Self::create_with(installation, segment_size, &[])
    }

    /// The same with more arguments for initdb.
    pub(crate) fn create_with(
        installation: Installation,
        segment_size: SegmentSize,
        initdb: &[&str],
    ) -> Self {
        let directory = tempfile::Builder::new().prefix("wp-pg").tempdir().unwrap();
        give_to_server(directory.path());
        let server = Self {
            directory,
            installation,
            segment_size,
        };
        succeed(
            server
                .installation
                .program("initdb")
                .args(["--no-sync", "--auth=trust", "--username=postgres"])
                .args(["--encoding=UTF8", "--locale=C"])
                .arg(format!("--wal-segsize={}", segment_size.bytes() >> 20))
                .args(initdb)
                .arg("-D")
                .arg(server.data()),
        );
        std::fs::create_dir(server.archive()).unwrap();
        give_to_server(&server.archive());
        let settings = format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\nfsync = off\n\
             max_prepared_transactions = 8\nwal_keep_size = '8GB'\nmax_wal_size = '8GB'\n\
             min_wal_size = '{}MB'\nautovacuum_naptime = 1\nhot_standby = on\nshared_buffers = '32MB'\n\
             allow_in_place_tablespaces = on\narchive_mode = on\ntrack_commit_timestamp = on\narchive_command = 'cp %p {}/%f'\n",
            server.directory.path().display(),
            (segment_size.bytes() >> 20) * 2,
            server.archive().display(),
        );
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(server.data().join("postgresql.conf"))
            .unwrap();
        file.write_all(settings.as_bytes()).unwrap();
        server.start();
        server
    }

    pub(crate) fn installation(&self) -> &Installation {
        &self.installation
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn pg_wal(&self) -> PathBuf {
        self.data().join("pg_wal")
    }

    /// Where the server archives to.
    pub(crate) fn archive(&self) -> PathBuf {
        self.directory.path().join("archive")
    }

    pub(crate) fn start(&self) {
        let log = self.directory.path().join("log");
        let status = self
            .installation
            .program("pg_ctl")
            .args(["start", "-w", "-t", "120", "-D"])
            .arg(self.data())
            .arg("-l")
            .arg(&log)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        assert!(status.success(), "the server does not start:\n{text}");
    }

    /// `fast` shuts down with a checkpoint, `immediate` is a crash.
    pub(crate) fn stop(&self, mode: &str) {
        succeed(
            self.installation
                .program("pg_ctl")
                .args(["stop", "-w", "-m", mode, "-D"])
                .arg(self.data()),
        );
    }

    pub(crate) fn promote(&self) {
        succeed(
            self.installation
                .program("pg_ctl")
                .args(["promote", "-w", "-D"])
                .arg(self.data()),
        );
    }

    /// Writes an empty file into the data directory, readable for the server.
    pub(crate) fn signal(&self, name: &str) {
        std::fs::write(self.data().join(name), "").unwrap();
        give_to_server(&self.data().join(name));
    }

    /// Runs statements, each in a transaction of its own unless they say otherwise.
    pub(crate) fn sql(&self, statements: &str) -> String {
        self.sql_in("postgres", statements)
    }

    /// The same in another database.
    pub(crate) fn sql_in(&self, database: &str, statements: &str) -> String {
        let mut child = client("psql")
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-F", "\t", "-h"])
            .arg(self.directory.path())
            .args(["-U", "postgres", "-d", database])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(statements.as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{statements}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn pgbench(&self, arguments: &[&str]) {
        succeed(
            client("pgbench")
                .args(["-U", "postgres", "-h"])
                .arg(self.directory.path())
                .args(arguments)
                .arg("postgres"),
        );
    }

    /// Takes a base backup by hand, without copying anything: its `backup_label`.
    pub(crate) fn backup_label(&self, name: &str) -> String {
        let (start, stop) = if self.installation.major >= 15 {
            (
                format!("pg_backup_start('{name}', true)"),
                "pg_backup_stop(false)",
            )
        } else {
            (
                format!("pg_start_backup('{name}', true, false)"),
                "pg_stop_backup(false, false)",
            )
        };
        self.sql(&format!(
            "select {start} \\g /dev/null\nselect labelfile from {stop}"
        ))
    }

    /// A directory of the test's own that the server may use.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        give_to_server(&path);
        path
    }

    /// Makes a file the server's own.
    #[expect(
        clippy::unused_self,
        reason = "reads as what is done to the server's files"
    )]
    pub(crate) fn give(&self, path: &Path) {
        give_to_server(path);
    }

    /// Runs one of the server's own programs, whatever comes of it.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.installation
            .program(program)
            .env("PGHOST", self.directory.path())
            .args(arguments)
            .output()
            .unwrap()
    }

    pub(crate) fn pg_controldata(&self) -> String {
        let output = succeed(
            self.installation
                .program("pg_controldata")
                .arg("-D")
                .arg(self.data()),
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

/// `pg_waldump`'s output. At the end of unfinished WAL it fails, which is its way to say
/// so; the words go to its error stream.
pub(crate) fn pg_waldump(
    installation: &Installation,
    pg_wal: &Path,
    arguments: &[&str],
) -> (String, String) {
    let output = installation
        .program("pg_waldump")
        .arg("-p")
        .arg(pg_wal)
        .args(arguments)
        .output()
        .unwrap();
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self
            .installation
            .program("pg_ctl")
            .args(["stop", "-m", "immediate", "-D"])
            .arg(self.data())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
