//! Decoders as readers.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

use super::lz4::Lz4Frame;
use super::member::Members;
use super::snappy::SnappyFrames;
use super::{Codec, CodecError, CodecFault, whole};

/// How much of the source is read at once.
const SOURCE_CHUNK: usize = 128 << 10;
/// `xz -9` needs 65 MiB; nobody's archive should need more than this.
const XZ_MEMORY: u64 = 256 << 20;

pub(super) type Input<'a> = BufReader<SourceReader<'a>>;

/// The source of the bytes. Its own errors are kept apart, so that "cannot read" never
/// passes for "is damaged", whatever a decoder makes of it.
pub(super) struct SourceReader<'a> {
    source: Box<dyn Read + Send + 'a>,
    failure: Failure,
}

type Failure = Arc<Mutex<Option<io::Error>>>;

impl Read for SourceReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.source.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let kind = error.kind();
                    *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return Err(kind.into());
                }
                done => return done,
            }
        }
    }
}

/// A reader of the decoded bytes. Strict: see the [module](super)'s words.
///
/// An error of the source comes through as it is. Everything else is an [`io::Error`] of
/// kind `InvalidData` with a [`CodecError`] inside. After an error the reader stays failed.
pub fn decoder<'a>(codec: Codec, source: Box<dyn Read + Send + 'a>) -> Box<dyn Read + Send + 'a> {
    if codec == Codec::None {
        return source;
    }
    let failure = Failure::default();
    let input = BufReader::with_capacity(
        SOURCE_CHUNK,
        SourceReader {
            source,
            failure: Arc::clone(&failure),
        },
    );
    Box::new(Strict {
        codec,
        failure,
        decoded: 0,
        state: State::Fresh(input),
    })
}

/// All decoded bytes of a small object, at most `limit` of them: more is an error
/// ([`CodecFault::TooLarge`]), so that a hostile object cannot fill the memory.
pub fn decode_all(codec: Codec, bytes: &[u8], limit: u64) -> Result<Vec<u8>, CodecError> {
    let at_once = match codec {
        Codec::Gzip => whole::gzip(bytes, limit),
        Codec::Zstd => whole::zstd(bytes, limit),
        _ => None,
    };
    if let Some(all) = at_once {
        return Ok(all);
    }
    let mut all = Vec::new();
    let result = decoder(codec, Box::new(bytes))
        .take(limit.saturating_add(1))
        .read_to_end(&mut all);
    let decoded = all.len() as u64;
    let wrong = |fault| CodecError {
        codec,
        decoded,
        fault,
    };
    match result {
        Err(error) => Err(CodecError::of(&error)
            .cloned()
            .unwrap_or_else(|| wrong(CodecFault::Source(error.to_string())))),
        Ok(_) if decoded > limit => Err(wrong(CodecFault::TooLarge(limit))),
        Ok(_) => Ok(all),
    }
}

/// Turns what decoders say into one vocabulary, and stays failed or ended.
struct Strict<'a> {
    codec: Codec,
    failure: Failure,
    decoded: u64,
    state: State<'a>,
}

enum State<'a> {
    Fresh(Input<'a>),
    Reading(Box<dyn Read + Send + 'a>),
    Ended,
    Failed(CodecFault),
}

impl<'a> Strict<'a> {
    fn begin(&self, mut input: Input<'a>) -> io::Result<Box<dyn Read + Send + 'a>> {
        if input.fill_buf()?.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                CodecFault::Empty,
            ));
        }
        Ok(match self.codec {
            Codec::None => Box::new(input),
            Codec::Gzip => Box::new(Members::<flate2::bufread::GzDecoder<_>>::new(input)),
            Codec::Bzip2 => Box::new(Members::<bzip2::bufread::BzDecoder<_>>::new(input)),
            Codec::Lz4 => Box::new(Members::<Lz4Frame<_>>::new(input)),
            Codec::Zstd => Box::new(Members::<zstd::stream::read::Decoder<'_, _>>::new(input)),
            Codec::Snappy => Box::new(SnappyFrames::new(input)),
            Codec::Xz => {
                use liblzma::stream::{CONCATENATED, Stream, TELL_UNSUPPORTED_CHECK};
                let stream =
                    Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED | TELL_UNSUPPORTED_CHECK)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
        })
    }

    fn step(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match &mut self.state {
                State::Ended => return Ok(0),
                State::Failed(fault) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, fault.clone()));
                }
                State::Reading(reader) => {
                    let count = reader.read(into)?;
                    if count == 0 {
                        self.state = State::Ended;
                    }
                    self.decoded += count as u64;
                    return Ok(count);
                }
                State::Fresh(_) => {
                    if let State::Fresh(input) = std::mem::replace(&mut self.state, State::Ended) {
                        self.state = State::Reading(self.begin(input)?);
                    }
                }
            }
        }
    }
}

impl Read for Strict<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        self.step(into).map_err(|error| {
            let failure = self
                .failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(failure) = failure {
                self.state = State::Failed(CodecFault::Source(failure.to_string()));
                return failure;
            }
            let fault = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(fault) => CodecFault::clone(fault),
                None if error.kind() == io::ErrorKind::UnexpectedEof => CodecFault::Truncated,
                None => CodecFault::Corrupt(error.to_string()),
            };
            self.state = State::Failed(fault.clone());
            CodecError {
                codec: self.codec,
                decoded: self.decoded,
                fault,
            }
            .into()
        })
    }
}

#[cfg(test)]
mod tests;
