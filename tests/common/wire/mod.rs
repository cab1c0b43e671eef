//! A wire between a client and a real server on loopback, that understands HTTP well enough
//! to spoil it: late, lost, cut, short, damaged and refused answers, silence, and an end of
//! everything.
//!
//! The client connects to the wire's own endpoint. Heads are passed on as they are, `Host`
//! too: S3's signatures cover it, and the servers judge a signature by the `Host` that they
//! are sent, so that what was signed for the wire is good behind it. Plain HTTP only.

mod exchange;
mod fault;

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use fault::{Armed, Fault};

use super::process::wait_until;

/// Passes everything on until told otherwise. Its threads end with the process.
#[derive(Debug)]
pub struct Wire {
    endpoint: String,
    shared: Arc<Shared>,
}

/// A request that came to the wire.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// Its method.
    pub method: String,
    /// Its path and query, percent-decoded.
    pub target: String,
    /// What the client was answered, if anything.
    pub status: Option<u16>,
    /// How many bytes of the request's body reached the server.
    pub sent: u64,
    /// How many bytes of the answer's body reached the client.
    pub received: u64,
}

#[derive(Debug, Default)]
struct Shared {
    /// The server: `127.0.0.1:port`.
    to: String,
    faults: fault::Faults,
    passed: Mutex<Vec<Arc<Mutex<Passed>>>>,
    /// Connections that are open, by a number each, so that they can be ended from outside.
    open: Mutex<BTreeMap<u64, TcpStream>>,
    next: AtomicU64,
    silent: AtomicBool,
    held: AtomicBool,
    cut: AtomicBool,
}

impl Shared {
    /// Keeps a way to end a connection until it is forgotten by its number.
    fn keep(&self, stream: &TcpStream) -> u64 {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let copy = stream.try_clone().unwrap();
        self.open.lock().unwrap().insert(number, copy);
        if self.cut.load(Ordering::SeqCst) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        number
    }

    /// Notes a request; what becomes of it is noted before the client can know.
    fn note(&self, method: &str, target: &str) -> Arc<Mutex<Passed>> {
        let passed = Arc::new(Mutex::new(Passed {
            method: method.to_owned(),
            target: target.to_owned(),
            ..Passed::default()
        }));
        self.passed.lock().unwrap().push(Arc::clone(&passed));
        passed
    }

    /// A connection is closed only when nothing holds it any more.
    fn forget(&self, number: u64) {
        self.open.lock().unwrap().remove(&number);
    }

    /// Holds back what comes until [`Wire::go_on`] or [`Wire::cut`].
    fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
        self.silent.store(true, Ordering::SeqCst);
        while self.held.load(Ordering::SeqCst) && !self.cut.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Wire {
    /// A wire to a server's endpoint: `http://127.0.0.1:port`, perhaps with a path.
    pub fn to(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = endpoint.strip_prefix("http://").expect("plain HTTP only");
        let (host, path) = address.split_at(address.find('/').unwrap_or(address.len()));
        let own = format!("http://{}{path}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            to: host.to_owned(),
            ..Shared::default()
        });
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for client in listener.incoming().flatten() {
                    if shared.cut.load(Ordering::SeqCst) {
                        continue;
                    }
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || exchange::serve(&client, &shared));
                }
            }
        });
        Self {
            endpoint: own,
            shared,
        }
    }

    /// Where to connect to instead.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The environment of a client that goes through this wire.
    pub fn environment(&self, of: &[(String, String)]) -> Vec<(String, String)> {
        of.iter()
            .map(|(name, value)| {
                let names = [
                    "AWS_ENDPOINT_URL",
                    "STORAGE_EMULATOR_HOST",
                    "AZURE_STORAGE_ENDPOINT",
                ];
                let value = if names.contains(&&**name) {
                    &self.endpoint
                } else {
                    value
                };
                (name.clone(), value.clone())
            })
            .collect()
    }

    /// Something goes wrong from now on. Earlier faults come first.
    pub fn add(&self, fault: Fault) -> Armed {
        self.shared.faults.add(fault)
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.shared.faults.clear();
        self.go_on();
        self.shared.cut.store(false, Ordering::SeqCst);
    }

    /// The answer to the next `GET` whose target holds `words` ends in silence after so many
    /// bytes.
    pub fn fall_silent_at(&self, words: &str, bytes: u64) {
        self.shared.silent.store(false, Ordering::SeqCst);
        self.add(Fault::silence(bytes).on("GET").at(words).once());
    }

    /// Waits until the silence has begun.
    pub fn wait_for_silence(&self, what: &str) {
        wait_until(Duration::from_mins(2), what, || {
            self.shared.silent.load(Ordering::SeqCst)
        });
    }

    /// Ends the silence: what was held back goes on.
    pub fn go_on(&self) {
        self.shared.held.store(false, Ordering::SeqCst);
    }

    /// Closes every connection, and every new one at once, until [`Self::heal`].
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        for stream in self.shared.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The requests that came, in their order.
    pub fn passed(&self) -> Vec<Passed> {
        let passed = self.shared.passed.lock().unwrap();
        passed.iter().map(|it| it.lock().unwrap().clone()).collect()
    }

    /// How many requests of a method came whose target holds `words`.
    pub fn count(&self, method: &str, words: &str) -> usize {
        self.passed()
            .iter()
            .filter(|it| it.method == method && it.target.contains(words))
            .count()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.passed.lock().unwrap().clear();
    }
}
