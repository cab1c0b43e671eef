//! Which stored sizes a whole WAL segment can have.
//!
//! A segment that was switched early is mostly zeros, so the lower bound is what the
//! format needs for zeros alone. Each bound lies below what the format can reach in
//! theory or, where theory gives none, well below what the strongest encoder reaches:
//! no healthy segment is ever flagged; a truncated one may still pass.

use crate::codec::Codec;
use crate::postgres::SegmentSize;

/// What a stored size says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeVerdict {
    /// A whole segment may be in it.
    Plausible,
    /// Nothing is in it.
    Empty,
    /// Less than a whole segment needs.
    TooSmall,
    /// More than a whole segment can need.
    TooLarge,
}

/// Judges the stored size of a segment object, in bytes.
pub fn judge(codec: Codec, stored: u64, segment: SegmentSize) -> SizeVerdict {
    if stored == 0 {
        SizeVerdict::Empty
    } else if stored < smallest(codec, segment) {
        SizeVerdict::TooSmall
    } else if stored > largest(codec, segment) {
        SizeVerdict::TooLarge
    } else {
        SizeVerdict::Plausible
    }
}

/// The least bytes that a whole segment can be stored in.
pub fn smallest(codec: Codec, segment: SegmentSize) -> u64 {
    let bytes = segment.bytes();
    match codec {
        Codec::None => bytes,
        // Deflate: at most 258 bytes for 2 bits, 1032 to 1.
        Codec::Gzip => bytes / 1032,
        // Run lengths first, so all zeros fit one block: 45 bytes were measured.
        Codec::Bzip2 => 32,
        // 6500 to 1 was measured for zeros, at every preset.
        Codec::Xz => bytes / 8192,
        // A copy yields at most 64 bytes for 3.
        Codec::Snappy => bytes / 22,
        // A length byte yields at most 255 bytes.
        Codec::Lz4 => bytes / 256,
        // A block yields at most 128 KiB and takes 4 bytes.
        Codec::Zstd => bytes / (128 << 10) * 4,
    }
}

/// The most bytes that a whole segment can be stored in: incompressible bytes are stored
/// as they are, with framing of well below two in a hundred.
pub fn largest(codec: Codec, segment: SegmentSize) -> u64 {
    let bytes = segment.bytes();
    match codec {
        Codec::None => bytes,
        _ => bytes + bytes / 50 + (64 << 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_segments_have_one_size() {
        let segment = SegmentSize::DEFAULT;
        let judge = |stored| judge(Codec::None, stored, segment);
        assert_eq!(judge(0), SizeVerdict::Empty);
        assert_eq!(judge((16 << 20) - 1), SizeVerdict::TooSmall);
        assert_eq!(judge(16 << 20), SizeVerdict::Plausible);
        assert_eq!(judge((16 << 20) + 1), SizeVerdict::TooLarge);
    }

    /// Sizes of 1, 16 and 64 MiB of zeros, as the strongest settings of Python's gzip,
    /// bz2, lzma, python-snappy, lz4.frame and zstandard wrote them.
    #[test]
    fn zeros_at_the_strongest_setting_are_plausible() {
        let measured = [
            (Codec::Gzip, [1051, 16_328, 65_250]),
            (Codec::Bzip2, [45, 45, 79]),
            (Codec::Xz, [284, 2576, 9896]),
            (Codec::Snappy, [49_370, 789_770, 3_159_050]),
            (Codec::Lz4, [4145, 65_868, 263_412]),
            (Codec::Zstd, [49, 529, 2065]),
        ];
        for (codec, sizes) in measured {
            for (stored, megabytes) in sizes.into_iter().zip([1u64, 16, 64]) {
                let segment = SegmentSize::new(megabytes << 20).unwrap();
                assert_eq!(
                    judge(codec, stored, segment),
                    SizeVerdict::Plausible,
                    "{codec} {megabytes} MiB"
                );
                assert!(smallest(codec, segment) > 20, "{codec}: no bound at all");
            }
        }
    }
}
