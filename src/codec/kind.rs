//! Which codec an object was written with.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A compression format found in backup repositories.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// Stored as it is.
    #[default]
    None,
    /// RFC 1952, possibly several members.
    Gzip,
    /// bzip2, possibly several streams.
    Bzip2,
    /// xz, possibly several streams.
    Xz,
    /// Snappy's framing format.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard frames.
    Zstd,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Gzip,
        Self::Bzip2,
        Self::Xz,
        Self::Snappy,
        Self::Lz4,
        Self::Zstd,
    ];

    /// The extension, with its dot, that Barman Cloud gives objects; empty for none.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Bzip2 => ".bz2",
            Self::Xz => ".xz",
            Self::Snappy => ".snappy",
            Self::Lz4 => ".lz4",
            Self::Zstd => ".zst",
        }
    }

    /// The codec whose magic number the bytes begin with; the first 10 bytes are enough.
    /// `None` when they begin like none of them, as raw WAL and tar do.
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        let begins = |magic: &[u8]| bytes.starts_with(magic);
        if begins(b"\x1f\x8b\x08") {
            Some(Self::Gzip)
        } else if begins(b"BZh") && matches!(bytes.get(3), Some(b'1'..=b'9')) {
            // Then the magic of a block, or of the end of an empty stream.
            (bytes.get(4..10) == Some(b"\x31\x41\x59\x26\x53\x59")
                || bytes.get(4..10) == Some(b"\x17\x72\x45\x38\x50\x90"))
            .then_some(Self::Bzip2)
        } else if begins(b"\xfd7zXZ\0") {
            Some(Self::Xz)
        } else if begins(b"\xff\x06\0\0sNaPpY") {
            Some(Self::Snappy)
        } else if begins(b"\x04\x22\x4d\x18") {
            Some(Self::Lz4)
        } else if begins(b"\x28\xb5\x2f\xfd") {
            Some(Self::Zstd)
        } else {
            None
        }
    }

    /// Splits a file name into the name proper and the codec its extension tells.
    pub fn split_extension(name: &str) -> (&str, Self) {
        Self::ALL
            .into_iter()
            .filter(|codec| *codec != Self::None)
            .find_map(|codec| Some((name.strip_suffix(codec.extension())?, codec)))
            .unwrap_or((name, Self::None))
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}
