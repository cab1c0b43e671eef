//! Segments of 1 MiB made from the input: every page is given a right header and every
//! record a right checksum where the first byte asks for it, so that inputs get past the
//! first checks.

#![no_main]

use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use walproof::postgres::wal::{WalStream, WalStreamOptions, first_record, read_first_page};
use walproof::postgres::{Lsn, SegmentSize, TimelineHistory};

fuzz_target!(|data: &[u8]| {
    let Some((mode, body)) = data.split_first() else {
        return;
    };
    let mut segment = vec![0; 1 << 20];
    let length = body.len().min(segment.len());
    segment[..length].copy_from_slice(&body[..length]);
    if mode & 1 != 0 {
        for (index, page) in segment.chunks_mut(8192).enumerate() {
            page[0..2].copy_from_slice(&0xD110_u16.to_le_bytes());
            page[4..8].copy_from_slice(&1_u32.to_le_bytes());
            let address = (1_u64 << 20) + index as u64 * 8192;
            page[8..16].copy_from_slice(&address.to_le_bytes());
            if index == 0 {
                page[2] |= 2;
                page[32..36].copy_from_slice(&(1_u32 << 20).to_le_bytes());
                page[36..40].copy_from_slice(&8192_u32.to_le_bytes());
            }
        }
    }
    if mode & 2 != 0 {
        seal_records(&mut segment[..8192]);
    }
    let _ = read_first_page(&segment);
    let begin = first_record(&segment).ok().flatten();
    let mut stream = WalStream::new(WalStreamOptions {
        segment_size: SegmentSize::new(1 << 20).unwrap(),
        system_id: None,
        history: TimelineHistory::first(),
        start: begin.unwrap_or(Lsn::new(1 << 20)),
    });
    let number = stream.next_segment();
    let _ = stream.push_segment(number, &segment, &mut |record| {
        let _ = (record.event(), record.blocks().count(), record.main_data());
        ControlFlow::Continue(())
    });
});

/// Gives the records of the first page the predecessor and checksum they need.
fn seal_records(page: &mut [u8]) {
    let (mut at, mut prev) = (40, 0_u64);
    while at + 24 <= page.len() {
        let length = u32::from_le_bytes(page[at..at + 4].try_into().unwrap()) as usize % 600;
        let length = length.max(24);
        if at + length > page.len() {
            break;
        }
        let record = &mut page[at..at + length];
        record[0..4].copy_from_slice(&(length as u32).to_le_bytes());
        record[8..16].copy_from_slice(&prev.to_le_bytes());
        record[17] %= 22;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&record[24..]), &record[..20]);
        record[20..24].copy_from_slice(&crc.to_le_bytes());
        prev = (1 << 20) + at as u64;
        at += length.next_multiple_of(8);
    }
}
