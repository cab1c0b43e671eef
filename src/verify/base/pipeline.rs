//! Decoding on one thread and checking on another, with a few buffers between them.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Bytes of one buffer: large enough for the hand-over to cost nothing, small enough to
/// stay in the processor's cache until the other thread comes for it.
const BUFFER: usize = 512 * 1024;

/// Buffers that may wait. With the one being filled and the one being read, a pipeline
/// holds 3 MiB.
const WAITING: usize = 4;

/// Counters that others read while archives are read, and the word to stop.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) stored: AtomicU64,
    pub(super) decoded: AtomicU64,
    pub(super) pages: AtomicU64,
    pub(super) stop: AtomicBool,
}

enum Message {
    Bytes(Vec<u8>),
    Failed(io::Error),
    /// Sent after the last byte: without it, a thread that died would look like the end.
    End,
}

/// The two ends of a pipeline.
pub(super) fn pipeline(flow: &Arc<Flow>) -> (Filler, Piped) {
    let (full, filled) = sync_channel(WAITING);
    let (emptied, empty) = channel();
    let filler = Filler {
        full,
        empty,
        flow: Arc::clone(flow),
    };
    let piped = Piped {
        filled,
        emptied,
        buffer: Vec::new(),
        at: 0,
        ended: false,
    };
    (filler, piped)
}

/// The end of a pipeline that is filled.
pub(super) struct Filler {
    full: SyncSender<Message>,
    empty: Receiver<Vec<u8>>,
    flow: Arc<Flow>,
}

impl Filler {
    /// Reads `source` to its end and hands the bytes on. Whether the end was reached:
    /// nobody may want the rest.
    pub(super) fn fill(self, source: &mut dyn Read) -> bool {
        loop {
            let mut buffer = self.empty.try_recv().unwrap_or_default();
            buffer.resize(BUFFER, 0);
            let (filled, ended) = match self.fill_one(source, &mut buffer) {
                Ok(filled) => (filled, filled < BUFFER),
                Err(error) => {
                    let _ = self.full.send(Message::Failed(error));
                    return false;
                }
            };
            buffer.truncate(filled);
            self.flow
                .decoded
                .fetch_add(filled as u64, Ordering::Relaxed);
            if self.full.send(Message::Bytes(buffer)).is_err() {
                return false;
            }
            if ended {
                return self.full.send(Message::End).is_ok();
            }
        }
    }

    /// Fills the buffer as far as the source has bytes.
    fn fill_one(&self, source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            if self.flow.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("the reading was given up"));
            }
            match source.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// The end of a pipeline that is read.
pub(super) struct Piped {
    filled: Receiver<Message>,
    emptied: Sender<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
}

impl BufRead for Piped {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at >= self.buffer.len() && !self.ended {
            let used = std::mem::take(&mut self.buffer);
            self.at = 0;
            if used.capacity() > 0 {
                // Whoever filled it may be done.
                let _ = self.emptied.send(used);
            }
            match self.filled.recv() {
                Ok(Message::Bytes(bytes)) => self.buffer = bytes,
                Ok(Message::End) => self.ended = true,
                Ok(Message::Failed(error)) => return Err(error),
                Err(_) => return Err(io::Error::other("the decoding thread died")),
            }
        }
        Ok(self.buffer.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.buffer.len());
    }
}

impl Read for Piped {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
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

    fn through(source: &[u8]) -> (io::Result<Vec<u8>>, bool) {
        let flow = Arc::default();
        let (filler, mut piped) = pipeline(&flow);
        let mut read = Vec::new();
        std::thread::scope(|scope| {
            let filling = scope.spawn(|| filler.fill(&mut &*source));
            let result = piped.read_to_end(&mut read).map(|_| read);
            (result, filling.join().unwrap())
        })
    }

    #[test]
    fn all_bytes_come_through_in_order() {
        for length in [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, 9 * BUFFER + 77] {
            let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
            let (read, ended) = through(&bytes);
            assert!(read.unwrap() == bytes, "{length}");
            assert!(ended);
        }
    }

    #[test]
    fn a_failure_comes_through_and_a_reader_that_leaves_ends_the_filling() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let flow: Arc<Flow> = Arc::default();
        let (filler, mut piped) = pipeline(&flow);
        std::thread::scope(|scope| {
            let filling = scope.spawn(|| filler.fill(&mut Failing));
            let error = piped.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.to_string(), "broken");
            assert!(!filling.join().unwrap());
        });
        let (filler, piped) = pipeline(&flow);
        drop(piped);
        assert!(!filler.fill(&mut io::repeat(0)));
    }

    #[test]
    fn the_word_to_stop_ends_an_endless_stream() {
        let flow: Arc<Flow> = Arc::default();
        let (filler, mut piped) = pipeline(&flow);
        std::thread::scope(|scope| {
            scope.spawn(|| filler.fill(&mut io::repeat(0)));
            piped.read_exact(&mut vec![0; 3 * BUFFER]).unwrap();
            flow.stop.store(true, Ordering::Relaxed);
            assert!(piped.read_to_end(&mut Vec::new()).is_err());
        });
    }
}
