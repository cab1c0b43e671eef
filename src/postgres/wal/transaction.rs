//! Records that end or prepare a transaction (`src/include/access/xact.h`).

use super::block::RelationLocator;
use super::event::WalEvent;
use super::record::WalRecord;
use crate::postgres::little_endian::{Reader, i64_at, u16_at, u32_at};
use crate::postgres::timestamp::from_timestamptz;

const KIND_MASK: u8 = 0x70;
const COMMIT: u8 = 0x00;
const PREPARE: u8 = 0x10;
const ABORT: u8 = 0x20;
const COMMIT_PREPARED: u8 = 0x30;
const ABORT_PREPARED: u8 = 0x40;
/// Whether anything but the time follows (`XLOG_XACT_HAS_INFO`).
const HAS_INFO: u8 = 0x80;

const HAS_DATABASE: u32 = 1 << 0;
const HAS_SUBTRANSACTIONS: u32 = 1 << 1;
const HAS_RELATIONS: u32 = 1 << 2;
const HAS_INVALIDATIONS: u32 = 1 << 3;
const HAS_TWO_PHASE: u32 = 1 << 4;
const HAS_DROPPED_STATISTICS: u32 = 1 << 8;

/// Bytes of a `SharedInvalidationMessage`.
const INVALIDATION: usize = 16;

/// Decodes a record of the transaction resource manager. The outer `None` is a record too
/// short for its kind, the inner one a kind that recovery's outcome does not depend on.
#[expect(
    clippy::option_option,
    reason = "too short and uninteresting are different answers"
)]
pub(super) fn decode(record: &WalRecord<'_>) -> Option<Option<WalEvent>> {
    let prepared = match record.info & KIND_MASK {
        COMMIT | ABORT => false,
        COMMIT_PREPARED | ABORT_PREPARED => true,
        PREPARE => return prepare(record).map(Some),
        _ => return Some(None),
    };
    let end = TransactionEnd::read(record)?;
    // The header's xid of such a record is not the prepared transaction's.
    let xid = if prepared { end.xid? } else { record.xid };
    let time = from_timestamptz(end.time);
    let dropped_relations = end.dropped;
    Some(Some(match record.info & KIND_MASK {
        COMMIT | COMMIT_PREPARED => WalEvent::Commit {
            xid,
            time,
            prepared,
            dropped_relations,
        },
        _ => WalEvent::Abort {
            xid,
            time,
            prepared,
            dropped_relations,
        },
    }))
}

struct TransactionEnd {
    time: i64,
    /// The prepared transaction, if the record ends one.
    xid: Option<u32>,
    dropped: Vec<RelationLocator>,
}

impl TransactionEnd {
    /// `ParseCommitRecord` and `ParseAbortRecord` in
    /// `src/backend/access/rmgrdesc/xactdesc.c`.
    fn read(record: &WalRecord<'_>) -> Option<Self> {
        let major = record.major();
        let mut reader = Reader::new(record.main_data());
        let mut end = Self {
            time: reader.i64()?,
            xid: None,
            dropped: Vec::new(),
        };
        if record.info & HAS_INFO == 0 {
            return Some(end);
        }
        let parts = reader.u32()?;
        let has = |part: u32| parts & part != 0;
        if has(HAS_DATABASE) {
            reader.take(8)?;
        }
        if has(HAS_SUBTRANSACTIONS) {
            reader.items(4)?;
        }
        if has(HAS_RELATIONS) {
            let mut relations = Reader::new(reader.items(RelationLocator::SIZE)?);
            while let Some(relation) = RelationLocator::read(&mut relations) {
                end.dropped.push(relation);
            }
        }
        if major >= 15 && has(HAS_DROPPED_STATISTICS) {
            // The object's id grew to 64 bits in 18.
            reader.items(if major >= 18 { 16 } else { 12 })?;
        }
        if has(HAS_INVALIDATIONS) {
            reader.items(INVALIDATION)?;
        }
        if has(HAS_TWO_PHASE) {
            end.xid = Some(reader.u32()?);
        }
        Some(end)
    }
}

/// A PREPARE record is the two-phase state file itself: `xl_xact_prepare`, then the
/// transaction's name.
fn prepare(record: &WalRecord<'_>) -> Option<WalEvent> {
    let data = record.main_data();
    // 15 added two counts before the length of the name.
    let (length_at, name_at) = if record.major() >= 15 {
        (54, 72)
    } else {
        (46, 64)
    };
    let length = usize::from(u16_at(data, length_at)?);
    let name = data.get(name_at..)?.get(..length)?;
    Some(WalEvent::Prepare {
        xid: u32_at(data, 8)?,
        gid: text(name),
        time: from_timestamptz(i64_at(data, 16)?),
    })
}

/// Text up to the first zero byte. Names are in the server's encoding, which the WAL does
/// not tell: what is not UTF-8 is shown with replacement characters.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let text = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
