//! Prometheus and Alertmanager, as Debian has them.

use std::fmt::Write as _;
use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::http::{Answer, Head};
use super::process::{self, Server};
use super::{require, scratch};

/// Asks a server on loopback; the connection ends with the answer.
pub fn get(port: u16, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    let mut request =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    let mut stream = BufReader::new(stream);
    let head = Head::read(&mut stream)?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let body = head.answer_body("GET").read(&mut stream)?;
    Ok(Answer {
        status: head.status(),
        head,
        body,
    })
}

/// What may stand in a URL's query as it is, and everything else by its bytes.
pub fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// A command of `promtool` or `amtool`.
pub fn tool(name: &str) -> Command {
    Command::new(require::prometheus(name).unwrap())
}

/// Runs a tool, which must find nothing wrong; gives what it said.
pub fn passes(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {said}");
    said
}

/// A Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    directory: TempDir,
    port: u16,
    process: Server,
}

impl Prometheus {
    /// Starts one with this configuration; other `files` lie beside it.
    pub fn start(configuration: &str, files: &[(&str, String)]) -> Self {
        let directory = scratch::directory();
        let home = directory.path();
        for (name, text) in files {
            std::fs::write(home.join(name), text).unwrap();
        }
        let file = home.join("prometheus.yaml");
        std::fs::write(&file, configuration).unwrap();
        let log = home.join("log");
        let (port, process) = process::listening(None, "Prometheus", &log, |port| {
            Server::start(
                &require::prometheus("prometheus").unwrap(),
                &[
                    &format!("--config.file={}", file.display()),
                    &format!("--storage.tsdb.path={}", home.join("data").display()),
                    &format!("--web.listen-address=127.0.0.1:{port}"),
                    "--log.level=warn",
                ],
                &[],
                false,
                "KILL",
                &log,
            )
        });
        let prometheus = Self {
            directory,
            port,
            process,
        };
        process::wait_until(Duration::from_mins(1), "Prometheus", || {
            get(port, "/-/ready", &[]).is_ok_and(|answer| answer.status == 200)
        });
        prometheus
    }

    /// Asks its interface.
    pub fn api(&self, path: &str) -> Value {
        let answer = get(self.port, path, &[]).unwrap();
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{path}: {}", answer.text()))
    }

    /// The answer to a query, as the interface gives it.
    pub fn query(&self, query: &str) -> Value {
        self.api(&format!("/api/v1/query?query={}", escaped(query)))
    }

    /// The alerts that fire, as their labels.
    pub fn firing(&self) -> Vec<Value> {
        self.api("/api/v1/alerts")["data"]["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|alert| alert["state"] == "firing")
            .map(|alert| alert["labels"].clone())
            .collect()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

/// An Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    _directory: TempDir,
    /// Where it listens on the loopback.
    pub port: u16,
    _process: Server,
}

impl Alertmanager {
    /// Starts one with this configuration.
    pub fn start(configuration: &Path) -> Self {
        let directory = scratch::directory();
        let log: PathBuf = directory.path().join("log");
        let (port, process) = process::listening(None, "Alertmanager", &log, |port| {
            Server::start(
                &require::prometheus("prometheus-alertmanager").unwrap(),
                &[
                    &format!("--config.file={}", configuration.display()),
                    &format!("--storage.path={}", directory.path().join("data").display()),
                    &format!("--web.listen-address=127.0.0.1:{port}"),
                    "--cluster.listen-address=",
                    "--log.level=warn",
                ],
                &[],
                false,
                "KILL",
                &log,
            )
        });
        Self {
            _directory: directory,
            port,
            _process: process,
        }
    }

    /// The alerts that it knows and that are not resolved.
    pub fn active(&self) -> Vec<Value> {
        let answer = get(self.port, "/api/v2/alerts?active=true", &[]).unwrap();
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", answer.text()))
    }
}
