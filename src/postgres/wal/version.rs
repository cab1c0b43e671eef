//! Which PostgreSQL wrote a page.

/// The WAL format of one major version, known by the magic of its pages
/// (`XLOG_PAGE_MAGIC` in `src/include/access/xlog_internal.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WalVersion {
    major: u32,
}

/// Oldest and newest major version whose WAL is read.
pub(super) const KNOWN_MAJORS: (u32, u32) = (13, 18);

impl WalVersion {
    pub(super) const fn from_magic(magic: u16) -> Option<Self> {
        let major = match magic {
            0xD106 => 13,
            0xD10D => 14,
            0xD110 => 15,
            0xD113 => 16,
            0xD116 => 17,
            0xD118 => 18,
            _ => return None,
        };
        Some(Self { major })
    }

    pub(super) const fn major(self) -> u32 {
        self.major
    }

    /// Whether `id` is a resource manager this version can have. Extensions may bring
    /// their own, 128 and up, since 15 (`RmgrIdIsValid` in `src/include/access/rmgr.h`).
    pub(super) const fn knows_resource_manager(self, id: u8) -> bool {
        id <= 21 || (id >= 128 && self.major >= 15)
    }
}
