//! What is remembered of the copies, read in pages and written in batches behind the
//! copying.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::state::{CopyMark, CopyPair, RememberedCopy, State, StateError};

/// How many copies may wait to be written.
const WAITING: usize = 2_048;

/// How long the writer lets copies gather. Who is killed then forgets digests, not copies:
/// the target's listing tells those.
const PAUSE: Duration = Duration::from_millis(100);

/// What is remembered of one pair's copies; or nothing, where no state can be kept.
#[derive(Debug)]
pub(super) struct Ledger {
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    state: State,
    pair: CopyPair,
    sender: mpsc::Sender<Message>,
    writer: Mutex<Option<JoinHandle<Result<(), StateError>>>>,
}

#[derive(Debug)]
enum Message {
    Note(Box<RememberedCopy>),
    Flush(oneshot::Sender<()>),
}

impl Ledger {
    /// A ledger that keeps nothing.
    pub(super) const fn none() -> Self {
        Self { kept: None }
    }

    /// The ledger of a pair.
    pub(super) fn open(state: State, pair: CopyPair) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let writer = tokio::spawn(write(state.clone(), pair.clone(), receiver));
        Self {
            kept: Some(Kept {
                state,
                pair,
                sender,
                writer: Mutex::new(Some(writer)),
            }),
        }
    }

    /// The ledger of a pair, for who writes nothing.
    pub(super) fn reading(state: State, pair: CopyPair) -> Self {
        // Nobody listens to this sender.
        let (sender, _) = mpsc::channel(1);
        Self {
            kept: Some(Kept {
                state,
                pair,
                sender,
                writer: Mutex::new(None),
            }),
        }
    }

    /// Marks in the order of their keys.
    pub(super) async fn page(
        &self,
        after: &str,
        until: Option<&str>,
        limit: u32,
    ) -> Result<Vec<CopyMark>, StateError> {
        match &self.kept {
            Some(kept) => {
                kept.state
                    .copies_page(&kept.pair, after, until, limit)
                    .await
            }
            None => Ok(Vec::new()),
        }
    }

    /// What is remembered of these keys.
    pub(super) async fn lookup(&self, keys: &[String]) -> Result<Vec<RememberedCopy>, StateError> {
        let Some(kept) = &self.kept else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for keys in keys.chunks(State::OBJECTS_TOGETHER) {
            found.extend(kept.state.copies_lookup(&kept.pair, keys).await?);
        }
        Ok(found)
    }

    /// What is remembered of a key.
    pub(super) async fn one(&self, key: &str) -> Result<Option<RememberedCopy>, StateError> {
        Ok(self.lookup(&[key.to_owned()]).await?.pop())
    }

    /// When the two were last compared as a whole, and where that left off.
    pub(super) async fn front(&self) -> Result<Option<(DateTime<Utc>, String)>, StateError> {
        match &self.kept {
            Some(kept) => kept.state.copy_front(&kept.pair).await,
            None => Ok(None),
        }
    }

    /// Remembers it, behind all that was noted before.
    pub(super) async fn keep_front(
        &self,
        compared_at: DateTime<Utc>,
        front: Option<&str>,
    ) -> Result<(), StateError> {
        self.flush().await;
        match &self.kept {
            Some(kept) => {
                kept.state
                    .keep_copy_front(&kept.pair, compared_at, front)
                    .await
            }
            None => Ok(()),
        }
    }

    /// Remembers a copy, soon. Trouble is told when the ledger is closed.
    pub(super) async fn note(&self, copy: RememberedCopy) {
        if let Some(kept) = &self.kept {
            // A writer that is gone has said why.
            let _ = kept.sender.send(Message::Note(Box::new(copy))).await;
        }
    }

    /// Waits until everything noted so far is written.
    pub(super) async fn flush(&self) {
        if let Some(kept) = &self.kept {
            let (sender, receiver) = oneshot::channel();
            if kept.sender.send(Message::Flush(sender)).await.is_ok() {
                let _ = receiver.await;
            }
        }
    }

    /// Waits until everything is written, and tells of trouble.
    pub(super) async fn close(self) -> Result<(), StateError> {
        let Some(kept) = self.kept else { return Ok(()) };
        drop(kept.sender);
        let Some(writer) = kept.writer.lock().await.take() else {
            return Ok(());
        };
        // A writer that panicked has been told of by the panic's own message.
        writer.await.unwrap_or(Ok(()))
    }
}

/// Writes what comes, a batch at a time.
async fn write(
    state: State,
    pair: CopyPair,
    mut receiver: mpsc::Receiver<Message>,
) -> Result<(), StateError> {
    let mut messages = Vec::with_capacity(State::OBJECTS_TOGETHER);
    loop {
        if receiver
            .recv_many(&mut messages, State::OBJECTS_TOGETHER)
            .await
            == 0
        {
            return Ok(());
        }
        let mut copies = Vec::new();
        let mut flushes = Vec::new();
        for message in messages.drain(..) {
            match message {
                Message::Note(copy) => copies.push(*copy),
                Message::Flush(done) => flushes.push(done),
            }
        }
        if !copies.is_empty() {
            state.copies_write(&pair, &copies).await?;
            if flushes.is_empty() && copies.len() < State::OBJECTS_TOGETHER / 4 {
                // A few transactions a second are cheaper than one an object.
                tokio::time::sleep(PAUSE).await;
            }
        }
        for done in flushes {
            let _ = done.send(());
        }
    }
}
