//! Archives on their way into the store: tar, encoder, upload, in parts.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::codec::{Codec, Encode, encoder};
use crate::repository::ArchiveContents;
use crate::repository::barman_cloud::keys::archive_key;
use crate::storage::{ErrorKind, OnceOutcome, Operation, StorageError, Store, WriteOptions};

/// Bytes handed to the upload at once.
const CHUNK: usize = 1 << 20;

/// Chunks that wait for the upload; with the upload's own parts one archive in the making
/// takes some 90 MiB at most.
const WAITING: usize = 8;

/// One object that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredPart {
    pub(super) key: String,
    pub(super) size: u64,
}

/// The archives of one directory. Lives on a blocking thread.
///
/// A new part begins once the stored size of the current one has passed the limit, as in
/// Barman (`CloudUploadController._get_tar`); each part is a whole archive of its own.
pub(super) struct ArchiveWriter {
    store: Store,
    runtime: Handle,
    id: String,
    contents: ArchiveContents,
    codec: Codec,
    max_size: u64,
    next_part: u32,
    part: Option<Part>,
    stored: Vec<StoredPart>,
}

struct Part {
    key: String,
    tar: tar::Builder<Box<dyn Encode>>,
    size: Arc<AtomicU64>,
    sender: mpsc::Sender<Message>,
    upload: JoinHandle<Result<(), StorageError>>,
}

enum Message {
    Bytes(Bytes),
    Finish,
}

impl ArchiveWriter {
    /// Begins the archives of one directory; must be called inside the runtime.
    pub(super) fn new(
        store: &Store,
        runtime: &Handle,
        id: &str,
        contents: ArchiveContents,
        codec: Codec,
        max_size: u64,
    ) -> Self {
        Self {
            store: store.clone(),
            runtime: runtime.clone(),
            id: id.to_owned(),
            contents,
            codec,
            max_size,
            next_part: 0,
            part: None,
            stored: Vec::new(),
        }
    }

    /// Adds a member with exactly `header`'s size of bytes from `data`.
    pub(super) fn append(
        &mut self,
        header: &mut tar::Header,
        name: &str,
        data: impl Read,
    ) -> io::Result<()> {
        let full = self
            .part
            .as_ref()
            .is_some_and(|part| part.size.load(Ordering::Relaxed) > self.max_size);
        if full {
            self.close_part()?;
        }
        let result = self.open_part()?.tar.append_data(header, name, data);
        match result {
            Ok(()) => Ok(()),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Ends the last part. A directory without a single member still gets its first part,
    /// because readers expect one.
    pub(super) fn finish(mut self) -> io::Result<Vec<StoredPart>> {
        if self.part.is_none() && self.stored.is_empty() {
            self.open_part()?;
        }
        self.close_part()?;
        Ok(std::mem::take(&mut self.stored))
    }

    fn open_part(&mut self) -> io::Result<&mut Part> {
        let part = match self.part.take() {
            Some(part) => part,
            None => self.begin_part()?,
        };
        Ok(self.part.insert(part))
    }

    fn begin_part(&mut self) -> io::Result<Part> {
        let key = archive_key(&self.id, self.contents, self.next_part, self.codec);
        self.next_part += 1;
        let (sender, receiver) = mpsc::channel(WAITING);
        let upload = self
            .runtime
            .spawn(upload(self.store.clone(), key.clone(), receiver));
        let size = Arc::new(AtomicU64::new(0));
        let sink = Sink {
            sender: sender.clone(),
            buffer: BytesMut::with_capacity(CHUNK),
            size: Arc::clone(&size),
        };
        let tar = tar::Builder::new(encoder(self.codec, Box::new(sink))?);
        Ok(Part {
            key,
            tar,
            size,
            sender,
            upload,
        })
    }

    fn close_part(&mut self) -> io::Result<()> {
        let Some(part) = self.part.take() else {
            return Ok(());
        };
        let Part {
            key,
            tar,
            size,
            sender,
            upload,
        } = part;
        let written = tar
            .into_inner()
            .and_then(Encode::finish)
            .and_then(|()| sender.blocking_send(Message::Finish).map_err(closed));
        drop(sender);
        match self.runtime.block_on(upload) {
            Ok(Ok(())) => written?,
            Ok(Err(error)) => return Err(error.into()),
            Err(error) => return Err(io::Error::other(error)),
        }
        self.stored.push(StoredPart {
            key,
            size: size.load(Ordering::Relaxed),
        });
        Ok(())
    }

    /// Gives the part in the making up and waits until nothing of it is left. The reason
    /// behind a broken channel is the upload's, otherwise it is `error`.
    fn fail(&mut self, error: io::Error) -> io::Error {
        let Some(part) = self.part.take() else {
            return error;
        };
        let Part {
            tar,
            sender,
            upload,
            ..
        } = part;
        // Both hold the channel; the upload ends when it closes.
        drop(tar);
        drop(sender);
        match self.runtime.block_on(upload) {
            Ok(Err(cause)) if error.kind() == io::ErrorKind::BrokenPipe => cause.into(),
            _ => error,
        }
    }

    /// Gives up, for the reason `error`, which is handed back.
    pub(super) fn abandon(mut self, error: io::Error) -> io::Error {
        self.fail(error)
    }
}

/// Uploads what arrives. Without [`Message::Finish`] nothing becomes visible.
async fn upload(
    store: Store,
    key: String,
    mut messages: mpsc::Receiver<Message>,
) -> Result<(), StorageError> {
    let mut upload = store.write_once(&key, WriteOptions::default()).await?;
    while let Some(message) = messages.recv().await {
        match message {
            Message::Bytes(bytes) => upload.write(bytes).await?,
            Message::Finish => {
                return match upload.finish().await? {
                    OnceOutcome::Written(_) => Ok(()),
                    OnceOutcome::Exists => Err(StorageError::new(
                        Operation::Write,
                        store.location().join(&key).to_string(),
                        ErrorKind::Exists,
                        "there already is an object of this key",
                    )),
                };
            }
        }
    }
    upload.abort().await
}

/// Collects bytes into chunks for the upload.
struct Sink {
    sender: mpsc::Sender<Message>,
    buffer: BytesMut,
    size: Arc<AtomicU64>,
}

fn closed<T>(_: mpsc::error::SendError<T>) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the upload was given up")
}

impl Sink {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.buffer.reserve(CHUNK);
        self.sender
            .blocking_send(Message::Bytes(chunk))
            .map_err(closed)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.size.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}
