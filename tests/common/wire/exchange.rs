//! One connection over a wire: requests and answers in turn.

use std::io::{BufReader, ErrorKind, Result, Write as _};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use super::fault::{Fate, What};
use super::{Passed, Shared};
use crate::common::http::{Body, Head, Piece};

/// How much is read at once.
const BUFFER: usize = 64 << 10;

/// Serves a client's connection to its end.
pub(super) fn serve(client: &TcpStream, shared: &Shared) {
    let number = shared.keep(client);
    let mut line = Line {
        shared,
        client,
        from_client: BufReader::with_capacity(BUFFER, client.try_clone().unwrap()),
        server: None,
    };
    while let Ok(Some(head)) = line.peek_head() {
        if !line.exchange(&head).unwrap_or(false) {
            break;
        }
    }
    // The last one to hold it is the caller: closed with something unread, it is reset.
    shared.forget(number);
}

/// A connection to the server.
struct Upstream<'a> {
    shared: &'a Shared,
    number: u64,
    from: BufReader<TcpStream>,
}

impl Drop for Upstream<'_> {
    fn drop(&mut self) {
        self.shared.forget(self.number);
    }
}

struct Line<'a> {
    shared: &'a Shared,
    client: &'a TcpStream,
    from_client: BufReader<TcpStream>,
    server: Option<Upstream<'a>>,
}

impl Line<'_> {
    /// Looks at the next head without taking it off the connection.
    fn peek_head(&self) -> Result<Option<Head>> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = self.client.peek(&mut buffer)?;
            if count == 0 {
                return Ok(None);
            }
            let end = buffer[..count].windows(4).position(|it| it == b"\r\n\r\n");
            if end.is_some() || count == buffer.len() {
                return Head::read(&mut &buffer[..count]);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The connection to the server, which is a new one if the last was closed.
    fn server(&mut self) -> Result<&TcpStream> {
        if let Some(server) = &self.server {
            let stream = server.from.get_ref();
            stream.set_nonblocking(true)?;
            let idle = stream
                .peek(&mut [0])
                .is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            stream.set_nonblocking(false)?;
            if !idle {
                self.server = None;
            }
        }
        if self.server.is_none() {
            let stream = TcpStream::connect(&self.shared.to)?;
            stream.set_nodelay(true)?;
            self.server = Some(Upstream {
                shared: self.shared,
                number: self.shared.keep(&stream),
                from: BufReader::with_capacity(BUFFER, stream),
            });
        }
        let server = self.server.as_ref().ok_or(ErrorKind::NotConnected)?;
        Ok(server.from.get_ref())
    }

    /// One request and its answer; whether the connection can take another.
    fn exchange(&mut self, head: &Head) -> Result<bool> {
        let mut words = head.first.split(' ');
        let method = words.next().unwrap_or_default();
        let target = decode(words.next().unwrap_or_default());
        let passed = &*self.shared.note(method, &target);
        let fate = self.shared.faults.fate(method, &target);
        std::thread::sleep(fate.latency);
        if matches!(fate.what, Some(What::Reset)) {
            return Ok(false);
        }
        // Taken off now, whole.
        let _ = Head::read(&mut self.from_client)?;
        let mut body = head.request_body();
        let expects = head.header("expect").is_some();
        if let Some(What::Answer(status, code)) = &fate.what {
            if !expects {
                body.read(&mut self.from_client)?;
            }
            passed.lock().unwrap().status = Some(*status);
            self.client.write_all(&own_answer(method, *status, code))?;
            return Ok(!expects);
        }
        self.server()?.write_all(&head.bytes)?;
        let mut answer = None;
        if expects {
            let first = self.read_answer()?;
            if first.status() == 100 {
                self.client.write_all(&first.bytes)?;
            } else {
                answer = Some(first);
            }
        }
        let refused = answer.is_some();
        let whole = refused || self.send_body(&mut body, &fate, passed)?;
        let mut answer = match answer {
            Some(answer) => answer,
            None => self.read_answer()?,
        };
        while answer.status() == 100 {
            answer = self.read_answer()?;
        }
        if matches!(fate.what, Some(What::LostAnswer)) {
            return Ok(false);
        }
        passed.lock().unwrap().status = Some(answer.status());
        let closes = |head: &Head| {
            head.header("connection")
                .is_some_and(|value| value.eq_ignore_ascii_case("close"))
        };
        let body = answer.answer_body(method);
        let goes_on = self.receive_body(&answer, body, &fate, passed)?;
        Ok(goes_on && whole && !refused && !closes(&answer) && !closes(head))
    }

    fn read_answer(&mut self) -> Result<Head> {
        let server = self.server.as_mut().ok_or(ErrorKind::NotConnected)?;
        Head::read(&mut server.from)?.ok_or(ErrorKind::UnexpectedEof.into())
    }

    /// Passes a request's body on; false if the server did not want all of it.
    fn send_body(&mut self, body: &mut Body, fate: &Fate, passed: &Mutex<Passed>) -> Result<bool> {
        let mut sent = 0;
        let server = self.server.as_ref().ok_or(ErrorKind::NotConnected)?;
        let mut server = server.from.get_ref();
        while let Some(piece) = body.next(&mut self.from_client)? {
            let written = match piece {
                Piece::Frame(bytes) => server.write_all(&bytes),
                Piece::Data(mut bytes) => {
                    match fate.what {
                        Some(What::CorruptRequest(at)) => damage(&mut bytes, sent, at),
                        Some(What::CutRequest(at)) if sent + bytes.len() as u64 > at => {
                            let left = usize::try_from(at - sent).unwrap();
                            let _ = server.write_all(&bytes[..left]);
                            return Err(ErrorKind::ConnectionAborted.into());
                        }
                        _ => {}
                    }
                    keep_pace(fate, bytes.len());
                    sent += bytes.len() as u64;
                    passed.lock().unwrap().sent = sent;
                    server.write_all(&bytes)
                }
            };
            if written.is_err() {
                // It may have answered before it closed.
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Passes an answer on; false if it did not come to its end.
    fn receive_body(
        &mut self,
        head: &Head,
        mut body: Body,
        fate: &Fate,
        passed: &Mutex<Passed>,
    ) -> Result<bool> {
        let mut received = 0;
        let server = self.server.as_mut().ok_or(ErrorKind::NotConnected)?;
        let mut client = self.client;
        let mut most = u64::MAX;
        match (&fate.what, body) {
            (Some(What::Shorten(by)), Body::Sized(length @ 1..)) => {
                most = length.saturating_sub(*by);
                client.write_all(&with_length(head, most))?;
            }
            _ => client.write_all(&head.bytes)?,
        }
        while let Some(piece) = body.next(&mut server.from)? {
            let mut bytes = match piece {
                Piece::Frame(bytes) => {
                    client.write_all(&bytes)?;
                    continue;
                }
                Piece::Data(bytes) => bytes,
            };
            let begin = received;
            let end = begin + bytes.len() as u64;
            let mut last = most;
            match fate.what {
                Some(What::CorruptAnswer(at)) => damage(&mut bytes, begin, at),
                Some(What::Truncate(at)) => last = at,
                Some(What::Silence(at)) if begin <= at && end > at => self.shared.hold(),
                _ => {}
            }
            if end > last {
                bytes.truncate(usize::try_from(last.saturating_sub(begin)).unwrap());
            }
            keep_pace(fate, bytes.len());
            received += bytes.len() as u64;
            passed.lock().unwrap().received = received;
            client.write_all(&bytes)?;
            if end > last && last != most {
                return Ok(false);
            }
        }
        Ok(body != Body::UntilClose)
    }
}

/// Undoes percent-encoding.
fn decode(target: &str) -> String {
    let mut parts = target.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..2).and_then(|it| u8::from_str_radix(it, 16).ok());
        bytes.push(byte.unwrap_or(b'%'));
        bytes.extend(&part.as_bytes()[if byte.is_some() { 2 } else { 0 }..]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Changes one bit of the byte at `at` of a body, if it is among these, which begin at
/// `begin`.
fn damage(bytes: &mut [u8], begin: u64, at: u64) {
    let offset = at
        .checked_sub(begin)
        .and_then(|it| usize::try_from(it).ok());
    if let Some(byte) = offset.and_then(|offset| bytes.get_mut(offset)) {
        *byte ^= 0x10;
    }
}

fn keep_pace(fate: &Fate, bytes: usize) {
    if let Some(pace) = fate.pace {
        let micros = bytes as u64 * 1_000_000 / pace.max(1);
        std::thread::sleep(Duration::from_micros(micros));
    }
}

/// The head with another length of the body.
fn with_length(head: &Head, length: u64) -> Vec<u8> {
    let text = String::from_utf8_lossy(&head.bytes);
    let lines = text
        .trim_end()
        .lines()
        .map(|line| match line.split_once(':') {
            Some((name, _)) if name.eq_ignore_ascii_case("content-length") => {
                format!("{name}: {length}\r\n")
            }
            _ => format!("{line}\r\n"),
        });
    format!("{}\r\n", lines.collect::<String>()).into_bytes()
}

/// A refusal in S3's form; an answer to `HEAD` has no body.
fn own_answer(method: &str, status: u16, code: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
         <Message>said by the wire of a test</Message></Error>"
    );
    let head = format!(
        "HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let body = if method == "HEAD" { "" } else { &body };
    format!("{head}{body}").into_bytes()
}
