//! What all network stores share: time limits, certificates, and how long to be patient.

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{BackoffConfig, Certificate, ClientOptions, CredentialProvider, RetryConfig};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::checksum::StoredChecksum;
use super::classify::tls_failure;
use super::environment::Environment;
use super::usage::Counters;
use super::{ErrorKind, Location, Operation, StorageError, StorageOptions};

/// How long a store that has never answered is tried.
const FIRST_CONTACT: Duration = Duration::from_secs(5);
/// How long the platform may take to hand out credentials.
const IDENTITY: Duration = Duration::from_secs(15);

/// An error of opening a store.
pub(super) fn open_error(
    location: &Location,
    kind: ErrorKind,
    cause: impl Into<String>,
) -> StorageError {
    StorageError::new(Operation::Open, location.to_string(), kind, cause)
}

/// The settings of the clients that read and that write.
pub(super) struct Clients {
    /// With a limit on silence instead of one on whole transfers.
    pub(super) reading: ClientOptions,
    /// Without: to the client a long body on its way out is silence. Each request has its
    /// own limit, by its size.
    pub(super) writing: ClientOptions,
}

impl Clients {
    /// The client for our own requests.
    pub(super) fn own(&self, connector: &PatientConnector) -> object_store::Result<HttpClient> {
        connector.connect(&self.writing)
    }
}

/// The clients' settings, with the caller's certificates (its file, or the one that
/// `AWS_CA_BUNDLE` names).
pub(super) fn client_options(
    location: &Location,
    options: &StorageOptions,
    environment: &Environment,
    endpoint: Option<&str>,
) -> Result<Clients, StorageError> {
    // reqwest comes without a TLS provider; a second installation is refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut client = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(FIRST_CONTACT)
        .with_allow_http(options.allow_http || plain);
    let ca_file = options
        .ca_file
        .clone()
        .or_else(|| environment.get("AWS_CA_BUNDLE").map(Into::into));
    if let Some(path) = ca_file {
        let wrong = |words: String| {
            let cause = format!("CA file {}: {words}", path.display());
            open_error(location, ErrorKind::Settings, cause)
        };
        let pem = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
        client = trusting(client, &pem).map_err(|words| wrong(words.to_owned()))?;
    }
    if let Some(pem) = &options.ca_pem {
        client = trusting(client, pem.as_bytes()).map_err(|words| {
            let cause = format!("the CA certificates that were given: {words}");
            open_error(location, ErrorKind::Settings, cause)
        })?;
    }
    Ok(Clients {
        reading: client.clone().with_read_timeout(options.read_timeout),
        writing: client,
    })
}

/// The same client that also trusts these authorities, of which there must be one.
fn trusting(client: ClientOptions, pem: &[u8]) -> Result<ClientOptions, &'static str> {
    let certificates = Certificate::from_pem_bundle(pem)
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or("it holds no PEM certificate")?;
    Ok(certificates
        .into_iter()
        .fold(client, ClientOptions::with_root_certificate))
}

/// Repeats with growing pauses and jitter, bounded in time.
pub(super) fn retries(options: &StorageOptions) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 100,
        retry_timeout: options.retry_time,
    }
}

/// Repeats for asking the platform for credentials: it answers at once or not at all.
pub(super) fn identity_retries() -> RetryConfig {
    RetryConfig {
        max_retries: 1,
        retry_timeout: Duration::from_secs(3),
        ..RetryConfig::default()
    }
}

/// Connects as usual, but gives up early where repeating cannot help, and counts.
#[derive(Clone, Debug)]
pub(super) struct PatientConnector {
    /// The options' time for repeats.
    retry_time: Duration,
    counters: Arc<Counters>,
}

impl PatientConnector {
    /// A connector whose requests are counted in `counters`.
    pub(super) fn new(options: &StorageOptions, counters: &Arc<Counters>) -> Self {
        Self {
            retry_time: options.retry_time,
            counters: Arc::clone(counters),
        }
    }

    /// One for asking for credentials, which is no request to the store.
    pub(super) fn uncounted(&self) -> Self {
        Self {
            counters: Arc::default(),
            ..*self
        }
    }
}

impl HttpConnector for PatientConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Patient {
            // Default headers are signed where they belong, and must not go elsewhere unsigned.
            inner: ReqwestConnector::default()
                .connect(&options.clone().with_default_headers(HeaderMap::new()))?,
            limit: FIRST_CONTACT.min(self.retry_time),
            counters: Arc::clone(&self.counters),
            answered: AtomicBool::new(false),
            failing_since: Mutex::new(None),
        }))
    }
}

#[derive(Debug)]
struct Patient {
    inner: HttpClient,
    limit: Duration,
    counters: Arc<Counters>,
    answered: AtomicBool,
    failing_since: Mutex<Option<Instant>>,
}

impl Patient {
    /// Whether a failure to get an answer should be the last one.
    fn hopeless(&self, error: &HttpError) -> bool {
        if tls_failure(error).is_some() {
            return true;
        }
        if self.answered.load(Ordering::Relaxed) {
            return false;
        }
        let mut since = self
            .failing_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let over = since.get_or_insert_with(Instant::now).elapsed() >= self.limit;
        if over {
            *since = None;
        }
        over
    }
}

impl HttpService for Patient {
    fn call<'s, 'a>(
        &'s self,
        request: HttpRequest,
    ) -> BoxFuture<'a, Result<HttpResponse, HttpError>>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            self.counters.request();
            match self.inner.execute(request).await {
                Ok(mut response) => {
                    self.answered.store(true, Ordering::Relaxed);
                    if response.status() == StatusCode::OK
                        && let Some(told) = StoredChecksum::told(response.headers())
                    {
                        response.extensions_mut().insert(told);
                    }
                    Ok(response)
                }
                // The client repeats most failures, but not unknown ones.
                Err(error) if self.hopeless(&error) => {
                    Err(HttpError::new(HttpErrorKind::Unknown, error))
                }
                Err(error) => Err(error),
            }
        })
    }
}

/// Credentials from the platform, with an end to waiting and with words.
pub(super) struct BoundedIdentity<C> {
    pub(super) inner: Arc<dyn CredentialProvider<Credential = C>>,
    /// What was looked for, for the error.
    pub(super) looked_for: &'static str,
}

impl<C> fmt::Debug for BoundedIdentity<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoundedIdentity")
    }
}

/// No credentials could be had.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoIdentity(pub(super) String);

impl<C: Send + Sync> CredentialProvider for BoundedIdentity<C> {
    type Credential = C;

    fn get_credential<'s, 'a>(&'s self) -> BoxFuture<'a, object_store::Result<Arc<C>>>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            let words = match tokio::time::timeout(IDENTITY, self.inner.get_credential()).await {
                Ok(Ok(credential)) => return Ok(credential),
                Ok(Err(error)) => innermost(&error),
                Err(_) => "it did not answer in time".to_owned(),
            };
            Err(object_store::Error::Unauthenticated {
                path: String::new(),
                source: Box::new(NoIdentity(format!("{} ({words})", self.looked_for))),
            })
        })
    }
}

/// The words of the first cause.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    super::classify::one_line(&last.to_string())
}
