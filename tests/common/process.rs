//! Child processes: servers that end with the test, and commands that must succeed.

use std::fs::File;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::scratch;

/// A server process. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

type Request = (Command, Sender<std::io::Result<Child>>);

/// The kernel's parent-death signal looks at the *thread* that forked. Servers shared by
/// several tests outlive the thread of the first, so one thread of its own forks them all.
fn spawn_from_lasting_thread(command: Command) -> std::io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, reply) in requests {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (sender, reply) = channel();
    spawner.lock().unwrap().send((command, sender)).unwrap();
    reply.recv().unwrap()
}

impl Server {
    /// Starts `program`, as the server's user if `unprivileged`, with output to `log`.
    /// `death` is the signal it gets when the test process dies.
    pub fn start(
        program: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
        unprivileged: bool,
        death: &str,
        log: &Path,
    ) -> Self {
        let output = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new("setpriv");
        command.arg(format!("--pdeathsig={death}"));
        if let Some(user) = scratch::server_user().filter(|_| unprivileged) {
            command
                .arg(format!("--reuid={}", user.uid))
                .arg(format!("--regid={}", user.gid))
                .arg("--clear-groups")
                .env("HOME", "/tmp");
        }
        command
            .arg("--")
            .arg(program)
            .args(arguments)
            .envs(environment.iter().cloned())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let child = spawn_from_lasting_thread(command)
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        Self { child }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        );
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end, which must come in time.
    pub fn wait(&mut self, limit: Duration) {
        wait_until(limit, "the server's end", || self.ended());
    }
}

/// Starts a server that listens on loopback, and waits until it does; gives the port.
/// `start` is told the port: `port`, or a free one, several times if need be, as another
/// process may take it between the look for it and the server's start.
pub fn listening(
    port: Option<u16>,
    what: &str,
    log: &Path,
    start: impl Fn(u16) -> Server,
) -> (u16, Server) {
    for _ in 0..5 {
        let port = port.unwrap_or_else(|| {
            let probe = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            probe.local_addr().unwrap().port()
        });
        let mut server = start(port);
        let mut ended = false;
        wait_until(Duration::from_mins(1), what, || {
            let answers = TcpStream::connect(("127.0.0.1", port)).is_ok();
            ended = server.ended();
            ended || answers
        });
        if !ended {
            return (port, server);
        }
    }
    panic!(
        "{what} does not start: {}",
        std::fs::read_to_string(log).unwrap_or_default()
    );
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Polls until `condition` holds; panics when it does not within `limit`.
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(
            begin.elapsed() < limit,
            "waited {limit:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(15));
    }
}

/// Runs to the end; `Err` holds what it printed.
pub fn try_run(command: &mut Command) -> Result<String, String> {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&stdout).trim_end().to_owned();
    if status.success() {
        Ok(stdout)
    } else {
        let stderr = String::from_utf8_lossy(&stderr);
        Err(format!("{command:?}: {status}\n{stdout}\n{stderr}"))
    }
}

/// Runs to the end with `input`, and must succeed.
pub fn run_with_input(command: &mut Command, input: &str) -> String {
    match try_run_with_input(command, input) {
        Ok(printed) => printed,
        Err(failure) => panic!("{failure}"),
    }
}

/// Runs to the end with `input`; gives what it printed. `Err` holds what it said.
pub fn try_run_with_input(command: &mut Command, input: &str) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}\n{stderr}", output.status))
}

/// Runs to the end and must succeed; gives what it printed, without the last line's end.
pub fn run(command: &mut Command) -> String {
    try_run(command).unwrap_or_else(|failure| panic!("{failure}"))
}
