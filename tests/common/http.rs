//! HTTP/1.1 by hand, over plain loopback connections: one request and its answer for the
//! servers' own interfaces, and the framing of messages for the [wire](super::wire).

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A message's first line and headers, as they came.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// All of it, with the empty line at its end.
    pub bytes: Vec<u8>,
    /// The first line.
    pub first: String,
}

impl Head {
    /// Reads one; `None` at the end of the connection.
    pub fn read(from: &mut impl BufRead) -> Result<Option<Self>> {
        let mut bytes = Vec::new();
        loop {
            let line = bytes.len();
            from.read_until(b'\n', &mut bytes)?;
            match &bytes[line..] {
                [] if line == 0 => return Ok(None),
                [] => return Err(ErrorKind::UnexpectedEof.into()),
                b"\r\n" | b"\n" if line > 0 => break,
                _ => {}
            }
        }
        let first = String::from_utf8_lossy(bytes.split(|byte| *byte == b'\n').next().unwrap());
        let first = first.trim_end().to_owned();
        Ok(Some(Self { bytes, first }))
    }

    /// A header's value. Names are compared without regard to case.
    pub fn header(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        text.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    }

    /// An answer's status.
    pub fn status(&self) -> u16 {
        let status = self.first.split(' ').nth(1);
        status.and_then(|it| it.parse().ok()).unwrap_or_default()
    }

    /// How a request's body is framed.
    pub fn request_body(&self) -> Body {
        self.framing().unwrap_or(Body::Sized(0))
    }

    /// How the body of the answer to a request with `method` is framed.
    pub fn answer_body(&self, method: &str) -> Body {
        match self.status() {
            100..200 | 204 | 304 => Body::Sized(0),
            _ if method == "HEAD" => Body::Sized(0),
            _ => self.framing().unwrap_or(Body::UntilClose),
        }
    }

    fn framing(&self) -> Option<Body> {
        let chunked = self.header("transfer-encoding");
        if chunked.is_some_and(|value| value.to_ascii_lowercase().contains("chunked")) {
            return Some(Body::Chunk(None));
        }
        let length = self.header("content-length")?;
        Some(Body::Sized(length.parse().ok()?))
    }
}

/// What is left of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes.
    Sized(u64),
    /// So many bytes of a chunk; `None` before a chunk's head.
    Chunk(Option<u64>),
    /// Everything until the connection ends.
    UntilClose,
}

/// A part of a body.
#[derive(Debug)]
pub enum Piece {
    /// What only tells where chunks begin and end.
    Frame(Vec<u8>),
    /// What it is about.
    Data(Vec<u8>),
}

impl Body {
    /// The next part; `None` after the last. A body that ends early is an error.
    pub fn next(&mut self, from: &mut impl BufRead) -> Result<Option<Piece>> {
        match self {
            Self::Sized(0) => Ok(None),
            Self::Sized(left) | Self::Chunk(Some(left)) if *left > 0 => {
                let data = some(from, *left)?;
                if data.is_empty() {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                *left -= data.len() as u64;
                Ok(Some(Piece::Data(data)))
            }
            Self::Chunk(at) => {
                let mut frame = Vec::new();
                if at.is_some() {
                    from.read_until(b'\n', &mut frame)?;
                }
                let begin = frame.len();
                from.read_until(b'\n', &mut frame)?;
                let size = String::from_utf8_lossy(&frame[begin..]).into_owned();
                let size = size.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16)
                    .map_err(|_| Error::new(ErrorKind::UnexpectedEof, "no chunk"))?;
                *self = Self::Chunk(Some(size));
                if size == 0 {
                    // Trailers, up to the empty line.
                    loop {
                        let begin = frame.len();
                        from.read_until(b'\n', &mut frame)?;
                        if frame[begin..].trim_ascii().is_empty() {
                            break;
                        }
                    }
                    *self = Self::Sized(0);
                }
                Ok(Some(Piece::Frame(frame)))
            }
            Self::UntilClose => {
                let data = some(from, u64::MAX)?;
                Ok((!data.is_empty()).then_some(Piece::Data(data)))
            }
            Self::Sized(_) => unreachable!("matched above"),
        }
    }

    /// All that is left, without frames.
    pub fn read(mut self, from: &mut impl BufRead) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.next(from)? {
            if let Piece::Data(data) = piece {
                all.extend(data);
            }
        }
        Ok(all)
    }
}

/// What has arrived, at most so much; nothing at the end.
fn some(from: &mut impl BufRead, most: u64) -> Result<Vec<u8>> {
    let waiting = from.fill_buf()?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let data = waiting[..waiting.len().min(most)].to_vec();
    from.consume(data.len());
    Ok(data)
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub head: Head,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Panics with all that was answered unless the status is one of the 200s.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        let head = String::from_utf8_lossy(&self.head.bytes);
        assert!((200..300).contains(&self.status), "{head}{}", self.text());
        self
    }

    /// The texts of the body's XML elements of a name, in order.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        text.split(&format!("<{name}>"))
            .skip(1)
            .filter_map(|rest| Some(rest.split_once(&format!("</{name}>"))?.0.to_owned()))
            .collect()
    }
}

/// Sends one request to `host` (`127.0.0.1:port`) over a connection of its own. The target
/// must be encoded already.
pub fn request(
    host: &str,
    method: &str,
    target: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Result<Answer> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    let mut head = vec![
        format!("{method} {target} HTTP/1.1"),
        format!("Host: {host}"),
        "Connection: close".to_owned(),
    ];
    if !body.is_empty() || ["PUT", "POST"].contains(&method) {
        head.push(format!("Content-Length: {}", body.len()));
    }
    head.extend(
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    stream.write_all(format!("{}\r\n\r\n", head.join("\r\n")).as_bytes())?;
    stream.write_all(body)?;
    let mut from = BufReader::new(stream);
    let mut head = Head::read(&mut from)?.ok_or(ErrorKind::UnexpectedEof)?;
    while head.status() == 100 {
        head = Head::read(&mut from)?.ok_or(ErrorKind::UnexpectedEof)?;
    }
    let body = head.answer_body(method).read(&mut from)?;
    Ok(Answer {
        status: head.status(),
        head,
        body,
    })
}

/// Percent-encodes all but what never needs it, and `keep`.
pub fn encode(text: &str, keep: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte if keep.contains(char::from(byte)) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
