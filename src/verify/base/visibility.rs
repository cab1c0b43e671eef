//! Pages of visibility maps.

use crate::postgres::page::BLOCK_SIZE;

/// Bytes of the page header, aligned (`MAXALIGN(SizeOfPageHeaderData)`).
const HEADER: usize = 24;
/// Heap blocks per byte: two bits each, the lower one for all-visible, the upper one for
/// all-frozen (`src/include/access/visibilitymapdefs.h`).
const PER_BYTE: u32 = 4;
/// Heap blocks per page (`HEAPBLOCKS_PER_PAGE`): what is behind the header.
const PER_PAGE: u32 = 8168 * PER_BYTE;

/// Hands out the heap blocks that a page of a visibility map says are all-visible, in
/// ascending order. `block` is the page's number within the map.
pub(super) fn all_visible(page: &[u8; BLOCK_SIZE], block: u32, take: &mut dyn FnMut(u32)) {
    let Some(first) = block.checked_mul(PER_PAGE) else {
        return;
    };
    let (_, map) = page.split_at(HEADER);
    for (byte, at) in map.iter().zip((first..).step_by(PER_BYTE as usize)) {
        if *byte == 0 {
            continue;
        }
        for within in 0..PER_BYTE {
            if byte >> (2 * within) & 1 != 0 {
                take(at.saturating_add(within));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_bit_of_each_pair_counts() {
        assert_eq!(PER_PAGE as usize, (BLOCK_SIZE - HEADER) * PER_BYTE as usize);
        let mut page = [0; BLOCK_SIZE];
        page[HEADER] = 0b1101_1001;
        page[BLOCK_SIZE - 1] = 0b0100_0000;
        // Bytes of the header are none of the map.
        page[0] = 0xFF;
        let mut seen = Vec::new();
        all_visible(&page, 1, &mut |block| seen.push(block));
        assert_eq!(seen, [32_672, 32_674, 32_675, 65_343]);
        seen.clear();
        all_visible(&page, u32::MAX, &mut |block| seen.push(block));
        assert!(seen.is_empty());
    }
}
