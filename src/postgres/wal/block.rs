//! Block references: which blocks of which relations a record changes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fault::BodyFault;
use super::version::WalVersion;
use crate::postgres::little_endian::Reader;

// Part ids, `src/include/access/xlogrecord.h`.
const MAX_BLOCK_ID: u8 = 32;
const ID_DATA_SHORT: u8 = 255;
const ID_DATA_LONG: u8 = 254;
const ID_ORIGIN: u8 = 253;
const ID_TOP_LEVEL_XID: u8 = 252;

const FORK_MASK: u8 = 0x0F;
const HAS_IMAGE: u8 = 0x10;
const HAS_DATA: u8 = 0x20;
const WILL_INIT: u8 = 0x40;
const SAME_RELATION: u8 = 0x80;

const IMAGE_HAS_HOLE: u8 = 0x01;

/// A relation's files on disk: tablespace, database and file number (`RelFileLocator`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RelationLocator {
    /// OID of the tablespace; 1663 is `pg_default`, 1664 `pg_global`.
    pub tablespace: u32,
    /// OID of the database; 0 for shared relations.
    pub database: u32,
    /// The file's number, `pg_class.relfilenode`.
    pub relation: u32,
}

impl fmt::Display for RelationLocator {
    /// As `pg_waldump` prints it, `1663/16384/16385`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tablespace, self.database, self.relation)
    }
}

impl RelationLocator {
    /// Bytes of a locator on disk.
    pub(super) const SIZE: usize = 12;

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            tablespace: reader.u32()?,
            database: reader.u32()?,
            relation: reader.u32()?,
        })
    }
}

/// The copy of a whole page that a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockImage {
    /// Bytes of the image in the record.
    pub length: u16,
    /// Whether replay puts it in place; the others are there only to be compared
    /// (`wal_consistency_checking`).
    pub apply: bool,
    /// Whether it is compressed, by any method.
    pub compressed: bool,
}

/// One block that a record changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockReference {
    /// The reference's number within the record, 0 to 32.
    pub id: u8,
    /// The relation.
    pub relation: RelationLocator,
    /// 0 main, 1 free space map, 2 visibility map, 3 init.
    pub fork: u8,
    /// The block's number within the fork.
    pub block: u32,
    /// Whether replay starts from an empty page instead of reading the old one.
    pub will_init: bool,
    /// The full-page image, if there is one.
    pub image: Option<BlockImage>,
    /// Bytes of block data in the record.
    pub data_length: u16,
}

impl BlockReference {
    /// Whether replay writes the whole page without reading the old one, so that it heals
    /// a page that is torn or damaged: from an image, or by starting it anew. An image
    /// that is not applied (`wal_consistency_checking`) does not count.
    pub fn replaces_page(&self) -> bool {
        self.will_init || self.image.is_some_and(|image| image.apply)
    }
}

/// Where the parts of a record lie. Found once, when the record is checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) main_start: usize,
}

impl Layout {
    /// Walks the part headers as PostgreSQL's `DecodeXLogRecord` does and checks that
    /// the parts add up to the record.
    pub(super) fn check(body: &[u8], version: WalVersion) -> Result<Self, BodyFault> {
        let mut parts = Parts::new(body, version);
        while parts.next_block()?.is_some() {}
        Ok(Self {
            main_start: body.len().saturating_sub(parts.main_length),
        })
    }
}

/// Iterator over the block references of a record.
#[derive(Clone, Debug)]
pub struct BlockReferences<'a> {
    parts: Parts<'a>,
}

impl<'a> BlockReferences<'a> {
    pub(super) fn new(body: &'a [u8], version: WalVersion) -> Self {
        Self {
            parts: Parts::new(body, version),
        }
    }
}

impl Iterator for BlockReferences<'_> {
    type Item = BlockReference;

    fn next(&mut self) -> Option<BlockReference> {
        self.parts.next_block().ok().flatten()
    }
}

/// The walk over part headers.
///
/// All of it is inlined, so that checking a record does not fill in block references that
/// nobody looks at: a fifth of the time per record otherwise.
#[derive(Clone, Debug)]
struct Parts<'a> {
    reader: Reader<'a>,
    version: WalVersion,
    /// Bytes of data that the headers so far have announced.
    data_length: usize,
    main_length: usize,
    relation: Option<RelationLocator>,
    last_id: Option<u8>,
    done: bool,
}

#[expect(
    clippy::inline_always,
    reason = "measured: the compiler alone does not"
)]
impl<'a> Parts<'a> {
    fn new(body: &'a [u8], version: WalVersion) -> Self {
        Self {
            reader: Reader::new(body),
            version,
            data_length: 0,
            main_length: 0,
            relation: None,
            last_id: None,
            done: false,
        }
    }

    /// The next block reference, or `None` when the headers are through and add up.
    #[inline(always)]
    fn next_block(&mut self) -> Result<Option<BlockReference>, BodyFault> {
        while !self.done && self.reader.remaining() > self.data_length {
            let id = self.reader.u8().ok_or(BodyFault::Length)?;
            match id {
                0..=MAX_BLOCK_ID => return self.block(id).map(Some),
                ID_DATA_SHORT => {
                    let length = self.reader.u8().ok_or(BodyFault::Length)?;
                    self.main(usize::from(length));
                }
                ID_DATA_LONG => {
                    let length = self.reader.u32().ok_or(BodyFault::Length)?;
                    self.main(length as usize);
                }
                ID_ORIGIN => {
                    self.reader.u16().ok_or(BodyFault::Length)?;
                }
                ID_TOP_LEVEL_XID if self.version.major() >= 14 => {
                    self.reader.u32().ok_or(BodyFault::Length)?;
                }
                _ => return Err(BodyFault::UnknownPart),
            }
        }
        self.done = true;
        if self.reader.remaining() == self.data_length {
            Ok(None)
        } else {
            Err(BodyFault::Length)
        }
    }

    /// The main data's header is always the last one.
    #[inline(always)]
    fn main(&mut self, length: usize) {
        self.main_length = length;
        self.data_length = self.data_length.saturating_add(length);
        self.done = true;
    }

    #[inline(always)]
    fn block(&mut self, id: u8) -> Result<BlockReference, BodyFault> {
        if self.last_id.is_some_and(|last| id <= last) {
            return Err(BodyFault::BlockOrder);
        }
        self.last_id = Some(id);
        let flags = self.reader.u8().ok_or(BodyFault::Length)?;
        let data_length = self.reader.u16().ok_or(BodyFault::Length)?;
        if (flags & HAS_DATA != 0) != (data_length != 0) {
            return Err(BodyFault::BlockFlags);
        }
        self.data_length = self.data_length.saturating_add(usize::from(data_length));
        let image = if flags & HAS_IMAGE == 0 {
            None
        } else {
            Some(self.image().ok_or(BodyFault::Length)?)
        };
        if flags & SAME_RELATION == 0 {
            self.relation = Some(RelationLocator::read(&mut self.reader).ok_or(BodyFault::Length)?);
        }
        Ok(BlockReference {
            id,
            relation: self.relation.ok_or(BodyFault::NoRelation)?,
            fork: flags & FORK_MASK,
            block: self.reader.u32().ok_or(BodyFault::Length)?,
            will_init: flags & WILL_INIT != 0,
            image,
            data_length,
        })
    }

    #[inline(always)]
    fn image(&mut self) -> Option<BlockImage> {
        let length = self.reader.u16()?;
        let _hole_offset = self.reader.u16()?;
        let info = self.reader.u8()?;
        // 15 moved the bits when it added methods of compression.
        let (apply, compressed) = if self.version.major() >= 15 {
            (info & 0x02 != 0, info & 0x1C != 0)
        } else {
            (info & 0x04 != 0, info & 0x02 != 0)
        };
        if compressed && info & IMAGE_HAS_HOLE != 0 {
            self.reader.u16()?;
        }
        self.data_length = self.data_length.saturating_add(usize::from(length));
        Some(BlockImage {
            length,
            apply,
            compressed,
        })
    }
}
