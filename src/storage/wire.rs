//! Our own requests to a bucket: signed anew for each attempt, repeated with patience.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use object_store::PutPayload;
use object_store::client::{HttpError, HttpErrorKind, HttpRequest, HttpResponse};
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};

use super::classify::{Refusal, network_failure};
use super::read::pause;
use super::remote::Remote;
use super::store::permit;
use super::{ErrorKind, Operation, StorageError, Store};

/// How slow an upload may be: a request may take as long as its body at this rate needs, and
/// the read timeout more.
const SLOWEST: u64 = 32 << 10;
/// The longest answer that is read. Descriptions of buckets are far smaller.
const LONGEST: usize = 4 << 20;
/// How often bytes are sent again that did not arrive as they were.
const DAMAGED: u32 = 3;

/// A request.
pub(super) struct Ask {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: PutPayload,
    bytes: u64,
    sha256: Option<[u8; 32]>,
}

/// An answer; also a refusal.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether an earlier attempt may have done its work, though its answer got lost.
    pub(super) unsure: bool,
}

/// SHA-256 of nothing.
const EMPTY: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

impl Ask {
    /// A request without a body.
    pub(super) fn new(method: Method, url: String) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: PutPayload::new(),
            bytes: 0,
            sha256: Some(EMPTY),
        }
    }

    /// Adds a header. One that HTTP cannot express is left out: the store then refuses.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Adds a header if there is a value.
    pub(super) fn header_if(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// Adds a body; without its digest the signature does not cover it.
    pub(super) fn body(mut self, body: PutPayload, sha256: Option<[u8; 32]>) -> Self {
        self.bytes = body.content_length() as u64;
        self.body = body;
        self.sha256 = sha256;
        self
    }

    /// Adds a small body.
    pub(super) fn text(self, body: String) -> Self {
        let sha256 = *crate::codec::Sha256::of(body.as_bytes()).as_bytes();
        self.body(body.into(), Some(sha256))
    }

    async fn request(&self, remote: &Remote) -> object_store::Result<HttpRequest> {
        let mut request = if self.bytes == 0 {
            HttpRequest::new(Bytes::new().into())
        } else {
            HttpRequest::new(self.body.clone().into())
        };
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self
            .url
            .parse()
            .map_err(|error| object_store::Error::Generic {
                store: "request",
                source: Box::new(error),
            })?;
        *request.headers_mut() = self.headers.clone();
        if self.bytes > 0 || matches!(self.method, Method::PUT | Method::POST) {
            request
                .headers_mut()
                .insert(CONTENT_LENGTH, self.bytes.into());
        }
        remote
            .dialect
            .sign(&mut request, self.sha256.as_ref())
            .await?;
        Ok(request)
    }
}

impl Answer {
    pub(super) fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// What it says, if it is no success.
    pub(super) fn refusal(&self) -> Refusal {
        Refusal::read(self.status, &self.text())
    }
}

/// Whether a refusal means that the bytes did not arrive as they were sent.
fn damaged(refusal: &Refusal) -> bool {
    refusal.kind() == ErrorKind::Damaged
}

/// Whether a refusal is no refusal but a failure, that may go away.
fn passing(refusal: &Refusal) -> bool {
    matches!(refusal.status, 408 | 429 | 500 | 502 | 503 | 504)
        || matches!(
            refusal.code.as_str(),
            "RequestTimeout" | "SlowDown" | "InternalError"
        )
}

async fn collect(response: HttpResponse) -> Result<Bytes, HttpError> {
    let mut body = response.into_body().bytes_stream();
    let mut all = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if all.len() + chunk.len() > LONGEST {
            let words = std::io::Error::other("an answer of more than 4 MiB");
            return Err(HttpError::new(HttpErrorKind::Decode, words));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.into())
}

/// What one attempt gave.
enum Attempt {
    Answered(Answer),
    Failed(HttpError),
}

async fn attempt(
    remote: &Remote,
    ask: &Ask,
    limit: Duration,
) -> Result<Attempt, object_store::Error> {
    let request = ask.request(remote).await?;
    let exchange = async {
        let response = remote.client.execute(request).await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = collect(response).await?;
        Ok(Answer {
            status,
            headers,
            body,
            unsure: false,
        })
    };
    Ok(match tokio::time::timeout(limit, exchange).await {
        Ok(Ok(answer)) => Attempt::Answered(answer),
        Ok(Err(error)) => Attempt::Failed(error),
        Err(_) => {
            let words = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Attempt::Failed(HttpError::new(HttpErrorKind::Timeout, words))
        }
    })
}

impl Store {
    /// Sends a request until it is answered. A refusal is an answer; what may pass is tried
    /// again until the options' time is over.
    pub(super) async fn ask(
        &self,
        operation: Operation,
        key: &str,
        remote: &Remote,
        ask: &Ask,
    ) -> Result<Answer, StorageError> {
        let shared = &self.shared;
        let limit = shared.read_timeout + Duration::from_secs(ask.bytes / SLOWEST);
        let mut unsure = false;
        let mut failing: Option<Instant> = None;
        let mut mangled = 0;
        for times in 0_u32.. {
            let result = {
                let _permit = permit(shared).await;
                attempt(remote, ask, limit).await
            };
            // The time that a request takes is not counted, only that of failing.
            let since = *failing.get_or_insert_with(Instant::now);
            let over = since.elapsed() >= shared.retry_time;
            match result {
                Err(error) => return Err(self.error(operation, key, &error)),
                Ok(Attempt::Answered(answer)) => {
                    self.shared
                        .counters
                        .written(if answer.ok() { ask.bytes } else { 0 });
                    let failed_inside = answer.ok()
                        && matches!(operation, Operation::Write)
                        && answer.body.starts_with(b"<")
                        && answer.text().contains("<Error>");
                    if answer.ok() && !failed_inside {
                        self.confirm();
                        return Ok(Answer { unsure, ..answer });
                    }
                    let refusal = answer.refusal();
                    let again = if damaged(&refusal) {
                        mangled += 1;
                        mangled < DAMAGED
                    } else {
                        passing(&refusal) && !over
                    };
                    if !again {
                        let status = if failed_inside { 500 } else { answer.status };
                        return Ok(Answer {
                            status,
                            unsure,
                            ..answer
                        });
                    }
                    unsure |= matches!(refusal.status, 200..300 | 500 | 502 | 504);
                }
                Ok(Attempt::Failed(error)) => {
                    let hopeless =
                        matches!(error.kind(), HttpErrorKind::Unknown | HttpErrorKind::Decode);
                    if hopeless || over {
                        return Err(self.unanswered(operation, key, remote, &error));
                    }
                    unsure |= error.kind() != HttpErrorKind::Connect;
                }
            }
            tracing::debug!(object = self.url(key), times, "a request is repeated");
            tokio::time::sleep(pause(times)).await;
        }
        Err(self.odd(operation, key, "it was repeated for ever"))
    }

    fn unanswered(
        &self,
        operation: Operation,
        key: &str,
        remote: &Remote,
        error: &HttpError,
    ) -> StorageError {
        let (kind, mut cause) = network_failure(error);
        if let Some(endpoint) = &remote.endpoint {
            cause = format!("{endpoint}: {cause}");
        }
        StorageError::new(operation, self.url(key), kind, cause)
    }

    /// The error that a refusal is, where it is one.
    pub(super) fn refused(&self, operation: Operation, key: &str, answer: &Answer) -> StorageError {
        let refusal = answer.refusal();
        let mut kind = refusal.kind();
        // Nothing but the bucket itself can be missing for a write.
        if kind == ErrorKind::NotFound && operation == Operation::Write && refusal.code.is_empty() {
            kind = ErrorKind::MissingBucket;
        }
        StorageError::new(operation, self.url(key), kind, refusal.words())
    }

    /// An answer that is none.
    pub(super) fn odd(&self, operation: Operation, key: &str, words: &str) -> StorageError {
        StorageError::new(operation, self.url(key), ErrorKind::Other, words)
    }
}

/// Writes a text so that it can stand in a query or path: everything but letters, digits and
/// `-._~` by percent, as signatures demand.
pub(super) fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The same for a path, whose slashes stay.
pub(super) fn percent_path(path: &str) -> String {
    let parts: Vec<String> = path.split('/').map(percent).collect();
    parts.join("/")
}

/// Base64 with padding, as headers carry digests.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| {
        let at = usize::try_from(bits & 63).unwrap_or_default();
        DIGITS.get(at).map_or('=', |digit| char::from(*digit))
    };
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| group.get(at).map_or(0, |byte| u32::from(*byte));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            out.push(if at <= group.len() {
                digit(bits >> shift)
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xef, 0xbe]), "/+++");
    }

    #[test]
    fn nothing_has_the_digest_of_nothing() {
        assert_eq!(EMPTY, *crate::codec::Sha256::of(b"").as_bytes());
    }

    #[test]
    fn percent_leaves_only_what_signatures_leave() {
        assert_eq!(percent("a-b._~/ +ü"), "a-b._~%2F%20%2B%C3%BC");
    }
}
