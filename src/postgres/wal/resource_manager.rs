//! Resource managers: the parts of PostgreSQL that write WAL records.

/// The XLOG resource manager: checkpoints, switches, restore points.
pub(super) const XLOG: u8 = 0;
/// The transaction resource manager: commits and aborts.
pub(super) const TRANSACTION: u8 = 1;
/// The storage resource manager: relation files.
pub(super) const STORAGE: u8 = 2;
/// The database resource manager.
pub(super) const DATABASE: u8 = 4;
/// The tablespace resource manager.
pub(super) const TABLESPACE: u8 = 5;
/// The relation map resource manager.
pub(super) const RELATION_MAP: u8 = 7;
/// One of the two heap resource managers.
pub(super) const HEAP: u8 = 10;

/// The upper half of a record's info byte belongs to its resource manager
/// (`XLR_RMGR_INFO_MASK` in `src/include/access/xlogrecord.h`).
pub(super) const INFO_MASK: u8 = 0xF0;

/// Kinds of XLOG records (`src/include/catalog/pg_control.h`).
pub(super) mod xlog {
    pub(in super::super) const CHECKPOINT_SHUTDOWN: u8 = 0x00;
    pub(in super::super) const CHECKPOINT_ONLINE: u8 = 0x10;
    pub(in super::super) const SWITCH: u8 = 0x40;
    pub(in super::super) const BACKUP_END: u8 = 0x50;
    pub(in super::super) const PARAMETER_CHANGE: u8 = 0x60;
    pub(in super::super) const RESTORE_POINT: u8 = 0x70;
    pub(in super::super) const FPW_CHANGE: u8 = 0x80;
    pub(in super::super) const END_OF_RECOVERY: u8 = 0x90;
    pub(in super::super) const OVERWRITE_CONTRECORD: u8 = 0xD0;
}

/// Kinds of storage records (`src/include/catalog/storage_xlog.h`).
pub(super) mod storage {
    pub(in super::super) const CREATE: u8 = 0x10;
    pub(in super::super) const TRUNCATE: u8 = 0x20;
}

/// Kinds of database records (`src/include/commands/dbcommands_xlog.h`).
pub(super) mod database {
    pub(in super::super) const CREATE_BY_COPY: u8 = 0x00;
    /// Since 15.
    pub(in super::super) const CREATE_LOGGED: u8 = 0x10;

    pub(in super::super) const fn drop_kind(major: u32) -> u8 {
        if major >= 15 { 0x20 } else { 0x10 }
    }
}

/// Kinds of tablespace records (`src/include/commands/tablespace.h`).
pub(super) mod tablespace {
    pub(in super::super) const CREATE: u8 = 0x00;
    pub(in super::super) const DROP: u8 = 0x10;
}

/// Kinds of relation map records (`src/include/utils/relmapper.h`).
pub(super) mod relation_map {
    pub(in super::super) const UPDATE: u8 = 0x00;
}

/// Kinds of heap records (`src/include/access/heapam_xlog.h`).
pub(super) mod heap {
    /// The uppermost bit says that the page is new.
    pub(in super::super) const KIND_MASK: u8 = 0x70;
    pub(in super::super) const TRUNCATE: u8 = 0x30;
}

/// The name `pg_waldump` prints for a resource manager, the same in all versions
/// (`src/include/access/rmgrlist.h`; number 22 is new in 19); `None` for those that extensions bring (128 and up).
pub const fn resource_manager_name(id: u8) -> Option<&'static str> {
    Some(match id {
        0 => "XLOG",
        1 => "Transaction",
        2 => "Storage",
        3 => "CLOG",
        4 => "Database",
        5 => "Tablespace",
        6 => "MultiXact",
        7 => "RelMap",
        8 => "Standby",
        9 => "Heap2",
        10 => "Heap",
        11 => "Btree",
        12 => "Hash",
        13 => "Gin",
        14 => "Gist",
        15 => "Sequence",
        16 => "SPGist",
        17 => "BRIN",
        18 => "CommitTs",
        19 => "ReplicationOrigin",
        20 => "Generic",
        21 => "LogicalMessage",
        22 => "XLOG2",
        _ => return None,
    })
}
