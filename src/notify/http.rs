//! One HTTP request to a receiver: bounded in time and size, never redirected.

use std::path::Path;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, StatusCode, redirect};

use super::Refusal;

/// How long it may take until the receiver is connected.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a request may take altogether.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// So much of an answer is read, and of that so much is repeated.
const LONGEST: usize = 16 << 10;
const SHOWN: usize = 200;

/// A client that trusts what the system trusts, and the authorities in a file.
pub(super) fn client(ca_file: Option<&Path>) -> Result<Client, Refusal> {
    // reqwest comes without a TLS provider; a second installation is refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("walproof/", env!("CARGO_PKG_VERSION")))
        // Whoever answers for the URL must not send a notice elsewhere.
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(LIMIT);
    if let Some(path) = ca_file {
        let wrong =
            |words: String| Refusal::passing(format!("CA file {}: {words}", path.display()));
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| wrong("it holds no PEM certificate".to_owned()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder
        .build()
        .map_err(|error| Refusal::passing(innermost(&error)))
}

/// A request with a JSON body. Its URL and headers may be secrets.
pub(super) struct Post {
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Name and password.
    pub(super) basic: Option<(String, String)>,
}

impl Post {
    pub(super) fn new(url: String, body: Vec<u8>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self {
            url,
            headers,
            body,
            basic: None,
        }
    }

    /// Adds a header whose value is kept out of every output.
    pub(super) fn header(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Refusal::lasting(format!("{name:?} is no name of a header")))?;
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            Refusal::lasting(format!(
                "the value of the header {name} is no text that a header can hold"
            ))
        })?;
        value.set_sensitive(true);
        self.headers.insert(key, value);
        Ok(())
    }

    /// Sends it once; gives what was answered in a few words.
    pub(super) async fn send(self, client: &Client) -> Result<String, Refusal> {
        let url = reqwest::Url::parse(&self.url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| Refusal::lasting("what stands for the URL is no http or https URL"))?;
        let mut request = client.post(url).headers(self.headers).body(self.body);
        if let Some((name, password)) = &self.basic {
            request = request.basic_auth(name, Some(password));
        }
        let response = request.send().await.map_err(|error| network(&error))?;
        let status = response.status();
        let after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| retry_after(value.to_str().ok()?, SystemTime::now()));
        let body = beginning(response).await;
        let words = said(status, &body);
        if status.is_success() {
            return Ok(words);
        }
        Err(Refusal {
            passing: matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
            ) || status.is_server_error(),
            after,
            words: if status.is_redirection() {
                format!("{words}; redirects are not followed: name the final URL")
            } else {
                words
            },
        })
    }
}

/// The status, and the first line of the answer.
fn said(status: StatusCode, body: &str) -> String {
    let status = match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    let line: String = body
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default()
        .chars()
        .filter(|letter| !letter.is_control())
        .take(SHOWN)
        .collect();
    if line.is_empty() {
        status
    } else {
        format!("{status}: {line}")
    }
}

async fn beginning(response: reqwest::Response) -> String {
    let mut stream = response.bytes_stream();
    let mut all = Vec::new();
    while let Some(Ok(chunk)) = stream.next().await {
        let room = LONGEST.saturating_sub(all.len());
        all.extend(chunk.iter().take(room));
        if all.len() >= LONGEST {
            break;
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// A number of seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?;
    SystemTime::from(date).duration_since(now).ok()
}

/// Trouble on the way, without the URL.
fn network(error: &reqwest::Error) -> Refusal {
    let words = innermost(error);
    Refusal::passing(if error.is_timeout() {
        format!("no answer within {} s", LIMIT.as_secs())
    } else if error.is_connect() {
        format!("cannot be reached: {words}")
    } else {
        format!("the connection broke: {words}")
    })
}

/// The words of the first cause, which hold no URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    if std::ptr::addr_eq(last, std::ptr::from_ref(error)) {
        return "unknown trouble".to_owned();
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_may_ask_for_a_pause() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_mins(29_394_880);
        assert_eq!(retry_after("120", now), Some(Duration::from_mins(2)));
        assert_eq!(
            retry_after("Fri, 21 Nov 2025 02:41:00 GMT", now),
            Some(Duration::from_mins(1))
        );
        assert_eq!(
            retry_after("Fri, 21 Nov 2025 02:39:00 GMT", SystemTime::now()),
            None
        );
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn answers_are_told_in_one_short_line() {
        let body = format!("\n  no\u{1b}[2J {}\nmore", "x".repeat(500));
        let words = said(StatusCode::BAD_REQUEST, &body);
        assert!(words.starts_with("400 Bad Request: no[2J xxx"), "{words}");
        assert_eq!(words.chars().count(), "400 Bad Request: ".len() + SHOWN);
    }
}
