//! The pages of one file of a relation, judged as they pass.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::PageCounts;
use super::context::BaseContext;
use super::doubt::{Doubt, DoubtfulBlock, Runs};
use super::touched::Expected;
use super::visibility;
use crate::postgres::Lsn;
use crate::postgres::page::{self, BLOCK_SIZE, PageVerdict};
use crate::postgres::relation_file::{Fork, RelationFile};

/// Blocks in one file of a relation (`RELSEG_SIZE`) unless PostgreSQL was built otherwise,
/// which the control file tells at the end.
pub(super) const SEGMENT_BLOCKS: u32 = 131_072;

/// Judges the pages of one file.
#[derive(Debug)]
pub(super) struct RelationReader {
    context: Arc<BaseContext>,
    file: RelationFile,
    archive: u16,
    first_block: u32,
    /// Blocks judged so far.
    blocks: u32,
    /// The beginning of a block whose end has not come yet.
    carry: Vec<u8>,
    expected: Expected,
    found: FileFound,
}

/// What the pages of a file came to.
#[derive(Debug, Default)]
pub(super) struct FileFound {
    pub(super) counts: PageCounts,
    pub(super) doubts: Vec<DoubtfulBlock>,
    /// Pages of which only the checksum is wrong: doubtful if the cluster has checksums,
    /// which the control file tells, often as the last file of all.
    pub(super) unsummed: Runs,
    /// What the first of them has.
    pub(super) first_unsummed: Option<(u16, u16)>,
    /// How many they are.
    pub(super) unsummed_pages: u64,
    /// Pages of zeros in the main fork.
    pub(super) new: Runs,
    /// Blocks that a visibility map says are all-visible.
    pub(super) visible: Runs,
    /// The latest change of a page in the main fork, and the block.
    pub(super) latest: (Lsn, u32),
    /// How many blocks were held against what WAL says of them.
    pub(super) compared: u64,
    /// Bytes behind the last whole block, and whether all of them are zero.
    pub(super) rest: Option<(u16, bool)>,
}

impl RelationReader {
    /// Begins a file. `carry` is a buffer to be used again.
    pub(super) fn new(
        context: Arc<BaseContext>,
        file: RelationFile,
        archive: u16,
        mut carry: Vec<u8>,
    ) -> Self {
        carry.clear();
        let first_block = file.first_block(SEGMENT_BLOCKS).unwrap_or(u32::MAX);
        let expected = match (&context.touched, file.fork) {
            (Some(touched), Fork::Main) => {
                touched.of_file(file.locator, first_block, SEGMENT_BLOCKS)
            }
            _ => Expected::default(),
        };
        Self {
            context,
            file,
            archive,
            first_block,
            blocks: 0,
            carry,
            expected,
            found: FileFound::default(),
        }
    }

    /// Takes the file's next bytes. Blocks that lie whole in them are judged in place.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        if !self.carry.is_empty() {
            let missing = BLOCK_SIZE - self.carry.len();
            let Some((head, rest)) = bytes.split_at_checked(missing) else {
                self.carry.extend_from_slice(bytes);
                return;
            };
            self.carry.extend_from_slice(head);
            let carry = std::mem::take(&mut self.carry);
            if let Ok(block) = carry.as_slice().try_into() {
                self.judge(block);
            }
            self.carry = carry;
            self.carry.clear();
            bytes = rest;
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK_SIZE>();
        for block in blocks {
            self.judge(block);
        }
        self.carry.extend_from_slice(rest);
    }

    /// Ends the file: the file, its whole blocks, what was found, and the buffer.
    pub(super) fn end(mut self) -> (RelationFile, u32, FileFound, Vec<u8>) {
        if let Ok(bytes) = u16::try_from(self.carry.len())
            && bytes > 0
        {
            let zero = self.carry.iter().all(|byte| *byte == 0);
            self.found.rest = Some((bytes, zero));
        }
        (self.file, self.blocks, self.found, self.carry)
    }

    fn judge(&mut self, page: &[u8; BLOCK_SIZE]) {
        let block = self.first_block.saturating_add(self.blocks);
        self.blocks = self.blocks.saturating_add(1);
        self.found.counts.read += 1;
        let checksums = self.context.checksums != Some(false);
        match page::judge(page, block, checksums) {
            PageVerdict::New => {
                if self.file.fork == Fork::Main {
                    self.found.new.push(block);
                }
                if !self.is_doubtful(page, block, Lsn::INVALID) {
                    self.found.counts.new += 1;
                }
            }
            PageVerdict::Sound { lsn } => {
                if lsn > self.found.latest.0 && self.file.fork == Fork::Main {
                    self.found.latest = (lsn, block);
                }
                self.look_at_map(page, block);
                if self.is_doubtful(page, block, lsn) {
                } else if checksums {
                    self.found.counts.sound += 1;
                } else {
                    self.found.counts.without_checksum += 1;
                }
            }
            PageVerdict::BadChecksum {
                lsn,
                found,
                computed,
            } => self.unsummed(page, block, lsn, (found, computed)),
            PageVerdict::BadHeader { what, .. } => self.fault(block, Doubt::Header(what)),
            PageVerdict::NotAllZero => self.fault(block, Doubt::NotAllZero),
        }
    }

    /// A page whose checksum is wrong, or that has none.
    fn unsummed(&mut self, page: &[u8; BLOCK_SIZE], block: u32, lsn: Lsn, sums: (u16, u16)) {
        if let PageVerdict::BadHeader { what, .. } = page::judge(page, block, false) {
            self.fault(block, Doubt::Header(what));
            return;
        }
        // A page never had its checksum set when that is zero: the cluster has none, and
        // the rest of the page is as good as it ever is there.
        if sums.0 == 0 {
            self.look_at_map(page, block);
            if self.is_doubtful(page, block, lsn) {
                return;
            }
        }
        self.found.unsummed.push(block);
        self.found.unsummed_pages += 1;
        self.found.first_unsummed.get_or_insert(sums);
    }

    /// Holds a readable page's last change against what is known of it.
    fn is_doubtful(&mut self, page: &[u8; BLOCK_SIZE], block: u32, lsn: Lsn) -> bool {
        // Asked in any case: it goes on to the next block.
        let changed = self.expected.of_block(block);
        if let Some(changed) = changed.filter(|_| !is_gist_as_built(page, lsn)) {
            self.found.compared += 1;
            if lsn < changed {
                let found = lsn;
                self.doubt(block, Doubt::Stale { found, changed });
                return true;
            }
        }
        let logged = matches!(self.file.fork, Fork::Main | Fork::Init);
        if logged && self.context.end.is_some_and(|end| lsn > end) {
            self.doubt(block, Doubt::BeyondEnd(lsn));
            return true;
        }
        false
    }

    /// A page that cannot be read. Maps are only hints: the server begins such a page anew
    /// (`RBM_ZERO_ON_ERROR` in `visibilitymap.c` and `freespace.c`).
    fn fault(&mut self, block: u32, doubt: Doubt) {
        // Seen, though not comparable.
        self.expected.of_block(block);
        match self.file.fork {
            Fork::FreeSpaceMap | Fork::VisibilityMap => self.found.counts.reset += 1,
            Fork::Main | Fork::Init => self.doubt(block, doubt),
        }
    }

    fn doubt(&mut self, block: u32, doubt: Doubt) {
        self.found.counts.suspect += 1;
        let room = self
            .context
            .room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| {
                room.checked_sub(1)
            });
        if room.is_ok() {
            self.found.doubts.push(DoubtfulBlock {
                fork: self.file.fork,
                block,
                archive: self.archive,
                doubt,
            });
        }
    }

    fn look_at_map(&mut self, page: &[u8; BLOCK_SIZE], block: u32) {
        if self.file.fork == Fork::VisibilityMap {
            visibility::all_visible(page, block, &mut |heap_block| {
                self.found.visible.push(heap_block);
            });
        }
    }
}

/// The last two bytes of a page of a GiST index (`GIST_PAGE_ID` in `src/include/access/gist.h`).
const GIST_PAGE_ID: [u8; 2] = 0xFF81_u16.to_le_bytes();

/// The LSN of a GiST page that has not changed since its index was built (`GistBuildLSN`).
const GIST_BUILD: Lsn = Lsn::new(1);

/// Whether a page is one that a sorted build of a GiST index wrote and nothing has changed
/// since. Up to 16 such a build writes pages to the file before it logs their images
/// (`gist_indexsortbuild_flush_ready_pages` in `src/backend/access/gist/gistbuild.c`), so
/// that WAL knows a later change than the page.
fn is_gist_as_built(page: &[u8; BLOCK_SIZE], lsn: Lsn) -> bool {
    lsn == GIST_BUILD && page.ends_with(&GIST_PAGE_ID)
}
