//! What looks wrong in a base backup and may be right.

use std::collections::HashMap;

use super::PageCounts;
use super::doubt::{Doubt, DoubtfulBlock};
use super::effects;
use super::relation_reader::SEGMENT_BLOCKS;
use super::verdicts;
use crate::finding::Finding;
use crate::postgres::Lsn;
use crate::postgres::relation_file::Fork;
use crate::postgres::transaction_status::{self, StatusDirectory, StatusFile, StatusTruncation};
use crate::postgres::wal::{BlockReference, RelationLocator, WalEvent, WalRecord};

/// The most blocks that are kept as suspects, 32 bytes each. A backup with more of them is
/// reported as corrupt with those.
pub(super) const MAX_SUSPECTS: usize = 1_000_000;

/// How far behind a file's end the first block that was added during the copy may lie: a
/// busy relation grows by up to 512 blocks at once (`RelationAddExtraBlocks` in
/// `src/backend/access/heap/hio.c`), and not all of them are used in order.
const GROWTH: u32 = 1_024;

/// What only the WAL from a backup's begin to its end can decide. Show it every record of
/// that stretch in order ([`take`](Self::take)), then [`settle`](Self::settle) it.
///
/// Memory: 32 bytes per doubtful block, at most 1,000,000 of them, and what is known of
/// doubtful files.
#[derive(Debug, Default)]
pub struct Suspects {
    pub(super) place: Place,
    pub(super) counts: PageCounts,
    pub(super) relations: HashMap<RelationLocator, RelationSuspects>,
    pub(super) others: Vec<OtherSuspect>,
    /// Whether there were more than are kept.
    pub(super) overflowed: bool,
}

/// Where the suspects come from, for the words of findings.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) backup_id: String,
    /// The keys of the archives.
    pub(super) archives: Vec<String>,
    /// The directory inside tablespaces, such as `PG_15_202209061`.
    pub(super) version_directory: String,
    /// The backup's begin, zero when it is not known.
    pub(super) begin: Lsn,
    /// The backup's end.
    pub(super) end: Option<Lsn>,
}

/// What is doubtful about one relation.
#[derive(Debug, Default)]
pub(super) struct RelationSuspects {
    /// In order of fork and block, one entry per block.
    pub(super) blocks: Vec<(DoubtfulBlock, bool)>,
    pub(super) gaps: Vec<Gap>,
}

/// A file of a relation that is missing or too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// The file's number.
    pub(super) segment: u32,
    /// Its blocks, `None` when it is not there at all.
    pub(super) blocks: Option<u32>,
    pub(super) archive: u16,
    /// Why it should be there, when that is not plain from other files.
    pub(super) because: Option<&'static str>,
    /// Whether a relation map is why.
    pub(super) mapped: bool,
    pub(super) healed: bool,
}

/// What is doubtful apart from relations' blocks.
#[derive(Clone, Debug)]
pub(super) struct OtherSuspect {
    pub(super) subject: Subject,
    /// What is reported unless WAL makes it good.
    pub(super) finding: Finding,
}

/// What WAL would have to speak of to make something else good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The relation map of a database, 0 for the shared one.
    RelationMap { database: u32 },
    /// The directory of a database.
    Database(u32),
    /// A tablespace.
    Tablespace(u32),
    /// Transactions' status from this page of this file on.
    Status { file: StatusFile, page: u32 },
}

impl Gap {
    pub(super) const fn missing(segment: u32, archive: u16) -> Self {
        Self {
            segment,
            blocks: None,
            archive,
            because: None,
            mapped: false,
            healed: false,
        }
    }

    /// A first file that something else speaks of.
    pub(super) const fn missing_because(archive: u16, because: &'static str, mapped: bool) -> Self {
        Self {
            because: Some(because),
            mapped,
            ..Self::missing(0, archive)
        }
    }

    pub(super) const fn short(segment: u32, blocks: u32, archive: u16) -> Self {
        Self {
            blocks: Some(blocks),
            ..Self::missing(segment, archive)
        }
    }

    /// The first block that is not there.
    pub(super) const fn first_absent(&self) -> u32 {
        let blocks = match self.blocks {
            Some(blocks) => blocks,
            None => 0,
        };
        self.segment
            .saturating_mul(SEGMENT_BLOCKS)
            .saturating_add(blocks)
    }
}

impl RelationSuspects {
    pub(super) fn new(mut blocks: Vec<DoubtfulBlock>, gaps: Vec<Gap>) -> Self {
        // Of several doubts about one block the first kind tells most.
        blocks.sort_unstable_by_key(|doubtful| {
            (doubtful.fork, doubtful.block, order(doubtful.doubt))
        });
        blocks.dedup_by_key(|doubtful| (doubtful.fork, doubtful.block));
        Self {
            blocks: blocks.into_iter().map(|block| (block, false)).collect(),
            gaps,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.gaps.is_empty()
    }

    /// A block gets whole new contents.
    pub(super) fn renew(&mut self, fork: Fork, block: u32) {
        let at = self
            .blocks
            .binary_search_by_key(&(fork, block), |(of, _)| (of.fork, of.block));
        if let Ok(at) = at
            && let Some((_, healed)) = self.blocks.get_mut(at)
        {
            *healed = true;
        }
        if fork == Fork::Main {
            for gap in &mut self.gaps {
                let first = gap.first_absent();
                if gap.blocks.is_some() || gap.segment > 0 {
                    gap.healed |= (first..first.saturating_add(GROWTH)).contains(&block);
                }
            }
        }
    }

    /// Whatever the files hold is replaced or removed.
    fn renew_all(&mut self) {
        for (_, healed) in &mut self.blocks {
            *healed = true;
        }
        for gap in &mut self.gaps {
            gap.healed = true;
        }
    }

    /// The fork is cut to `blocks`.
    pub(super) fn truncate(&mut self, fork: Fork, blocks: u32) {
        for (doubtful, healed) in &mut self.blocks {
            *healed |= doubtful.fork == fork && doubtful.block >= blocks;
        }
        if fork == Fork::Main {
            for gap in &mut self.gaps {
                gap.healed |= gap.first_absent() >= blocks;
            }
        }
    }
}

const fn order(doubt: Doubt) -> u8 {
    match doubt {
        Doubt::Header(_) | Doubt::NotAllZero => 0,
        Doubt::Checksum { .. } => 1,
        Doubt::BeyondEnd(_) => 2,
        Doubt::Stale { .. } => 3,
        Doubt::VisibleYetNew => 4,
        Doubt::Cut { .. } => 5,
        Doubt::Absent { .. } => 6,
        Doubt::VisibleYetAbsent => 7,
    }
}

impl Suspects {
    /// Whether nothing is left for WAL to decide. Then no record needs to be shown.
    pub fn is_empty(&self) -> bool {
        self.relations.is_empty() && self.others.is_empty()
    }

    /// The stretch of WAL that decides: from the backup's begin to its end.
    pub fn range(&self) -> (Lsn, Lsn) {
        (self.place.begin, self.place.end.unwrap_or(Lsn::MAX))
    }

    /// Shows a record. Those that do not lie within [`range`](Self::range) do nothing.
    pub fn take(&mut self, record: &WalRecord<'_>) {
        let (begin, end) = self.range();
        if self.is_empty() || record.start < begin || record.end > end {
            return;
        }
        for block in record.blocks().filter(renews) {
            if let Some(relation) = self.relations.get_mut(&block.relation)
                && let Some(fork) = Fork::from_number(block.fork)
            {
                relation.renew(fork, block.block);
            }
        }
        if let Some(event) = effects::of_files(record) {
            self.apply(&event);
        }
        self.others.retain(|other| match other.subject {
            Subject::Status { file, page } => !makes_good(record, file, page),
            _ => true,
        });
    }

    fn apply(&mut self, event: &WalEvent) {
        match event {
            WalEvent::Commit {
                dropped_relations, ..
            }
            | WalEvent::Abort {
                dropped_relations, ..
            } => {
                for relation in dropped_relations {
                    self.renew(relation);
                }
            }
            // With an init fork it is unlogged, and recovery resets it.
            WalEvent::RelationCreate {
                relation,
                fork: 0 | 3,
            } => self.renew(relation),
            WalEvent::RelationTruncate {
                relation,
                blocks,
                main: true,
                ..
            } => {
                if let Some(relation) = self.relations.get_mut(relation) {
                    relation.truncate(Fork::Main, *blocks);
                }
            }
            WalEvent::DatabaseCreate { directory, .. } => {
                self.renew_database(directory.database, &[directory.tablespace]);
            }
            WalEvent::DatabaseDrop {
                database,
                tablespaces,
            } => self.renew_database(*database, tablespaces),
            WalEvent::RelationMapUpdate { database, .. } => {
                for (locator, relation) in &mut self.relations {
                    if locator.database == *database {
                        for gap in relation.gaps.iter_mut().filter(|gap| gap.mapped) {
                            gap.healed = true;
                        }
                    }
                }
                let subject = Subject::RelationMap {
                    database: *database,
                };
                self.others.retain(|other| other.subject != subject);
            }
            WalEvent::TablespaceCreate { oid, .. } | WalEvent::TablespaceDrop { oid } => {
                let subject = Subject::Tablespace(*oid);
                self.others.retain(|other| other.subject != subject);
            }
            _ => {}
        }
    }

    fn renew(&mut self, locator: &RelationLocator) {
        if let Some(relation) = self.relations.get_mut(locator) {
            relation.renew_all();
        }
    }

    fn renew_database(&mut self, database: u32, tablespaces: &[u32]) {
        for (locator, relation) in &mut self.relations {
            if locator.database == database && tablespaces.contains(&locator.tablespace) {
                relation.renew_all();
            }
        }
        self.others.retain(|other| match other.subject {
            Subject::RelationMap { database: of } | Subject::Database(of) => of != database,
            Subject::Tablespace(_) | Subject::Status { .. } => true,
        });
    }

    /// The verdict, once all records of the range were shown: all pages counted, and what
    /// is wrong.
    pub fn settle(self) -> (PageCounts, Vec<Finding>) {
        verdicts::settle(self)
    }

    /// No verdict, because WAL of the range cannot be read: suspects stay suspects.
    pub fn give_up(self) -> PageCounts {
        self.counts
    }
}

/// Whether replay takes nothing of the block's old contents.
fn renews(block: &BlockReference) -> bool {
    block.will_init || block.image.is_some_and(|image| image.apply)
}

/// Whether a file is no longer needed once older ones were taken away.
fn goes_with(truncation: StatusTruncation, file: StatusFile) -> bool {
    let (directory, after) = match (truncation, file.directory) {
        (StatusTruncation::Transactions { oldest_xid }, _) => (
            StatusDirectory::Transactions,
            StatusFile::of_transaction(oldest_xid),
        ),
        (StatusTruncation::Multixacts { oldest_multi, .. }, StatusDirectory::MultixactOffsets) => (
            StatusDirectory::MultixactOffsets,
            transaction_status::offset_place(oldest_multi).0,
        ),
        (StatusTruncation::Multixacts { oldest_offset, .. }, _) => {
            let Ok(offset) = u32::try_from(oldest_offset) else {
                return false;
            };
            (
                StatusDirectory::MultixactMembers,
                StatusFile::of_member(offset),
            )
        }
    };
    file.directory == directory && file.number < after.number
}

/// Whether replay makes the page of a status file, or the file is no longer needed.
fn makes_good(record: &WalRecord<'_>, file: StatusFile, page: u32) -> bool {
    if let Some(truncation) = transaction_status::truncated_to(record) {
        return goes_with(truncation, file);
    }
    // CLOG and MultiXact; ZEROPAGE and ZERO_OFF_PAGE are 0, ZERO_MEM_PAGE is 0x10
    // (`src/include/access/clog.h`, `multixact.h`), with a page number of eight bytes
    // since 17.
    let (manager, made) = match file.directory {
        StatusDirectory::Transactions => (3, 0),
        StatusDirectory::MultixactOffsets => (6, 0),
        StatusDirectory::MultixactMembers => (6, 0x10),
    };
    record.resource_manager == manager
        && record.info & 0xF0 == made
        && record
            .main_data()
            .first_chunk()
            .is_some_and(|made| u32::from_le_bytes(*made) == page)
}
