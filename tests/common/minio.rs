//! MinIO: an S3 server by other hands than versitygw's, with lifecycle rules and a default
//! retention that it shows. Its objects are not plain files.

use tempfile::TempDir;

use super::process::{self, Server};
use super::s3::{self, ADMIN};
use super::s3_api::S3Api;
use super::{require, scratch};

/// The server. It ends with this value.
#[derive(Debug)]
pub struct Minio {
    directory: TempDir,
    port: u16,
    process: Option<Server>,
}

impl Minio {
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
        server.api().create_bucket(Self::BUCKET, false);
        server
    }

    /// Starts again after [`Self::interrupt`], on the same port.
    pub fn resume(&mut self) {
        assert!(self.process.is_none(), "MinIO runs already");
        let home = self.directory.path();
        let environment = [
            ("MINIO_ROOT_USER", ADMIN.key),
            ("MINIO_ROOT_PASSWORD", ADMIN.secret),
            // Nothing but the store itself: no second port, no look for newer versions.
            ("MINIO_BROWSER", "off"),
            ("MINIO_UPDATE", "off"),
            ("MINIO_CALLHOME_ENABLE", "off"),
            ("HOME", home.to_str().unwrap()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (log, data, certs) = (home.join("log"), home.join("data"), home.join("certs"));
        let port = (self.port != 0).then_some(self.port);
        let (port, process) = process::listening(port, "MinIO", &log, |port| {
            let address = format!("127.0.0.1:{port}");
            Server::start(
                &require::minio(),
                &[
                    "server",
                    "--quiet",
                    "--certs-dir",
                    certs.to_str().unwrap(),
                    "--address",
                    &address,
                    data.to_str().unwrap(),
                ],
                &environment,
                false,
                "KILL",
                &log,
            )
        });
        self.port = port;
        self.process = Some(process);
        // It listens before it has read its disks, and answers 503 until then.
        process::wait_until(std::time::Duration::from_mins(1), "MinIO's disks", || {
            self.api().request("GET", "/", &[], &[], b"").status == 200
        });
    }

    /// Kills the server; the port refuses connections until [`Self::resume`].
    pub fn interrupt(&mut self) {
        self.process = None;
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Asks as the administrator.
    pub fn api(&self) -> S3Api {
        S3Api::new(&self.endpoint(), ADMIN)
    }

    /// What S3 clients read from their environment, for the administrator.
    pub fn environment(&self) -> Vec<(String, String)> {
        s3::environment(&self.endpoint(), ADMIN)
    }
}
