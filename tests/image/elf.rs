//! As much of ELF (64 bits, little-endian; System V ABI, chapters 4 and 5) as tells whether a
//! program is static, and what `cargo auditable` noted in it.

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use serde_json::Value;

/// The type of a program header that names a loader.
const PT_INTERP: u32 = 3;

fn number(bytes: &[u8], at: usize, size: usize) -> usize {
    let mut value = [0; 8];
    value[..size].copy_from_slice(&bytes[at..at + size]);
    usize::try_from(u64::from_le_bytes(value)).unwrap()
}

fn assert_elf(program: &[u8]) {
    assert_eq!(&program[..6], b"\x7fELF\x02\x01");
}

/// Whether the program asks for a loader, and with it for libraries.
pub(crate) fn is_dynamic(program: &[u8]) -> bool {
    assert_elf(program);
    let (begin, size, count) = (
        number(program, 32, 8),
        number(program, 54, 2),
        number(program, 56, 2),
    );
    (0..count).any(|index| number(program, begin + index * size, 4) == PT_INTERP as usize)
}

/// A section by its name.
fn section<'a>(program: &'a [u8], name: &str) -> Option<&'a [u8]> {
    assert_elf(program);
    let (begin, size, count, names) = (
        number(program, 40, 8),
        number(program, 58, 2),
        number(program, 60, 2),
        number(program, 62, 2),
    );
    let header = |index: usize| begin + index * size;
    let place = |index: usize| {
        let at = number(program, header(index) + 24, 8);
        &program[at..at + number(program, header(index) + 32, 8)]
    };
    let names = place(names);
    (0..count)
        .find(|index| {
            let from = number(program, header(*index), 4);
            names[from..].starts_with(format!("{name}\0").as_bytes())
        })
        .map(place)
}

/// The packages that `cargo auditable` noted (`.dep-v0`, JSON packed with zlib).
pub(crate) fn noted(program: &[u8]) -> Option<Value> {
    let mut text = String::new();
    ZlibDecoder::new(section(program, ".dep-v0")?)
        .read_to_string(&mut text)
        .unwrap();
    Some(serde_json::from_str(&text).unwrap())
}
