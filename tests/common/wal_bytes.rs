//! WAL segments as bytes: where records lie, and how to change one so that its checksum is
//! right again. Written apart from the code under test (`XLogPageHeaderData`, `XLogRecord`).

use std::ops::Range;

/// Bytes of a page.
pub const PAGE: usize = 8192;

/// A record that lies within one page whole.
#[derive(Clone, Debug)]
pub struct Record {
    /// Header and body.
    pub bytes: Range<usize>,
    /// Transaction.
    pub xid: u32,
    /// The upper bits say what it is.
    pub info: u8,
    /// Resource manager: 0 XLOG, 1 Transaction, 10 Heap, ….
    pub manager: u8,
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Bytes of the header of the page that begins at `page`.
pub fn header_length(segment: &[u8], page: usize) -> usize {
    if segment[page + 2] & 2 == 0 { 24 } else { 40 }
}

/// All records that lie within one page whole, and have a right checksum.
pub fn records(segment: &[u8]) -> Vec<Record> {
    let mut found = Vec::new();
    for page in (0..segment.len()).step_by(PAGE) {
        if segment[page..page + 2] == [0, 0] {
            continue;
        }
        let header = header_length(segment, page);
        let rest = number(segment, page + 16) as usize;
        if rest > PAGE - header {
            continue;
        }
        let mut at = page + (header + rest).next_multiple_of(8);
        while at + 24 <= page + PAGE {
            let length = number(segment, at) as usize;
            if length < 24 || at + length > page + PAGE {
                break;
            }
            let bytes = at..at + length;
            if checksum(segment, &bytes) != number(segment, at + 20) {
                break;
            }
            found.push(Record {
                xid: number(segment, at + 4),
                info: segment[at + 16],
                manager: segment[at + 17],
                bytes,
            });
            at = (at + length).next_multiple_of(8);
        }
    }
    found
}

fn checksum(segment: &[u8], record: &Range<usize>) -> u32 {
    let data = crc32c::crc32c(&segment[record.start + 24..record.end]);
    crc32c::crc32c_append(data, &segment[record.start..record.start + 20])
}

/// Gives a record the checksum that goes with what it is now.
pub fn seal(segment: &mut [u8], record: &Range<usize>) {
    let sum = checksum(segment, record);
    segment[record.start + 20..record.start + 24].copy_from_slice(&sum.to_le_bytes());
}

/// Where the main data of a commit without blocks lies in its record: behind `0xFF` and a
/// length of one byte, or `0xFE` and one of four.
pub fn main_data(segment: &[u8], record: &Record) -> Option<usize> {
    let body = record.bytes.start + 24;
    match segment.get(body)? {
        0xFF => Some(body + 2),
        0xFE => Some(body + 5),
        _ => None,
    }
}
