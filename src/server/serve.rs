//! The routes and their answers.

use std::fmt;
use std::future::Future;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::clock::Now;
use super::connection::{ConnectionLimits, Limited};
use super::health::{Health, Trouble};
use super::metrics::{Scene, render};
use super::page;
use super::scrape::Scraper;
use super::text::PlainText;
use crate::config::Config;
use crate::state::State;

/// What the server shows.
#[derive(Clone, Debug)]
pub struct ServerState {
    /// The state, from which facts about the fleet come.
    pub state: State,
    /// The configuration in use, as it changes.
    pub config: watch::Receiver<Arc<Config>>,
    /// How the daemon is; the daemon notes it.
    pub health: Arc<Health>,
    /// The time, as the daemon has it.
    pub now: Now,
    /// Limits; the default suits.
    pub limits: Limits,
}

/// Limits of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait.
    pub connections: usize,
    /// Bytes of a request.
    pub request_bytes: usize,
    /// How long a request may take to arrive and to be answered, and the client to take a
    /// part of the answer.
    pub request: Duration,
    /// How long a connection may stay without a request. Longer than the interval of a
    /// scraper, so that it may keep its connection.
    pub idle: Duration,
    /// Facts about the fleet are at most this old in a scrape, as long as the state answers.
    pub fresh: Duration,
    /// How long the state may take to give facts. Less than a scraper waits.
    pub collection: Duration,
    /// For how long facts are told after the state went away.
    pub keep: Duration,
    /// How long the state may take to answer a probe of readiness.
    pub ready: Duration,
    /// How long open connections may take to end when the server stops.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            request_bytes: 16 << 10,
            request: Duration::from_secs(20),
            idle: Duration::from_mins(3),
            fresh: Duration::from_secs(5),
            collection: Duration::from_secs(6),
            keep: Duration::from_hours(1),
            ready: Duration::from_secs(2),
            stop: Duration::from_secs(5),
        }
    }
}

#[derive(Clone, Debug)]
struct Shown {
    health: Arc<Health>,
    now: Now,
    scraper: Scraper,
    /// One page of metrics is written at a time: it costs a processor, briefly.
    writing: Arc<Semaphore>,
}

/// Serves until `shutdown` is done, then lets open connections end within [`Limits::stop`].
/// Whoever binds the listener decides where it is reachable; the loopback is enough for a
/// Prometheus on the same machine.
pub async fn serve(
    listener: TcpListener,
    state: ServerState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let limits = state.limits;
    let shown = Shown {
        health: Arc::clone(&state.health),
        now: state.now.clone(),
        scraper: Scraper::new(state),
        writing: Arc::new(Semaphore::new(1)),
    };
    let router = Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(nothing_here)
        .with_state(shown);
    let listener = Limited::new(
        listener,
        limits.connections,
        ConnectionLimits {
            idle: limits.idle,
            request: limits.request,
            request_bytes: limits.request_bytes,
        },
    );
    let (stop, mut stopped) = watch::channel(false);
    let asked = async move {
        shutdown.await;
        stop.send_replace(true);
    };
    let server = axum::serve(listener, router).with_graceful_shutdown(asked);
    let overdue = async move {
        // An error means that the server has ended by itself.
        if stopped.wait_for(|stopped| *stopped).await.is_ok() {
            tokio::time::sleep(limits.stop).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = server => ended,
        () = overdue => Ok(()),
    }
}

async fn index() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ];
    plain_headers((headers, page::index()).into_response())
}

async fn nothing_here() -> Response {
    let text = "not found: there is /, /healthz, /readyz and /metrics\n";
    text_response(StatusCode::NOT_FOUND, text.to_owned())
}

async fn healthz(Shared(shown): Shared<Shown>) -> Response {
    probe("alive", shown.health.alive(shown.now.get()))
}

async fn readyz(Shared(shown): Shared<Shown>) -> Response {
    let ready = match shown.health.working(shown.now.get()) {
        Ok(()) => shown.scraper.state_answers().await.map_err(Trouble::State),
        trouble => trouble,
    };
    probe("ready", ready)
}

fn probe(word: &str, result: Result<(), Trouble>) -> Response {
    match result {
        Ok(()) => text_response(StatusCode::OK, format!("{word}\n")),
        Err(trouble) => text_response(StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")),
    }
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

async fn metrics(Shared(shown): Shared<Shown>, headers: HeaderMap) -> Response {
    let open = accepts(&headers, &ACCEPT, "application/openmetrics-text");
    let gzip = accepts(&headers, &ACCEPT_ENCODING, "gzip");
    let scene = shown.scraper.scene().await;
    let Ok(_turn) = shown.writing.acquire().await else {
        return failed("the server is stopping");
    };
    let written = tokio::task::spawn_blocking(move || written(scene, open)).await;
    let Ok(Ok(compressed)) = written else {
        return failed("the metrics could not be written");
    };
    let content_type = if open { OPEN_METRICS } else { PLAIN_TEXT };
    let headers = [
        (CONTENT_TYPE, content_type),
        (VARY, "accept, accept-encoding"),
    ];
    let response = if gzip {
        ([(CONTENT_ENCODING, "gzip")], headers, compressed).into_response()
    } else {
        (headers, unpacked(compressed)).into_response()
    };
    plain_headers(response)
}

/// Whether a header lists `word`. An explicit `;q=0` means no.
fn accepts(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| {
            let mut parts = item.split(';').map(str::trim);
            parts.next().is_some_and(|it| it.eq_ignore_ascii_case(word))
                && !parts.any(|it| matches!(it, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        })
}

/// The metrics, compressed as they are written: a thousand clusters are some megabytes of
/// text, which is never held.
fn written(scene: Scene, open: bool) -> Result<Bytes, fmt::Error> {
    let mut to = Packed(GzEncoder::new(Vec::new(), Compression::fast()));
    if open {
        render(scene, &mut to)?;
    } else {
        render(scene, &mut PlainText::new(&mut to))?;
    }
    to.0.finish().map(Bytes::from).map_err(|_| fmt::Error)
}

struct Packed(GzEncoder<Vec<u8>>);

impl fmt::Write for Packed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_all(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// The text in parts of 32 KiB, as the client takes them.
fn unpacked(compressed: Bytes) -> Body {
    let decoder = GzDecoder::new(io::Cursor::new(compressed));
    Body::from_stream(futures::stream::unfold(decoder, async |mut decoder| {
        let mut part = Vec::with_capacity(32 << 10);
        match (&mut decoder).take(32 << 10).read_to_end(&mut part) {
            Ok(0) => None,
            Ok(_) => Some((Ok(Bytes::from(part)), decoder)),
            Err(error) => Some((Err(error), decoder)),
        }
    }))
}

fn failed(text: &str) -> Response {
    text_response(StatusCode::INTERNAL_SERVER_ERROR, format!("{text}\n"))
}

fn text_response(status: StatusCode, text: String) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    plain_headers((status, headers, text).into_response())
}

fn plain_headers(response: Response) -> Response {
    let headers = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, response).into_response()
}
