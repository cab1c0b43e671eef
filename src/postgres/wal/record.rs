//! Records.

use super::block::{BlockReferences, Layout};
use super::event::{self, WalEvent};
use super::resource_manager::{INFO_MASK, XLOG, xlog};
use super::version::WalVersion;
use crate::postgres::Lsn;
use crate::postgres::little_endian::{u32_at, u64_at};

/// Bytes of a record header (`SizeOfXLogRecord` in `src/include/access/xlogrecord.h`).
pub(super) const RECORD_HEADER: usize = 24;
/// The header's bytes before the checksum, which the checksum covers.
pub(super) const HEADER_UNDER_CRC: usize = 20;

/// The longest record that is believed: one byte short of 1 GiB, what PostgreSQL can
/// allocate. Writers since 16 stop at 1020 MiB (`XLogRecordMaxSize`).
pub(super) const RECORD_MAX: u32 = (1 << 30) - 1;

/// Rounds up to the alignment of records (`MAXALIGN`).
pub(super) const fn align8(bytes: usize) -> usize {
    bytes.saturating_add(7) & !7
}

/// The fixed part of a record, `XLogRecord`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHeader {
    pub(super) xid: u32,
    pub(super) prev: Lsn,
    pub(super) info: u8,
    pub(super) resource_manager: u8,
    pub(super) crc: u32,
}

impl RecordHeader {
    /// Reads the header; `None` when fewer than 24 bytes are there.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_HEADER] = bytes.first_chunk()?;
        Some(Self {
            xid: u32_at(bytes, 4)?,
            prev: Lsn::new(u64_at(bytes, 8)?),
            info: bytes[16],
            resource_manager: bytes[17],
            crc: u32_at(bytes, 20)?,
        })
    }

    /// The XLOG resource manager's kind of record, if it is one.
    pub(super) const fn xlog_kind(&self) -> Option<u8> {
        if self.resource_manager == XLOG {
            Some(self.info & INFO_MASK)
        } else {
            None
        }
    }

    pub(super) fn is_switch(&self) -> bool {
        self.xlog_kind() == Some(xlog::SWITCH)
    }
}

/// One complete, checked record.
#[derive(Clone, Copy, Debug)]
pub struct WalRecord<'a> {
    /// Its first byte. `recovery_target_lsn` compares with this.
    pub start: Lsn,
    /// Where the next record may begin: PostgreSQL's `EndRecPtr`, what
    /// `pg_last_wal_replay_lsn()` shows once the record is replayed. Aligned to 8 bytes;
    /// the segment's end for a SWITCH record.
    pub end: Lsn,
    /// The first byte of the record before.
    pub prev: Lsn,
    /// The transaction that wrote it, 0 when none did. The records that end a prepared
    /// transaction have 0 here: see [`WalEvent::Commit`].
    pub xid: u32,
    /// Who wrote it; see [`resource_manager_name`](super::resource_manager_name).
    pub resource_manager: u8,
    /// The upper half belongs to the resource manager, the lower to the WAL itself.
    pub info: u8,
    /// Everything behind the 24 bytes of the header: block references, then data.
    pub body: &'a [u8],
    pub(super) layout: Layout,
    pub(super) version: WalVersion,
}

impl<'a> WalRecord<'a> {
    /// The resource manager's own data, without block references and their data.
    pub fn main_data(&self) -> &'a [u8] {
        self.body.get(self.layout.main_start..).unwrap_or_default()
    }

    /// The blocks that the record changes, in the order of their references.
    pub fn blocks(&self) -> BlockReferences<'a> {
        BlockReferences::new(self.body, self.version)
    }

    /// Whether it leaves the rest of its segment unused.
    pub(super) fn is_switch(&self) -> bool {
        self.resource_manager == XLOG && self.info & INFO_MASK == xlog::SWITCH
    }

    /// What the record means for recovery, if it is one of the kinds that matter.
    pub fn event(&self) -> Option<WalEvent> {
        event::decode(self)
    }

    /// The PostgreSQL major version that wrote it.
    pub const fn major(&self) -> u32 {
        self.version.major()
    }

    /// Bytes of the record with its header, without padding and page headers.
    pub const fn len(&self) -> usize {
        self.body.len().saturating_add(RECORD_HEADER)
    }

    /// Never: a record has at least its header.
    pub const fn is_empty(&self) -> bool {
        false
    }
}
