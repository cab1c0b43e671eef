//! Decompression, compression and digests of streams. No I/O of its own: readers and
//! writers are handed in.

mod kind;

pub use kind::Codec;
