//! The checkpoint structure, the same in records and in the control file.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::postgres::little_endian::{i64_at, u32_at, u64_at};
use crate::postgres::timestamp::from_time_t;
use crate::postgres::{Lsn, TimelineId};

/// The part of PostgreSQL's `CheckPoint` that recovery depends on
/// (`src/include/catalog/pg_control.h`; 88 bytes in 13 to 18, only a gap was filled in 17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Checkpoint {
    /// Where replay from this checkpoint begins.
    pub redo: Lsn,
    /// The timeline it is on.
    pub timeline: TimelineId,
    /// The timeline before, different only right after a switch.
    pub previous_timeline: TimelineId,
    /// Whether full pages were written.
    pub full_page_writes: bool,
    /// The next transaction id, with its epoch in the upper half.
    pub next_xid: u64,
    /// The next OID.
    pub next_oid: u32,
    /// The next multixact.
    pub next_multi: u32,
    /// Where its members will begin; 32 bits wide until 18.
    pub next_multi_offset: u64,
    /// The oldest transaction whose status may be asked for: `pg_xact` reaches back to it.
    pub oldest_xid: u32,
    /// The oldest multixact: `pg_multixact` reaches back to it.
    pub oldest_multi: u32,
    /// The oldest transaction that was still running; 0 where that was not needed (shutdown,
    /// or `wal_level` minimal).
    pub oldest_active_xid: u32,
    /// The oldest transaction with a commit time on record; 0 for none.
    pub oldest_commit_time_xid: u32,
    /// The newest one; 0 for none.
    pub newest_commit_time_xid: u32,
    /// When it was begun, to the second.
    pub time: DateTime<Utc>,
}

impl Checkpoint {
    /// Bytes of the structure.
    pub(crate) const SIZE: usize = 88;
    /// Bytes of the structure in 19, which widened the multixact offset and moved what
    /// follows the first flag.
    pub(crate) const SIZE_19: usize = 96;

    /// Reads the structure of 13 to 18; `None` when fewer than 88 bytes are there.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..Self::SIZE)?;
        let offset = u64::from(u32_at(bytes, 40)?);
        Self::fields(bytes, bytes.get(24..)?, offset, bytes.get(44..)?)
    }

    /// Reads the structure of 19; `None` when fewer than 96 bytes are there.
    pub(crate) fn parse_19(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..Self::SIZE_19)?;
        let offset = u64_at(bytes, 48)?;
        Self::fields(bytes, bytes.get(32..)?, offset, bytes.get(56..)?)
    }

    /// `counters` begins at the next transaction id, `oldest` at the oldest.
    fn fields(bytes: &[u8], counters: &[u8], offset: u64, oldest: &[u8]) -> Option<Self> {
        // The time and what follows it, alike in both.
        let tail = bytes.get(bytes.len().checked_sub(24)?..)?;
        Some(Self {
            redo: Lsn::new(u64_at(bytes, 0)?),
            timeline: TimelineId(u32_at(bytes, 8)?),
            previous_timeline: TimelineId(u32_at(bytes, 12)?),
            full_page_writes: *bytes.get(16)? != 0,
            next_xid: u64_at(counters, 0)?,
            next_oid: u32_at(counters, 8)?,
            next_multi: u32_at(counters, 12)?,
            next_multi_offset: offset,
            oldest_xid: u32_at(oldest, 0)?,
            oldest_multi: u32_at(oldest, 8)?,
            time: from_time_t(i64_at(tail, 0)?),
            oldest_commit_time_xid: u32_at(tail, 8)?,
            newest_commit_time_xid: u32_at(tail, 12)?,
            oldest_active_xid: u32_at(tail, 16)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure whose every four bytes hold their own offset.
    fn numbered(size: usize) -> Vec<u8> {
        (0..size)
            .step_by(4)
            .flat_map(|at| u32::try_from(at).unwrap().to_le_bytes())
            .collect()
    }

    /// The eight bytes at `at` of such a structure.
    fn pair(at: u32) -> u64 {
        u64::from(at + 4) << 32 | u64::from(at)
    }

    #[test]
    fn each_layout_has_its_fields_at_their_places() {
        let old = Checkpoint::parse(&numbered(88)).unwrap();
        assert_eq!(old.next_xid, pair(24));
        assert_eq!((old.next_oid, old.next_multi), (32, 36));
        assert_eq!(old.next_multi_offset, 40);
        assert_eq!((old.oldest_xid, old.oldest_multi), (44, 52));
        assert_eq!(old.time, from_time_t(pair(64).cast_signed()));
        assert_eq!(old.oldest_commit_time_xid, 72);
        assert_eq!(old.newest_commit_time_xid, 76);
        assert_eq!(old.oldest_active_xid, 80);
        assert_eq!(Checkpoint::parse(&numbered(84)), None);

        let new = Checkpoint::parse_19(&numbered(96)).unwrap();
        assert_eq!(new.next_xid, pair(32));
        assert_eq!((new.next_oid, new.next_multi), (40, 44));
        assert_eq!(new.next_multi_offset, pair(48));
        assert_eq!((new.oldest_xid, new.oldest_multi), (56, 64));
        assert_eq!(new.time, from_time_t(pair(72).cast_signed()));
        assert_eq!(new.oldest_commit_time_xid, 80);
        assert_eq!(new.newest_commit_time_xid, 84);
        assert_eq!(new.oldest_active_xid, 88);
        assert_eq!(Checkpoint::parse_19(&numbered(92)), None);
    }
}
