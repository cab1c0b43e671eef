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
