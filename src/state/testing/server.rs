//! A PostgreSQL server of the tests' own, reachable by its Unix socket, or by TCP on
//! loopback where a test asks for it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

/// A server that runs. It ends with the test process, however that ends, and its directory
/// goes with it.
#[derive(Debug)]
pub(in super::super) struct Server {
    directory: PathBuf,
    bin: PathBuf,
    databases: AtomicU32,
    /// Ends the server when its standard input does.
    keeper: Option<Child>,
}

/// Runs the server until the pipe to whoever started this closes, then removes everything.
const KEEPER: &str = r#"
directory=$1; shift
"$@" >>"$directory/log" 2>&1 </dev/null &
server=$!
cat >/dev/null
kill -QUIT $server 2>/dev/null
wait $server
rm -rf "$directory"
"#;

/// PostgreSQL refuses to run as root.
fn user() -> Option<User> {
    if !Uid::effective().is_root() {
        return None;
    }
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten())
}

fn as_user(program: &Path) -> Command {
    let Some(user) = user() else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={}", user.uid))
        .arg(format!("--regid={}", user.gid))
        .args(["--clear-groups", "--"])
        .arg(program)
        .env("HOME", "/tmp");
    command
}

/// The directories of programs below a directory with one folder per major.
fn installed(root: &Path) -> Vec<(u32, PathBuf)> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            (bin.join("postgres").is_file() && bin.join("initdb").is_file()).then_some((major, bin))
        })
        .collect();
    found.sort();
    found
}

/// Every installed major with its programs, the oldest first; those of `scripts/install
/// --all-majors` among them, which root and others have in different places.
pub(in super::super) fn majors() -> Vec<(u32, PathBuf)> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let home = || Some(variable("HOME")?.join(".cache/walproof-test"));
    let cache = variable("WALPROOF_TEST_CACHE").or_else(home);
    let places = variable("WALPROOF_TEST_MAJORS").map_or_else(
        || {
            let own = cache.map(|cache| cache.join("postgresql"));
            let shared = PathBuf::from("/opt/walproof-test/postgresql");
            own.into_iter().chain([shared]).collect()
        },
        |place| vec![place],
    );
    let mut all = installed(Path::new("/usr/lib/postgresql"));
    for place in &places {
        all.extend(installed(place));
    }
    all.sort();
    all.dedup_by_key(|(major, _)| *major);
    all
}

/// Says past the test runner's capture that something was not tested; a failure in CI.
pub(in super::super) fn skipped(what: &str) {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    let message = format!("{test}: SKIPPED, {what} (run scripts/install)");
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{message}; under CI=true that is a failure"
    );
    let _ = writeln!(std::io::stderr().lock(), "\n*** {message}\n");
}

impl Server {
    /// The one that all tests of this process share, of the newest Debian package.
    pub(in super::super) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Server>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let (_, bin) = installed(Path::new("/usr/lib/postgresql")).pop()?;
            Some(Self::start(&bin, &[]))
        });
        if shared.is_none() {
            skipped("PostgreSQL is not installed");
        }
        shared.as_ref()
    }

    /// A server of a test's own, of these programs, with lines of `postgresql.conf`.
    pub(in super::super) fn start(bin: &Path, settings: &[(&str, &str)]) -> Self {
        let directory = TempDir::with_prefix_in("wps", "/tmp").unwrap().keep();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&directory, mode).unwrap();
        if let Some(user) = user() {
            let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
            std::os::unix::fs::chown(&directory, Some(uid), Some(gid)).unwrap();
        }
        let data = directory.join("data");
        let output = as_user(&bin.join("initdb"))
            .arg("--pgdata")
            .arg(&data)
            .args(["--username=postgres", "--auth=trust", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C"])
            .current_dir("/")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut server = Self {
            directory,
            bin: bin.to_owned(),
            databases: AtomicU32::new(0),
            keeper: None,
        };
        let socket = server.directory.display().to_string();
        server.set(&[
            ("autovacuum", "off"),
            ("fsync", "off"),
            ("listen_addresses", ""),
            ("max_connections", "200"),
            ("shared_buffers", "32MB"),
            ("timezone", "Asia/Kathmandu"),
            ("unix_socket_directories", &socket),
        ]);
        server.set(settings);
        server.run();
        server
    }

    /// Appends to `postgresql.conf`; takes effect with the next start.
    pub(in super::super) fn set(&self, settings: &[(&str, &str)]) {
        let mut lines = String::new();
        for (name, value) in settings {
            let _ = writeln!(lines, "{name} = '{value}'");
        }
        self.append("postgresql.conf", &lines);
    }

    /// Appends to a file of the data directory.
    pub(in super::super) fn append(&self, file: &str, lines: &str) {
        std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.data().join(file))
            .and_then(|mut file| file.write_all(lines.as_bytes()))
            .unwrap();
    }

    pub(in super::super) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Starts what does not run, and waits until it answers.
    pub(in super::super) fn run(&mut self) {
        assert!(self.keeper.is_none(), "it runs already");
        let mut command = Command::new("sh");
        let postgres = as_user(&self.bin.join("postgres"));
        command
            .args(["-c", KEEPER, "sh"])
            .arg(&self.directory)
            .arg(postgres.get_program())
            .args(postgres.get_args())
            .arg("-D")
            .arg(self.data())
            .env("HOME", "/tmp")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.keeper = Some(command.spawn().unwrap());
        let begin = Instant::now();
        let pid = self.data().join("postmaster.pid");
        while !std::fs::read_to_string(&pid).is_ok_and(|text| {
            text.lines()
                .nth(7)
                .is_some_and(|status| matches!(status.trim(), "ready" | "standby"))
        }) {
            assert!(
                begin.elapsed() < Duration::from_mins(1),
                "the server does not start:\n{}",
                std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The postmaster's process id.
    fn process_id(&self) -> i32 {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().trim().parse().unwrap()
    }

    /// Sends the postmaster a signal.
    pub(in super::super) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.process_id()), signal).unwrap();
    }

    /// Stops the server at once, as a crash would; its data stays.
    pub(in super::super) fn stop(&mut self) {
        let mut keeper = self.keeper.take().expect("it does not run");
        // Without its keeper nobody removes the directory.
        keeper.kill().unwrap();
        keeper.wait().unwrap();
        self.signal(nix::sys::signal::Signal::SIGQUIT);
        let begin = Instant::now();
        while self.data().join("postmaster.pid").exists() {
            assert!(begin.elapsed() < Duration::from_mins(1), "it does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The URL of a database, by socket and as the superuser.
    pub(in super::super) fn url(&self, database: &str) -> String {
        let socket = self.directory.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}/{database}")
    }

    /// The directory of the socket.
    pub(in super::super) fn socket(&self) -> &Path {
        &self.directory
    }

    /// A new database; gives its name.
    pub(in super::super) async fn create_database(&self) -> String {
        let name = format!("state{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("CREATE DATABASE {name} TEMPLATE template0"))
            .await;
        name
    }

    /// The same of a server with another port, which names the socket's file.
    pub(in super::super) async fn create_database_at(&self, port: &str) -> String {
        let socket = self.directory.display().to_string().replace('/', "%2F");
        let url = format!("postgres://postgres@{socket}:{port}/postgres");
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("CREATE DATABASE tls TEMPLATE template0")
            .execute(&mut connection)
            .await
            .unwrap();
        "tls".to_owned()
    }

    /// Gives a file of the data directory to the server alone.
    pub(in super::super) fn only_for_server(&self, file: &str) {
        let path = self.data().join(file);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).unwrap();
        if let Some(user) = user() {
            let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).unwrap();
        }
    }

    /// Statements in the database `postgres`.
    pub(in super::super) async fn sql(&self, text: &str) {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(text.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        } else {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
