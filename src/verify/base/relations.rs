//! The relations of a base backup, as their files tell.

use std::collections::HashMap;

use super::PageCounts;
use super::doubt::{Doubt, DoubtfulBlock, Runs};
use super::relation_reader::{FileFound, SEGMENT_BLOCKS};
use super::suspects::{Gap, RelationSuspects};
use crate::postgres::Lsn;
use crate::postgres::relation_file::{Fork, RelationFile};
use crate::postgres::wal::RelationLocator;

/// The most blocks of one relation for which a map and its heap are said to differ.
const MAP_DOUBTS: usize = 1_024;

/// All relations. Memory: some 300 bytes per relation, and what was found.
#[derive(Debug, Default)]
pub(super) struct Relations {
    relations: HashMap<RelationLocator, Relation>,
}

/// One relation.
#[derive(Debug, Default)]
pub(super) struct Relation {
    files: Vec<SegmentFile>,
    doubts: Vec<DoubtfulBlock>,
    unsummed: Vec<Unsummed>,
    new: Runs,
    visible: Runs,
    latest: (Lsn, u32),
}

/// One file that was read.
#[derive(Clone, Copy, Debug)]
struct SegmentFile {
    fork: Fork,
    segment: u32,
    blocks: u32,
    rest: Option<(u16, bool)>,
    archive: u16,
}

/// Pages of one file of which only the checksum is wrong.
#[derive(Debug)]
struct Unsummed {
    fork: Fork,
    archive: u16,
    blocks: Runs,
    pages: u64,
    first: (u16, u16),
}

/// What holds for all relations of a backup.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// Whether the cluster has page checksums.
    pub(super) checksums: bool,
    /// Whether everything was read, so that what was not seen is not there.
    pub(super) complete: bool,
}

impl Relations {
    /// Adds a file that was read.
    pub(super) fn add(&mut self, file: RelationFile, archive: u16, blocks: u32, found: FileFound) {
        let relation = self.relations.entry(file.locator).or_default();
        relation.files.push(SegmentFile {
            fork: file.fork,
            segment: file.segment,
            blocks,
            rest: found.rest,
            archive,
        });
        relation.doubts.extend(found.doubts);
        relation.new.merge(found.new);
        relation.visible.merge(found.visible);
        relation.latest = relation.latest.max(found.latest);
        if let Some(first) = found.first_unsummed {
            relation.unsummed.push(Unsummed {
                fork: file.fork,
                archive,
                blocks: found.unsummed,
                pages: found.unsummed_pages,
                first,
            });
        }
    }

    /// Adds the relations of another archive.
    pub(super) fn merge(&mut self, other: Self) {
        if self.relations.is_empty() {
            *self = other;
            return;
        }
        for (locator, more) in other.relations {
            let relation = self.relations.entry(locator).or_default();
            relation.files.extend(more.files);
            relation.doubts.extend(more.doubts);
            relation.unsummed.extend(more.unsummed);
            relation.new.merge(more.new);
            relation.visible.merge(more.visible);
            relation.latest = relation.latest.max(more.latest);
        }
    }

    /// How many files there are.
    pub(super) fn files(&self) -> u64 {
        self.relations
            .values()
            .map(|relation| relation.files.len() as u64)
            .sum()
    }

    /// How many relations have more stretches of empty or visible blocks than are kept.
    pub(super) fn patchy(&self) -> usize {
        self.relations
            .values()
            .filter(|relation| relation.new.overflowed() || relation.visible.overflowed())
            .count()
    }

    /// The databases that have relations, 0 for shared ones.
    pub(super) fn databases(&self) -> std::collections::BTreeSet<u32> {
        self.relations
            .keys()
            .map(|locator| locator.database)
            .collect()
    }

    /// Whether a relation has its first main file.
    pub(super) fn has_main(&self, locator: RelationLocator) -> bool {
        self.relations
            .get(&locator)
            .is_some_and(|relation| relation.main().any(|file| file.segment == 0))
    }

    /// Adds a block that no file has, though it should be there.
    pub(super) fn add_absent(&mut self, locator: RelationLocator, block: u32, changed: Lsn) {
        let Some(relation) = self.relations.get_mut(&locator) else {
            return;
        };
        let archive = relation.main().next().map(|file| file.archive);
        if let Some(archive) = archive.filter(|_| !relation.is_unlogged()) {
            relation.doubts.push(DoubtfulBlock {
                fork: Fork::Main,
                block,
                archive,
                doubt: Doubt::Absent { changed },
            });
        }
    }

    /// The latest change of a page of a relation that recovery does not reset.
    pub(super) fn latest(&self) -> Option<(RelationLocator, u32, Lsn)> {
        self.relations
            .iter()
            .filter(|(_, relation)| !relation.is_unlogged())
            .map(|(locator, relation)| (*locator, relation.latest.1, relation.latest.0))
            .max_by_key(|(_, _, lsn)| *lsn)
    }

    /// What is left for WAL to decide, by relation. `counts` are the pages as counted while
    /// they were read; pages with nothing but a wrong checksum find their place here. `room`
    /// is how many more suspects may be kept.
    pub(super) fn into_suspects(
        self,
        setting: Setting,
        counts: &mut PageCounts,
        room: &mut usize,
    ) -> HashMap<RelationLocator, RelationSuspects> {
        let mut suspects = HashMap::new();
        for (locator, relation) in self.relations {
            let of_relation = relation.into_suspects(setting, counts, room);
            if !of_relation.is_empty() {
                suspects.insert(locator, of_relation);
            }
        }
        suspects
    }
}

impl Relation {
    fn of_fork(&self, fork: Fork) -> impl Iterator<Item = &SegmentFile> {
        self.files.iter().filter(move |file| file.fork == fork)
    }

    fn main(&self) -> impl Iterator<Item = &SegmentFile> {
        self.of_fork(Fork::Main)
    }

    /// Recovery resets what has an init fork.
    fn is_unlogged(&self) -> bool {
        self.of_fork(Fork::Init).next().is_some()
    }

    fn into_suspects(
        mut self,
        setting: Setting,
        counts: &mut PageCounts,
        room: &mut usize,
    ) -> RelationSuspects {
        self.files
            .sort_unstable_by_key(|file| (file.fork, file.segment));
        let unlogged = self.is_unlogged();
        self.settle_checksums(setting.checksums, counts, room);
        if unlogged {
            let (kept, reset): (Vec<_>, Vec<_>) = std::mem::take(&mut self.doubts)
                .into_iter()
                .partition(|doubtful| doubtful.fork == Fork::Init);
            self.doubts = kept;
            let pages = reset.iter().filter(|of| of.doubt.is_page()).count() as u64;
            counts.suspect -= pages.min(counts.suspect);
            counts.reset += pages;
        } else {
            self.compare_map(setting, counts);
        }
        let mut gaps = Vec::new();
        for fork in [Fork::Main, Fork::Init] {
            if fork == Fork::Main && unlogged {
                continue;
            }
            self.cut_ends(fork);
            if setting.complete {
                self.gaps(fork, &mut gaps);
            }
        }
        if setting.complete
            && !unlogged
            && self.main().next().is_none()
            && let Some(file) = self.files.first()
        {
            gaps.push(Gap::missing(0, file.archive));
        }
        RelationSuspects::new(self.doubts, gaps)
    }

    /// Decides on the pages of which only the checksum is wrong.
    fn settle_checksums(&mut self, checksums: bool, counts: &mut PageCounts, room: &mut usize) {
        for unsummed in std::mem::take(&mut self.unsummed) {
            let map = matches!(unsummed.fork, Fork::FreeSpaceMap | Fork::VisibilityMap);
            if !checksums {
                counts.without_checksum += unsummed.pages;
            } else if map {
                counts.reset += unsummed.pages;
            } else {
                counts.suspect += unsummed.pages;
                let (found, computed) = unsummed.first;
                let before = self.doubts.len();
                let doubts = unsummed.blocks.from(0).map(|block| DoubtfulBlock {
                    fork: unsummed.fork,
                    block,
                    archive: unsummed.archive,
                    doubt: Doubt::Checksum { found, computed },
                });
                self.doubts.extend(doubts.take(*room));
                *room -= self.doubts.len() - before;
            }
        }
    }

    /// Files that end within a block, other than in zeros, which are only room.
    fn cut_ends(&mut self, fork: Fork) {
        let cut: Vec<_> = self
            .of_fork(fork)
            .filter_map(|file| {
                let (bytes, zero) = file.rest?;
                let first = file.segment.checked_mul(SEGMENT_BLOCKS)?;
                (!zero).then_some(DoubtfulBlock {
                    fork,
                    block: first.saturating_add(file.blocks),
                    archive: file.archive,
                    doubt: Doubt::Cut { bytes },
                })
            })
            .collect();
        self.doubts.extend(cut);
    }

    /// Files that are missing or short although later ones hold blocks. A truncated
    /// relation keeps its later files, with nothing in them (`mdtruncate` in
    /// `src/backend/storage/smgr/md.c`).
    fn gaps(&self, fork: Fork, gaps: &mut Vec<Gap>) {
        let Some(last) = self
            .of_fork(fork)
            .filter(|file| file.blocks > 0)
            .map(|file| file.segment)
            .max()
        else {
            return;
        };
        let mut expected = 0;
        let Some(archive) = self.of_fork(fork).next().map(|file| file.archive) else {
            return;
        };
        for file in self.of_fork(fork).filter(|file| file.segment <= last) {
            if file.segment > expected {
                gaps.push(Gap::missing(expected, archive));
            }
            if file.segment < last && file.blocks < SEGMENT_BLOCKS {
                gaps.push(Gap::short(file.segment, file.blocks, file.archive));
            }
            expected = file.segment.saturating_add(1);
        }
    }

    /// How many blocks the main fork has, as PostgreSQL counts: up to the first file that
    /// is not full.
    fn main_blocks(&self) -> u32 {
        let mut blocks = 0_u32;
        for (file, segment) in self.main().zip(0..) {
            if file.segment != segment {
                break;
            }
            blocks = blocks.saturating_add(file.blocks);
            if file.blocks < SEGMENT_BLOCKS {
                break;
            }
        }
        blocks
    }

    /// A visibility map says nothing good of blocks that are not there or not filled: the
    /// heap lost something, or the map is older or newer than it, which WAL makes good.
    fn compare_map(&mut self, setting: Setting, counts: &mut PageCounts) {
        if self.visible.is_empty() {
            return;
        }
        let Some(archive) = self.main().next().map(|file| file.archive) else {
            return;
        };
        let doubtful = |block, doubt| DoubtfulBlock {
            fork: Fork::Main,
            block,
            archive,
            doubt,
        };
        let known: std::collections::HashSet<u32> = self
            .doubts
            .iter()
            .filter(|doubtful| doubtful.fork == Fork::Main)
            .map(|doubtful| doubtful.block)
            .collect();
        let new: Vec<_> = self
            .visible
            .common(&self.new)
            .filter(|block| !known.contains(block))
            .take(MAP_DOUBTS)
            .map(|block| doubtful(block, Doubt::VisibleYetNew))
            .collect();
        counts.new -= (new.len() as u64).min(counts.new);
        counts.suspect += new.len() as u64;
        let absent: Vec<_> = if setting.complete {
            self.visible
                .from(self.main_blocks())
                .take(MAP_DOUBTS)
                .map(|block| doubtful(block, Doubt::VisibleYetAbsent))
                .collect()
        } else {
            Vec::new()
        };
        self.doubts.extend(new);
        self.doubts.extend(absent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCATOR: RelationLocator = RelationLocator {
        tablespace: 1663,
        database: 5,
        relation: 16_400,
    };

    fn add(relations: &mut Relations, fork: Fork, segment: u32, blocks: u32, found: FileFound) {
        let file = RelationFile {
            locator: LOCATOR,
            fork,
            segment,
            backend: None,
        };
        relations.add(file, 0, blocks, found);
    }

    fn judge(relations: Relations, counts: &mut PageCounts) -> RelationSuspects {
        let setting = Setting {
            checksums: true,
            complete: true,
        };
        let mut room = 1_000;
        let mut suspects = relations.into_suspects(setting, counts, &mut room);
        suspects.remove(&LOCATOR).unwrap_or_default()
    }

    fn files(sizes: &[(Fork, u32, u32)]) -> Vec<Gap> {
        let mut relations = Relations::default();
        for (fork, segment, blocks) in sizes {
            add(
                &mut relations,
                *fork,
                *segment,
                *blocks,
                FileFound::default(),
            );
        }
        judge(relations, &mut PageCounts::default()).gaps
    }

    #[test]
    fn files_must_follow_each_other_in_full() {
        use Fork::{FreeSpaceMap, Init, Main};
        let full = SEGMENT_BLOCKS;
        assert_eq!(files(&[(Main, 1, 7), (Main, 0, full)]), []);
        // A truncated relation keeps empty files.
        assert_eq!(files(&[(Main, 0, 3), (Main, 1, 0), (Main, 2, 0)]), []);
        assert_eq!(files(&[(Main, 0, 3), (FreeSpaceMap, 0, 3)]), []);
        // Recovery makes the main fork of an unlogged relation anew.
        assert_eq!(files(&[(Init, 0, 1), (FreeSpaceMap, 0, 3)]), []);
        assert_eq!(files(&[(Init, 0, 1), (Main, 1, 5)]), []);

        let short = Gap::short(0, full - 1, 0);
        assert_eq!(files(&[(Main, 0, full - 1), (Main, 1, 7)]), [short]);
        let missing = |segment| Gap::missing(segment, 0);
        assert_eq!(files(&[(Main, 1, 7)]), [missing(0)]);
        assert_eq!(files(&[(Main, 0, full), (Main, 2, 7)]), [missing(1)]);
        assert_eq!(files(&[(FreeSpaceMap, 0, 3)]), [missing(0)]);
    }

    #[test]
    fn growth_and_truncation_during_the_copy_close_gaps() {
        let suspects = || RelationSuspects::new(Vec::new(), vec![Gap::short(0, 100, 0)]);
        let mut grown = suspects();
        grown.renew(Fork::Main, 99);
        grown.renew(Fork::VisibilityMap, 100);
        grown.renew(Fork::Main, 100_000);
        assert!(!grown.gaps[0].healed);
        grown.renew(Fork::Main, 100);
        assert!(grown.gaps[0].healed);
        let mut cut = suspects();
        cut.truncate(Fork::Main, 101);
        assert!(!cut.gaps[0].healed);
        cut.truncate(Fork::Main, 100);
        assert!(cut.gaps[0].healed);
    }

    #[test]
    fn a_map_that_knows_more_than_the_heap_is_doubtful() {
        let of = |numbers: &[u32]| {
            let mut runs = Runs::default();
            for number in numbers {
                runs.push(*number);
            }
            runs
        };
        let mut relations = Relations::default();
        let heap = FileFound {
            new: of(&[3, 9]),
            ..FileFound::default()
        };
        let map = FileFound {
            visible: of(&[0, 1, 2, 3, 10, 11]),
            ..FileFound::default()
        };
        add(&mut relations, Fork::Main, 0, 10, heap);
        add(&mut relations, Fork::VisibilityMap, 0, 1, map);
        let mut counts = PageCounts {
            read: 11,
            new: 2,
            sound: 9,
            ..PageCounts::default()
        };
        let doubts: Vec<_> = judge(relations, &mut counts)
            .blocks
            .into_iter()
            .map(|(of, _)| (of.block, of.doubt))
            .collect();
        let expected = [
            (3, Doubt::VisibleYetNew),
            (10, Doubt::VisibleYetAbsent),
            (11, Doubt::VisibleYetAbsent),
        ];
        assert_eq!(doubts, expected);
        assert_eq!((counts.new, counts.suspect), (1, 1));
    }

    #[test]
    fn unlogged_pages_are_reset_and_those_of_the_init_fork_are_not() {
        let bad = |fork| FileFound {
            doubts: vec![DoubtfulBlock {
                fork,
                block: 0,
                archive: 0,
                doubt: Doubt::NotAllZero,
            }],
            rest: Some((100, false)),
            ..FileFound::default()
        };
        let mut relations = Relations::default();
        add(&mut relations, Fork::Main, 0, 1, bad(Fork::Main));
        add(&mut relations, Fork::Init, 0, 1, bad(Fork::Init));
        let mut counts = PageCounts {
            read: 2,
            suspect: 2,
            ..PageCounts::default()
        };
        let left = judge(relations, &mut counts).blocks;
        assert!(left.iter().all(|(of, _)| of.fork == Fork::Init));
        // The page, and the piece behind it.
        assert_eq!(left.len(), 2);
        assert_eq!((counts.reset, counts.suspect), (1, 1));
    }
}
