//! A real S3 server of this test's own: versitygw over a directory. And a wire to it that
//! breaks when asked to.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: what is not as expected ends it"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use walproof::storage::{Location, StorageOptions};

/// The server's own key.
pub(crate) const KEY: &str = "walproof-test-key";
/// Its secret.
pub(crate) const SECRET: &str = "walproof-test-secret";
/// The bucket that every server begins with.
pub(crate) const BUCKET: &str = "backups";

/// A running server; ends with the value.
pub(crate) struct S3Server {
    child: Child,
    /// Its URL.
    pub(crate) endpoint: String,
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    /// The certificate to trust, with TLS.
    pub(crate) ca_file: Option<PathBuf>,
    directory: tempfile::TempDir,
}

fn binary() -> PathBuf {
    let cache = std::env::var_os("WALPROOF_TEST_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/walproof-test"),
        PathBuf::from,
    );
    let path = cache.join("bin/versitygw");
    assert!(path.exists(), "{} must be installed", path.display());
    path
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl S3Server {
    /// Starts a server without TLS.
    pub(crate) fn start() -> Self {
        Self::start_with(false)
    }

    /// Starts a server with a certificate of its own.
    pub(crate) fn start_tls() -> Self {
        Self::start_with(true)
    }

    fn start_with(tls: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        std::fs::create_dir_all(directory.path().join("data").join(BUCKET)).unwrap();
        std::fs::create_dir(directory.path().join("iam")).unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(binary());
        command
            .args(["--port", &address, "--access", KEY, "--secret", SECRET])
            .arg("--iam-dir")
            .arg(directory.path().join("iam"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let ca_file = tls.then(|| directory.path().join("ca.pem"));
        if tls {
            certificates(directory.path());
            let certificate = directory.path().join("cert.pem");
            let key = directory.path().join("key.pem");
            command.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        command.arg("posix").arg(directory.path().join("data"));
        let child = command.spawn().unwrap();
        let server = Self {
            child,
            endpoint: format!("{}://{address}", if tls { "https" } else { "http" }),
            address,
            ca_file,
            directory,
        };
        let begin = Instant::now();
        while TcpStream::connect(&server.address).is_err() {
            let log = std::fs::read_to_string(server.directory.path().join("log"));
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "no answer: {log:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// The directory behind the bucket.
    pub(crate) fn bucket_directory(&self) -> PathBuf {
        self.directory.path().join("data").join(BUCKET)
    }

    /// Options that reach the server with its own key.
    pub(crate) fn options(&self) -> StorageOptions {
        self.options_for(KEY, SECRET)
    }

    /// Options with some key.
    pub(crate) fn options_for(&self, key: &str, secret: &str) -> StorageOptions {
        StorageOptions {
            endpoint: Some(self.endpoint.clone()),
            ca_file: self.ca_file.clone(),
            environment: vec![
                ("AWS_ACCESS_KEY_ID".to_owned(), key.to_owned()),
                ("AWS_SECRET_ACCESS_KEY".to_owned(), secret.to_owned()),
            ],
            ..StorageOptions::default()
        }
    }

    /// A place in the bucket.
    pub(crate) fn location(prefix: &str) -> Location {
        format!("s3://{BUCKET}/{prefix}").parse().unwrap()
    }

    /// Makes a user who may do nothing in the bucket.
    pub(crate) fn add_stranger(&self, key: &str, secret: &str) {
        let output = Command::new(binary())
            .args(["admin", "--access", KEY, "--secret", SECRET])
            .args(["--endpoint-url", &self.endpoint, "create-user"])
            .args(["--access", key, "--secret", secret, "--role", "user"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // By its process, never by its name.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes an authority and a certificate by it; only the authority's is to be trusted.
fn certificates(directory: &Path) {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    let authority = [
        "req",
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=walproof test authority",
    ];
    let files = ["-keyout", "ca-key.pem", "-out", "ca.pem"];
    openssl(&[&authority[..], &key, &files].concat());
    let request = [
        "req",
        "-subj",
        "/CN=walproof test",
        "-keyout",
        "key.pem",
        "-out",
        "request.pem",
    ];
    openssl(&[&request[..], &key].concat());
    std::fs::write(directory.join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        "request.pem",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca-key.pem",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "names",
        "-out",
        "cert.pem",
    ]);
}

/// A wire to a server that is cut after some bytes of answer, several times, and then
/// holds.
pub(crate) struct BadWire {
    /// Where to connect to instead.
    pub(crate) endpoint: String,
    /// How often it was cut.
    pub(crate) cuts: Arc<AtomicUsize>,
}

impl BadWire {
    /// Cuts the first `cuts` connections as soon as they carry more than `bytes` of answer,
    /// or after the first cut more than `then`. The threads end with the process.
    pub(crate) fn new(to: &str, bytes: u64, then: u64, cuts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let done = Arc::new(AtomicUsize::new(0));
        let (to, counter) = (to.to_owned(), Arc::clone(&done));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&to)) else {
                    return;
                };
                let (mut client_read, mut server_write) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut client_read, &mut server_write));
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || relay(server, client, [bytes, then], cuts, &counter));
            }
        });
        Self {
            endpoint,
            cuts: done,
        }
    }
}

fn relay(
    mut from: TcpStream,
    mut to: TcpStream,
    limits: [u64; 2],
    cuts: usize,
    counter: &AtomicUsize,
) {
    let bytes = limits[usize::from(counter.load(Ordering::SeqCst) > 0)];
    let mut passed = 0;
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        passed += count as u64;
        if passed > bytes && counter.load(Ordering::SeqCst) < cuts {
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = to.shutdown(std::net::Shutdown::Both);
            let _ = from.shutdown(std::net::Shutdown::Both);
            return;
        }
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// A server that gives every request the same answer, or none.
pub(crate) fn fixed_answer(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let Some(answer) = answer else {
                silent.push(client);
                continue;
            };
            let _ = client.read(&mut [0; 16 << 10]);
            let _ = client.write_all(answer.as_bytes());
        }
    });
    endpoint
}
