//! Encoders as writers, with the settings that other tools read.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Codec;

/// What a snappy stream begins with; the encoder leaves it out when nothing is written.
const SNAPPY_IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// A compressing writer. Without [`finish`](Self::finish) the stream stays cut off.
pub trait Encode: Write + Send {
    /// Writes the end of the stream and flushes the sink.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// A writer that compresses into `sink`. Levels: gzip 6, bzip2 9, xz 3, zstd 3. Frames of
/// lz4 and zstd carry a content checksum, so that damage shows.
///
/// # Errors
/// Only if the encoder cannot get its memory.
pub fn encoder<'a>(
    codec: Codec,
    sink: Box<dyn Write + Send + 'a>,
) -> io::Result<Box<dyn Encode + 'a>> {
    let open = Arc::new(AtomicBool::new(true));
    let sink = Gate {
        sink,
        open: Arc::clone(&open),
    };
    let kind = match codec {
        Codec::None => Kind::None(sink),
        Codec::Gzip => Kind::Gzip(flate2::write::GzEncoder::new(
            sink,
            flate2::Compression::new(6),
        )),
        Codec::Bzip2 => Kind::Bzip2(bzip2::write::BzEncoder::new(
            sink,
            bzip2::Compression::best(),
        )),
        Codec::Xz => {
            use liblzma::stream::{Check, Stream};
            let stream = Stream::new_easy_encoder(3, Check::Crc64)?;
            Kind::Xz(liblzma::write::XzEncoder::new_stream(sink, stream))
        }
        Codec::Snappy => Kind::Snappy {
            encoder: Box::new(snap::write::FrameEncoder::new(sink)),
            any: false,
        },
        Codec::Lz4 => {
            use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
            let info = FrameInfo::new()
                .block_size(BlockSize::Max256KB)
                .content_checksum(true);
            Kind::Lz4(Box::new(FrameEncoder::with_frame_info(info, sink)))
        }
        Codec::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(sink, 3)?;
            encoder.include_checksum(true)?;
            Kind::Zstd(encoder)
        }
    };
    Ok(Box::new(Encoder {
        kind: Some(kind),
        open,
    }))
}

/// A small object, compressed.
///
/// # Errors
/// Only if the encoder cannot get its memory.
pub fn encode_all(codec: Codec, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = Vec::new();
    let mut encoder = encoder(codec, Box::new(&mut packed))?;
    encoder.write_all(bytes)?;
    encoder.finish()?;
    Ok(packed)
}

struct Encoder<'a> {
    /// `None` once finished.
    kind: Option<Kind<'a>>,
    open: Arc<AtomicBool>,
}

enum Kind<'a> {
    None(Gate<'a>),
    Gzip(flate2::write::GzEncoder<Gate<'a>>),
    Bzip2(bzip2::write::BzEncoder<Gate<'a>>),
    Xz(liblzma::write::XzEncoder<Gate<'a>>),
    Snappy {
        encoder: Box<snap::write::FrameEncoder<Gate<'a>>>,
        any: bool,
    },
    Lz4(Box<lz4_flex::frame::FrameEncoder<Gate<'a>>>),
    Zstd(zstd::stream::write::Encoder<'static, Gate<'a>>),
}

/// Several encoders write a valid end when they are dropped; a backup that was given up
/// must not look whole, so the way to the sink closes first.
struct Gate<'a> {
    sink: Box<dyn Write + Send + 'a>,
    open: Arc<AtomicBool>,
}

impl Write for Gate<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.open.load(Ordering::Acquire) {
            self.sink.write(bytes)
        } else {
            Ok(bytes.len())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.open.load(Ordering::Acquire) {
            self.sink.flush()
        } else {
            Ok(())
        }
    }
}

impl Drop for Encoder<'_> {
    fn drop(&mut self) {
        self.open.store(false, Ordering::Release);
    }
}

fn finished() -> io::Error {
    io::Error::other("the stream is already finished")
}

impl Write for Encoder<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.kind.as_mut().ok_or_else(finished)? {
            Kind::None(sink) => sink.write(bytes),
            Kind::Gzip(encoder) => encoder.write(bytes),
            Kind::Bzip2(encoder) => encoder.write(bytes),
            Kind::Xz(encoder) => encoder.write(bytes),
            Kind::Snappy { encoder, any } => {
                *any |= !bytes.is_empty();
                encoder.write(bytes)
            }
            Kind::Lz4(encoder) => encoder.write(bytes),
            Kind::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.kind.as_mut().ok_or_else(finished)? {
            Kind::None(sink) => sink.flush(),
            Kind::Gzip(encoder) => encoder.flush(),
            Kind::Bzip2(encoder) => encoder.flush(),
            Kind::Xz(encoder) => encoder.flush(),
            Kind::Snappy { encoder, .. } => encoder.flush(),
            Kind::Lz4(encoder) => encoder.flush(),
            Kind::Zstd(encoder) => encoder.flush(),
        }
    }
}

impl Encode for Encoder<'_> {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        let mut sink = match self.kind.take().ok_or_else(finished)? {
            Kind::None(sink) => sink,
            Kind::Gzip(encoder) => encoder.finish()?,
            Kind::Bzip2(encoder) => encoder.finish()?,
            Kind::Xz(encoder) => encoder.finish()?,
            Kind::Snappy { encoder, any } => {
                let mut sink = encoder
                    .into_inner()
                    .map_err(|error| io::Error::new(error.error().kind(), error.to_string()))?;
                if !any {
                    sink.write_all(SNAPPY_IDENTIFIER)?;
                }
                sink
            }
            Kind::Lz4(encoder) => encoder.finish().map_err(io::Error::from)?,
            Kind::Zstd(encoder) => encoder.finish()?,
        };
        sink.flush()
    }
}
