//! Records that make, cut, replace and remove files: relations, databases, tablespaces.
//!
//! The outer `None` of each decoder is a record too short for its kind, the inner one a
//! kind that says nothing about files.
#![expect(
    clippy::option_option,
    reason = "too short and uninteresting are different answers"
)]

use serde::{Deserialize, Serialize};

use super::block::RelationLocator;
use super::event::WalEvent;
use super::record::WalRecord;
use super::resource_manager::{INFO_MASK, database, heap, relation_map, storage, tablespace};
use super::transaction::text;
use crate::postgres::little_endian::{Reader, u32_at};

/// The directory of a database in a tablespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DatabaseDirectory {
    /// OID of the tablespace; 1663 is `pg_default`.
    pub tablespace: u32,
    /// OID of the database.
    pub database: u32,
}

impl DatabaseDirectory {
    /// Reads a database's OID, then its tablespace's.
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let database = reader.u32()?;
        let tablespace = reader.u32()?;
        Some(Self {
            tablespace,
            database,
        })
    }
}

/// `src/include/catalog/storage_xlog.h`.
pub(super) fn storage_event(record: &WalRecord<'_>) -> Option<Option<WalEvent>> {
    let mut reader = Reader::new(record.main_data());
    Some(match record.info & INFO_MASK {
        storage::CREATE => Some(WalEvent::RelationCreate {
            relation: RelationLocator::read(&mut reader)?,
            fork: u8::try_from(reader.u32()?).ok().filter(|fork| *fork <= 3)?,
        }),
        storage::TRUNCATE => {
            let blocks = reader.u32()?;
            let relation = RelationLocator::read(&mut reader)?;
            let flags = reader.u32()?;
            Some(WalEvent::RelationTruncate {
                relation,
                blocks,
                main: flags & 0x1 != 0,
                visibility_map: flags & 0x2 != 0,
                free_space_map: flags & 0x4 != 0,
            })
        }
        _ => None,
    })
}

/// `src/include/commands/dbcommands_xlog.h`; 15 told two ways of creation apart.
pub(super) fn database_event(record: &WalRecord<'_>) -> Option<Option<WalEvent>> {
    let kind = record.info & INFO_MASK;
    let mut reader = Reader::new(record.main_data());
    let logged = record.major() >= 15 && kind == database::CREATE_LOGGED;
    Some(if kind == database::CREATE_BY_COPY || logged {
        let directory = DatabaseDirectory::read(&mut reader)?;
        let copied_from = if logged {
            None
        } else {
            Some(DatabaseDirectory::read(&mut reader)?)
        };
        Some(WalEvent::DatabaseCreate {
            directory,
            copied_from,
        })
    } else if kind == database::drop_kind(record.major()) {
        let database = reader.u32()?;
        let mut items = Reader::new(reader.items(4)?);
        let tablespaces = std::iter::from_fn(|| items.u32()).collect();
        Some(WalEvent::DatabaseDrop {
            database,
            tablespaces,
        })
    } else {
        None
    })
}

/// `src/include/commands/tablespace.h`.
pub(super) fn tablespace_event(record: &WalRecord<'_>) -> Option<Option<WalEvent>> {
    let data = record.main_data();
    Some(match record.info & INFO_MASK {
        tablespace::CREATE => Some(WalEvent::TablespaceCreate {
            oid: u32_at(data, 0)?,
            location: text(data.get(4..)?),
        }),
        tablespace::DROP => Some(WalEvent::TablespaceDrop {
            oid: u32_at(data, 0)?,
        }),
        _ => None,
    })
}

/// `src/include/utils/relmapper.h`.
pub(super) fn relation_map_event(record: &WalRecord<'_>) -> Option<Option<WalEvent>> {
    if record.info & INFO_MASK != relation_map::UPDATE {
        return Some(None);
    }
    let mut reader = Reader::new(record.main_data());
    let directory = DatabaseDirectory::read(&mut reader)?;
    reader.items(1)?;
    Some(Some(WalEvent::RelationMapUpdate {
        tablespace: directory.tablespace,
        database: directory.database,
    }))
}

/// `xl_heap_truncate` in `src/include/access/heapam_xlog.h`.
pub(super) fn heap_event(record: &WalRecord<'_>) -> Option<Option<WalEvent>> {
    if record.info & heap::KIND_MASK != heap::TRUNCATE {
        return Some(None);
    }
    let mut reader = Reader::new(record.main_data());
    let database = reader.u32()?;
    let count = usize::try_from(reader.u32()?).ok()?;
    // A byte of flags and three of padding.
    let flags = reader.u32()?;
    let mut oids = Reader::new(reader.take(count.checked_mul(4)?)?);
    Some(Some(WalEvent::TableTruncate {
        database,
        tables: std::iter::from_fn(|| oids.u32()).collect(),
        cascade: flags & 0x1 != 0,
        restart_sequences: flags & 0x2 != 0,
    }))
}
