//! Streams by the libraries that Barman Cloud uses are read, and ours are read by them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: what is not as expected ends it"
)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use walproof::codec::{Codec, decode_all, encode_all};

/// Packs or unpacks standard input as `barman/compression.py` and
/// `barman/clients/cloud_compression.py` do.
const PYTHON: &str = r"
import sys, io
way, codec = sys.argv[1:3]
data, out = sys.stdin.buffer.read(), sys.stdout.buffer
if codec == 'snappy':
    import snappy
    if way == 'pack':
        packer = snappy.StreamCompressor()
        out.write(b''.join(packer.add_chunk(data[at:at + 100000]) for at in range(0, max(len(data), 1), 100000)))
    else:
        out.write(snappy.StreamDecompressor().decompress(data))
elif codec == 'zstd':
    import zstandard
    if way == 'pack':
        with zstandard.ZstdCompressor().stream_writer(out, closefd=False) as packer:
            packer.write(data)
    else:
        out.write(zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read())
else:
    module = {'gzip': 'gzip', 'bzip2': 'bz2', 'xz': 'lzma', 'lz4': 'lz4.frame'}[codec]
    import importlib
    module = importlib.import_module(module)
    if way == 'pack':
        with module.open(out, 'wb') as packer:
            packer.write(data)
    else:
        out.write(module.open(io.BytesIO(data), 'rb').read())
out.flush()
";

fn python(way: &str, codec: Codec, input: &[u8]) -> Vec<u8> {
    let cache = std::env::var_os("WALPROOF_TEST_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/walproof-test"),
        PathBuf::from,
    );
    let python = cache.join("barman/bin/python");
    let mut child = Command::new(&python)
        .args(["-c", PYTHON, way, &codec.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} must be installed: {error}", python.display()));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{way} {codec}");
    output.stdout
}

#[test]
fn barmans_libraries_agree() {
    let text: Vec<u8> = (0..300_000_u32)
        .flat_map(|at| (at / 3 * 7919).to_le_bytes())
        .collect();
    for codec in Codec::ALL {
        if codec == Codec::None {
            continue;
        }
        for plain in [&text[..], b"x", b""] {
            let theirs = python("pack", codec, plain);
            // The frame writer of python's zstandard writes nothing for nothing.
            if !theirs.is_empty() {
                assert_eq!(Codec::sniff(&theirs), Some(codec), "{codec}");
                let decoded = decode_all(codec, &theirs, 1 << 30).unwrap();
                assert!(decoded == plain, "{codec}: {} bytes of theirs", plain.len());
            }
            let ours = encode_all(codec, plain).unwrap();
            let decoded = python("unpack", codec, &ours);
            assert!(decoded == plain, "{codec}: {} bytes of ours", plain.len());
        }
    }
}
