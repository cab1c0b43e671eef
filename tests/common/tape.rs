//! Tar archives and WAL segments as bytes, to be damaged at a place of one's choice. Written
//! apart from the code under test, which must not judge itself.

use std::ops::Range;

const BLOCK: usize = 512;

/// A member of a tar archive.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name without `./`.
    pub name: String,
    /// From its first header (PAX records come before its own) to its last padded block.
    pub all: Range<usize>,
    /// Its own header.
    pub header: usize,
    /// Its contents.
    pub contents: Range<usize>,
}

/// The members of an archive in order.
pub fn members(tar: &[u8]) -> Vec<Member> {
    let mut members = Vec::new();
    let (mut at, mut begin, mut long_name) = (0, None, None);
    while let Some(header) = tar.get(at..at + BLOCK)
        && header[0] != 0
    {
        let digits = String::from_utf8_lossy(&header[124..135]).into_owned();
        let size = usize::from_str_radix(digits.trim_matches(['\0', ' ']), 8).unwrap();
        let contents = at + BLOCK..at + BLOCK + size;
        let end = contents.start + size.next_multiple_of(BLOCK);
        let first = *begin.get_or_insert(at);
        if header[156] == b'x' {
            // "27 path=…\n": only the path matters, no file here needs a long size.
            let records = String::from_utf8_lossy(&tar[contents]).into_owned();
            long_name = records
                .lines()
                .find_map(|line| Some(line.split_once(" path=")?.1.to_owned()));
        } else {
            let short = header[..100].split(|byte| *byte == 0).next().unwrap();
            let name = long_name
                .take()
                .unwrap_or_else(|| String::from_utf8_lossy(short).into_owned());
            members.push(Member {
                name: name.trim_start_matches("./").to_owned(),
                all: first..end,
                header: at,
                contents,
            });
            begin = None;
        }
        at = end;
    }
    members
}

/// The member of that name.
#[track_caller]
pub fn member(tar: &[u8], name: &str) -> Member {
    members(tar)
        .into_iter()
        .find(|member| member.name == name)
        .unwrap_or_else(|| panic!("no member {name}"))
}

/// The file of table `ledger`: rows whose filler is a hundred `x` fill its pages from their
/// ends.
#[track_caller]
pub fn ledger(tar: &[u8]) -> Member {
    members(tar)
        .into_iter()
        .find(|member| {
            member.name.starts_with("base/")
                && member.contents.len() >= 10 * 8192
                && tar[member.contents.start + 8192 - 300..member.contents.start + 8192]
                    .windows(40)
                    .any(|window| window == [b'x'; 40])
        })
        .expect("no file holds the ledger")
}

/// Makes a member shorter by `by` bytes, a multiple of a block, with a header that says so.
pub fn shorten(tar: &mut Vec<u8>, member: &Member, by: usize) {
    let size = member.contents.len() - by;
    tar.drain(member.contents.start + size..member.contents.end);
    let header = &mut tar[member.header..member.header + BLOCK];
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    seal(header);
}

/// Writes a header's checksum.
pub fn seal(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A header as `ustar` has it, and the padded contents.
pub fn hostile_member(name: &str, kind: u8, link: &str, contents: &[u8]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", contents.len()).as_bytes());
    put(136, b"00000000000\0");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    seal(&mut block);
    block.extend_from_slice(contents);
    block.resize(block.len().next_multiple_of(BLOCK), 0);
    block
}

/// Where the first record that begins in a segment lies, if it is within the first page
/// whole: its offset and length. (`XLogLongPageHeaderData`, `XLogRecord`.)
pub fn first_record(segment: &[u8]) -> Option<Range<usize>> {
    let number = |at: usize| u32::from_le_bytes(segment[at..at + 4].try_into().unwrap()) as usize;
    let begin = (40 + number(16)).next_multiple_of(8);
    if begin + 24 > 8192 {
        return None;
    }
    let length = number(begin);
    (length >= 24 && begin + length <= 8192).then_some(begin..begin + length)
}

/// Gives a record another predecessor and the checksum that goes with it.
pub fn break_back_link(segment: &mut [u8], record: &Range<usize>) {
    let begin = record.start;
    segment[begin + 8] ^= 0x08;
    let data = crc32c::crc32c(&segment[begin + 24..record.end]);
    let sum = crc32c::crc32c_append(data, &segment[begin..begin + 20]);
    segment[begin + 20..begin + 24].copy_from_slice(&sum.to_le_bytes());
}

/// Makes a member longer by `more`, whole blocks, with a header that says so.
pub fn lengthen(tar: &mut Vec<u8>, member: &Member, more: &[u8]) {
    assert!(more.len().is_multiple_of(BLOCK) && member.contents.len().is_multiple_of(BLOCK));
    let size = member.contents.len() + more.len();
    let end = member.contents.end;
    tar.splice(end..end, more.iter().copied());
    let header = &mut tar[member.header..member.header + BLOCK];
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    seal(header);
}

/// Gives the commit that begins at byte `at` of a segment a time that is later by
/// `microseconds`, with the checksum that goes with it: what a server whose clock was wrong
/// for a moment would have written.
#[track_caller]
pub fn change_commit_time(segment: &mut [u8], at: usize, microseconds: i64) {
    let length = u32::from_le_bytes(segment[at..at + 4].try_into().unwrap()) as usize;
    assert!(at % 8192 + length <= 8192, "the record crosses a page");
    // A commit has no blocks: its main data stand behind header, id and length.
    assert_eq!(segment[at + 24], 255, "XLR_BLOCK_ID_DATA_SHORT");
    let field = at + 26;
    let old = i64::from_le_bytes(segment[field..field + 8].try_into().unwrap());
    segment[field..field + 8].copy_from_slice(&(old + microseconds).to_le_bytes());
    let data = crc32c::crc32c(&segment[at + 24..at + length]);
    let sum = crc32c::crc32c_append(data, &segment[at..at + 20]);
    segment[at + 20..at + 24].copy_from_slice(&sum.to_le_bytes());
}
