use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::super::{encode_all, encoder};
use super::*;

const PACKED: [Codec; 6] = [
    Codec::Gzip,
    Codec::Bzip2,
    Codec::Xz,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];
const LIMIT: u64 = 64 << 20;

/// Bytes that compress somewhat and are not all equal.
fn sample(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    (0..length)
        .map(|at| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            if at % 3 == 0 {
                state.to_le_bytes()[0]
            } else {
                b'w'
            }
        })
        .collect()
}

fn fault(codec: Codec, bytes: &[u8]) -> CodecFault {
    decode_all(codec, bytes, LIMIT)
        .expect_err("must not decode")
        .fault
}

#[test]
fn round_trips() {
    for codec in Codec::ALL {
        for length in [0, 1, 100, 65_536, 70_000, 5 << 20] {
            let plain = sample(length);
            let packed = encode_all(codec, &plain).unwrap();
            if codec != Codec::None {
                assert_eq!(Codec::sniff(&packed), Some(codec), "{codec} {length}");
            }
            let decoded = decode_all(codec, &packed, LIMIT).unwrap();
            assert!(decoded == plain, "{codec} {length}");
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    for codec in PACKED {
        let packed = encode_all(codec, &sample(1000)).unwrap();
        for end in 0..packed.len() {
            // Snappy has no end mark: cut behind its identifier, it is an empty stream.
            if codec == Codec::Snappy && end == 10 {
                assert_eq!(decode_all(codec, &packed[..end], LIMIT), Ok(vec![]));
                continue;
            }
            let expected = if end == 0 {
                CodecFault::Empty
            } else {
                CodecFault::Truncated
            };
            assert_eq!(
                fault(codec, &packed[..end]),
                expected,
                "{codec} cut at {end}"
            );
        }
    }
}

#[test]
fn every_truncation_of_the_second_member_is_an_error() {
    for codec in PACKED {
        let one = encode_all(codec, &sample(300)).unwrap();
        let two = [one.clone(), one.clone()].concat();
        for end in one.len() + 1..two.len() {
            if codec == Codec::Snappy && end == one.len() + 10 {
                continue;
            }
            assert_eq!(
                fault(codec, &two[..end]),
                CodecFault::Truncated,
                "{codec} cut at {end}, second begins at {}",
                one.len()
            );
        }
    }
}

#[test]
fn all_members_are_read() {
    for codec in PACKED {
        let plain = sample(1000);
        let packed = [
            encode_all(codec, &plain[..400]).unwrap(),
            encode_all(codec, &[]).unwrap(),
            encode_all(codec, &plain[400..]).unwrap(),
        ]
        .concat();
        assert!(
            decode_all(codec, &packed, LIMIT).unwrap() == plain,
            "{codec}"
        );
    }
}

#[test]
fn nothing_may_follow() {
    for codec in PACKED {
        let packed = encode_all(codec, &sample(1000)).unwrap();
        for tail in [
            &b"\0"[..],
            b"x",
            b"\0\0\0\0\0\0\0\0x",
            &[0xff; 20],
            b"trailing text",
        ] {
            let longer = [&packed, tail].concat();
            // A single skippable chunk type of snappy may be cut, too.
            let found = fault(codec, &longer);
            if !matches!(codec, Codec::Xz | Codec::Snappy) {
                assert_eq!(found, CodecFault::TrailingBytes, "{codec} {tail:?}");
            }
        }
    }
}

#[test]
fn flipped_bits_are_seen_where_the_format_can() {
    let plain = sample(1000);
    for codec in PACKED {
        let packed = encode_all(codec, &plain).unwrap();
        let mut unseen = Vec::new();
        for at in 0..packed.len() * 8 {
            let mut damaged = packed.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            match decode_all(codec, &damaged, LIMIT) {
                Ok(decoded) => {
                    assert!(decoded == plain, "{codec} bit {at}: wrong bytes pass");
                    unseen.push(at / 8);
                }
                Err(error) => assert_eq!(error.codec, codec),
            }
        }
        unseen.dedup();
        // Only bits that say nothing on the content may change unseen: gzip's time, flags
        // and system, unused bits in a last byte or token, bzip2's block size, zstd's window.
        assert!(unseen.len() <= 16, "{codec}: {unseen:?}");
    }
}

#[test]
fn a_limit_is_kept() {
    for codec in Codec::ALL {
        let packed = encode_all(codec, &vec![0; 100_000]).unwrap();
        assert_eq!(decode_all(codec, &packed, 100_000).unwrap().len(), 100_000);
        let error = decode_all(codec, &packed, 99_999).unwrap_err();
        assert_eq!(error.fault, CodecFault::TooLarge(99_999), "{codec}");
    }
}

#[test]
fn a_failing_source_is_not_damage() {
    struct Failing(usize);
    impl Read for Failing {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the wire broke",
                ));
            }
            let count = self.0.min(into.len());
            self.0 -= count;
            into[..count].fill(0);
            Ok(count)
        }
    }
    for codec in PACKED {
        let packed = encode_all(codec, &sample(1000)).unwrap();
        for cut in [0, 3, 12, packed.len() / 2, packed.len()] {
            let source = io::Cursor::new(packed[..cut].to_vec()).chain(Failing(0));
            let mut reader = decoder(codec, Box::new(source));
            let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
            assert_eq!(error.to_string(), "the wire broke", "{codec} {cut}");
            assert!(CodecError::of(&error).is_none());
            let again = reader.read(&mut [0]).unwrap_err();
            assert!(again.to_string().contains("could not be read"), "{again}");
        }
    }
}

#[test]
fn a_stream_given_up_does_not_look_whole() {
    for codec in PACKED {
        let mut packed = Vec::new();
        let mut encoder = encoder(codec, Box::new(&mut packed)).unwrap();
        encoder.write_all(&sample(200_000)).unwrap();
        encoder.flush().unwrap();
        drop(encoder);
        match decode_all(codec, &packed, LIMIT) {
            Err(error) => assert_eq!(error.fault, CodecFault::Truncated, "{codec}"),
            Ok(_) => assert_eq!(codec, Codec::Snappy, "which has no end mark"),
        }
    }
}

#[test]
fn lz4_frames_of_every_kind() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let plain = sample(3 << 20);
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
            for checks in [false, true] {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(checks)
                    .content_checksum(checks)
                    .content_size(checks.then_some(plain.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&plain).unwrap();
                let packed = encoder.finish().unwrap();
                assert!(decode_all(Codec::Lz4, &packed, LIMIT).unwrap() == plain);
                let short = &packed[..packed.len() - 4];
                assert_eq!(fault(Codec::Lz4, short), CodecFault::Truncated);
            }
        }
    }
    // A skippable frame before the data; then one that is cut off.
    let skippable = b"\x5a\x2a\x4d\x18\x03\0\0\0abc";
    let packed = [&skippable[..], &encode_all(Codec::Lz4, b"data").unwrap()].concat();
    assert_eq!(decode_all(Codec::Lz4, &packed, LIMIT).unwrap(), b"data");
    assert_eq!(fault(Codec::Lz4, &skippable[..9]), CodecFault::Truncated);
}

#[test]
fn raw_bytes_are_not_taken_for_packed_ones() {
    assert_eq!(Codec::sniff(b""), None);
    assert_eq!(Codec::sniff(&[0; 64]), None);
    assert_eq!(Codec::sniff(b"\x13\xd1\x06\0\x01\0\0\0\0\0"), None);
    assert_eq!(Codec::sniff(b"BZh9 is how this text begins"), None);
}

/// Pipes `input` through a program.
fn through(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} must be installed: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program}: {}", output.status);
    output.stdout
}

const TOOLS: [(Codec, &str); 5] = [
    (Codec::Gzip, "gzip"),
    (Codec::Bzip2, "bzip2"),
    (Codec::Xz, "xz"),
    (Codec::Lz4, "lz4"),
    (Codec::Zstd, "zstd"),
];

#[test]
fn the_real_tools_agree() {
    for (codec, tool) in TOOLS {
        for length in [0, 1, 1_000_000] {
            let plain = sample(length);
            let packed = through(tool, &["-c", "-1"], &plain);
            assert_eq!(Codec::sniff(&packed), Some(codec), "{tool} {length}");
            let decoded = decode_all(codec, &packed, LIMIT).unwrap();
            assert!(decoded == plain, "{tool} packed {length} bytes");
            let ours = encode_all(codec, &plain).unwrap();
            let unpacked = through(tool, &["-d", "-c"], &ours);
            assert!(unpacked == plain, "{tool} unpacks our {length} bytes");
        }
    }
}

#[test]
fn frames_without_any_check_still_need_their_end() {
    let plain = sample(200_000);
    for (codec, tool, off) in [
        (Codec::Lz4, "lz4", "--no-frame-crc"),
        (Codec::Zstd, "zstd", "--no-check"),
    ] {
        let packed = through(tool, &["-c", off], &plain);
        assert!(decode_all(codec, &packed, LIMIT).unwrap() == plain);
        let step = packed.len() / 500;
        for end in (1..packed.len())
            .step_by(step)
            .chain(packed.len() - 8..packed.len())
        {
            assert_eq!(
                fault(codec, &packed[..end]),
                CodecFault::Truncated,
                "{tool} {end}"
            );
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_survive(plain in proptest::collection::vec(any::<u8>(), 0..5000)) {
        for codec in PACKED {
            let packed = encode_all(codec, &plain).unwrap();
            prop_assert_eq!(&decode_all(codec, &packed, LIMIT).unwrap(), &plain);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..6) {
        let codec = PACKED[at];
        let mut packed = encode_all(codec, b"").unwrap();
        packed.truncate(10);
        packed.extend_from_slice(&bytes);
        let _ = decode_all(codec, &packed, 1 << 20);
        let _ = decode_all(codec, &bytes, 1 << 20);
    }
}

/// What the quick decoders take, and what they leave to the strict one.
#[test]
fn only_one_whole_member_is_decoded_at_once() {
    let plain = sample(70_000);
    let member = encode_all(Codec::Gzip, &plain).unwrap();
    assert_eq!(whole::gzip(&member, LIMIT), Some(plain.clone()));
    assert_eq!(whole::gzip(&member, 69_999), None);
    // The same member twice ends with the trailer of the first.
    let twice = [member.as_slice(), &member].concat();
    assert_eq!(whole::gzip(&twice, LIMIT), None);
    assert_eq!(
        decode_all(Codec::Gzip, &twice, LIMIT).unwrap(),
        [plain.as_slice(), &plain].concat()
    );
    // So do bytes behind the end that repeat the trailer, whole or overlapping.
    let mut behind = member.clone();
    behind.extend_from_within(member.len() - 8..);
    assert_eq!(whole::gzip(&behind, LIMIT), None);
    assert!(decode_all(Codec::Gzip, &behind, LIMIT).is_err());
    // A trailer of eight equal bytes, and one more of them behind it.
    let mut empty = encode_all(Codec::Gzip, b"").unwrap();
    assert!(empty.ends_with(&[0; 8]));
    assert_eq!(decode_all(Codec::Gzip, &empty, LIMIT), Ok(vec![]));
    empty.push(0);
    assert_eq!(whole::gzip(&empty, LIMIT), None);
    assert!(decode_all(Codec::Gzip, &empty, LIMIT).is_err());

    let frame = encode_all(Codec::Zstd, &plain).unwrap();
    assert_eq!(whole::zstd(&frame, LIMIT), Some(plain.clone()));
    assert_eq!(whole::zstd(&frame, 69_999), None);
    let frames = [frame.as_slice(), &frame].concat();
    assert_eq!(
        decode_all(Codec::Zstd, &frames, LIMIT).unwrap(),
        [plain.as_slice(), &plain].concat()
    );
}

proptest! {
    /// Whatever the quick decoders accept, the strict reader accepts with the same bytes.
    #[test]
    fn at_once_is_never_more_lenient(
        seed in 0_usize..2_000,
        at in any::<prop::sample::Index>(),
        to: u8,
        cut in 0_usize..12,
        more in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        for codec in [Codec::Gzip, Codec::Zstd] {
            let mut packed = encode_all(codec, &sample(seed)).unwrap();
            let at = at.index(packed.len());
            packed[at] = to;
            packed.truncate(packed.len() - cut.min(packed.len()));
            packed.extend_from_slice(&more);
            let quick = match codec {
                Codec::Gzip => whole::gzip(&packed, LIMIT),
                _ => whole::zstd(&packed, LIMIT),
            };
            if let Some(quick) = quick {
                let mut strict = Vec::new();
                decoder(codec, Box::new(&packed[..])).read_to_end(&mut strict).unwrap();
                prop_assert!(quick == strict);
            }
        }
    }
}
