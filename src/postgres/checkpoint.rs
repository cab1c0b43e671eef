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
    /// When it was begun, to the second.
    pub time: DateTime<Utc>,
}

impl Checkpoint {
    /// Bytes of the structure.
    pub(crate) const SIZE: usize = 88;

    /// Reads the structure as 19 has it: 96 bytes, because of a flag before the next
    /// transaction id and a wider multixact offset. `None` when fewer are there.
    pub(crate) fn parse_19(bytes: &[u8]) -> Option<Self> {
        let mut older = [0; Self::SIZE];
        for (from, to, length) in [(0, 0, 24), (32, 24, 20), (56, 44, 16), (72, 64, 20)] {
            let part = bytes.get(..96)?.get(from..)?.get(..length)?;
            older
                .get_mut(to..)?
                .get_mut(..length)?
                .copy_from_slice(part);
        }
        Self::parse(&older)
    }

    /// Reads the structure; `None` when fewer than 88 bytes are there.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..Self::SIZE)?;
        Some(Self {
            redo: Lsn::new(u64_at(bytes, 0)?),
            timeline: TimelineId(u32_at(bytes, 8)?),
            previous_timeline: TimelineId(u32_at(bytes, 12)?),
            full_page_writes: *bytes.get(16)? != 0,
            next_xid: u64_at(bytes, 24)?,
            time: from_time_t(i64_at(bytes, 64)?),
        })
    }
}
