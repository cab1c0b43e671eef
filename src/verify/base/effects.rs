//! What a record does to files as a whole, and to the LSN of pages.

use crate::postgres::wal::{BlockReference, WalEvent, WalRecord};

// Resource managers, `src/include/access/rmgrlist.h`.
const XLOG: u8 = 0;
const TRANSACTION: u8 = 1;
const STORAGE: u8 = 2;
const DATABASE: u8 = 4;
const TABLESPACE: u8 = 5;
const RELATION_MAP: u8 = 7;
const HEAP2: u8 = 9;
const HEAP: u8 = 10;
const BTREE: u8 = 11;

/// `XLOG_FPI` in `src/include/catalog/pg_control.h`.
const FULL_PAGE_IMAGE: u8 = 0xB0;
/// `XLOG_HEAP2_VISIBLE`, which sets the heap page's LSN only with checksums or
/// `wal_log_hints`.
const HEAP2_VISIBLE: u8 = 0x40;
/// `XLOG_HEAP_OPMASK`.
const HEAP_MASK: u8 = 0x70;
const INFO_MASK: u8 = 0xF0;
/// A compressed image of fewer bytes may be one of a page of zeros.
const NEARLY_NOTHING: u16 = 256;

/// What a record does to whole files; `None` for most records, at the cost of a look at
/// their resource manager.
pub(super) fn of_files(record: &WalRecord<'_>) -> Option<WalEvent> {
    match record.resource_manager {
        TRANSACTION | STORAGE | DATABASE | TABLESPACE | RELATION_MAP => record.event(),
        _ => None,
    }
}

/// Whether a record belongs to a kind that always gives the pages of its blocks in main
/// forks its own end as their LSN. Kinds in doubt are left out.
pub(super) const fn sets_page_lsn(record: &WalRecord<'_>) -> bool {
    match record.resource_manager {
        XLOG => record.info & INFO_MASK == FULL_PAGE_IMAGE,
        // 19 logs visibility with pruning and may leave the heap page's LSN alone.
        HEAP2 => record.info & HEAP_MASK != HEAP2_VISIBLE && record.major() < 19,
        HEAP | BTREE => true,
        _ => false,
    }
}

/// Whether this very block gets the LSN. The image of a page of zeros leaves it without
/// one (`log_newpage`); such an image has no hole.
pub(super) fn leaves_lsn(record: &WalRecord<'_>, block: &BlockReference) -> bool {
    if record.resource_manager != XLOG {
        return true;
    }
    block.image.is_some_and(|image| {
        if image.compressed {
            image.length >= NEARLY_NOTHING
        } else {
            usize::from(image.length) < crate::postgres::page::BLOCK_SIZE
        }
    })
}
