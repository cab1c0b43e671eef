//! What can be wrong with a compressed stream.

use std::io;

use super::Codec;

/// A compressed stream that is not whole or not what it claims to be.
///
/// Decoders hand it out inside an [`io::Error`] of kind
/// [`InvalidData`](io::ErrorKind::InvalidData); [`CodecError::of`] finds it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{codec} stream, after {decoded} decoded bytes: {fault}")]
pub struct CodecError {
    /// The codec that was expected.
    pub codec: Codec,
    /// How many bytes were decoded before.
    pub decoded: u64,
    /// What is wrong.
    pub fault: CodecFault,
}

/// What is wrong with a compressed stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecFault {
    /// Not one byte, where the format needs at least a header.
    #[error("it is empty")]
    Empty,
    /// The stream ends inside a header, block or trailer.
    #[error("it is cut off")]
    Truncated,
    /// The stream ended cleanly, but bytes follow that begin no further one.
    #[error("other bytes follow its end")]
    TrailingBytes,
    /// A check value, length or structure is wrong; the decoder's words.
    #[error("it is damaged: {0}")]
    Corrupt(String),
    /// The decoded bytes are more than the caller allows (a number of bytes).
    #[error("it decodes to more than {0} bytes")]
    TooLarge(u64),
    /// Its bytes could not be read; the source's words.
    #[error("its bytes could not be read: {0}")]
    Source(String),
}

impl CodecError {
    /// The codec's error inside an I/O error; `None` if the source of the bytes failed.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<CodecError> for io::Error {
    fn from(error: CodecError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}
