//! `pg_xact` and `pg_multixact`: which transactions committed.
//!
//! A page of these files that is absent after a restore is not noticed: during recovery
//! PostgreSQL takes it for zeros, "in progress", and the rows of its transactions vanish
//! (`SlruPhysicalReadPage` in `src/backend/access/transam/slru.c`). So whether a base backup
//! has them all must be found out beforehand.
//!
//! What must be there: everything from the oldest to the last id that the checkpoint knew
//! with which the backup began. Its pages were on disk before the copy started; later ones
//! are made by replay (`CLOG`/`ZEROPAGE` records). Files whose ids all lie before the oldest
//! may be gone. That can happen after the checkpoint, too, while the copy runs or, on a
//! standby, before: then WAL between the backup's begin and end has a record of it, see
//! [`truncated_to`].

use std::fmt;

use serde::Serialize;

use super::Checkpoint;
use super::little_endian::{u32_at, u64_at};
use super::page::BLOCK_SIZE;
use super::wal::WalRecord;

/// Pages in one file (`SLRU_PAGES_PER_SEGMENT`).
const PAGES_PER_FILE: u32 = 32;
/// Transactions on a page, two bits each (`CLOG_XACTS_PER_PAGE`).
const XIDS_PER_PAGE: u32 = 4 * 8192;
/// Multixacts on a page, four bytes each until 18 (`MULTIXACT_OFFSETS_PER_PAGE`).
const MULTIS_PER_PAGE: u32 = 8192 / 4;
/// Members on a page: 409 groups of four (`MULTIXACT_MEMBERS_PER_PAGE`).
const MEMBERS_PER_PAGE: u32 = 409 * 4;
/// The first transaction id that is given out again after a wraparound.
const FIRST_NORMAL_XID: u32 = 3;

/// One of the directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusDirectory {
    /// `pg_xact`: whether each transaction committed.
    Transactions,
    /// `pg_multixact/offsets`: where each multixact's members begin.
    MultixactOffsets,
    /// `pg_multixact/members`: who locked or changed a row together.
    MultixactMembers,
}

impl StatusDirectory {
    /// The directory's path within the data directory.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Transactions => "pg_xact",
            Self::MultixactOffsets => "pg_multixact/offsets",
            Self::MultixactMembers => "pg_multixact/members",
        }
    }

    /// How many ids one page holds.
    const fn per_page(self) -> u32 {
        match self {
            Self::Transactions => XIDS_PER_PAGE,
            Self::MultixactOffsets => MULTIS_PER_PAGE,
            Self::MultixactMembers => MEMBERS_PER_PAGE,
        }
    }
}

/// One file of such a directory, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StatusFile {
    /// The directory.
    pub directory: StatusDirectory,
    /// The file's number: 32 pages each, counted from 0.
    pub number: u32,
}

impl StatusFile {
    /// Reads a path relative to the data directory, such as `pg_xact/0001`: four
    /// hexadecimal digits in capitals, or more where four do not do (`SlruFileName`;
    /// these directories have short names in 13 to 18).
    pub fn parse(path: &str) -> Option<Self> {
        let (directory, name) = path.rsplit_once('/')?;
        let directory = [
            StatusDirectory::Transactions,
            StatusDirectory::MultixactOffsets,
            StatusDirectory::MultixactMembers,
        ]
        .into_iter()
        .find(|known| known.path() == directory)?;
        let capital = |byte: u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
        let padded = name.len() == 4 || (name.len() > 4 && !name.starts_with('0'));
        if !padded || !name.bytes().all(capital) {
            return None;
        }
        Some(Self {
            directory,
            number: u32::from_str_radix(name, 16).ok()?,
        })
    }
}

impl StatusFile {
    /// The file of `pg_xact` that holds a transaction.
    pub const fn of_transaction(xid: u32) -> Self {
        Self::holding(StatusDirectory::Transactions, xid)
    }

    /// The file of `pg_multixact/members` that holds the member at `offset`. Not for 19.
    pub const fn of_member(offset: u32) -> Self {
        Self::holding(StatusDirectory::MultixactMembers, offset)
    }

    const fn holding(directory: StatusDirectory, id: u32) -> Self {
        Self {
            directory,
            number: id / directory.per_page() / PAGES_PER_FILE,
        }
    }
}

impl fmt::Display for StatusFile {
    /// The path relative to the data directory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:04X}", self.directory.path(), self.number)
    }
}

/// The pages of a directory that must be there. Page numbers wrap around with the ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StatusRange {
    /// The directory.
    pub directory: StatusDirectory,
    first_page: u32,
    last_page: u32,
}

/// A file that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NeededFile {
    /// Which.
    pub file: StatusFile,
    /// The size in bytes that it must at least have.
    pub least_bytes: u64,
}

impl StatusRange {
    /// What `pg_xact` must have. `checkpoint` is the one with which the base backup began,
    /// which the record at the label's checkpoint location has, and the control file as well
    /// unless another checkpoint came before it was copied.
    pub const fn transactions(checkpoint: &Checkpoint) -> Self {
        Self::transactions_between(checkpoint.oldest_xid, low_half(checkpoint.next_xid))
    }

    /// What `pg_xact` must have for the transactions from `oldest` until before `next`.
    pub const fn transactions_between(oldest: u32, next: u32) -> Self {
        // Right after a wraparound the page of the ids 0 to 2 is yet to be made.
        let last = if next <= FIRST_NORMAL_XID {
            u32::MAX
        } else {
            next - 1
        };
        // Nothing in between: then the last page, which is being filled, must be there.
        let first = if oldest == next { last } else { oldest };
        Self::of(StatusDirectory::Transactions, first, last)
    }

    /// What `pg_multixact/offsets` must have; `None` when that is nothing. Not for 19, which
    /// has offsets of eight bytes.
    ///
    /// Where no multixact is left, the page of the next one is read all the same at the end
    /// of recovery, unless it would be the first on its page, and the server ends without it
    /// (`TrimMultiXact` in `src/backend/access/transam/multixact.c`).
    pub const fn multixact_offsets(checkpoint: &Checkpoint) -> Option<Self> {
        let (oldest, next) = (checkpoint.oldest_multi, checkpoint.next_multi);
        if oldest == next {
            return if next % MULTIS_PER_PAGE == 0 {
                None
            } else {
                Some(Self::of(StatusDirectory::MultixactOffsets, next, next))
            };
        }
        // 0 is never given out; 1 follows the greatest.
        let last = if next <= 1 { u32::MAX } else { next - 1 };
        Some(Self::of(StatusDirectory::MultixactOffsets, oldest, last))
    }

    /// What `pg_multixact/members` must have, when the oldest multixact's members begin at
    /// `oldest_offset`, as [`offset_place`] tells where to read; `None` when there are none.
    /// Not for 19.
    pub fn multixact_members(checkpoint: &Checkpoint, oldest_offset: u32) -> Option<Self> {
        let next = u32::try_from(checkpoint.next_multi_offset).ok()?;
        // A zero was not written yet.
        if checkpoint.oldest_multi == checkpoint.next_multi
            || oldest_offset == 0
            || oldest_offset == next
        {
            return None;
        }
        let last = next.wrapping_sub(1);
        Some(Self::of(
            StatusDirectory::MultixactMembers,
            oldest_offset,
            last,
        ))
    }

    const fn of(directory: StatusDirectory, first: u32, last: u32) -> Self {
        Self {
            directory,
            first_page: first / directory.per_page(),
            last_page: last / directory.per_page(),
        }
    }

    /// The files, oldest first: at most 4,096 of `pg_xact`, 65,536 of multixact offsets,
    /// 82,041 of members.
    pub fn files(&self) -> impl Iterator<Item = NeededFile> + use<> {
        let range = *self;
        let first = self.first_page / PAGES_PER_FILE;
        let last = self.last_page / PAGES_PER_FILE;
        let greatest = self.greatest_page() / PAGES_PER_FILE;
        let (to, again) = if self.first_page <= self.last_page {
            (last, None)
        } else {
            // After nearly a whole round the newest may share a file with the oldest.
            (greatest, Some(0..=last.min(first.saturating_sub(1))))
        };
        // Round from 0 again only up to the file where it began.
        let again = again.filter(|_| first > 0).into_iter().flatten();
        (first..=to)
            .chain(again)
            .filter_map(move |number| range.needed(number))
    }

    /// What is asked of one file; `None` when it is not needed.
    pub fn needed(&self, number: u32) -> Option<NeededFile> {
        let greatest = self.greatest_page();
        let first_of_file = number.checked_mul(PAGES_PER_FILE)?;
        let last_of_file = first_of_file.checked_add(PAGES_PER_FILE - 1)?.min(greatest);
        // The last needed page in this file decides: pages are made in order.
        let within = |first: u32, last: u32| {
            (first <= last_of_file && last >= first_of_file).then(|| last.min(last_of_file))
        };
        let last = if self.first_page <= self.last_page {
            within(self.first_page, self.last_page)
        } else {
            // A file with both ends was full once and keeps its size.
            within(self.first_page, greatest).or_else(|| within(0, self.last_page))
        }?;
        let pages = u64::from(last - first_of_file) + 1;
        Some(NeededFile {
            file: StatusFile {
                directory: self.directory,
                number,
            },
            least_bytes: pages * BLOCK_SIZE as u64,
        })
    }

    /// The last page before the ids wrap around.
    const fn greatest_page(&self) -> u32 {
        u32::MAX / self.directory.per_page()
    }
}

/// Where the offset of a multixact's first member stands: the file, and the byte in it.
/// Four bytes, little-endian. Not for 19.
pub const fn offset_place(multi: u32) -> (StatusFile, u64) {
    let page = multi / MULTIS_PER_PAGE;
    let file = StatusFile {
        directory: StatusDirectory::MultixactOffsets,
        number: page / PAGES_PER_FILE,
    };
    let in_file = multi % (MULTIS_PER_PAGE * PAGES_PER_FILE);
    (file, widen(in_file) * 4)
}

/// What a record took away from these directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StatusTruncation {
    /// `pg_xact` reaches back to this transaction only.
    Transactions {
        /// The transaction.
        oldest_xid: u32,
    },
    /// `pg_multixact` reaches back to this multixact only.
    Multixacts {
        /// The multixact.
        oldest_multi: u32,
        /// Where its members begin.
        oldest_offset: u64,
    },
}

/// Whether a record took old files away (`CLOG`/`TRUNCATE` and `MultiXact`/`TRUNCATE_ID`).
/// Where one stands between a backup's begin and end, the files before need not be in it.
pub fn truncated_to(record: &WalRecord<'_>) -> Option<StatusTruncation> {
    truncation(
        record.resource_manager,
        record.info & 0xF0,
        record.major(),
        record.main_data(),
    )
}

fn truncation(manager: u8, kind: u8, major: u32, data: &[u8]) -> Option<StatusTruncation> {
    match (manager, kind) {
        // xl_clog_truncate begins with a page number, of eight bytes since 17.
        (3, 0x10) => Some(StatusTruncation::Transactions {
            oldest_xid: u32_at(data, if major >= 17 { 8 } else { 4 })?,
        }),
        // xl_multixact_truncate: database, multixacts from and to, members from and to.
        (6, 0x30) => Some(StatusTruncation::Multixacts {
            oldest_multi: u32_at(data, 8)?,
            oldest_offset: if major >= 19 {
                u64_at(data, 24)?
            } else {
                u32_at(data, 16)?.into()
            },
        }),
        _ => None,
    }
}

/// The id without its epoch.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the upper half is the epoch, which files do not have"
)]
const fn low_half(full: u64) -> u32 {
    full as u32
}

/// `u64::from` where it must be known at compile time.
const fn widen(number: u32) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(range: &StatusRange) -> Vec<(String, u64)> {
        range
            .files()
            .map(|needed| {
                assert_eq!(range.needed(needed.file.number), Some(needed));
                (needed.file.to_string(), needed.least_bytes / 8192)
            })
            .collect()
    }

    fn xacts(oldest: u32, next: u32) -> Vec<(String, u64)> {
        listed(&StatusRange::transactions_between(oldest, next))
    }

    fn named(files: &[(&str, u64)]) -> Vec<(String, u64)> {
        files
            .iter()
            .map(|(name, pages)| ((*name).to_owned(), *pages))
            .collect()
    }

    #[test]
    fn the_last_page_begins_with_its_first_transaction() {
        assert_eq!(xacts(3, 4), named(&[("pg_xact/0000", 1)]));
        assert_eq!(xacts(3, 32_768), named(&[("pg_xact/0000", 1)]));
        assert_eq!(xacts(3, 32_769), named(&[("pg_xact/0000", 2)]));
        assert_eq!(xacts(3, 1 << 20), named(&[("pg_xact/0000", 32)]));
        assert_eq!(
            xacts(3, (1 << 20) + 1),
            named(&[("pg_xact/0000", 32), ("pg_xact/0001", 1)])
        );
        assert_eq!(
            xacts((2 << 20) - 1, (3 << 20) + 40_000),
            named(&[
                ("pg_xact/0001", 32),
                ("pg_xact/0002", 32),
                ("pg_xact/0003", 2)
            ])
        );
        // All frozen: nothing between, but the last page is there.
        assert_eq!(xacts(70_000, 70_000), named(&[("pg_xact/0000", 3)]));
        assert_eq!(xacts(1 << 20, 1 << 20), named(&[("pg_xact/0000", 32)]));
    }

    #[test]
    fn transactions_wrap_around() {
        let near_end = u32::MAX - 10;
        assert_eq!(xacts(near_end, 0), named(&[("pg_xact/0FFF", 32)]));
        assert_eq!(xacts(near_end, 3), named(&[("pg_xact/0FFF", 32)]));
        assert_eq!(
            xacts(near_end, 4),
            named(&[("pg_xact/0FFF", 32), ("pg_xact/0000", 1)])
        );
        assert_eq!(
            xacts(near_end, (1 << 20) + 1),
            named(&[
                ("pg_xact/0FFF", 32),
                ("pg_xact/0000", 32),
                ("pg_xact/0001", 1)
            ])
        );
    }

    #[test]
    fn multixacts_are_counted_likewise() {
        let mut checkpoint = crate::postgres::Checkpoint::parse(&[0; 88]).unwrap();
        checkpoint.oldest_multi = 1;
        checkpoint.next_multi = 1;
        checkpoint.next_multi_offset = 1;
        // The next one's page is read at the end of recovery, unless none precedes it there.
        let offsets = StatusRange::multixact_offsets(&checkpoint).unwrap();
        assert_eq!(listed(&offsets), named(&[("pg_multixact/offsets/0000", 1)]));
        assert_eq!(StatusRange::multixact_members(&checkpoint, 1), None);
        let mut full = checkpoint;
        (full.oldest_multi, full.next_multi) = (4_096, 4_096);
        assert_eq!(StatusRange::multixact_offsets(&full), None);

        checkpoint.next_multi = 65_537;
        checkpoint.next_multi_offset = 52_353;
        let offsets = StatusRange::multixact_offsets(&checkpoint).unwrap();
        assert_eq!(
            listed(&offsets),
            named(&[
                ("pg_multixact/offsets/0000", 32),
                ("pg_multixact/offsets/0001", 1)
            ])
        );
        let members = StatusRange::multixact_members(&checkpoint, 1).unwrap();
        assert_eq!(
            listed(&members),
            named(&[
                ("pg_multixact/members/0000", 32),
                ("pg_multixact/members/0001", 1)
            ])
        );
        assert_eq!(StatusRange::multixact_members(&checkpoint, 0), None);

        checkpoint.oldest_multi = u32::MAX;
        checkpoint.next_multi = 2;
        checkpoint.next_multi_offset = 2;
        let offsets = StatusRange::multixact_offsets(&checkpoint).unwrap();
        assert_eq!(
            listed(&offsets),
            named(&[
                ("pg_multixact/offsets/FFFF", 32),
                ("pg_multixact/offsets/0000", 1)
            ])
        );
        // The last file of members has fewer pages and a name of five digits.
        let members = StatusRange::multixact_members(&checkpoint, u32::MAX).unwrap();
        assert_eq!(
            listed(&members),
            named(&[
                ("pg_multixact/members/14078", 6),
                ("pg_multixact/members/0000", 1)
            ])
        );
    }

    #[test]
    fn offsets_are_found_in_their_file() {
        let at = |multi| {
            let (file, byte) = offset_place(multi);
            (file.to_string(), byte)
        };
        assert_eq!(at(1), ("pg_multixact/offsets/0000".to_owned(), 4));
        assert_eq!(
            at(65_535),
            ("pg_multixact/offsets/0000".to_owned(), 262_140)
        );
        assert_eq!(at(65_536), ("pg_multixact/offsets/0001".to_owned(), 0));
    }

    #[test]
    fn names_are_read() {
        for path in [
            "pg_xact/0000",
            "pg_xact/0FFF",
            "pg_multixact/offsets/FFFF",
            "pg_multixact/members/14078",
        ] {
            assert_eq!(StatusFile::parse(path).unwrap().to_string(), path);
        }
        for path in [
            "pg_xact",
            "pg_xact/",
            "pg_xact/000",
            "pg_xact/00000",
            "pg_xact/000f",
            "pg_xact/000G",
            "pg_xact/+000",
            "pg_xact/FFFFFFFFF",
            "pg_subtrans/0000",
            "members/0000",
            "x/pg_xact/0000",
        ] {
            assert_eq!(StatusFile::parse(path), None, "{path}");
        }
    }

    #[test]
    fn truncations_of_every_version_are_read() {
        let numbers: Vec<u8> = (0..32).collect();
        let word = |at: u8| u32::from_le_bytes([at, at + 1, at + 2, at + 3]);
        for (major, at) in [(13, 4), (16, 4), (17, 8), (18, 8)] {
            assert_eq!(
                truncation(3, 0x10, major, &numbers),
                Some(StatusTruncation::Transactions {
                    oldest_xid: word(at)
                })
            );
            assert_eq!(
                truncation(6, 0x30, major, &numbers),
                Some(StatusTruncation::Multixacts {
                    oldest_multi: word(8),
                    oldest_offset: word(16).into()
                })
            );
        }
        assert_eq!(truncation(3, 0x00, 15, &numbers), None);
        assert_eq!(truncation(6, 0x20, 15, &numbers), None);
        assert_eq!(truncation(3, 0x10, 15, &numbers[..7]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Every transaction in between has its page in the list, each file is named once.
        #[test]
        fn every_transaction_has_its_page(oldest in 3u32.., span in 1u32..1 << 31, pick in 0u32..1 << 31) {
            let next = oldest.wrapping_add(span);
            prop_assume!(next > 3);
            let files = listed(&StatusRange::transactions_between(oldest, next));
            let xid = oldest.wrapping_add(pick % span);
            let name = format!("pg_xact/{:04X}", xid >> 20);
            let page = u64::from(xid >> 15) % 32;
            let found: Vec<_> = files.iter().filter(|(file, _)| *file == name).collect();
            prop_assert_eq!(found.len(), 1);
            prop_assert!(found[0].1 > page);
        }

        #[test]
        fn any_range_ends(oldest: u32, next: u32) {
            let range = StatusRange::transactions_between(oldest, next);
            prop_assert!(range.files().count() <= 4096);
        }
    }
}
