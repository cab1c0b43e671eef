//! One LZ4 frame, strictly. The frame reader of `lz4_flex` 0.14 takes a stream that is cut
//! between two blocks for a whole one, so the frame is read here and only its blocks there.
//! Format: `lz4_Frame_format.md` of the LZ4 project, version 1.6.4.

use std::hash::Hasher as _;
use std::io::{self, Read};

use lz4_flex::block::{decompress_into, decompress_into_with_dict};
use twox_hash::XxHash32;

const MAGIC: u32 = 0x184D_2204;
/// Sixteen magics, `0x184D2A50` to `0x184D2A5F`, begin frames of user data.
const SKIPPABLE: u32 = 0x184D_2A50;
/// Blocks of a linked frame may refer this far back.
const WINDOW: usize = 64 << 10;
const UNCOMPRESSED: u32 = 1 << 31;

/// A reader of one frame. Memory: at most 9 MiB (two blocks of 4 MiB and the window).
pub(super) struct Lz4Frame<R> {
    source: R,
    /// `None` once the frame has ended (or was a skippable one).
    frame: Option<Frame>,
    block: Vec<u8>,
    /// How much of `block` was given out.
    given: usize,
    packed: Vec<u8>,
}

struct Frame {
    linked: bool,
    block_checksums: bool,
    content_checksum: Option<XxHash32>,
    content_size: Option<u64>,
    max_block: usize,
    decoded: u64,
    window: Vec<u8>,
}

fn corrupt(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words.to_owned())
}

fn read_array<const N: usize>(source: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_u32(source: &mut impl Read) -> io::Result<u32> {
    read_array(source).map(u32::from_le_bytes)
}

impl<R: Read> Lz4Frame<R> {
    /// Reads the frame's header.
    pub(super) fn new(mut source: R) -> io::Result<Self> {
        let magic = read_u32(&mut source)?;
        let frame = if magic == MAGIC {
            Some(Frame::read_descriptor(&mut source)?)
        } else if magic & !0xf == SKIPPABLE {
            let length = u64::from(read_u32(&mut source)?);
            if io::copy(&mut source.by_ref().take(length), &mut io::sink())? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            None
        } else {
            return Err(corrupt("no LZ4 frame begins here"));
        };
        Ok(Self {
            source,
            frame,
            block: Vec::new(),
            given: 0,
            packed: Vec::new(),
        })
    }

    pub(super) fn into_inner(self) -> R {
        self.source
    }

    /// Reads the next block into `block`; false at the end of the frame.
    fn read_block(&mut self) -> io::Result<bool> {
        let Some(frame) = &mut self.frame else {
            return Ok(false);
        };
        self.given = 0;
        self.block.clear();
        let word = read_u32(&mut self.source)?;
        if word == 0 {
            frame.end(&mut self.source)?;
            self.frame = None;
            return Ok(false);
        }
        let length = usize::try_from(word & !UNCOMPRESSED).unwrap_or(usize::MAX);
        if length > frame.max_block {
            return Err(corrupt("a block is longer than its frame allows"));
        }
        self.packed.resize(length, 0);
        self.source.read_exact(&mut self.packed)?;
        if frame.block_checksums
            && read_u32(&mut self.source)? != XxHash32::oneshot(0, &self.packed)
        {
            return Err(corrupt("wrong block checksum"));
        }
        if word & UNCOMPRESSED == 0 {
            self.block.resize(frame.max_block, 0);
            let decoded = if frame.window.is_empty() {
                decompress_into(&self.packed, &mut self.block)
            } else {
                decompress_into_with_dict(&self.packed, &mut self.block, &frame.window)
            };
            let decoded = decoded.map_err(|error| corrupt(&error.to_string()))?;
            self.block.truncate(decoded);
        } else {
            std::mem::swap(&mut self.block, &mut self.packed);
        }
        frame.took(&self.block);
        Ok(true)
    }
}

impl<R: Read> Read for Lz4Frame<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let rest = self.block.get(self.given..).unwrap_or_default();
            if !rest.is_empty() {
                let count = (&mut &*rest).read(into)?;
                self.given += count;
                return Ok(count);
            }
            if !self.read_block()? {
                return Ok(0);
            }
        }
    }
}

impl Frame {
    fn read_descriptor(source: &mut impl Read) -> io::Result<Self> {
        let [flags, sizes] = read_array(source)?;
        let mut descriptor = vec![flags, sizes];
        if flags >> 6 != 1 {
            return Err(corrupt("unknown version of the LZ4 frame format"));
        }
        if flags & 0b10 != 0 || sizes & 0b1000_1111 != 0 {
            return Err(corrupt("reserved bits are set in the frame's header"));
        }
        let max_block = match sizes >> 4 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => return Err(corrupt("unknown block size in the frame's header")),
        };
        let mut content_size = None;
        if flags & 0b1000 != 0 {
            let bytes: [u8; 8] = read_array(source)?;
            descriptor.extend_from_slice(&bytes);
            content_size = Some(u64::from_le_bytes(bytes));
        }
        if flags & 1 != 0 {
            return Err(corrupt("the frame needs a dictionary"));
        }
        let [check] = read_array(source)?;
        // Second byte of the hash.
        if check != XxHash32::oneshot(0, &descriptor).to_le_bytes()[1] {
            return Err(corrupt("wrong checksum of the frame's header"));
        }
        Ok(Self {
            linked: flags & 0b10_0000 == 0,
            block_checksums: flags & 0b1_0000 != 0,
            content_checksum: (flags & 0b100 != 0).then(|| XxHash32::with_seed(0)),
            content_size,
            max_block,
            decoded: 0,
            window: Vec::new(),
        })
    }

    /// Takes note of a decoded block.
    fn took(&mut self, block: &[u8]) {
        self.decoded += block.len() as u64;
        if let Some(hash) = &mut self.content_checksum {
            hash.write(block);
        }
        if self.linked {
            if let Some(start) = block.len().checked_sub(WINDOW) {
                self.window.clear();
                self.window
                    .extend_from_slice(block.get(start..).unwrap_or_default());
            } else {
                let surplus = (self.window.len() + block.len()).saturating_sub(WINDOW);
                self.window.drain(..surplus);
                self.window.extend_from_slice(block);
            }
        }
    }

    /// Checks what follows the end mark.
    fn end(&mut self, source: &mut impl Read) -> io::Result<()> {
        if let Some(hash) = &self.content_checksum
            && read_u32(source)? != hash.finish_32()
        {
            return Err(corrupt("wrong content checksum"));
        }
        if self.content_size.is_some_and(|size| size != self.decoded) {
            return Err(corrupt(
                "the content is not as long as the frame's header says",
            ));
        }
        Ok(())
    }
}
