//! Codecs by file extension, so that tests can damage what is inside an object. Written
//! with the codec crates directly: the code under test must not judge itself.

use std::io::{Read as _, Write as _};
use std::path::Path;

/// Decodes by `extension`, with its dot; an empty one is plain.
pub fn decode(extension: &str, bytes: &[u8]) -> Vec<u8> {
    try_decode(extension, bytes).unwrap()
}

/// The same, of bytes that may be damaged.
pub fn try_decode(extension: &str, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut source: Box<dyn std::io::Read + '_> = match extension {
        "" => Box::new(bytes),
        ".gz" => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        ".bz2" => Box::new(bzip2::read::MultiBzDecoder::new(bytes)),
        ".xz" => Box::new(liblzma::read::XzDecoder::new(bytes)),
        ".zst" => Box::new(zstd::Decoder::new(bytes)?),
        ".lz4" => Box::new(lz4_flex::frame::FrameDecoder::new(bytes)),
        ".snappy" => Box::new(snap::read::FrameDecoder::new(bytes)),
        other => panic!("no codec for {other}"),
    };
    let mut out = Vec::new();
    source.read_to_end(&mut out)?;
    Ok(out)
}

/// Encodes by `extension`, with its dot; an empty one is plain.
pub fn encode(extension: &str, bytes: &[u8]) -> Vec<u8> {
    match extension {
        "" => bytes.to_vec(),
        ".gz" => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        ".bz2" => {
            let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        ".xz" => {
            let mut out = liblzma::write::XzEncoder::new(Vec::new(), 0);
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        ".zst" => zstd::encode_all(bytes, 1).unwrap(),
        ".lz4" => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        ".snappy" => {
            let mut out = snap::write::FrameEncoder::new(Vec::new());
            out.write_all(bytes).unwrap();
            out.into_inner().unwrap()
        }
        other => panic!("no codec for {other}"),
    }
}

/// The codec's extension of a file, `""` if it has none of a codec.
pub fn extension(path: &Path) -> &'static str {
    let name = path.file_name().unwrap().to_str().unwrap();
    [".gz", ".bz2", ".xz", ".zst", ".lz4", ".snappy"]
        .into_iter()
        .find(|extension| name.ends_with(extension))
        .unwrap_or("")
}
