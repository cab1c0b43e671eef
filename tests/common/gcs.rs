//! fake-gcs-server: Google Cloud Storage's interface on loopback. It knows no identities, and
//! no retention that holds.

use tempfile::TempDir;

use super::http::{self, Answer};
use super::process::{self, Server};
use super::{require, scratch};

/// The server. It ends with this value.
#[derive(Debug)]
pub struct GcsServer {
    directory: TempDir,
    port: u16,
    process: Option<Server>,
}

impl GcsServer {
    /// The bucket that exists from the start.
    pub const BUCKET: &'static str = "backups";

    /// Starts a server on a free port, with an empty bucket.
    pub fn start() -> Self {
        let mut server = Self {
            directory: scratch::directory(),
            port: 0,
            process: None,
        };
        server.resume();
        server.create_bucket(Self::BUCKET);
        server
    }

    /// Starts again after [`Self::interrupt`], on the same port.
    pub fn resume(&mut self) {
        assert!(self.process.is_none(), "fake-gcs-server runs already");
        let home = self.directory.path();
        let (log, data) = (home.join("log"), home.join("data"));
        let port = (self.port != 0).then_some(self.port);
        let (port, process) = process::listening(port, "fake-gcs-server", &log, |port| {
            Server::start(
                &require::fake_gcs_server(),
                &[
                    "-scheme=http",
                    "-host=127.0.0.1",
                    &format!("-port={port}"),
                    // Without a port any is accepted, that of a wire too.
                    "-public-host=127.0.0.1",
                    "-backend=filesystem",
                    &format!("-filesystem-root={}", data.display()),
                    "-log-level=warn",
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

    /// Kills the server; the port refuses connections until [`Self::resume`].
    pub fn interrupt(&mut self) {
        self.process = None;
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a bucket.
    pub fn create_bucket(&self, name: &str) {
        let body = serde_json::json!({"name": name}).to_string();
        self.request("POST", "/storage/v1/b?project=walproof", body.as_bytes())
            .expect_success();
    }

    /// Writes an object, over what is there.
    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8]) {
        let key = http::encode(key, "");
        let target = format!("/upload/storage/v1/b/{bucket}/o?uploadType=media&name={key}");
        self.request("POST", &target, bytes).expect_success();
    }

    /// One request of the JSON interface; the target is encoded.
    pub fn request(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        let host = format!("127.0.0.1:{}", self.port);
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        http::request(&host, method, target, &headers, body)
            .unwrap_or_else(|error| panic!("{method} {target} at {host}: {error}"))
    }

    /// What clients read from their environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![("STORAGE_EMULATOR_HOST".to_owned(), self.endpoint())]
    }
}
