//! The stored bytes of an archive, digested on a thread of their own while they pass.
//!
//! A digest costs more than most of what is asked of the bytes, so it must not stand in
//! their way: buffers are shared between who digests and who reads, and used again when
//! both are done.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::pipeline::Flow;
use crate::codec::{Digester, Sha256};

/// Bytes of one buffer: large enough for the hand-over to cost nothing, small enough to
/// stay in the processor's cache until the other thread comes for it.
const BUFFER: usize = 512 * 1024;

/// Buffers that may wait to be digested: 4 MiB.
const WAITING: usize = 8;

/// Reads stored bytes.
pub(super) struct Stored<R> {
    inner: R,
    flow: Arc<Flow>,
    buffer: Arc<Vec<u8>>,
    at: usize,
    /// Buffers that were read, oldest first.
    used: VecDeque<Arc<Vec<u8>>>,
    digester: Option<SyncSender<Arc<Vec<u8>>>>,
    bytes: u64,
}

/// The other end: runs on a thread of its own.
pub(super) struct Digesting(Receiver<Arc<Vec<u8>>>);

impl Digesting {
    /// The digest of everything that was read, once the reader is dropped.
    pub(super) fn run(self) -> Sha256 {
        let mut digester = Digester::default();
        for buffer in self.0 {
            digester.update(&buffer);
        }
        digester.finish().0
    }
}

/// Stored bytes that nobody digests.
pub(super) fn plain<R: Read>(inner: R, flow: &Arc<Flow>) -> Stored<R> {
    Stored {
        inner,
        flow: Arc::clone(flow),
        buffer: Arc::default(),
        at: 0,
        used: VecDeque::new(),
        digester: None,
        bytes: 0,
    }
}

/// Stored bytes and who digests them.
pub(super) fn digested<R: Read>(inner: R, flow: &Arc<Flow>) -> (Stored<R>, Digesting) {
    let (sender, receiver) = sync_channel(WAITING);
    let stored = Stored {
        digester: Some(sender),
        ..plain(inner, flow)
    };
    (stored, Digesting(receiver))
}

impl<R: Read> Stored<R> {
    /// How many bytes were read.
    pub(super) const fn passed(&self) -> u64 {
        self.bytes
    }

    /// A buffer that nobody reads any more, or a new one.
    fn empty(&mut self) -> Vec<u8> {
        let oldest = self.used.pop_front().map(Arc::try_unwrap);
        match oldest {
            Some(Ok(buffer)) => buffer,
            Some(Err(busy)) => {
                self.used.push_front(busy);
                Vec::with_capacity(BUFFER)
            }
            None => Vec::with_capacity(BUFFER),
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        if self.flow.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("the reading was given up"));
        }
        self.at = 0;
        let used = std::mem::take(&mut self.buffer);
        if used.capacity() > 0 {
            self.used.push_back(used);
        }
        let mut buffer = self.empty();
        buffer.clear();
        let count = (&mut self.inner)
            .take(BUFFER as u64)
            .read_to_end(&mut buffer)?;
        self.bytes += count as u64;
        self.flow.stored.fetch_add(count as u64, Ordering::Relaxed);
        self.buffer = Arc::new(buffer);
        if count > 0
            && let Some(digester) = &self.digester
            && digester.send(Arc::clone(&self.buffer)).is_err()
        {
            return Err(io::Error::other("the digesting thread died"));
        }
        Ok(())
    }
}

impl<R: Read> BufRead for Stored<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.buffer.len() {
            self.refill()?;
        }
        Ok(self.buffer.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.buffer.len());
    }
}

impl<R: Read> Read for Stored<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.digester.is_none() && self.at >= self.buffer.len() {
            // Nobody else wants the bytes: they need no buffer of their own.
            let count = self.inner.read(into)?;
            self.bytes += count as u64;
            self.flow.stored.fetch_add(count as u64, Ordering::Relaxed);
            return Ok(count);
        }
        let there = self.fill_buf()?;
        let count = there.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), there.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_come_through_and_are_digested() {
        for length in [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, 20 * BUFFER + 77] {
            let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
            let flow = Arc::default();
            let (mut stored, digesting) = digested(bytes.as_slice(), &flow);
            let mut read = Vec::new();
            let sha256 = std::thread::scope(|scope| {
                let digest = scope.spawn(|| digesting.run());
                stored.read_to_end(&mut read).unwrap();
                assert_eq!(stored.passed(), length as u64);
                drop(stored);
                digest.join().unwrap()
            });
            assert!(read == bytes, "{length}");
            assert_eq!(sha256, Sha256::of(&bytes));
            assert_eq!(flow.stored.load(Ordering::Relaxed), length as u64);
        }
    }

    #[test]
    fn failures_and_the_word_to_stop_come_through() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let flow = Arc::default();
        let error = plain(Failing, &flow).read(&mut [0; 4]).unwrap_err();
        assert_eq!(error.to_string(), "broken");
        flow.stop.store(true, Ordering::Relaxed);
        assert!(plain(io::repeat(0), &flow).fill_buf().is_err());
        let (mut stored, digesting) = digested(&b"abc"[..], &Arc::default());
        drop(digesting);
        assert!(stored.read(&mut [0; 4]).is_err());
    }
}
