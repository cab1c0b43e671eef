//! Objects for code that reads without `await`: decoders, tar, hashers.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::local::FileRead;
use super::open::Backend;
use super::{ObjectEntry, ObjectRead, Operation, StorageError, Store};

/// How many chunks wait between the network and the reader. Chunks are at most 1 MiB, so
/// that one reader holds at most 17 MiB.
const WAITING: usize = 16;

enum Message {
    Bytes(Bytes),
    Failed(StorageError),
    /// Sent after the last byte: without it, a task that died would look like the end.
    End,
}

/// The bytes of an object as [`Read`], for blocking threads. A [`StorageError`] arrives
/// inside the [`io::Error`]; [`StorageError::of`] finds it again. Dropping it ends the
/// transfer. Call it from `spawn_blocking` or a thread of its own: it blocks.
pub struct BlockingReader {
    source: Source,
}

enum Source {
    Transfer(Transfer),
    /// Read where it is wanted: no task and no copy between.
    File {
        file: FileRead,
        store: Store,
        key: String,
    },
}

struct Transfer {
    messages: mpsc::Receiver<Message>,
    task: AbortHandle,
    chunk: Bytes,
    ended: bool,
}

impl BlockingReader {
    /// Pumps an object's stream into a reader. Must be called inside the runtime.
    fn new(read: ObjectRead) -> Self {
        let (sender, messages) = mpsc::channel(WAITING);
        let task = tokio::spawn(pump(read, sender)).abort_handle();
        Self {
            source: Source::Transfer(Transfer {
                messages,
                task,
                chunk: Bytes::new(),
                ended: false,
            }),
        }
    }

    /// The transfer over the network, for somebody else to end: a reader that waits for
    /// bytes then fails.
    pub fn transfer(&self) -> Option<AbortHandle> {
        match &self.source {
            Source::Transfer(transfer) => Some(transfer.task.clone()),
            Source::File { .. } => None,
        }
    }
}

async fn pump(mut read: ObjectRead, sender: mpsc::Sender<Message>) {
    loop {
        let next = tokio::select! {
            next = read.stream.next() => next,
            () = sender.closed() => return,
        };
        let (message, last) = match next {
            Some(Ok(bytes)) => (Message::Bytes(bytes), false),
            Some(Err(error)) => (Message::Failed(error), true),
            None => (Message::End, true),
        };
        if sender.send(message).await.is_err() || last {
            return;
        }
    }
}

impl Read for BlockingReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::Transfer(transfer) => transfer.read(into),
            Source::File { file, store, key } => match file.read(into) {
                Ok(count) => {
                    store.shared.counters.read(count);
                    Ok(count)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
                Err(error) => Err(store.local_error(Operation::Read, key, &error).into()),
            },
        }
    }
}

impl Read for Transfer {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !self.chunk.has_remaining() {
            if self.ended || into.is_empty() {
                return Ok(0);
            }
            match futures::executor::block_on(self.messages.recv()) {
                Some(Message::Bytes(bytes)) => self.chunk = bytes,
                Some(Message::End) => self.ended = true,
                Some(Message::Failed(error)) => return Err(error.into()),
                None => return Err(io::Error::other("the transfer was given up")),
            }
        }
        let count = self.chunk.remaining().min(into.len());
        if let Some(into) = into.get_mut(..count) {
            self.chunk.copy_to_slice(into);
        }
        Ok(count)
    }
}

impl Store {
    /// Opens an object for a thread that blocks: what it is, and its bytes.
    pub async fn blocking_reader(
        &self,
        key: &str,
    ) -> Result<(ObjectEntry, BlockingReader), StorageError> {
        if let Backend::Local(_) = &self.shared.backend {
            let path = self.path(Operation::Read, key)?;
            let (file, entry) = self.open_local(key, path).await?;
            let source = Source::File {
                file,
                store: self.clone(),
                key: key.to_owned(),
            };
            return Ok((entry, BlockingReader { source }));
        }
        let read = self.read(key).await?;
        Ok((read.entry.clone(), BlockingReader::new(read)))
    }
}
