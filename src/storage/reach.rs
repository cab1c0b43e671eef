//! Whether a place answers at all: the question that a proof from another copy alone rests
//! on.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::classify::{one_line, status, tls_failure};
use super::open::Backend;
use super::{ErrorKind, Location, Operation, Scheme, StorageError, StorageOptions, Store};

/// How long a place may take to answer.
pub const REACH_LIMIT: Duration = Duration::from_secs(5);

/// Between what a place said, or did not say, and why it was asked without credentials.
pub const ASKED_WITHOUT: &str = "; asked without credentials";

/// What came of asking a place once whether it is there, without repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reach {
    /// When it was asked.
    pub at: DateTime<Utc>,
    /// Whether it answered. A refusal is an answer too. `false`: nothing answered within 5
    /// seconds, a gateway had nothing behind it, or the bucket or directory does not exist.
    /// `null`: it could not be asked, so nothing is known.
    pub reachable: Option<bool>,
    /// Why it could not be listed; `null` when it could.
    pub error: Option<ReachError>,
}

/// Why a place could not be listed. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReachError {
    /// The kind: `network`, `missing-bucket`, `denied`, `credentials`, …
    pub kind: String,
    /// The store's or system's own words.
    pub text: String,
}

/// One attempt: what it says of the place, and why it was not a listing.
type Attempt = (Option<bool>, Option<ReachError>);

fn told(kind: ErrorKind, text: impl Into<String>) -> ReachError {
    ReachError {
        kind: kind.as_str().to_owned(),
        text: text.into(),
    }
}

impl Reach {
    /// Asks a place for the beginning of its listing, once, for at most twice
    /// [`REACH_LIMIT`]. Where that cannot be done with the credentials of `options`, or
    /// `without` says why there are none, it is asked without: a store that refuses is
    /// there.
    pub async fn ask(location: &Location, options: &StorageOptions, without: Option<&str>) -> Self {
        let at = Utc::now();
        let (reachable, error) = if let Some(directory) = location
            .directory()
            .filter(|_| location.scheme() == Scheme::File)
        {
            ask_directory(directory).await
        } else {
            ask_store(location, options, without).await
        };
        Self {
            at,
            reachable,
            error,
        }
    }
}

async fn ask_store(
    location: &Location,
    options: &StorageOptions,
    without: Option<&str>,
) -> Attempt {
    let mut options = StorageOptions {
        read_timeout: REACH_LIMIT,
        retry_time: Duration::ZERO,
        ..options.clone()
    };
    let signed = match without {
        None => list(location, &options).await,
        Some(why) => (None, Some(told(ErrorKind::Credentials, why))),
    };
    // Silence may be that of whoever should have handed out the credentials. What a store
    // says to somebody it knows, such as that there is no such bucket, stands.
    let silent = |error: &ReachError| error.kind == ErrorKind::Network.as_str();
    match &signed {
        (Some(true), _) => return signed,
        (Some(false), Some(error)) if !silent(error) => return signed,
        _ => {}
    }
    for name in [
        "AWS_SKIP_SIGNATURE",
        "GOOGLE_SKIP_SIGNATURE",
        "AZURE_SKIP_SIGNATURE",
    ] {
        options
            .environment
            .push((name.to_owned(), "true".to_owned()));
    }
    let unsigned = list(location, &options).await;
    let (known, why) = signed;
    match (known, why, unsigned) {
        (_, why, (Some(true), said)) => {
            let words = said.map_or_else(|| "a listing".to_owned(), |error| error.text);
            let text = why.map_or_else(String::new, |error| error.text);
            let text = format!("{text}{ASKED_WITHOUT} it answered: {words}");
            (Some(true), Some(told(ErrorKind::Credentials, text)))
        }
        (None, Some(why), (reachable, Some(said))) => {
            let text = format!("{}{ASKED_WITHOUT}: {}", said.text, why.text);
            let kind = said.kind;
            (reachable, Some(ReachError { kind, text }))
        }
        // Asking without credentials said nothing new.
        (known, why, _) => (known, why),
    }
}

/// The first page of a listing.
async fn list(location: &Location, options: &StorageOptions) -> Attempt {
    let store = match Store::open(location, options) {
        Ok(store) => store,
        Err(error) => return (None, Some(told(error.kind, error.cause))),
    };
    let Backend::Remote(remote) = &store.shared.backend else {
        return (None, Some(told(ErrorKind::Settings, "is a directory")));
    };
    let path = match store.path(Operation::List, "") {
        Ok(path) => path,
        Err(error) => return (None, Some(told(error.kind, error.cause))),
    };
    let mut pages = remote.inner.list(Some(&path));
    match tokio::time::timeout(REACH_LIMIT, pages.next()).await {
        Ok(None | Some(Ok(_))) => (Some(true), None),
        Ok(Some(Err(error))) => {
            let StorageError { kind, cause, .. } = store.error(Operation::List, "", &error);
            let answered = match (kind, status(&error)) {
                (ErrorKind::MissingBucket, _) | (_, Some(502 | 504)) => Some(false),
                (_, Some(_)) => Some(true),
                (ErrorKind::Network, None) if tls_failure(&error).is_none() => Some(false),
                // Not asked at all, or something answers there and nobody knows who it is.
                _ => None,
            };
            (answered, Some(told(kind, cause)))
        }
        Err(_) => {
            let place = store.endpoint().unwrap_or_else(|| location.bucket());
            let text = format!("{place}: no answer within {} s", REACH_LIMIT.as_secs());
            (Some(false), Some(told(ErrorKind::Network, text)))
        }
    }
}

async fn ask_directory(directory: PathBuf) -> Attempt {
    let look = tokio::task::spawn_blocking(move || {
        std::fs::read_dir(directory)?.next().transpose().map(drop)
    });
    // A file system whose server is gone may keep silent for ever.
    let Ok(looked) = tokio::time::timeout(REACH_LIMIT, look).await else {
        let text = format!("no answer within {} s", REACH_LIMIT.as_secs());
        return (Some(false), Some(told(ErrorKind::Local, text)));
    };
    let error = match looked {
        Ok(Ok(())) => return (Some(true), None),
        Ok(Err(error)) => error,
        Err(error) => return (None, Some(told(ErrorKind::Other, error.to_string()))),
    };
    let (answered, kind) = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            (Some(false), ErrorKind::MissingBucket)
        }
        io::ErrorKind::PermissionDenied => (Some(true), ErrorKind::Denied),
        // Stale, not connected, host down, input/output error.
        _ => (Some(false), ErrorKind::Local),
    };
    (answered, Some(told(kind, one_line(&error.to_string()))))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn options(endpoint: &str) -> StorageOptions {
        let environment = [
            ("AWS_ACCESS_KEY_ID", "k"),
            ("AWS_SECRET_ACCESS_KEY", "hush"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        StorageOptions {
            endpoint: Some(endpoint.to_owned()),
            environment: environment.to_vec(),
            ..StorageOptions::default()
        }
    }

    async fn ask(endpoint: &str, without: Option<&str>) -> (Option<bool>, String, String) {
        let location = "s3://bucket/orders".parse().unwrap();
        let reach = Reach::ask(&location, &options(endpoint), without).await;
        let error = reach.error.unwrap_or(ReachError {
            kind: String::new(),
            text: String::new(),
        });
        assert!(!error.text.contains("hush"));
        (reach.reachable, error.kind, error.text)
    }

    /// Answers every request with this.
    async fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 8192];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                    if answer.is_empty() {
                        tokio::time::sleep(Duration::from_mins(1)).await;
                    }
                });
            }
        });
        endpoint
    }

    #[tokio::test]
    async fn a_closed_port_is_not_reachable() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let (reachable, kind, text) = ask(&format!("http://{port}"), None).await;
        assert_eq!((reachable, kind.as_str()), (Some(false), "network"));
        assert!(text.contains("connection refused"), "{text}");

        let why = "access_key_id: X is not set";
        let (reachable, kind, text) = ask(&format!("http://{port}"), Some(why)).await;
        assert_eq!((reachable, kind.as_str()), (Some(false), "network"));
        assert!(
            text.contains("connection refused") && text.contains(why),
            "{text}"
        );
    }

    #[tokio::test]
    async fn silence_ends_after_the_limit() {
        let endpoint = server("").await;
        let begin = std::time::Instant::now();
        let (reachable, kind, _) = ask(&endpoint, None).await;
        assert_eq!((reachable, kind.as_str()), (Some(false), "network"));
        assert!(begin.elapsed() < 2 * REACH_LIMIT + Duration::from_secs(2));
    }

    #[tokio::test]
    async fn a_refusal_is_an_answer_and_a_missing_bucket_is_none() {
        let refused = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 46\r\n\r\n\
                       <Error><Code>AccessDenied</Code></Error>      ";
        let endpoint = server(refused).await;
        let (reachable, kind, _) = ask(&endpoint, None).await;
        assert_eq!((reachable, kind.as_str()), (Some(true), "denied"));
        let (reachable, kind, text) = ask(&endpoint, Some("Y is not set")).await;
        assert_eq!((reachable, kind.as_str()), (Some(true), "credentials"));
        assert!(
            text.contains("Y is not set") && text.contains("AccessDenied"),
            "{text}"
        );

        let gone = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 46\r\n\r\n\
                    <Error><Code>NoSuchBucket</Code></Error>      ";
        let (reachable, kind, _) = ask(&server(gone).await, None).await;
        assert_eq!((reachable, kind.as_str()), (Some(false), "missing-bucket"));

        for (status, expected) in [("502 Bad Gateway", false), ("500 Internal", true)] {
            let answer =
                format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            let (reachable, ..) = ask(&server(answer.leak()).await, None).await;
            assert_eq!(reachable, Some(expected), "{status}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_not_known() {
        let (reachable, kind, text) = ask("https://user:hush@host", None).await;
        assert_eq!((reachable, kind.as_str()), (None, "settings"));
        assert!(!text.contains("hush"));
        // What answers there speaks no TLS: it may be anybody.
        let endpoint = server("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let (reachable, ..) = ask(&endpoint.replace("http:", "https:"), None).await;
        assert_eq!(reachable, None);
    }

    #[tokio::test]
    async fn directories() {
        let directory = tempfile::tempdir().unwrap();
        let ask = async |path: PathBuf| {
            let location = format!("file://{}", path.display()).parse().unwrap();
            Reach::ask(&location, &StorageOptions::default(), None).await
        };
        let there = ask(directory.path().to_owned()).await;
        assert_eq!((there.reachable, there.error), (Some(true), None));
        let gone = ask(directory.path().join("gone")).await;
        assert_eq!(gone.reachable, Some(false));
        assert_eq!(gone.error.unwrap().kind, "missing-bucket");
    }
}
