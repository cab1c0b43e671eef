//! Decompression, compression and digests of streams. No I/O of its own: readers and
//! writers are handed in.
//!
//! Decoders are strict, because a backup's bytes are the evidence: every member or frame
//! is read, every check value that the format carries is compared, the stream must end
//! where its format says so, and nothing may follow. What a format cannot show:
//!
//! * `snappy` has no end mark: a stream cut exactly between two chunks looks whole.
//! * `lz4` and `zstd` streams of Barman Cloud carry no checksum: a flipped bit that still
//!   decodes is not seen here.
//! * `none` carries nothing at all.
//!
//! Memory of one decoder, at most: gzip 0.2 MiB, bzip2 5 MiB, xz 256 MiB (refused beyond;
//! 65 MiB for `xz -9`), snappy 0.3 MiB, lz4 9 MiB, zstd 128 MiB of window (refused beyond;
//! 8 MiB up to level 19).

pub(crate) mod archive;
mod decode;
mod digest;
mod encode;
mod error;
mod kind;
mod lz4;
mod member;
mod snappy;
mod whole;

pub use decode::{decode_all, decoder};
pub use digest::{DigestReader, Digester, Sha256, Sha256ParseError};
pub use encode::{Encode, encode_all, encoder};
pub use error::{CodecError, CodecFault};
pub use kind::Codec;
