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
