//! From a client's error to what a person must do about it.

use std::error::Error as StdError;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use super::client::NoIdentity;
use super::{ErrorKind, Operation, StorageError};

/// What a store answered instead of doing it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The store's code; empty if it gave none.
    pub(super) code: String,
    message: String,
}

/// Classifies an error of the store client. `endpoint` is named where nothing answered.
pub(super) fn classify(
    operation: Operation,
    object: String,
    endpoint: Option<&str>,
    error: &object_store::Error,
) -> StorageError {
    let (kind, mut cause) = judge(error);
    if let (ErrorKind::Network, Some(endpoint)) = (kind, endpoint) {
        cause = format!("{endpoint}: {cause}");
    }
    StorageError::new(operation, object, kind, cause)
}

/// The useful words of a client's error, on one line, without URLs and their secrets.
pub(super) fn words(error: &object_store::Error) -> String {
    judge(error).1
}

/// The status that the store answered with, if it did.
pub(super) fn status(error: &object_store::Error) -> Option<u16> {
    chain(error).find_map(refusal).map(|refusal| refusal.status)
}

/// The store's code for its refusal, if it gave one.
pub(super) fn code(error: &object_store::Error) -> Option<String> {
    chain(error)
        .find_map(refusal)
        .map(|refusal| refusal.code)
        .filter(|code| !code.is_empty())
}

/// Whether a range was asked for that begins behind the end of the object: the store says
/// so with 416, or answers with nothing (Azurite) and the client says it in these words.
pub(super) fn behind_end(error: &object_store::Error) -> bool {
    status(error) == Some(416)
        || chain(error).any(|error| error.to_string().starts_with("Wanted range starting at"))
}

fn judge(error: &object_store::Error) -> (ErrorKind, String) {
    if let Some(none) = chain(error).find_map(|error| error.downcast_ref::<NoIdentity>()) {
        return (ErrorKind::Credentials, none.to_string());
    }
    if let Some(refusal) = chain(error).find_map(refusal) {
        return (refusal.kind(), refusal.words());
    }
    if let Some(network) = chain(error).find_map(|error| error.downcast_ref::<HttpError>()) {
        return network_failure(network);
    }
    let last = chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default();
    let last = one_line(&last);
    if last.contains("redirect without LOCATION") {
        let cause = "the bucket lies in another region or at another endpoint";
        return (ErrorKind::Settings, cause.to_owned());
    }
    let kind = match error {
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. } => ErrorKind::Denied,
        object_store::Error::Unauthenticated { .. } => ErrorKind::Credentials,
        object_store::Error::Precondition { .. } => ErrorKind::Changed,
        object_store::Error::AlreadyExists { .. } => ErrorKind::Exists,
        object_store::Error::InvalidPath { .. } => ErrorKind::Settings,
        _ => ErrorKind::Other,
    };
    (kind, last)
}

/// An error and its causes, outermost first.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

pub(super) fn network_failure(error: &HttpError) -> (ErrorKind, String) {
    if let Some(failure) = tls_failure(error) {
        return (ErrorKind::Network, failure);
    }
    let last = chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default();
    let io = chain(error).filter_map(|error| error.downcast_ref::<io::Error>());
    let io = io.last().map(io::Error::kind);
    // The innermost: ours wraps the client's.
    let http = chain(error).filter_map(|error| error.downcast_ref::<HttpError>());
    let kind = http.last().map_or(error.kind(), HttpError::kind);
    let words = match (kind, io) {
        (_, Some(io::ErrorKind::ConnectionRefused)) => "connection refused".to_owned(),
        (HttpErrorKind::Timeout, _) | (_, Some(io::ErrorKind::TimedOut)) => {
            "no answer in time".to_owned()
        }
        _ => one_line(&last),
    };
    (ErrorKind::Network, words)
}

/// What TLS says, if it is TLS that failed.
pub(super) fn tls_failure(error: &(dyn StdError + 'static)) -> Option<String> {
    chain(error).find_map(|mut error| {
        // An I/O error shows the source of what it holds, not what it holds.
        while let Some(inside) = error.downcast_ref::<io::Error>() {
            error = inside.get_ref()?;
        }
        let failure = error.downcast_ref::<rustls::Error>()?;
        Some(match failure {
            rustls::Error::InvalidMessage(_) => {
                "TLS: what answers speaks no TLS (is it http:// instead of https://?)".to_owned()
            }
            other => format!("TLS: {}", one_line(&other.to_string())),
        })
    })
}

/// Reads the words of the client's request error, whose type it does not show:
/// `Server returned non-2xx status code: 404 Not Found: <body>`.
fn refusal(error: &(dyn StdError + 'static)) -> Option<Refusal> {
    let text = error.to_string();
    let (status, body) = match text.strip_prefix("Server returned non-2xx status code: ") {
        Some(rest) => {
            let (status, body) = rest.split_once(": ").unwrap_or((rest, ""));
            (status.get(..3)?.parse().ok()?, body)
        }
        // A failure inside a success, which S3 does for some requests.
        None => (200, text.strip_prefix("Server returned error response: ")?),
    };
    Some(Refusal::read(status, body))
}

/// The text of the first XML element of a name.
pub(super) fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&apos;", "'")
        .replace("&amp;", "&");
    Some(text)
}

/// The first line, at most 200 characters, without URLs' queries (they may hold a
/// signature).
pub(super) fn one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let line: Vec<&str> = line
        .unwrap_or_default()
        .split(' ')
        .map(|word| match word.split_once('?') {
            Some((before, _)) if word.contains("://") => before,
            _ => word,
        })
        .collect();
    line.join(" ").chars().take(200).collect()
}

impl Refusal {
    /// Reads the body of an answer that is no success: XML (S3, Azure) or JSON (GCS).
    pub(super) fn read(status: u16, body: &str) -> Self {
        let json = |name: &str| {
            let value: serde_json::Value = serde_json::from_str(body).ok()?;
            let value = value.get("error")?.get(name)?;
            Some(
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned),
            )
        };
        let code = element(body, "Code")
            .or_else(|| json("status"))
            .unwrap_or_default();
        let message = element(body, "Message").or_else(|| json("message"));
        let plain = || (!body.trim_start().starts_with(['<', '{'])).then(|| body.to_owned());
        Self {
            status,
            code: one_line(&code),
            message: one_line(&message.or_else(plain).unwrap_or_default()),
        }
    }

    pub(super) fn words(&self) -> String {
        match (self.code.is_empty(), self.message.is_empty()) {
            (false, false) => format!("{}: {}", self.code, self.message.trim_end_matches('.')),
            (false, true) => format!("{} (HTTP {})", self.code, self.status),
            (true, false) => format!("HTTP {}: {}", self.status, self.message),
            (true, true) => format!("HTTP {}", self.status),
        }
    }

    /// The kind by the store's code, where it gives one, else by the status. Codes: "Error
    /// responses" of the S3, Google Cloud Storage (XML) and Azure Blob Storage references;
    /// `XAdminUserNotFound` is versitygw's word for an unknown key, sent with a 404.
    pub(super) fn kind(&self) -> ErrorKind {
        match self.code.as_str() {
            // Azurite says "AuthorizationFailure" with the words of a wrong key.
            _ if self.message.contains("failed to authenticate") => ErrorKind::Credentials,
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "XAdminUserNotFound"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "RequestTimeTooSkewed"
            | "AuthenticationFailed"
            | "InvalidAuthenticationInfo"
            | "NoAuthenticationInformation"
            | "AuthenticationRequired" => ErrorKind::Credentials,
            "AccessDenied"
            | "AllAccessDisabled"
            | "AccountProblem"
            | "AuthorizationFailure"
            | "AuthorizationPermissionMismatch"
            | "InsufficientAccountPermissions" => ErrorKind::Denied,
            "NoSuchBucket" | "ContainerNotFound" | "InvalidBucketName" => ErrorKind::MissingBucket,
            "SlowDown" | "ServerBusy" | "TooManyRequests" | "RequestLimitExceeded" => {
                ErrorKind::Throttled
            }
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
            | "InvalidRegionName" => ErrorKind::Settings,
            "BlobAlreadyExists" => ErrorKind::Exists,
            "BadDigest"
            | "XAmzContentSHA256Mismatch"
            | "XAmzContentChecksumMismatch"
            | "Md5Mismatch"
            | "Crc64Mismatch" => ErrorKind::Damaged,
            // Google has no code for it.
            _ if self.message.contains("doesn't match calculated") => ErrorKind::Damaged,
            _ if self.message.contains("HTTP request to an HTTPS server") => ErrorKind::Settings,
            _ if self.message.contains("bucket does not exist") => ErrorKind::MissingBucket,
            _ => match self.status {
                301 | 302 | 307 | 308 => ErrorKind::Settings,
                401 => ErrorKind::Credentials,
                403 => ErrorKind::Denied,
                404 | 410 => ErrorKind::NotFound,
                412 => ErrorKind::Changed,
                429 | 503 => ErrorKind::Throttled,
                408 | 500 | 502 | 504 => ErrorKind::Network,
                507 => ErrorKind::Local,
                _ => ErrorKind::Other,
            },
        }
    }
}

/// Classifies a system's error on a local file.
pub(super) fn classify_local(
    operation: Operation,
    object: String,
    error: &io::Error,
) -> StorageError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::Exists,
        io::ErrorKind::UnexpectedEof => ErrorKind::Changed,
        _ => ErrorKind::Local,
    };
    StorageError::new(operation, object, kind, one_line(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Said(String);

    fn judged(status: &str, body: &str) -> (ErrorKind, String) {
        let text = format!("Server returned non-2xx status code: {status}: {body}");
        judge(&object_store::Error::Generic {
            store: "S3",
            source: Box::new(Said(text)),
        })
    }

    #[test]
    fn refusals_of_the_stores() {
        let xml = |code: &str| {
            format!(
                "<?xml version=\"1.0\"?>\n<Error>\n<Code>{code}</Code><Message>It&apos;s so.\nMore</Message>\
                 <StringToSign>secret</StringToSign></Error>"
            )
        };
        for (status, code, kind) in [
            (
                "403 Forbidden",
                "InvalidAccessKeyId",
                ErrorKind::Credentials,
            ),
            (
                "404 Not Found",
                "XAdminUserNotFound",
                ErrorKind::Credentials,
            ),
            (
                "403 Forbidden",
                "SignatureDoesNotMatch",
                ErrorKind::Credentials,
            ),
            ("403 Forbidden", "AccessDenied", ErrorKind::Denied),
            ("404 Not Found", "NoSuchBucket", ErrorKind::MissingBucket),
            (
                "404 Not Found",
                "ContainerNotFound",
                ErrorKind::MissingBucket,
            ),
            ("404 Not Found", "NoSuchKey", ErrorKind::NotFound),
            ("503 Service Unavailable", "SlowDown", ErrorKind::Throttled),
            (
                "301 Moved Permanently",
                "PermanentRedirect",
                ErrorKind::Settings,
            ),
            (
                "400 Bad Request",
                "AuthorizationHeaderMalformed",
                ErrorKind::Settings,
            ),
            (
                "500 Internal Server Error",
                "InternalError",
                ErrorKind::Network,
            ),
        ] {
            let (found, words) = judged(status, &xml(code));
            assert_eq!(found, kind, "{code}");
            assert_eq!(words, format!("{code}: It's so"));
        }
        assert_eq!(
            judged("403 Forbidden", ""),
            (ErrorKind::Denied, "HTTP 403".to_owned())
        );
        let google =
            r#"{"error": {"code": 404, "message": "The specified bucket does not exist."}}"#;
        assert_eq!(judged("404 Not Found", google).0, ErrorKind::MissingBucket);
        let go = "Client sent an HTTP request to an HTTPS server.";
        assert_eq!(judged("400 Bad Request", go).0, ErrorKind::Settings);
    }

    #[test]
    fn failures_of_the_system() {
        for (found, kind) in [
            (io::ErrorKind::NotFound, ErrorKind::NotFound),
            (io::ErrorKind::StorageFull, ErrorKind::Local),
            (io::ErrorKind::PermissionDenied, ErrorKind::Local),
            (io::ErrorKind::ReadOnlyFilesystem, ErrorKind::Local),
        ] {
            let error = classify_local(Operation::Write, "file:///x".to_owned(), &found.into());
            assert_eq!(error.kind, kind, "{error}");
        }
    }

    #[test]
    fn signatures_in_urls_are_not_repeated() {
        let text = "error for https://a.example/c?sig=hunter2 now\nsecond line";
        assert_eq!(one_line(text), "error for https://a.example/c now");
    }
}
