//! The files of `pg_xact` and `pg_multixact`.

use super::suspects::{OtherSuspect, Subject};
use crate::finding::{Code, Finding};
use crate::postgres::Checkpoint;
use crate::postgres::page::BLOCK_SIZE;
use crate::postgres::transaction_status::{StatusDirectory, StatusFile, StatusRange};

/// Pages in one file (`SLRU_PAGES_PER_SEGMENT`).
pub(super) const PAGES: u32 = 32;
/// Transactions on a page of `pg_xact`, two bits each.
pub(super) const XIDS_PER_PAGE: u32 = 4 * 8192;
/// Multixacts on a page of `pg_multixact/offsets`, four bytes each.
const MULTIS_PER_PAGE: u32 = 8192 / 4;
/// So many transactions cannot all be running or have been cut off by a crash.
const MANY: u32 = 4_096;

/// One file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadStatusFile {
    pub(super) file: StatusFile,
    /// Its size in bytes.
    bytes: u64,
    /// For each of its pages, in order, whether it holds anything but zeros.
    filled: u64,
    /// The first number on each of its pages, in order, as far as there are any: of
    /// `pg_multixact/offsets` where the members of the page's first multixact begin.
    firsts: Vec<u32>,
    archive: u16,
}

/// Reads one file.
#[derive(Debug)]
pub(super) struct StatusReader {
    file: ReadStatusFile,
}

impl StatusReader {
    /// The file at `path`, if it is one of these.
    pub(super) fn of(path: &str, archive: u16) -> Option<Self> {
        Some(Self {
            file: ReadStatusFile {
                file: StatusFile::parse(path)?,
                bytes: 0,
                filled: 0,
                firsts: Vec::new(),
                archive,
            },
        })
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let page = self.file.bytes / BLOCK_SIZE as u64;
            let within = usize::try_from(self.file.bytes % BLOCK_SIZE as u64).unwrap_or(0);
            let (piece, rest) = bytes
                .split_at_checked(BLOCK_SIZE - within)
                .unwrap_or((bytes, &[]));
            if page < u64::from(PAGES) && piece.iter().any(|byte| *byte != 0) {
                self.file.filled |= 1 << page;
            }
            if page < u64::from(PAGES)
                && self.file.file.directory == StatusDirectory::MultixactOffsets
            {
                self.first(within, piece);
            }
            self.file.bytes += piece.len() as u64;
            bytes = rest;
        }
    }

    /// Takes those of the page's first four bytes that are in `piece`, which begins at byte
    /// `within` of the page.
    fn first(&mut self, within: usize, piece: &[u8]) {
        if within == 0 {
            self.file.firsts.push(0);
        }
        let Some(first) = self.file.firsts.last_mut() else {
            return;
        };
        for (at, byte) in (within..4).zip(piece) {
            *first |= u32::from(*byte) << (8 * at);
        }
    }

    pub(super) fn end(self) -> ReadStatusFile {
        self.file
    }
}

/// What the transactions that `checkpoint` knew need and `files` do not have. `key` gives
/// the key of an archive, `default` is the one that should have a file that is not there.
pub(super) fn lacking(
    checkpoint: &Checkpoint,
    files: &[ReadStatusFile],
    key: &dyn Fn(u16) -> String,
    default: u16,
) -> Vec<OtherSuspect> {
    let mut suspects = Vec::new();
    let ranges = [
        Some(StatusRange::transactions(checkpoint)),
        StatusRange::multixact_offsets(checkpoint),
        members(checkpoint, files),
    ];
    for range in ranges.into_iter().flatten() {
        for needed in range.files() {
            let first_of_file = needed.file.number.saturating_mul(PAGES);
            let mut suspect = |archive, page, what: String| {
                suspects.push(OtherSuspect {
                    subject: Subject::Status {
                        file: needed.file,
                        page,
                    },
                    finding: Finding::new(
                        Code::TransactionStatusMissing,
                        key(archive),
                        format!("{} {what}", needed.file),
                    ),
                });
            };
            let Some(found) = files.iter().find(|found| found.file == needed.file) else {
                let what = "is in none of its archives, though transactions that the control file knows need it";
                suspect(default, first_of_file, what.to_owned());
                continue;
            };
            if found.bytes < needed.least_bytes {
                let pages = u32::try_from(found.bytes / BLOCK_SIZE as u64).unwrap_or(PAGES);
                let what = format!(
                    "has {} bytes, but transactions that the control file knows need {}",
                    found.bytes, needed.least_bytes
                );
                suspect(found.archive, first_of_file.saturating_add(pages), what);
            } else if range.directory == StatusDirectory::Transactions
                && let Some(page) = emptied(checkpoint, found, first_of_file)
            {
                let what = format!(
                    "holds only zeros in page {}: of no transaction there is known how it ended",
                    page - first_of_file
                );
                suspect(found.archive, page, what);
            }
        }
    }
    suspects
}

/// What `pg_multixact/members` must have at least: from the members of the first multixact
/// that is both needed and the first of its page in the offsets, because that one's place is
/// known, and if there is none, the last member of all.
fn members(checkpoint: &Checkpoint, files: &[ReadStatusFile]) -> Option<StatusRange> {
    let (oldest, next) = (checkpoint.oldest_multi, checkpoint.next_multi);
    let last = u32::try_from(checkpoint.next_multi_offset)
        .ok()?
        .checked_sub(1)?;
    let page = oldest.div_ceil(MULTIS_PER_PAGE);
    let known = || {
        // In order only: where numbers have gone round the last member is asked for.
        if page.checked_mul(MULTIS_PER_PAGE)? >= next || oldest >= next {
            return None;
        }
        let number = page / PAGES;
        let file = files.iter().find(|found| {
            found.file.directory == StatusDirectory::MultixactOffsets && found.file.number == number
        })?;
        let at = usize::try_from(page % PAGES).ok()?;
        let offset = file.firsts.get(at).copied()?;
        // A zero was not written yet.
        (offset != 0 && offset <= last).then_some(offset)
    };
    StatusRange::multixact_members(checkpoint, known().unwrap_or(last))
}

/// The first page of zeros for transactions of which at least one must have ended.
fn emptied(checkpoint: &Checkpoint, found: &ReadStatusFile, first_of_file: u32) -> Option<u32> {
    let next = u32::try_from(checkpoint.next_xid & 0xFFFF_FFFF).unwrap_or_default();
    let oldest = checkpoint.oldest_xid;
    let pages = u32::try_from(found.bytes / BLOCK_SIZE as u64).unwrap_or(PAGES);
    (0..pages.min(PAGES))
        .filter(|at| found.filled >> at & 1 == 0)
        .filter_map(|at| first_of_file.checked_add(at))
        .find(|page| {
            let Some(first) = page.checked_mul(XIDS_PER_PAGE) else {
                return false;
            };
            // Transaction ids go round; how many of the page's lie in oldest..next.
            let (used, alive) = (
                next.wrapping_sub(first),
                next.wrapping_sub(oldest.max(first)),
            );
            // The page of the bootstrap transaction is never empty while it is kept.
            let bootstrap = *page == 0 && oldest < XIDS_PER_PAGE;
            let in_order = oldest <= next && oldest <= first.saturating_add(XIDS_PER_PAGE - 1);
            bootstrap || (in_order && first < next && used.min(alive).min(XIDS_PER_PAGE) >= MANY)
        })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::postgres::{Lsn, TimelineId};

    fn file(path: &str, bytes: &[u8], piece: usize) -> ReadStatusFile {
        let mut reader = StatusReader::of(path, 0).unwrap();
        for piece in bytes.chunks(piece) {
            reader.push(piece);
        }
        reader.end()
    }

    fn checkpoint(oldest_xid: u32, next_xid: u64) -> Checkpoint {
        Checkpoint {
            redo: Lsn::INVALID,
            timeline: TimelineId(1),
            previous_timeline: TimelineId(1),
            full_page_writes: true,
            next_xid,
            next_oid: 1,
            next_multi: 2_048,
            next_multi_offset: 0,
            oldest_xid,
            oldest_multi: 2_048,
            time: DateTime::default(),
            oldest_commit_time_xid: 0,
            newest_commit_time_xid: 0,
            oldest_active_xid: 0,
        }
    }

    fn words(checkpoint: &Checkpoint, files: &[ReadStatusFile]) -> Vec<String> {
        lacking(checkpoint, files, &|_| "key".to_owned(), 0)
            .into_iter()
            .map(|suspect| suspect.finding.message)
            .collect()
    }

    #[test]
    fn pages_with_contents_are_told_from_zeros() {
        let mut bytes = vec![0; 3 * BLOCK_SIZE];
        bytes[2 * BLOCK_SIZE + 7] = 1;
        for piece in [1, 100, 8192, 30_000] {
            let file = file("pg_xact/00AF", &bytes, piece);
            assert_eq!((file.bytes, file.filled), (24_576, 0b100));
        }
    }

    #[test]
    fn members_are_needed_from_the_first_multixact_whose_place_is_known() {
        let xact = file("pg_xact/0000", &[1; BLOCK_SIZE], 8192);
        // The third page's first multixact, 4096, has its members from 60,000 on: page 36.
        let mut offsets = vec![1; 3 * BLOCK_SIZE];
        offsets[2 * BLOCK_SIZE..2 * BLOCK_SIZE + 4].copy_from_slice(&60_000_u32.to_le_bytes());
        let mut checkpoint = checkpoint(3, 750);
        (checkpoint.oldest_multi, checkpoint.next_multi) = (2_049, 5_000);
        checkpoint.next_multi_offset = 110_000;
        for piece in [1, 3, 8192, 30_000] {
            let offsets = file("pg_multixact/offsets/0000", &offsets, piece);
            let files = [xact.clone(), offsets];
            // Page 67 has the last one, in the third file.
            let said = words(&checkpoint, &files);
            assert_eq!(said.len(), 2, "{said:?}");
            for (said, name) in said.iter().zip(["members/0001", "members/0002"]) {
                assert!(said.starts_with(&format!("pg_multixact/{name} is in none")));
            }
            let second = file("pg_multixact/members/0001", &vec![0; 32 * BLOCK_SIZE], 8192);
            let third = file("pg_multixact/members/0002", &vec![0; 4 * BLOCK_SIZE], 8192);
            let whole = [&files[..], &[second.clone(), third]].concat();
            assert_eq!(words(&checkpoint, &whole), [""; 0]);
            let short = file("pg_multixact/members/0002", &vec![0; 3 * BLOCK_SIZE], 8192);
            let said = words(&checkpoint, &[&files[..], &[second, short]].concat());
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].starts_with("pg_multixact/members/0002 has 24576 bytes"));
        }
        // On one page nobody knows where they begin, but where they end.
        (checkpoint.oldest_multi, checkpoint.next_multi) = (1, 5);
        checkpoint.next_multi_offset = 9;
        let offsets = file("pg_multixact/offsets/0000", &[1; BLOCK_SIZE], 8192);
        let files = [xact.clone(), offsets.clone()];
        assert_eq!(words(&checkpoint, &files).len(), 1);
        // Without any multixact none are needed.
        checkpoint.next_multi = 1;
        assert_eq!(words(&checkpoint, &files), [""; 0]);
    }

    #[test]
    fn a_missing_a_short_and_an_emptied_file_are_named() {
        let full = file("pg_xact/0000", &vec![1; 32 * BLOCK_SIZE], 8192);
        let second = file("pg_xact/0001", &[1; BLOCK_SIZE], 8192);
        let used = checkpoint(3, (1 << 20) + 700);
        assert_eq!(words(&used, &[full.clone(), second.clone()]), [""; 0]);
        // With another epoch the ids are the same.
        let epoch = checkpoint(3, (7 << 32) + (1 << 20) + 700);
        assert_eq!(words(&epoch, &[full.clone(), second.clone()]), [""; 0]);

        let absent = words(&used, std::slice::from_ref(&full));
        assert!(
            absent[0].starts_with("pg_xact/0001 is in none"),
            "{absent:?}"
        );
        let short = file("pg_xact/0000", &vec![1; 31 * BLOCK_SIZE], 8192);
        let short = words(&used, &[short, second.clone()]);
        assert!(
            short[0].starts_with("pg_xact/0000 has 253952 bytes"),
            "{short:?}"
        );

        let mut bytes = vec![1; 32 * BLOCK_SIZE];
        bytes[5 * BLOCK_SIZE..6 * BLOCK_SIZE].fill(0);
        let hollow = file("pg_xact/0000", &bytes, 8192);
        let hollow = words(&used, &[hollow, second]);
        assert!(hollow[0].contains("only zeros in page 5"), "{hollow:?}");
        // Of few transactions none need have ended, but the first page is never empty.
        let zeros = file("pg_xact/0001", &[0; BLOCK_SIZE], 8192);
        assert_eq!(words(&used, &[full, zeros]), [""; 0]);
        let first = file("pg_xact/0000", &[0; BLOCK_SIZE], 8192);
        assert_eq!(words(&checkpoint(3, 750), &[first]).len(), 1);
    }
}
