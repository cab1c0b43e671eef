//! The program under test, run as a person would run it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where the program is.
pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_walproof"))
}

/// A copy of the program in `directory`, for a server's user who may not be able to read
/// the build directory (`archive_command`).
pub fn readable_copy(directory: &Path) -> PathBuf {
    let copy = directory.join("walproof");
    if !copy.exists() {
        // Not by this process: another thread's child could hold the file open for writing
        // just when it is to be run.
        super::process::run(Command::new("cp").arg(program()).arg(&copy));
    }
    copy
}

/// What a run of the program gave.
#[derive(Clone, Debug)]
pub struct Run {
    /// The exit status; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Run {
    /// Panics, with all that was printed, unless it ended with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "exit status\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output read as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON: {error}\n{}\n{}", self.stdout, self.stderr))
    }

    /// The codes of the findings in the JSON output, sorted, once each.
    pub fn finding_codes(&self) -> Vec<String> {
        let mut codes = Vec::new();
        collect_codes(&self.json(), &mut codes);
        codes.sort();
        codes.dedup();
        codes
    }
}

/// Findings are the objects that have both a `code` and a `severity`, wherever they stand.
fn collect_codes(value: &serde_json::Value, codes: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            if let (Some(code), Some(_)) = (map.get("code"), map.get("severity")) {
                codes.push(code.as_str().unwrap_or_default().to_owned());
            }
            map.values().for_each(|value| collect_codes(value, codes));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| collect_codes(value, codes)),
        _ => {}
    }
}

/// A command line of walproof. Nothing of the environment that could name a store, a state
/// or a configuration is passed on.
pub fn command(arguments: &[&str], environment: &[(String, String)]) -> Command {
    let mut command = Command::new(program());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["AWS_", "GOOGLE_", "AZURE_", "OTEL_", "WALPROOF_", "PG"]
            .iter()
            .any(|p| name.starts_with(p))
        {
            command.env_remove(&*name);
        }
    }
    command
        .args(arguments)
        .envs(environment.iter().cloned())
        .env("TZ", "UTC")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

/// Runs walproof to its end, at most five minutes.
#[track_caller]
pub fn run(arguments: &[&str], environment: &[(String, String)]) -> Run {
    run_command(command(arguments, environment))
}

/// Runs a prepared command line to its end, at most five minutes.
#[track_caller]
pub fn run_command(mut command: Command) -> Run {
    let begin = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let reader = |mut stream: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = reader(Box::new(child.stdout.take().unwrap()));
    let stderr = reader(Box::new(child.stderr.take().unwrap()));
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > Duration::from_mins(5) {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?} took more than five minutes");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Run {
        code: status.code(),
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
        took: begin.elapsed(),
    }
}
