//! What WAL tells of the pages that a later base backup must hold.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::effects;
use super::quick_hash::QuickHash;
use crate::postgres::Lsn;
use crate::postgres::wal::{RelationLocator, WalEvent, WalRecord};

/// The last change of blocks, collected from WAL in order. When a base backup begins, each
/// of these blocks must be in it with this change or a later one: the checkpoint that
/// begins a backup has written them all. What is older is a write that got lost.
///
/// Only main forks count, and only records that set the page's LSN whenever they are
/// written and replayed: of heaps (not the setting of visibility bits), of btrees, and
/// full-page images (not those for hint bits, which two processes may write out of order).
///
/// Memory: some 40 bytes per block kept. Past the limit only blocks whose hash falls into
/// an ever smaller part are kept; which part, [`fraction`](Self::fraction) tells.
#[derive(Debug)]
pub struct TouchedBlocks {
    max_entries: usize,
    blocks: HashMap<RelationLocator, HashMap<u32, Lsn, QuickHash>, QuickHash>,
    entries: usize,
    /// Blocks are kept whose hash ends in that many zero bits.
    halvings: u32,
    hasher: QuickHash,
}

impl TouchedBlocks {
    /// Keeps at most `max_entries` blocks; when there are more, a sample of them.
    pub fn new(max_entries: usize) -> Self {
        Self {
            max_entries: max_entries.max(1),
            blocks: HashMap::default(),
            entries: 0,
            halvings: 0,
            hasher: QuickHash::default(),
        }
    }

    /// Takes the next record.
    pub fn take(&mut self, record: &WalRecord<'_>) {
        if let Some(event) = effects::of_files(record) {
            self.follow(&event);
        }
        self.take_blocks(record);
    }

    /// Takes what a piece of WAL told that comes next. What it removes is gone from here;
    /// what it changed afterwards, it holds.
    pub fn append(&mut self, piece: TouchedPiece) {
        for event in &piece.events {
            self.follow(event);
        }
        for (relation, blocks) in piece.own.blocks {
            for (block, lsn) in blocks {
                self.set(relation, block, lsn);
            }
        }
    }

    fn take_blocks(&mut self, record: &WalRecord<'_>) {
        if !effects::sets_page_lsn(record) {
            return;
        }
        for block in record.blocks() {
            if block.fork == 0 && effects::leaves_lsn(record, &block) {
                self.set(block.relation, block.block, record.end);
            }
        }
    }

    fn set(&mut self, relation: RelationLocator, block: u32, lsn: Lsn) {
        if !self.is_kept(relation, block) {
            return;
        }
        if self
            .blocks
            .entry(relation)
            .or_default()
            .insert(block, lsn)
            .is_none()
        {
            self.entries += 1;
        }
        while self.entries > self.max_entries && self.halvings < u64::BITS - 1 {
            self.halvings += 1;
            let (hasher, halvings) = (&self.hasher, self.halvings);
            self.blocks.retain(|relation, blocks| {
                blocks.retain(|block, _| is_kept(hasher, halvings, *relation, *block));
                !blocks.is_empty()
            });
            self.count();
        }
    }

    fn is_kept(&self, relation: RelationLocator, block: u32) -> bool {
        is_kept(&self.hasher, self.halvings, relation, block)
    }

    fn count(&mut self) {
        self.entries = self.blocks.values().map(HashMap::len).sum();
    }

    /// Forgets what is removed, and what is made anew.
    fn follow(&mut self, event: &WalEvent) {
        match event {
            WalEvent::Commit {
                dropped_relations, ..
            }
            | WalEvent::Abort {
                dropped_relations, ..
            } => {
                for relation in dropped_relations {
                    self.forget(*relation);
                }
            }
            WalEvent::RelationCreate { relation, fork: 0 } => self.forget(*relation),
            WalEvent::RelationTruncate {
                relation,
                blocks,
                main: true,
                ..
            } => {
                if let Some(of_relation) = self.blocks.get_mut(relation) {
                    of_relation.retain(|block, _| block < blocks);
                    self.count();
                }
            }
            WalEvent::DatabaseCreate { directory, .. } => {
                self.forget_where(|of| {
                    of.database == directory.database && of.tablespace == directory.tablespace
                });
            }
            WalEvent::DatabaseDrop {
                database,
                tablespaces,
            } => self.forget_where(|of| {
                of.database == *database && tablespaces.contains(&of.tablespace)
            }),
            _ => {}
        }
    }

    fn forget(&mut self, relation: RelationLocator) {
        if let Some(blocks) = self.blocks.remove(&relation) {
            self.entries -= blocks.len();
        }
    }

    fn forget_where(&mut self, gone: impl Fn(&RelationLocator) -> bool) {
        self.blocks.retain(|relation, _| !gone(relation));
        self.count();
    }

    /// Forgets everything: WAL has a gap here.
    pub fn clear(&mut self) {
        self.blocks.clear();
        self.entries = 0;
    }

    /// How many blocks are kept.
    pub const fn len(&self) -> usize {
        self.entries
    }

    /// Whether no block is kept.
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Which part of the touched blocks is kept, from 0 to 1: 1, 1/2, 1/4 and so on.
    pub fn fraction(&self) -> f64 {
        0.5_f64.powi(i32::try_from(self.halvings).unwrap_or(i32::MAX))
    }

    /// What a backup that begins here must hold. Takes 12 bytes per block.
    pub(super) fn freeze(&self) -> FrozenBlocks {
        let mut relations: Vec<_> = self.blocks.keys().copied().collect();
        relations.sort_unstable();
        let mut frozen = FrozenBlocks::default();
        for relation in relations {
            let begin = frozen.blocks.len();
            if let Some(blocks) = self.blocks.get(&relation) {
                let mut blocks: Vec<_> = blocks.iter().map(|(block, lsn)| (*block, *lsn)).collect();
                blocks.sort_unstable();
                for (block, lsn) in blocks {
                    frozen.blocks.push(block);
                    frozen.lsns.push(lsn);
                }
            }
            frozen
                .relations
                .push((relation, begin..frozen.blocks.len()));
        }
        frozen
            .seen
            .resize_with(frozen.blocks.len().div_ceil(64), AtomicU64::default);
        frozen
    }
}

/// What one piece of WAL tells, collected apart from what lies before it, so that several
/// can be read at once. See [`TouchedBlocks::append`].
///
/// Memory: some 40 bytes per block that the piece changes; a segment of 16 MiB seldom
/// changes more than 100,000.
#[derive(Debug)]
pub struct TouchedPiece {
    own: TouchedBlocks,
    events: Vec<WalEvent>,
}

impl Default for TouchedPiece {
    fn default() -> Self {
        Self {
            own: TouchedBlocks::new(usize::MAX),
            events: Vec::new(),
        }
    }
}

/// A piece as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TouchedData {
    events: Vec<WalEvent>,
    /// Per relation its blocks with the ends of the records that changed them last.
    blocks: Vec<(RelationLocator, Vec<(u32, u64)>)>,
}

impl TouchedPiece {
    /// The piece as plain data.
    pub fn to_data(&self) -> TouchedData {
        let mut blocks: Vec<_> = self
            .own
            .blocks
            .iter()
            .map(|(relation, blocks)| {
                let mut blocks: Vec<(u32, u64)> = blocks
                    .iter()
                    .map(|(block, lsn)| (*block, lsn.bytes()))
                    .collect();
                blocks.sort_unstable();
                (*relation, blocks)
            })
            .collect();
        blocks.sort_unstable();
        TouchedData {
            events: self.events.clone(),
            blocks,
        }
    }

    /// The piece that was written down.
    pub fn of_data(data: TouchedData) -> Self {
        let mut piece = Self::default();
        for (relation, blocks) in data.blocks {
            for (block, lsn) in blocks {
                piece.own.set(relation, block, Lsn::new(lsn));
            }
        }
        piece.events = data.events;
        piece
    }

    /// Takes the next record.
    pub fn take(&mut self, record: &WalRecord<'_>) {
        if let Some(event) = effects::of_files(record) {
            self.follow(event);
        }
        self.own.take_blocks(record);
    }

    fn follow(&mut self, event: WalEvent) {
        self.own.follow(&event);
        self.events.push(event);
    }
}

fn is_kept(hasher: &QuickHash, halvings: u32, relation: RelationLocator, block: u32) -> bool {
    halvings == 0 || hasher.hash_one((relation, block)).trailing_zeros() >= halvings
}

/// [`TouchedBlocks`] in order, for many readers.
#[derive(Debug, Default)]
pub(super) struct FrozenBlocks {
    relations: Vec<(RelationLocator, Range<usize>)>,
    blocks: Vec<u32>,
    lsns: Vec<Lsn>,
    /// One bit per block that was read.
    seen: Vec<AtomicU64>,
}

/// What is known of the blocks of one file, to be asked in ascending order.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Blocks, their changes and their places, in descending order.
    left: Vec<(u32, Lsn)>,
}

impl Expected {
    /// The last change of a block, if it is known. Asked in ascending order.
    pub(super) fn of_block(&mut self, block: u32) -> Option<Lsn> {
        let (next, lsn) = *self.left.last()?;
        if next != block {
            return None;
        }
        self.left.pop();
        Some(lsn)
    }
}

impl FrozenBlocks {
    fn of(&self, relation: RelationLocator) -> Option<Range<usize>> {
        let at = self
            .relations
            .binary_search_by_key(&relation, |(relation, _)| *relation)
            .ok()?;
        self.relations.get(at).map(|(_, range)| range.clone())
    }

    /// What is known of the blocks of a file.
    pub(super) fn of_file(&self, relation: RelationLocator, first: u32, blocks: u32) -> Expected {
        let Some(range) = self.of(relation) else {
            return Expected::default();
        };
        let end = first.saturating_add(blocks);
        let mut left: Vec<(u32, Lsn)> = range
            .filter_map(|at| Some((*self.blocks.get(at)?, *self.lsns.get(at)?)))
            .filter(|(block, _)| (first..end).contains(block))
            .collect();
        left.reverse();
        Expected { left }
    }

    /// Marks the blocks of a file that was read as seen.
    pub(super) fn saw(&self, relation: RelationLocator, first: u32, blocks: u32) {
        let end = first.saturating_add(blocks);
        for at in self.of(relation).into_iter().flatten() {
            if self
                .blocks
                .get(at)
                .is_some_and(|block| (first..end).contains(block))
                && let Some(word) = self.seen.get(at / 64)
            {
                word.fetch_or(1 << (at % 64), Ordering::Relaxed);
            }
        }
    }

    /// The blocks that no file had.
    pub(super) fn unseen(&self) -> impl Iterator<Item = (RelationLocator, u32, Lsn)> + '_ {
        self.relations.iter().flat_map(move |(relation, range)| {
            range.clone().filter_map(move |at| {
                let word = self.seen.get(at / 64)?.load(Ordering::Relaxed);
                if word >> (at % 64) & 1 != 0 {
                    return None;
                }
                Some((*relation, *self.blocks.get(at)?, *self.lsns.get(at)?))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(number: u32) -> RelationLocator {
        RelationLocator {
            tablespace: 1663,
            database: 5,
            relation: number,
        }
    }

    fn unseen(frozen: &FrozenBlocks) -> Vec<(u32, u32, u64)> {
        frozen
            .unseen()
            .map(|(of, block, lsn)| (of.relation, block, lsn.bytes()))
            .collect()
    }

    #[test]
    fn the_last_change_counts_until_the_block_is_gone() {
        let mut touched = TouchedBlocks::new(100);
        for (number, block, lsn) in [(1, 7, 10), (1, 7, 20), (1, 8, 30), (2, 0, 40), (3, 0, 50)] {
            touched.set(relation(number), block, Lsn::new(lsn));
        }
        assert_eq!(touched.len(), 4);
        let all = [(1, 7, 20), (1, 8, 30), (2, 0, 40), (3, 0, 50)];
        assert_eq!(unseen(&touched.freeze()), all);
        touched.follow(&WalEvent::RelationTruncate {
            relation: relation(1),
            blocks: 8,
            main: true,
            visibility_map: true,
            free_space_map: true,
        });
        touched.follow(&WalEvent::RelationCreate {
            relation: relation(2),
            fork: 0,
        });
        // The map of the free space is another file.
        touched.follow(&WalEvent::RelationCreate {
            relation: relation(3),
            fork: 1,
        });
        assert_eq!(unseen(&touched.freeze()), [(1, 7, 20), (3, 0, 50)]);
        touched.follow(&WalEvent::DatabaseDrop {
            database: 5,
            tablespaces: vec![1663],
        });
        assert!(touched.is_empty());
    }

    #[test]
    fn pieces_tell_what_the_whole_tells() {
        // A small generator of numbers (Knuth's MMIX): the same operations in every run.
        let mut state = 7_u64;
        let mut below = |limit: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % limit
        };
        let (mut whole, mut joined) = (TouchedBlocks::new(1_000), TouchedBlocks::new(1_000));
        let mut piece = TouchedPiece::default();
        for at in 1..3_000 {
            let of = relation(u32::try_from(below(5)).unwrap());
            let block = u32::try_from(below(40)).unwrap();
            let event = match below(60) {
                0 => Some(WalEvent::RelationCreate {
                    relation: of,
                    fork: 0,
                }),
                1 => Some(WalEvent::RelationTruncate {
                    relation: of,
                    blocks: block,
                    main: true,
                    visibility_map: true,
                    free_space_map: true,
                }),
                2 if below(4) == 0 => Some(WalEvent::DatabaseDrop {
                    database: 5,
                    tablespaces: vec![1663],
                }),
                _ => None,
            };
            if let Some(event) = event {
                whole.follow(&event);
                piece.follow(event);
            } else {
                whole.set(of, block, Lsn::new(at));
                piece.own.set(of, block, Lsn::new(at));
            }
            if below(25) == 0 {
                joined.append(std::mem::take(&mut piece));
                assert_eq!(unseen(&joined.freeze()), unseen(&whole.freeze()), "{at}");
                assert_eq!(joined.len(), whole.len());
            }
        }
        assert!(whole.len() > 20, "{}", whole.len());
    }

    #[test]
    fn a_file_is_asked_in_order_and_marks_what_it_has() {
        let mut touched = TouchedBlocks::new(100);
        for (block, lsn) in [(2, 20), (5, 50), (SEGMENT, 90)] {
            touched.set(relation(1), block, Lsn::new(lsn));
        }
        let frozen = touched.freeze();
        let mut first = frozen.of_file(relation(1), 0, SEGMENT);
        let asked: Vec<_> = (0..8).filter_map(|block| first.of_block(block)).collect();
        assert_eq!(asked, [Lsn::new(20), Lsn::new(50)]);
        assert_eq!(frozen.of_file(relation(2), 0, 100).of_block(2), None);
        frozen.saw(relation(1), 0, 4);
        assert_eq!(unseen(&frozen), [(1, 5, 50), (1, SEGMENT, 90)]);
    }

    const SEGMENT: u32 = 131_072;

    #[test]
    fn beyond_the_limit_a_stated_part_is_kept() {
        let mut touched = TouchedBlocks::new(1_000);
        for block in 0..5_000 {
            touched.set(relation(1), block, Lsn::new(u64::from(block)));
        }
        assert!(
            touched.len() <= 1_000 && touched.len() > 300,
            "{}",
            touched.len()
        );
        let expected = 5_000.0 * touched.fraction();
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let kept = touched.len() as f64;
        assert!((kept / expected - 1.0).abs() < 0.3, "{kept} of {expected}");
        touched.clear();
        assert_eq!(touched.len(), 0);
    }
}
