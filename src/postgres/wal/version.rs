//! Which PostgreSQL wrote a page.

/// The WAL format of one major version, known by the magic of its pages
/// (`XLOG_PAGE_MAGIC` in `src/include/access/xlog_internal.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WalVersion {
    major: u32,
}

/// Oldest and newest major version whose WAL is read.
pub(super) const KNOWN_MAJORS: (u32, u32) = (13, 18);

/// The major version whose WAL is read as its fourth beta writes it. The format may change
/// until the release, and then the magic does, so that nothing is misread.
pub const PREVIEW_MAJOR: u32 = 19;

impl WalVersion {
    /// The one of a major version; `None` for one whose WAL is not read.
    pub(super) const fn of_major(major: u32) -> Option<Self> {
        match major {
            13..=18 | PREVIEW_MAJOR => Some(Self { major }),
            _ => None,
        }
    }

    pub(super) const fn from_magic(magic: u16) -> Option<Self> {
        let major = match magic {
            0xD106 => 13,
            0xD10D => 14,
            0xD110 => 15,
            0xD113 => 16,
            0xD116 => 17,
            0xD118 => 18,
            0xD122 => PREVIEW_MAJOR,
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
        id <= 21 || (id == 22 && self.major >= 19) || (id >= 128 && self.major >= 15)
    }

    /// The flag of a page on which a record is given up
    /// (`XLP_FIRST_IS_OVERWRITE_CONTRECORD`), and all flags a page can have. 18 and older
    /// have `XLP_BKP_REMOVABLE` between, which says nothing about the content.
    pub(super) const fn overwrite_flag(self) -> (u16, u16) {
        if self.major >= 19 {
            (0x0004, 0x0007)
        } else {
            (0x0008, 0x000F)
        }
    }
}
