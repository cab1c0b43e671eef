//! Data pages: header and checksum.

use std::sync::LazyLock;

use fearless_simd::Level;
use serde::Serialize;

use super::Lsn;
use super::little_endian::{u16_at, u32_at};

/// Bytes of a data page. Other sizes need a server of one's own build and are refused when
/// the control file is looked at.
pub const BLOCK_SIZE: usize = 8192;

/// Where the checksum stands in the page (`pd_checksum`); it counts as zero in the sum.
const CHECKSUM_AT: usize = 8;

/// Sums that run side by side, each over every 32nd word (`N_SUMS`).
const LANES: usize = 32;
const ROW: usize = LANES * size_of::<u32>();
const PRIME: u32 = 16_777_619;

/// Where each sum begins (`checksumBaseOffsets`).
const START: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// What can be said of one page by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum PageVerdict {
    /// All zeros: added to the relation and not yet filled.
    New,
    /// PostgreSQL would read it.
    Sound {
        /// The last change of the page.
        lsn: Lsn,
    },
    /// The bytes do not match their checksum: damaged, or torn by a copy that ran while the
    /// page was written.
    BadChecksum {
        /// The last change, if these bytes can still be trusted.
        lsn: Lsn,
        /// The checksum in the page.
        found: u16,
        /// The checksum of its bytes.
        computed: u16,
    },
    /// A header that no server writes.
    BadHeader {
        /// The last change, if these bytes can still be trusted.
        lsn: Lsn,
        /// What is wrong, as a clause: "it has ...".
        what: &'static str,
    },
    /// The header says that the page is new, yet the rest is not zero. PostgreSQL refuses
    /// to read it; `pg_checksums` passes over it.
    NotAllZero,
}

/// What this processor can do.
static LEVEL: LazyLock<Level> = LazyLock::new(Level::new);

/// The checksum of a page (`pg_checksum_page` in `src/include/storage/checksum_impl.h`).
///
/// `block` is the page's number within its fork, counted on through the fork's files. The
/// checksum that the page carries does not enter. Never zero.
pub fn checksum(page: &[u8; BLOCK_SIZE], block: u32) -> u16 {
    // With the widest vectors that this processor has: twice the speed of those that every
    // processor has.
    fearless_simd::dispatch!(*LEVEL, _simd => sum(page, block))
}

#[expect(
    clippy::inline_always,
    reason = "only what is part of the dispatched function is built for its processor"
)]
#[inline(always)]
fn sum(page: &[u8; BLOCK_SIZE], block: u32) -> u16 {
    let (rows, _) = page.as_chunks::<ROW>();
    let mut sums = START;
    if let Some((first, rest)) = rows.split_first() {
        let mut first = *first;
        if let Some(field) = first.get_mut(CHECKSUM_AT..CHECKSUM_AT + 2) {
            field.fill(0);
        }
        mix(&mut sums, &first);
        for row in rest {
            mix(&mut sums, row);
        }
    }
    mix(&mut sums, &[0; ROW]);
    mix(&mut sums, &[0; ROW]);
    let sum = sums.iter().fold(block, |all, sum| all ^ sum);
    // At most 65,535, so the conversion holds.
    u16::try_from(sum % 65_535 + 1).unwrap_or(u16::MAX)
}

/// One round of every sum. Plain enough for the compiler to make vectors of it.
#[expect(clippy::inline_always, reason = "see `sum`")]
#[inline(always)]
fn mix(sums: &mut [u32; LANES], row: &[u8; ROW]) {
    let (words, _) = row.as_chunks::<4>();
    for (sum, word) in sums.iter_mut().zip(words) {
        let mixed = *sum ^ u32::from_le_bytes(*word);
        *sum = mixed.wrapping_mul(PRIME) ^ (mixed >> 17);
    }
}

/// Judges one page as the server does when it reads it (`PageIsVerified` in
/// `src/backend/storage/page/bufpage.c`), which is stricter than `pg_checksums`: headers and
/// new pages are looked at, too. Without checksums only the header can be wrong; then its
/// size and layout version are asked for as well, which the server takes on trust.
///
/// `page` is one block of [`BLOCK_SIZE`] bytes; `block` its number within the fork;
/// `checksums` whether the cluster has them.
pub fn judge(page: &[u8], block: u32, checksums: bool) -> PageVerdict {
    let Ok(page) = <&[u8; BLOCK_SIZE]>::try_from(page) else {
        return PageVerdict::BadHeader {
            lsn: Lsn::INVALID,
            what: "it is not 8192 bytes long",
        };
    };
    let header = Header::read(page);
    if header.upper == 0 {
        return if page == &[0; BLOCK_SIZE] {
            PageVerdict::New
        } else {
            PageVerdict::NotAllZero
        };
    }
    let lsn = header.lsn;
    if checksums {
        let (found, computed) = (header.checksum, checksum(page, block));
        if found != computed {
            return PageVerdict::BadChecksum {
                lsn,
                found,
                computed,
            };
        }
    }
    match header.fault(checksums) {
        Some(what) => PageVerdict::BadHeader { lsn, what },
        None => PageVerdict::Sound { lsn },
    }
}

/// The page's last change (`pd_lsn`), whatever else it holds; zero for a page that no WAL
/// record has touched.
pub fn page_lsn(page: &[u8; BLOCK_SIZE]) -> Lsn {
    Header::read(page).lsn
}

/// The first fields of `PageHeaderData` in `src/include/storage/bufpage.h`.
struct Header {
    lsn: Lsn,
    checksum: u16,
    flags: u16,
    lower: u16,
    upper: u16,
    special: u16,
    size_and_version: u16,
}

impl Header {
    fn read(page: &[u8; BLOCK_SIZE]) -> Self {
        let half = |at| u64::from(u32_at(page, at).unwrap_or_default());
        let number = |at| u16_at(page, at).unwrap_or_default();
        Self {
            // The upper half stands first.
            lsn: Lsn::new(half(0) << 32 | half(4)),
            checksum: number(CHECKSUM_AT),
            flags: number(10),
            lower: number(12),
            upper: number(14),
            special: number(16),
            size_and_version: number(18),
        }
    }

    fn fault(&self, vouched: bool) -> Option<&'static str> {
        // PD_HAS_FREE_LINES, PD_PAGE_FULL, PD_ALL_VISIBLE.
        if self.flags & !0x0007 != 0 {
            return Some("it has flags that no server sets");
        }
        if self.lower > self.upper {
            return Some("its free space ends before it begins");
        }
        if self.upper > self.special {
            return Some("its free space reaches into the special space");
        }
        if usize::from(self.special) > BLOCK_SIZE {
            return Some("its special space begins past the page's end");
        }
        if !self.special.is_multiple_of(8) {
            return Some("its special space is not aligned");
        }
        // 8192 bytes, layout 4, as in every release since 8.3.
        if !vouched && self.size_and_version != 0x2004 {
            return Some("its page size and layout version are not 8192 and 4");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A page that no server wrote, but whose sums pageinspect's `page_checksum` gave.
    fn pattern() -> Box<[u8; BLOCK_SIZE]> {
        let mut page = Box::new([0; BLOCK_SIZE]);
        let mut state: u32 = 1;
        for byte in page.iter_mut() {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            *byte = state.to_le_bytes()[2];
        }
        page
    }

    /// An empty page as `PageInit` leaves it, sealed for `block`.
    fn empty(block: u32) -> Box<[u8; BLOCK_SIZE]> {
        let mut page = Box::new([0; BLOCK_SIZE]);
        page[0..4].copy_from_slice(&0x16_u32.to_le_bytes());
        page[4..8].copy_from_slice(&0xB374_D848_u32.to_le_bytes());
        page[12..14].copy_from_slice(&24_u16.to_le_bytes());
        page[14..16].copy_from_slice(&8176_u16.to_le_bytes());
        page[16..18].copy_from_slice(&8176_u16.to_le_bytes());
        page[18..20].copy_from_slice(&0x2004_u16.to_le_bytes());
        seal(&mut page, block);
        page
    }

    fn seal(page: &mut [u8; BLOCK_SIZE], block: u32) {
        let sum = checksum(page, block);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
    }

    const LSN: Lsn = Lsn::new(0x16_B374_D848);

    #[test]
    fn sums_are_those_of_postgres() {
        let page = pattern();
        for (block, sum) in [
            (0, 27_575),
            (1, 27_576),
            (131_072, 27_577),
            (4_294_967_294, 37_961),
        ] {
            assert_eq!(checksum(&page, block), sum, "block {block}");
        }
        let mut nearly_empty = [0; BLOCK_SIZE];
        nearly_empty[14..16].copy_from_slice(&8176_u16.to_le_bytes());
        assert_eq!(checksum(&nearly_empty, 7), 16_461);
        // The field itself does not enter.
        nearly_empty[8] = 0xAB;
        assert_eq!(checksum(&nearly_empty, 7), 16_461);
    }

    #[test]
    fn a_sound_page_is_sound_only_at_its_place() {
        let page = empty(131_072);
        assert_eq!(page_lsn(&page), LSN);
        assert_eq!(
            judge(&*page, 131_072, true),
            PageVerdict::Sound { lsn: LSN }
        );
        assert!(matches!(
            judge(&*page, 0, true),
            PageVerdict::BadChecksum { lsn: LSN, .. }
        ));
        assert_eq!(judge(&*page, 0, false), PageVerdict::Sound { lsn: LSN });
    }

    #[test]
    fn a_new_page_is_all_zero() {
        let mut page = [0; BLOCK_SIZE];
        assert_eq!(judge(&page, 7, true), PageVerdict::New);
        assert_eq!(judge(&page, 7, false), PageVerdict::New);
        page[BLOCK_SIZE - 1] = 1;
        assert_eq!(judge(&page, 7, true), PageVerdict::NotAllZero);
        assert_eq!(judge(&page, 7, false), PageVerdict::NotAllZero);
    }

    #[test]
    fn every_header_fault_is_named() {
        for (at, value, named) in [
            (10, 0x0008_u16, "flags"),
            (12, 8184, "ends before"),
            (14, 8180, "reaches into"),
            (16, 8200, "past the page's end"),
            (16, 8178, "not aligned"),
            (18, 0x2003, "layout version"),
        ] {
            let mut page = empty(3);
            page[at..at + 2].copy_from_slice(&value.to_le_bytes());
            let what = |verdict| match verdict {
                PageVerdict::BadHeader { lsn: LSN, what } => what,
                other => panic!("{at}: {other:?}"),
            };
            assert!(what(judge(&*page, 3, false)).contains(named));
            assert!(matches!(
                judge(&*page, 3, true),
                PageVerdict::BadChecksum { .. }
            ));
            seal(&mut page, 3);
            if at == 18 {
                // The checksum vouches for it, and the server would read it.
                assert_eq!(judge(&*page, 3, true), PageVerdict::Sound { lsn: LSN });
            } else {
                assert!(what(judge(&*page, 3, true)).contains(named));
            }
        }
    }

    #[test]
    fn a_piece_of_a_page_is_no_page() {
        assert!(matches!(
            judge(&[0; 100], 0, true),
            PageVerdict::BadHeader { .. }
        ));
    }

    proptest! {
        #[test]
        fn any_flip_is_noticed(at in 0..BLOCK_SIZE, bit in 0u8..8) {
            let mut page = empty(5);
            page[at] ^= 1 << bit;
            prop_assert_ne!(judge(&*page, 5, true), PageVerdict::Sound { lsn: LSN });
        }

        #[test]
        fn any_bytes_are_answered(seed: Vec<u8>, block: u32, checksums: bool) {
            let _ = judge(&seed, block, checksums);
            let mut page = empty(block);
            for (to, from) in page.iter_mut().zip(&seed) {
                *to = *from;
            }
            let _ = judge(&*page, block, checksums);
        }
    }
}
