//! Snappy's framing format, strictly. The reader of `snap` 1.1 skips chunks of the types
//! that the format reserves as skippable: one flipped bit turns a data chunk (0x00) into
//! such a chunk (0x80) and 64 KiB vanish without an error. No writer makes them, so they
//! are refused. Format: `framing_format.txt` of the snappy project.

use std::io::{self, Read};

/// A chunk holds at most this much when unpacked.
const MAX_CONTENT: usize = 65_536;
/// What [`MAX_CONTENT`] bytes need at most when packed: `32 + n + n / 6`.
const MAX_PACKED: usize = 32 + MAX_CONTENT + MAX_CONTENT / 6;
const IDENTIFIER: &[u8] = b"sNaPpY";

/// A reader of a framed stream, several concatenated ones included. Memory: 0.3 MiB.
pub(super) struct SnappyFrames<R> {
    source: R,
    identified: bool,
    decoder: snap::raw::Decoder,
    packed: Vec<u8>,
    content: Vec<u8>,
    /// How much of `content` was given out.
    given: usize,
}

fn corrupt(words: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words.into())
}

impl<R: Read> SnappyFrames<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            identified: false,
            decoder: snap::raw::Decoder::new(),
            packed: Vec::new(),
            content: Vec::new(),
            given: 0,
        }
    }

    /// The type and length of the next chunk; `None` at the end of the source.
    fn chunk_header(&mut self) -> io::Result<Option<(u8, usize)>> {
        let mut first = [0];
        if self.source.read(&mut first)? == 0 {
            return Ok(None);
        }
        let mut rest = [0; 3];
        self.source.read_exact(&mut rest)?;
        let length = rest
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        Ok(Some((first[0], length)))
    }

    /// Reads a chunk into `content`; false at the end of the source.
    fn read_chunk(&mut self) -> io::Result<bool> {
        self.content.clear();
        self.given = 0;
        let Some((kind, length)) = self.chunk_header()? else {
            return Ok(false);
        };
        if !self.identified && kind != 0xff {
            return Err(corrupt("the stream identifier is missing"));
        }
        match kind {
            0x00 | 0x01 => self.read_data(kind == 0x00, length)?,
            0xfe => {
                let length = length as u64;
                if io::copy(&mut self.source.by_ref().take(length), &mut io::sink())? < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            0xff => {
                let mut identifier = [0; 6];
                if length != identifier.len() {
                    return Err(corrupt("a stream identifier of a wrong length"));
                }
                self.source.read_exact(&mut identifier)?;
                if identifier != IDENTIFIER {
                    return Err(corrupt("a wrong stream identifier"));
                }
                self.identified = true;
            }
            other => return Err(corrupt(format!("a chunk of the unknown type {other:#04x}"))),
        }
        Ok(true)
    }

    fn read_data(&mut self, packed: bool, length: usize) -> io::Result<()> {
        let most = if packed { MAX_PACKED } else { MAX_CONTENT };
        let length = length
            .checked_sub(4)
            .filter(|length| *length <= most)
            .ok_or_else(|| {
                corrupt(format!(
                    "a chunk with an impossible length of {length} bytes"
                ))
            })?;
        let mut checksum = [0; 4];
        self.source.read_exact(&mut checksum)?;
        let into = if packed {
            &mut self.packed
        } else {
            &mut self.content
        };
        into.resize(length, 0);
        self.source.read_exact(into)?;
        if packed {
            let wrong = |error: snap::Error| corrupt(error.to_string());
            let size = snap::raw::decompress_len(&self.packed).map_err(wrong)?;
            if size > MAX_CONTENT {
                return Err(corrupt("a chunk unpacks to more than the format allows"));
            }
            self.content.resize(size, 0);
            self.decoder
                .decompress(&self.packed, &mut self.content)
                .map_err(wrong)?;
        }
        // The checksum is masked, so that a checksum of checksums stays a good one.
        let masked = crc32c::crc32c(&self.content)
            .rotate_right(15)
            .wrapping_add(0xa282_ead8);
        if masked != u32::from_le_bytes(checksum) {
            return Err(corrupt("wrong chunk checksum"));
        }
        Ok(())
    }
}

impl<R: Read> Read for SnappyFrames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let rest = self.content.get(self.given..).unwrap_or_default();
            if !rest.is_empty() {
                let count = (&mut &*rest).read(into)?;
                self.given += count;
                return Ok(count);
            }
            if !self.read_chunk()? {
                return Ok(0);
            }
        }
    }
}
