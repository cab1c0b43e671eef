//! Serves WAL to a recovering PostgreSQL over a socket. Credentials stay here; the server
//! needs no network.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

use super::fetch::{Expectation, FetchFailure, Fetched, fetch_file};
use super::plan::{Need, WalPlan};
use super::protocol::{MAX_LINE, Reply, WalAnswer, parse_question};
use crate::codec::Sha256;
use crate::postgres::{SegmentName, WalFileName};
use crate::repository::{Catalog, Repository};
use crate::restore::RestoreError;

/// The longest path of a socket (`sun_path` has 108 bytes with its final zero).
const MAX_SOCKET_PATH: usize = 107;
/// The most bytes that segments read ahead may hold in memory, together.
const AHEAD_BYTES: u64 = 256 << 20;
/// How long a client may take to say what it wants.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(30);

/// How WAL is served.
#[derive(Clone, Debug)]
pub struct WalServerOptions {
    /// Where the socket is made; a private directory.
    pub socket: PathBuf,
    /// How many segments are read ahead, at most 256 MiB of them.
    pub read_ahead: usize,
    /// The user and group that the PostgreSQL server runs as, when it is not this one.
    pub owner: Option<(u32, u32)>,
}

impl WalServerOptions {
    /// Four segments ahead, for a server of the same user.
    pub fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            read_ahead: 4,
            owner: None,
        }
    }
}

/// A file that recovery was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ServedFile {
    /// The name recovery asked for.
    pub name: String,
    /// The object it came from.
    pub key: String,
    /// Decoded bytes.
    pub bytes: u64,
    /// SHA-256 of the decoded bytes, lower-case hexadecimal.
    pub sha256: String,
    /// When it was given.
    pub at: DateTime<Utc>,
}

/// A file that recovery asked for and was not given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RefusedFile {
    /// The name recovery asked for.
    pub name: String,
    /// The exit code of `restore_command`: 1, 200 or 201.
    pub exit_code: u8,
    /// Why.
    pub words: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// What recovery asked for, in order. Some 300 bytes per file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WalServerLog {
    /// What it was given.
    pub served: Vec<ServedFile>,
    /// What it was not given; at most [`Self::LIMIT`], the newest are dropped.
    pub refused: Vec<RefusedFile>,
}

impl WalServerLog {
    /// How many refusals are kept.
    pub const LIMIT: usize = 1_000;

    /// The first refusal that made recovery stop.
    pub fn stopped_by(&self) -> Option<&RefusedFile> {
        self.refused.iter().find(|refused| refused.exit_code > 125)
    }

    /// The sum of the bytes given.
    pub fn bytes(&self) -> u64 {
        self.served.iter().map(|file| file.bytes).sum()
    }
}

type Ahead = BTreeMap<SegmentName, JoinHandle<Result<Fetched, FetchFailure>>>;

struct Shared {
    repository: Repository,
    catalog: Arc<Catalog>,
    plan: WalPlan,
    read_ahead: usize,
    ahead: Mutex<Ahead>,
    log: Mutex<WalServerLog>,
}

/// A running server of WAL. Dropping it ends it.
pub struct WalServer {
    shared: Arc<Shared>,
    socket: PathBuf,
    task: JoinHandle<()>,
}

impl WalServer {
    /// Begins to serve. Must be called inside the runtime. Memory: the segments read
    /// ahead (at most 256 MiB, or one where a single one is larger), and one per client.
    pub fn start(
        repository: Repository,
        catalog: Arc<Catalog>,
        plan: WalPlan,
        options: WalServerOptions,
    ) -> Result<Self, RestoreError> {
        let WalServerOptions {
            socket,
            read_ahead,
            owner,
        } = options;
        let listener = listen(&socket, owner)
            .map_err(|error| RestoreError::local("listen on socket", &socket, error))?;
        let fit = usize::try_from(AHEAD_BYTES / plan.segment_size.bytes()).unwrap_or(usize::MAX);
        let shared = Arc::new(Shared {
            repository,
            catalog,
            plan,
            read_ahead: read_ahead.min(fit),
            ahead: Mutex::default(),
            log: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            shared,
            socket,
            task,
        })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What recovery asked for so far.
    pub fn log(&self) -> WalServerLog {
        lock(&self.shared.log).clone()
    }

    /// Ends it and removes the socket.
    pub fn stop(self) -> WalServerLog {
        self.log()
    }
}

impl Drop for WalServer {
    fn drop(&mut self) {
        self.task.abort();
        for (_, handle) in std::mem::take(&mut *lock(&self.shared.ahead)) {
            handle.abort();
        }
        let _ = fs::remove_file(&self.socket);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(socket: &Path, owner: Option<(u32, u32)>) -> io::Result<UnixListener> {
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "the path is longer than {MAX_SOCKET_PATH} bytes; choose a shorter scratch directory"
            ),
        ));
    }
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
    if let Some((user, group)) = owner {
        chown(socket, Some(user), Some(group))?;
    }
    Ok(listener)
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    clients.spawn(answer(stream, Arc::clone(&shared)));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept a client of the WAL socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn answer(stream: UnixStream, shared: Arc<Shared>) {
    if let Err(error) = try_answer(stream, &shared).await {
        tracing::warn!(%error, "answer a client of the WAL socket");
    }
}

async fn try_answer(mut stream: UnixStream, shared: &Arc<Shared>) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(MAX_LINE as u64));
    tokio::time::timeout(QUESTION_TIMEOUT, reader.read_line(&mut line)).await??;
    let Some(name) = parse_question(&line) else {
        let reply = Reply::Not(WalAnswer::Stop("a question of another version".to_owned()));
        return write.write_all(reply.line().as_bytes()).await;
    };
    match shared.find(name).await {
        Ok(fetched) => {
            let bytes = fetched.bytes.len() as u64;
            let at = Utc::now();
            write
                .write_all(Reply::Found(bytes).line().as_bytes())
                .await?;
            write.write_all(&fetched.bytes).await?;
            write.shutdown().await?;
            let Fetched { key, bytes: body } = fetched;
            let sha256 = tokio::task::spawn_blocking(move || Sha256::of(&body).to_string())
                .await
                .map_err(io::Error::other)?;
            let file = ServedFile {
                name: name.to_owned(),
                key,
                bytes,
                sha256,
                at,
            };
            let mut log = lock(&shared.log);
            // Digests are computed side by side: the order is that of the answers.
            let place = log.served.partition_point(|earlier| earlier.at <= at);
            log.served.insert(place, file);
            Ok(())
        }
        Err(answer) => {
            tracing::debug!(name, %answer, "a WAL file is not given");
            {
                let mut log = lock(&shared.log);
                if log.refused.len() < WalServerLog::LIMIT {
                    log.refused.push(RefusedFile {
                        name: name.to_owned(),
                        exit_code: answer.exit_code(),
                        words: answer.to_string(),
                        at: Utc::now(),
                    });
                }
            }
            write
                .write_all(Reply::Not(answer).line().as_bytes())
                .await?;
            write.shutdown().await
        }
    }
}

impl Shared {
    async fn find(self: &Arc<Self>, name: &str) -> Result<Fetched, WalAnswer> {
        let Ok(file) = name.parse::<WalFileName>() else {
            return Err(WalAnswer::Stop(format!(
                "{name:?} is no name of a WAL file"
            )));
        };
        let need = self.plan.need(file);
        if need == Need::Beyond {
            return Err(WalAnswer::Absent(format!(
                "{name} is not part of what this recovery replays"
            )));
        }
        let fetched = match file {
            WalFileName::Segment(segment) => self.segment(segment).await,
            _ => self.fetch(file).await,
        };
        fetched.map_err(|failure| judge_failure(name, need, failure))
    }

    /// A segment, perhaps read ahead; begins to read the following ones.
    async fn segment(self: &Arc<Self>, segment: SegmentName) -> Result<Fetched, FetchFailure> {
        let waiting = lock(&self.ahead).remove(&segment);
        self.read_on(segment);
        match waiting {
            Some(handle) => match handle.await {
                Ok(Ok(fetched)) => Ok(fetched),
                // What failed ahead of time may work now.
                Ok(Err(_)) | Err(_) => self.fetch(WalFileName::Segment(segment)).await,
            },
            None => self.fetch(WalFileName::Segment(segment)).await,
        }
    }

    fn read_on(self: &Arc<Self>, from: SegmentName) {
        let wanted = self.plan.following(from, self.read_ahead);
        let mut ahead = lock(&self.ahead);
        ahead.retain(|segment, handle| {
            let keep = wanted.contains(segment);
            if !keep {
                handle.abort();
            }
            keep
        });
        for segment in wanted {
            ahead.entry(segment).or_insert_with(|| {
                let shared = Arc::clone(self);
                tokio::spawn(async move { shared.fetch(WalFileName::Segment(segment)).await })
            });
        }
    }

    async fn fetch(&self, file: WalFileName) -> Result<Fetched, FetchFailure> {
        let candidates = self.repository.wal_objects(&self.catalog, file);
        let expectation = Expectation {
            segment_size: self.plan.segment_size,
            system_id: self.plan.system_id,
        };
        fetch_file(&self.repository, &candidates, file, expectation).await
    }
}

/// What a failure means for recovery.
pub(super) fn judge_failure(name: &str, need: Need, failure: FetchFailure) -> WalAnswer {
    match (failure, need) {
        (FetchFailure::Unreachable(words), _) => WalAnswer::Unreachable(words),
        (FetchFailure::Bad(words), _) => WalAnswer::Stop(words),
        (FetchFailure::Missing, Need::Required) => WalAnswer::Stop(format!(
            "{name} is needed to reach the target and is not in the archive"
        )),
        (FetchFailure::Missing, Need::Optional | Need::Beyond) => {
            WalAnswer::Absent(format!("there is no {name}"))
        }
    }
}
