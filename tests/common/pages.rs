//! Data pages and control files as bytes, with checksums that can be made right again.
//! Written apart from the code under test (`checksum_impl.h`, `bufpage.h`, `pg_control.h`).

/// Bytes of a block.
pub const BLOCK: usize = 8192;

const SUMS: usize = 32;
const PRIME: u32 = 16_777_619;
const OFFSETS: [u32; SUMS] = [
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

/// A page's checksum as block `block` of its relation.
pub fn checksum(page: &[u8], block: u32) -> u16 {
    let mut page = page.to_vec();
    page[8..10].fill(0);
    let mut sums = OFFSETS;
    let mut round = |words: &mut dyn Iterator<Item = u32>| {
        for (sum, word) in sums.iter_mut().zip(words) {
            let mixed = *sum ^ word;
            *sum = mixed.wrapping_mul(PRIME) ^ (mixed >> 17);
        }
    };
    for row in page.chunks_exact(4 * SUMS) {
        round(
            &mut row
                .chunks_exact(4)
                .map(|word| u32::from_le_bytes(word.try_into().unwrap())),
        );
    }
    round(&mut std::iter::repeat_n(0, SUMS));
    round(&mut std::iter::repeat_n(0, SUMS));
    let mixed = sums.iter().fold(0, |all, sum| all ^ sum) ^ block;
    u16::try_from(mixed % 65535 + 1).unwrap()
}

/// The page's LSN.
pub fn lsn(page: &[u8]) -> u64 {
    let number = |at: usize| u64::from(u32::from_le_bytes(page[at..at + 4].try_into().unwrap()));
    (number(0) << 32) | number(4)
}

/// Gives a page another LSN.
pub fn set_lsn(page: &mut [u8], lsn: u64) {
    page[0..4].copy_from_slice(&u32::try_from(lsn >> 32).unwrap().to_le_bytes());
    page[4..8].copy_from_slice(&u32::try_from(lsn & 0xFFFF_FFFF).unwrap().to_le_bytes());
}

/// Gives a page the checksum that goes with what it is now.
pub fn seal(page: &mut [u8], block: u32) {
    let sum = checksum(page, block);
    page[8..10].copy_from_slice(&sum.to_le_bytes());
}

/// Gives a control file (or a relation map) the CRC that goes with what it is after `change`.
/// Its place depends on the version; it is where the CRC of all bytes before it stands.
pub fn change_control(control: &mut [u8], change: impl FnOnce(&mut [u8])) {
    let number = |at: usize| u32::from_le_bytes(control[at..at + 4].try_into().unwrap());
    let at = (200..512)
        .step_by(4)
        .find(|&at| at + 4 <= control.len() && crc32c::crc32c(&control[..at]) == number(at))
        .expect("no CRC in the control file");
    change(&mut control[..at]);
    let sum = crc32c::crc32c(&control[..at]);
    control[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}
