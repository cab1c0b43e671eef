//! Whole small streams at once: the quick way for segments, which are in memory anyway.
//!
//! Nothing here decides that a stream is bad. What these decoders do not accept at once
//! is left to the strict reader, whose verdict and words count; what they accept, it
//! would have accepted with the same bytes.

use libdeflater::Decompressor;

/// Bytes of a gzip member's trailer: CRC-32 and length (RFC 1952, 2.3.1).
const GZIP_TRAILER: usize = 8;
/// The least that a gzip member has: header, an empty deflate stream, trailer.
const GZIP_LEAST: usize = 20;

/// A gzip stream of one member, with at most `limit` decoded bytes.
///
/// The decoder checks CRC and length but stops at the member's end without saying where
/// that was. The trailer's eight bytes say it: they must be the stream's last ones, and
/// must stand nowhere else in it. So neither further members nor bytes behind the end can
/// pass.
pub(super) fn gzip(bytes: &[u8], limit: u64) -> Option<Vec<u8>> {
    let (body, trailer) = bytes.split_last_chunk::<GZIP_TRAILER>()?;
    let [c0, c1, c2, c3, l0, l1, l2, l3] = *trailer;
    let (crc, length) = (
        u32::from_le_bytes([c0, c1, c2, c3]),
        u32::from_le_bytes([l0, l1, l2, l3]),
    );
    // Deflate makes at most 1032 bytes of one: a lying length reserves no more than that.
    let most = (bytes.len() as u64).saturating_mul(1032).min(limit);
    if bytes.len() < GZIP_LEAST || u64::from(length) > most {
        return None;
    }
    let mut decoded = vec![0; usize::try_from(length).ok()?];
    let count = Decompressor::new()
        .gzip_decompress(bytes, &mut decoded)
        .ok()?;
    let whole = count == decoded.len() && libdeflater::crc32(&decoded) == crc;
    // A match that reaches into the last eight bytes is one too many as well.
    let reach = bytes.get(..body.len() + GZIP_TRAILER - 1)?;
    (whole && memchr::memmem::find(reach, trailer).is_none()).then_some(decoded)
}

/// Where a zstd frame that is not a single segment tells its window (RFC 8878, 3.1.1.1).
const ZSTD_DESCRIPTOR: usize = 4;
const ZSTD_SINGLE_SEGMENT: u8 = 0x20;
/// A window of 128 MiB, the most that the streaming decoder takes: exponent 17, no mantissa.
const ZSTD_WINDOW_MOST: u8 = 17 << 3;

/// A zstd stream of one frame, with at most `limit` decoded bytes.
pub(super) fn zstd(bytes: &[u8], limit: u64) -> Option<Vec<u8>> {
    let &[descriptor, window] = bytes.get(ZSTD_DESCRIPTOR..)?.first_chunk()?;
    if descriptor & ZSTD_SINGLE_SEGMENT == 0 && window > ZSTD_WINDOW_MOST {
        return None;
    }
    if zstd::zstd_safe::find_frame_compressed_size(bytes).ok()? != bytes.len() {
        return None;
    }
    let room = zstd::zstd_safe::get_frame_content_size(bytes)
        .ok()?
        .unwrap_or(limit);
    if room > limit {
        return None;
    }
    zstd::bulk::decompress(bytes, usize::try_from(room).ok()?).ok()
}
