//! A real S3 server on loopback whose objects are plain files, so that a test can damage
//! them in place: versitygw with its POSIX back end.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::process::{self, Server, wait_until};
use super::{require, scratch};

/// An access key and its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The access key id.
    pub key: &'static str,
    /// The secret access key.
    pub secret: &'static str,
}

/// May do everything.
pub const ADMIN: Credentials = Credentials {
    key: "admin",
    secret: "admin-secret",
};
/// May list and read the bucket, nothing else.
pub const READER: Credentials = Credentials {
    key: "reader",
    secret: "reader-secret",
};

/// The S3 server. It ends with this value.
#[derive(Debug)]
pub struct S3Server {
    directory: TempDir,
    port: u16,
    process: Option<Server>,
}

impl S3Server {
    /// The bucket that exists from the start.
    pub const BUCKET: &'static str = "backups";

    /// Starts a server on a free port, with an empty bucket.
    pub fn start() -> Self {
        let directory = scratch::directory();
        for name in ["data", "iam"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let users = serde_json::json!({"accessAccounts": {READER.key: {
            "access": READER.key, "secret": READER.secret, "role": "user",
            "userID": 0, "groupID": 0, "projectID": 0,
        }}});
        std::fs::write(directory.path().join("iam/users.json"), users.to_string()).unwrap();
        let mut server = Self {
            directory,
            port: 0,
            process: None,
        };
        server.create_bucket(Self::BUCKET);
        server.resume();
        server
    }

    /// Makes a bucket which the reader may read.
    pub fn create_bucket(&self, name: &str) {
        let path = self.bucket(name);
        std::fs::create_dir(&path).unwrap();
        let acl = serde_json::json!({"Owner": ADMIN.key, "Grantees": [
            {"Permission": "FULL_CONTROL", "Access": ADMIN.key, "Type": "CanonicalUser"}]});
        let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": [READER.key]},
            "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"],
            "Resource": [format!("arn:aws:s3:::{name}"), format!("arn:aws:s3:::{name}/*")],
        }]});
        // versitygw keeps a bucket's settings in extended attributes.
        process::run(
            Command::new("python3")
                .args(["-I", "-S", "-c"])
                .arg(
                    "import os, sys\n\
                     for name, value in zip(sys.argv[2::2], sys.argv[3::2]):\n\
                     \x20   os.setxattr(sys.argv[1], 'user.' + name, value.encode())",
                )
                .arg(&path)
                .args(["ownership", "BucketOwnerEnforced"])
                .args(["acl", &acl.to_string()])
                .args(["policy", &policy.to_string()]),
        );
    }

    /// Starts again after [`Self::interrupt`], on the same port.
    pub fn resume(&mut self) {
        assert!(self.process.is_none(), "the S3 server runs already");
        let environment = [
            ("ROOT_ACCESS_KEY_ID", ADMIN.key),
            ("ROOT_SECRET_ACCESS_KEY", ADMIN.secret),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let log = self.directory.path().join("log");
        for _ in 0..5 {
            if self.port == 0 {
                // Another process may take the port between this look and the server's start:
                // the loop tries the next one then.
                let probe = TcpListener::bind(("127.0.0.1", 0)).unwrap();
                self.port = probe.local_addr().unwrap().port();
            }
            let mut process = Server::start(
                &require::versitygw(),
                &[
                    "--port",
                    &format!("127.0.0.1:{}", self.port),
                    "--quiet",
                    "--iam-dir",
                    self.directory.path().join("iam").to_str().unwrap(),
                    "--iam-cache-disable",
                    "posix",
                    // Files that a test lays down itself have no ETag of their own.
                    "--default-etag",
                    "d41d8cd98f00b204e9800998ecf8427e",
                    self.directory.path().join("data").to_str().unwrap(),
                ],
                &environment,
                false,
                "KILL",
                &log,
            );
            let mut ended = false;
            wait_until(Duration::from_secs(20), "the S3 server to answer", || {
                ended = process.ended();
                ended || TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            });
            if !ended {
                self.process = Some(process);
                return;
            }
            self.port = 0;
        }
        panic!(
            "versitygw does not start: {}",
            std::fs::read_to_string(log).unwrap_or_default()
        );
    }

    /// Kills the server; the port refuses connections until [`Self::resume`].
    pub fn interrupt(&mut self) {
        self.process = None;
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The directory that is a bucket.
    pub fn bucket(&self, name: &str) -> PathBuf {
        self.directory.path().join("data").join(name)
    }

    /// The file that is (or would be) the object `key` of the standard bucket.
    pub fn object(&self, key: &str) -> PathBuf {
        self.bucket(Self::BUCKET).join(key)
    }

    /// Lays a tree of files into the standard bucket, below `prefix`.
    pub fn fill(&self, prefix: &str, from: &Path) {
        scratch::copy_tree(from, &self.object(prefix));
    }

    /// What S3 clients read from their environment, for `credentials`.
    pub fn environment_for(&self, credentials: Credentials) -> Vec<(String, String)> {
        [
            ("AWS_ACCESS_KEY_ID", credentials.key),
            ("AWS_SECRET_ACCESS_KEY", credentials.secret),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", &self.endpoint()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// What S3 clients read from their environment, for the administrator.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment_for(ADMIN)
    }
}
