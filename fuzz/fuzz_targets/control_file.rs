//! Control files of every format, with a right checksum where the first byte asks for it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use walproof::postgres::ControlFile;

fuzz_target!(|data: &[u8]| {
    let _ = ControlFile::parse(data);
    let Some((mode, body)) = data.split_first() else {
        return;
    };
    let mut file = vec![0; 8192];
    let length = body.len().min(file.len());
    file[..length].copy_from_slice(&body[..length]);
    let (version, crc_at) = [(1300_u32, 288), (1700, 288), (1800, 292)][usize::from(*mode) % 3];
    file[8..12].copy_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c(&file[..crc_at]);
    file[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    let _ = ControlFile::parse(&file);
});
