//! The restored server as a process: start, ask, stop.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use futures::future::BoxFuture;
use nix::sys::signal::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use tokio::sync::watch;

use super::confine::{Confinement, Network};
use super::process::ProcessId;
use super::programs;
use super::{Binaries, RunAs};
use crate::drill::restored::{ConnectError, ProgramEnd, Restored, SessionSettings, open_session};

/// The port in the name of the server's socket. Nothing listens on a network.
pub const PORT: u16 = 5432;

/// Everything needed to start a restored server.
#[derive(Clone, Debug)]
pub struct ServerPlan {
    /// The programs.
    pub binaries: Binaries,
    /// The data directory.
    pub data: PathBuf,
    /// The directory with walproof's `postgresql.conf`, `pg_hba.conf`, `pg_ident.conf`.
    pub configuration: PathBuf,
    /// The directory of its socket.
    pub sockets: PathBuf,
    /// Where its standard error goes.
    pub log: PathBuf,
    /// The operating system user.
    pub run_as: RunAs,
    /// The network.
    pub network: Network,
    /// walproof's own program, which confines the server.
    pub confine_program: PathBuf,
    /// The role for every connection.
    pub superuser: String,
}

/// Why the server is not running.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// Its log cannot be made.
    #[error("cannot make the server log {path}: {source}")]
    Log {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
}

/// A running (or just ended) restored server. Dropping it ends the server at once.
#[derive(Debug)]
pub struct Server {
    plan: ServerPlan,
    process: Option<ProcessId>,
    pid: i32,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Server {
    /// Starts the server. Returns as soon as the process exists.
    pub fn start(plan: ServerPlan) -> Result<Self, ServerError> {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            .open(&plan.log)
            .map_err(|source| ServerError::Log {
                path: plan.log.clone(),
                source,
            })?;
        let program = plan.binaries.directory.join("postgres");
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let confinement = Confinement {
            user: plan
                .run_as
                .change
                .then_some((plan.run_as.uid, plan.run_as.gid)),
            network: plan.network,
            parent: own,
        };
        let arguments = confinement.arguments(program.as_os_str(), &Self::arguments(&plan));
        let mut command = Command::new(&plan.confine_program);
        command
            .args(arguments)
            .current_dir(&plan.configuration)
            // Credentials for the repository are in our environment; the server gets none
            // of it.
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let failed = |source| ServerError::Start {
            program: plan.confine_program.clone(),
            source,
        };
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let (ended, exit) = watch::channel(None);
        // The kernel ties a child to the thread that started it, so that thread must live
        // as long as the server does: it waits for it.
        std::thread::Builder::new()
            .name("restored-server".to_owned())
            .spawn(move || {
                let mut child = match command.spawn() {
                    Ok(child) => child,
                    Err(error) => {
                        let _ = started.send(Err(error));
                        return;
                    }
                };
                let _ = started.send(Ok(child.id()));
                let status = child.wait().ok();
                ended.send_replace(status);
            })
            .map_err(failed)?;
        let pid = start
            .recv()
            .map_err(|_| failed(std::io::Error::other("the starting thread ended")))?
            .map_err(failed)?;
        let pid = i32::try_from(pid).unwrap_or(i32::MAX);
        Ok(Self {
            process: ProcessId::of(pid),
            plan,
            pid,
            exit,
        })
    }

    /// The arguments of `postgres`. What safety rests on stands here as well as in the
    /// configuration file: the command line wins over every file.
    fn arguments(plan: &ServerPlan) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["-D".into(), plan.data.clone().into()];
        let file = |name: &str| plan.configuration.join(name).display().to_string();
        let settings = [
            ("config_file", file("postgresql.conf")),
            ("hba_file", file("pg_hba.conf")),
            ("ident_file", file("pg_ident.conf")),
            (
                "unix_socket_directories",
                plan.sockets.display().to_string(),
            ),
            ("port", PORT.to_string()),
            ("listen_addresses", String::new()),
            ("archive_mode", "off".to_owned()),
            ("archive_command", String::new()),
            ("primary_conninfo", String::new()),
            ("primary_slot_name", String::new()),
            ("archive_cleanup_command", String::new()),
            ("recovery_end_command", String::new()),
            ("max_logical_replication_workers", "0".to_owned()),
        ];
        for (name, value) in settings {
            arguments.push("-c".into());
            arguments.push(format!("{name}={value}").into());
        }
        arguments
    }

    /// The plan by which it was started.
    pub const fn plan(&self) -> &ServerPlan {
        &self.plan
    }

    /// The server's process, if it lived long enough to be looked at.
    pub const fn process(&self) -> Option<ProcessId> {
        self.process
    }

    /// How the server ended, if it has.
    pub fn exited(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Whether the kernel says that the server is in another network than we are. `None`
    /// when it does not say.
    pub fn network_isolated(&self) -> Option<bool> {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        Some(of(&self.pid.to_string())? != of("self")?)
    }

    /// Waits until the server has ended, at most this long. Returns whether it has.
    pub async fn wait(&mut self, patience: Duration) -> bool {
        let ended = self.exit.wait_for(Option::is_some);
        // A closed channel means that the waiting thread is gone: the server has ended.
        tokio::time::timeout(patience, ended).await.is_ok()
    }

    /// Stops the server: in order, then at once, then by force. Returns whether it ended
    /// in order, that is, with a shutdown checkpoint.
    pub async fn stop(&mut self) -> bool {
        self.signal(Signal::SIGINT);
        if self.wait(Duration::from_mins(1)).await {
            return self.exited().is_some_and(|status| status.success());
        }
        self.discard().await;
        false
    }

    /// Ends the server at once, for a data directory that is thrown away. Returns whether
    /// it has ended.
    pub async fn discard(&mut self) -> bool {
        for (signal, patience) in [
            (Signal::SIGQUIT, Duration::from_secs(10)),
            (Signal::SIGKILL, Duration::from_secs(10)),
        ] {
            self.signal(signal);
            if self.wait(patience).await {
                return true;
            }
        }
        self.exited().is_some()
    }

    fn signal(&self, signal: Signal) {
        if self.exited().is_none()
            && let Some(process) = self.process
        {
            process.signal(signal);
        }
    }

    /// The server's log.
    pub fn log(&self) -> &Path {
        &self.plan.log
    }
}

impl Restored for Server {
    fn major(&self) -> u32 {
        self.plan.binaries.major
    }

    fn connect<'a>(
        &'a self,
        database: &'a str,
        settings: &'a SessionSettings<'a>,
    ) -> BoxFuture<'a, Result<PgConnection, ConnectError>> {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(&self.plan.sockets)
            .port(PORT)
            .username(&self.plan.superuser)
            .ssl_mode(PgSslMode::Disable);
        Box::pin(open_session(options, database, settings))
    }

    fn pg_amcheck<'a>(
        &'a self,
        arguments: &'a [String],
        options: &'a str,
        limit: Duration,
    ) -> BoxFuture<'a, Result<ProgramEnd, String>> {
        Box::pin(programs::amcheck(&self.plan, arguments, options, limit))
    }

    fn pg_checksums(&mut self, limit: Duration) -> BoxFuture<'_, Result<ProgramEnd, String>> {
        Box::pin(async move {
            if !self.stop().await {
                return Err(
                    "the server did not stop in order, so pages may be half written".to_owned(),
                );
            }
            programs::checksums(&self.plan, limit).await
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::SIGQUIT);
    }
}
