//! Azurite: Azure Blob Storage's interface on loopback. It has no immutability.

use tempfile::TempDir;

use super::http::{self, Answer};
use super::process::{self, Server};
use super::{require, scratch, sign};

/// The account that every Azurite has, and its key (Azurite's README).
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The server. It ends with this value.
#[derive(Debug)]
pub struct Azurite {
    directory: TempDir,
    port: u16,
    process: Option<Server>,
}

impl Azurite {
    /// The container that exists from the start.
    pub const CONTAINER: &'static str = "backups";

    /// Starts a server on a free port, with an empty container.
    pub fn start() -> Self {
        let mut server = Self {
            directory: scratch::directory(),
            port: 0,
            process: None,
        };
        server.resume();
        server.create_container(Self::CONTAINER);
        server
    }

    /// Starts again after [`Self::interrupt`], on the same port.
    pub fn resume(&mut self) {
        assert!(self.process.is_none(), "Azurite runs already");
        let home = self.directory.path();
        let (log, data) = (home.join("log"), home.join("data"));
        std::fs::create_dir_all(&data).unwrap();
        let port = (self.port != 0).then_some(self.port);
        let (port, process) = process::listening(port, "Azurite", &log, |port| {
            Server::start(
                "node".as_ref(),
                &[
                    // Not its command: that would leave this process behind when it is killed.
                    require::azurite().to_str().unwrap(),
                    "--blobHost=127.0.0.1",
                    &format!("--blobPort={port}"),
                    &format!("--location={}", data.display()),
                    "--silent",
                    "--skipApiVersionCheck",
                    "--disableTelemetry",
                ],
                &[],
                false,
                "KILL",
                &log,
            )
        });
        self.port = port;
        self.process = Some(process);
    }

    /// Kills the server; the port refuses connections until [`Self::resume`]. What it was
    /// told in the last seconds may be lost.
    pub fn interrupt(&mut self) {
        self.process = None;
    }

    /// `http://127.0.0.1:PORT/ACCOUNT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    /// Makes a container. Its name has at least three characters.
    pub fn create_container(&self, name: &str) {
        self.request("PUT", name, &[("restype", "container")], &[], b"")
            .expect_success();
    }

    /// One request. `path` is `container/key` as it is, the query is sorted; header names
    /// are lower case.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let path = http::encode(&format!("/{ACCOUNT}/{path}"), "/");
        let headers: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let signed = sign::azure((ACCOUNT, KEY), method, (&path, query), &headers, body);
        let pairs: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={}", http::encode(value, "")))
            .collect();
        let target = format!("{path}?{}", pairs.join("&"));
        let host = format!("127.0.0.1:{}", self.port);
        http::request(&host, method, target.trim_end_matches('?'), &signed, body)
            .unwrap_or_else(|error| panic!("{method} {target} at {host}: {error}"))
    }

    /// What clients read from their environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("AZURE_STORAGE_ACCOUNT", ACCOUNT),
            ("AZURE_STORAGE_KEY", KEY),
            ("AZURE_STORAGE_ENDPOINT", &self.endpoint()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}
