//! A receiver of HTTP requests that keeps all of them and answers as it is told.

use std::collections::VecDeque;
use std::io::{BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::http::Head;
use super::process::wait_until;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Method, target and headers.
    pub head: Head,
    /// The body.
    pub body: Vec<u8>,
}

impl Received {
    /// A header's value, empty if there is none.
    pub fn header(&self, name: &str) -> String {
        self.head.header(name).unwrap_or_default()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    /// What is answered next: a status, further headers, a body. Then `200 ok`.
    answers: Mutex<VecDeque<(u16, String, String)>>,
    /// Requests are taken and not answered.
    silent: AtomicBool,
}

/// The receiver. Its threads end with the process.
#[derive(Debug)]
pub struct Receiver {
    port: u16,
    shared: Arc<Shared>,
    scheme: &'static str,
}

impl Receiver {
    /// Begins to listen.
    pub fn start() -> Self {
        Self::begin(None)
    }

    /// The same with TLS, by `cert.pem` and `key.pem` in `directory`.
    pub fn with_tls(directory: &Path) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chain = CertificateDer::pem_file_iter(directory.join("cert.pem"))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_file(directory.join("key.pem")).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::begin(Some(Arc::new(config)))
    }

    fn begin(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, tls) = (Arc::clone(&theirs), tls.clone());
                std::thread::spawn(move || {
                    // A client that breaks off is part of some tests.
                    let _ = match tls {
                        None => serve(stream, &shared),
                        Some(config) => {
                            let session = rustls::ServerConnection::new(config).unwrap();
                            serve(rustls::StreamOwned::new(session, stream), &shared)
                        }
                    };
                });
            }
        });
        Self {
            port,
            shared,
            scheme,
        }
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Answers a request to come with `status`, further headers (`name: value\r\n`) and a body.
    pub fn answer(&self, status: u16, headers: &str, body: &str) {
        let answer = (status, headers.to_owned(), body.to_owned());
        self.shared.answers.lock().unwrap().push_back(answer);
    }

    /// From now on requests are taken and not answered, or answered again.
    pub fn be_silent(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::SeqCst);
    }

    /// All that came so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Waits for as many requests.
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        wait_until(Duration::from_mins(1), "a request", || {
            self.shared.received.lock().unwrap().len() >= count
        });
        self.received()
    }
}

fn serve<S: Read + Write>(stream: S, shared: &Shared) -> std::io::Result<()> {
    let mut from = BufReader::new(stream);
    while let Some(head) = Head::read(&mut from)? {
        let body = head.request_body().read(&mut from)?;
        shared
            .received
            .lock()
            .unwrap()
            .push(Received { head, body });
        while shared.silent.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let next = shared.answers.lock().unwrap().pop_front();
        let (status, headers, body) = next.unwrap_or((200, String::new(), "ok".to_owned()));
        let answer = format!(
            "HTTP/1.1 {status} As asked\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        from.get_mut().write_all(answer.as_bytes())?;
        from.get_mut().flush()?;
    }
    Ok(())
}
