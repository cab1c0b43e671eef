//! A wire to a store that falls silent in the middle of an answer, or is cut.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::process::wait_until;

/// Passes everything on until told otherwise. Its threads end with the process.
pub(crate) struct Wire {
    endpoint: String,
    shared: Arc<Shared>,
}

struct Shared {
    to: String,
    /// Words in a request's head, and after how many bytes of the answer silence begins.
    silence: Mutex<Option<(String, usize)>>,
    silent: AtomicBool,
    held: AtomicBool,
    cut: AtomicBool,
}

impl Wire {
    pub(crate) fn to(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            to: endpoint.trim_start_matches("http://").to_owned(),
            silence: Mutex::default(),
            silent: AtomicBool::new(false),
            held: AtomicBool::new(false),
            cut: AtomicBool::new(false),
        });
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for client in listener.incoming().flatten() {
                    let Ok(server) = TcpStream::connect(&shared.to) else {
                        continue;
                    };
                    connect(&client, &server, &shared);
                }
            }
        });
        Self {
            endpoint: own,
            shared,
        }
    }

    /// The environment of a client that goes through this wire.
    pub(crate) fn environment(&self, of: &[(String, String)]) -> Vec<(String, String)> {
        of.iter()
            .map(|(name, value)| match name.as_str() {
                "AWS_ENDPOINT_URL" => (name.clone(), self.endpoint.clone()),
                _ => (name.clone(), value.clone()),
            })
            .collect()
    }

    /// The answer to the next request whose head holds `words` ends in silence after so many
    /// bytes.
    pub(crate) fn fall_silent_at(&self, words: &str, bytes: usize) {
        *self.shared.silence.lock().unwrap() = Some((words.to_owned(), bytes));
        self.shared.silent.store(false, Ordering::SeqCst);
    }

    /// Waits until the silence has begun.
    pub(crate) fn wait_for_silence(&self, what: &str) {
        wait_until(Duration::from_mins(2), what, || {
            self.shared.silent.load(Ordering::SeqCst)
        });
    }

    /// Ends the silence: what was held back goes on.
    pub(crate) fn go_on(&self) {
        self.shared.held.store(false, Ordering::SeqCst);
    }

    /// Closes every connection, and every new one at once.
    pub(crate) fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
    }
}

fn connect(client: &TcpStream, server: &TcpStream, shared: &Arc<Shared>) {
    let armed = Arc::new(Mutex::new(None::<usize>));
    for back in [false, true] {
        let (from, to) = if back {
            (server, client)
        } else {
            (client, server)
        };
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        from.set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let (shared, armed) = (Arc::clone(shared), Arc::clone(&armed));
        std::thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            loop {
                if shared.cut.load(Ordering::SeqCst) {
                    break;
                }
                let count = match from.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                    Err(_) => break,
                };
                let silent = if back {
                    pass_answer(&mut armed.lock().unwrap(), count)
                } else {
                    look_at_request(&shared, &armed, &buffer[..count]);
                    false
                };
                if silent {
                    // Others go on: only the first such answer is held back.
                    *shared.silence.lock().unwrap() = None;
                    *armed.lock().unwrap() = None;
                    shared.held.store(true, Ordering::SeqCst);
                    shared.silent.store(true, Ordering::SeqCst);
                    while shared.held.load(Ordering::SeqCst) {
                        if shared.cut.load(Ordering::SeqCst) {
                            break;
                        }
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
}

fn look_at_request(shared: &Shared, armed: &Mutex<Option<usize>>, bytes: &[u8]) {
    let head = String::from_utf8_lossy(bytes);
    if let Some((words, after)) = &*shared.silence.lock().unwrap()
        && head.starts_with("GET")
        && head.contains(words)
    {
        *armed.lock().unwrap() = Some(*after);
    }
}

/// Whether the silence begins with this part of an answer.
fn pass_answer(armed: &mut Option<usize>, count: usize) -> bool {
    match armed {
        Some(left) if *left <= count => true,
        Some(left) => {
            *left -= count;
            false
        }
        None => false,
    }
}
