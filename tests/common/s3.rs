//! A real S3 server on loopback whose objects are plain files, so that a test can damage
//! them in place: versitygw with its POSIX back end.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::process::{self, Server};
use super::s3_api::S3Api;
use super::{require, scratch, sign, tls};

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
/// Is known to the server and may do nothing.
pub const STRANGER: Credentials = Credentials {
    key: "stranger",
    secret: "strange-secret",
};

/// What S3 clients read from their environment.
pub fn environment(endpoint: &str, credentials: Credentials) -> Vec<(String, String)> {
    [
        ("AWS_ACCESS_KEY_ID", credentials.key),
        ("AWS_SECRET_ACCESS_KEY", credentials.secret),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// How a server is started.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    versions: bool,
    tls: bool,
}

/// The S3 server. It ends with this value.
#[derive(Debug)]
pub struct S3Server {
    directory: TempDir,
    options: Options,
    port: u16,
    process: Option<Server>,
}

impl S3Server {
    /// The bucket that exists from the start.
    pub const BUCKET: &'static str = "backups";

    /// Starts a server on a free port, with an empty bucket.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// The same, able to keep versions and to lock objects. The bucket does neither yet:
    /// see [`S3Api::enable_versioning`] and [`Self::create_locked_bucket`].
    pub fn start_versioned() -> Self {
        Self::start_with(Options {
            versions: true,
            ..Options::default()
        })
    }

    /// The same over TLS, with a certificate by [`Self::authority`].
    pub fn start_tls() -> Self {
        Self::start_with(Options {
            tls: true,
            ..Options::default()
        })
    }

    fn start_with(options: Options) -> Self {
        let directory = scratch::directory();
        // "data-versions" would begin like "data", which versitygw takes for a place inside.
        for name in ["data", "iam", "old"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let user = |who: Credentials| {
            serde_json::json!({"access": who.key, "secret": who.secret, "role": "user",
                "userID": 0, "groupID": 0, "projectID": 0})
        };
        let users = serde_json::json!({"accessAccounts": {
            READER.key: user(READER), STRANGER.key: user(STRANGER)}});
        std::fs::write(directory.path().join("iam/users.json"), users.to_string()).unwrap();
        if options.tls {
            tls::certificates(directory.path());
        }
        let mut server = Self {
            directory,
            options,
            port: 0,
            process: None,
        };
        server.create_bucket(Self::BUCKET);
        server.resume();
        server
    }

    /// Makes a bucket which the reader may read. The server need not run.
    pub fn create_bucket(&self, name: &str) {
        let path = self.bucket(name);
        std::fs::create_dir(&path).unwrap();
        let acl = serde_json::json!({"Owner": ADMIN.key, "Grantees": [
            {"Permission": "FULL_CONTROL", "Access": ADMIN.key, "Type": "CanonicalUser"}]});
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
                .args(["policy", &readers_policy(name).to_string()]),
        );
    }

    /// Makes a bucket with object lock, and so with versions, which the reader may read. For
    /// a server that was started with versions.
    pub fn create_locked_bucket(&self, name: &str) {
        assert!(self.options.versions, "started without versions");
        let api = self.api();
        api.create_bucket(name, true);
        api.policy(name, &readers_policy(name));
    }

    /// Starts again after [`Self::interrupt`], on the same port.
    pub fn resume(&mut self) {
        assert!(self.process.is_none(), "the S3 server runs already");
        let environment = [
            ("ROOT_ACCESS_KEY_ID", ADMIN.key),
            ("ROOT_SECRET_ACCESS_KEY", ADMIN.secret),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let log = self.path("log");
        let [iam, data, old] = ["iam", "data", "old"].map(|name| self.path(name));
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| self.path(name));
        let port = (self.port != 0).then_some(self.port);
        let (port, process) = process::listening(port, "versitygw", &log, |port| {
            let address = format!("127.0.0.1:{port}");
            let mut arguments = vec!["--port", &address, "--quiet"];
            arguments.extend(["--iam-dir", iam.to_str().unwrap(), "--iam-cache-disable"]);
            if self.options.tls {
                arguments.extend(["--cert", cert.to_str().unwrap()]);
                arguments.extend(["--key", key.to_str().unwrap()]);
            }
            arguments.push("posix");
            if self.options.versions {
                arguments.extend(["--versioning-dir", old.to_str().unwrap()]);
            }
            // Files that a test lays down itself have no ETag of their own.
            let default = "d41d8cd98f00b204e9800998ecf8427e";
            arguments.extend(["--default-etag", default, data.to_str().unwrap()]);
            Server::start(
                &require::versitygw(),
                &arguments,
                &environment,
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
        let scheme = if self.options.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The certificate to trust, for a server with TLS.
    pub fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Asks as the administrator.
    pub fn api(&self) -> S3Api {
        S3Api::new(&self.endpoint(), ADMIN)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The directory that is a bucket.
    pub fn bucket(&self, name: &str) -> PathBuf {
        self.path("data").join(name)
    }

    /// The file that is (or would be) the object `key` of the standard bucket.
    pub fn object(&self, key: &str) -> PathBuf {
        self.bucket(Self::BUCKET).join(key)
    }

    /// The directory whose files are the older versions of an object, by their version ids:
    /// below the key's SHA-256 (`genObjVersionKey` in versitygw's `backend/posix`).
    pub fn old_versions(&self, bucket: &str, key: &str) -> PathBuf {
        let digest = sign::hex(&sign::sha256(key.as_bytes()));
        let path = self.path("old").join(bucket);
        let levels = [&digest[..2], &digest[2..4], &digest[4..6], &digest];
        levels.iter().fold(path, |path, level| path.join(level))
    }

    /// Lays a tree of files into the standard bucket, below `prefix`.
    pub fn fill(&self, prefix: &str, from: &Path) {
        scratch::copy_tree(from, &self.object(prefix));
    }

    /// What S3 clients read from their environment, for `credentials`.
    pub fn environment_for(&self, credentials: Credentials) -> Vec<(String, String)> {
        environment(&self.endpoint(), credentials)
    }

    /// What S3 clients read from their environment, for the administrator.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment_for(ADMIN)
    }
}

/// Lets the reader list and read a bucket.
fn readers_policy(bucket: &str) -> serde_json::Value {
    serde_json::json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"AWS": [READER.key]},
        "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"],
        "Resource": [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")],
    }]})
}
