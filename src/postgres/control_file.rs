//! `global/pg_control`.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::little_endian::{i32_at, i64_at, u32_at, u64_at};
use super::timestamp::from_time_t;
use super::{Checkpoint, Lsn, SegmentSize, SystemId, TimelineId, WalLevel};

/// Bytes of the file on disk, most of them zeros (`PG_CONTROL_FILE_SIZE`).
pub const CONTROL_FILE_SIZE: usize = 8192;

/// What the control file says (`ControlFileData` in `src/include/catalog/pg_control.h`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlFile {
    /// The database system.
    pub system_id: SystemId,
    /// The file's format: 1300 (PostgreSQL 13 to 16), 1700, 1800, or 1905 (19, a preview).
    pub control_version: u32,
    /// The catalog's version; see [`Self::major`].
    pub catalog_version: u32,
    /// What the server was doing when the file was written.
    pub state: DatabaseState,
    /// When the file was written, to the second.
    pub time: DateTime<Utc>,
    /// The last checkpoint's record.
    pub checkpoint_lsn: Lsn,
    /// That checkpoint.
    pub checkpoint: Checkpoint,
    /// How far recovery must at least go; zero when the server was no standby.
    pub min_recovery_point: Lsn,
    /// The timeline of that position, zero likewise.
    pub min_recovery_point_timeline: TimelineId,
    /// Where the base backup began that is being recovered; zero for none.
    pub backup_start: Lsn,
    /// Where the standby's base backup that is being recovered becomes consistent; zero
    /// for none.
    pub backup_end: Lsn,
    /// Whether an end-of-backup record must be replayed.
    pub backup_end_required: bool,
    /// `wal_level`.
    pub wal_level: WalLevel,
    /// `wal_log_hints`.
    pub wal_log_hints: bool,
    /// `max_connections`.
    pub max_connections: i32,
    /// `max_worker_processes`.
    pub max_worker_processes: i32,
    /// `max_wal_senders`.
    pub max_wal_senders: i32,
    /// `max_prepared_transactions`.
    pub max_prepared_transactions: i32,
    /// `max_locks_per_transaction`.
    pub max_locks_per_transaction: i32,
    /// `track_commit_timestamp`.
    pub track_commit_timestamp: bool,
    /// Bytes of a data page.
    pub block_size: u32,
    /// Blocks in one file of a relation.
    pub relation_segment_blocks: u32,
    /// Bytes of a WAL page.
    pub wal_block_size: u32,
    /// Bytes of a WAL segment.
    pub segment_size: SegmentSize,
    /// 0 when data pages carry no checksums, 1 when they do. In 19 also 2 while they are
    /// being switched off and 3 while they are being switched on: some pages carry them.
    pub data_checksum_version: u32,
}

/// What a server was doing when it last wrote its control file (`DBState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatabaseState {
    /// Never started.
    StartingUp,
    /// Shut down cleanly.
    ShutDown,
    /// Shut down while it was a standby.
    ShutDownInRecovery,
    /// Shutting down.
    ShuttingDown,
    /// Recovering from a crash.
    InCrashRecovery,
    /// Recovering from an archive, or a running standby.
    InArchiveRecovery,
    /// Open. The usual state in a base backup of a primary.
    InProduction,
}

impl fmt::Display for DatabaseState {
    /// In the words of `pg_controldata`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartingUp => "starting up",
            Self::ShutDown => "shut down",
            Self::ShutDownInRecovery => "shut down in recovery",
            Self::ShuttingDown => "shutting down",
            Self::InCrashRecovery => "in crash recovery",
            Self::InArchiveRecovery => "in archive recovery",
            Self::InProduction => "in production",
        })
    }
}

/// Why bytes are no control file that a server would start with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ControlFileError {
    /// The file has another size than every control file.
    #[error("pg_control has {found} bytes instead of 8192: cut or padded")]
    WrongSize {
        /// Bytes found.
        found: u64,
    },
    /// A format that is not known, or not of a little-endian server.
    #[error(
        "pg_control has format {found}, known are 1300 (PostgreSQL 13 to 16), 1700, 1800 and 1905: another version or byte order, or damaged"
    )]
    UnknownVersion {
        /// The number found.
        found: u32,
    },
    /// The bytes do not match their checksum.
    #[error("pg_control is damaged: CRC-32C is {computed:#010x}, recorded is {found:#010x}")]
    BadCrc {
        /// The checksum in the file.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The checksum holds, yet a field has a value that no server writes.
    #[error("pg_control has an impossible {field}: {found}")]
    BadField {
        /// The field.
        field: &'static str,
        /// Its value.
        found: i64,
    },
}

/// Offsets that are alike in all formats.
const CHECKPOINT_AT: usize = 40;

/// Where the fields of a format lie.
struct Layout {
    /// How far everything behind the checkpoint has moved since 13.
    moved: usize,
    wal_block_size_at: usize,
    segment_size_at: usize,
    checksum_version_at: usize,
    crc_at: usize,
    checkpoint: fn(&[u8]) -> Option<Checkpoint>,
}

impl Layout {
    fn of(control_version: u32) -> Option<Self> {
        let old = Self {
            moved: 0,
            wal_block_size_at: 224,
            segment_size_at: 228,
            checksum_version_at: 252,
            crc_at: 288,
            checkpoint: Checkpoint::parse,
        };
        match control_version {
            1300 | 1700 => Some(old),
            // default_char_signedness and padding came before the nonce.
            1800 => Some(Self { crc_at: 292, ..old }),
            // A longer checkpoint, slru_pages_per_segment, data_checksum_version_init. As in
            // 19beta4; not confirmed against a released 19.
            1905 => Some(Self {
                moved: 8,
                wal_block_size_at: 236,
                segment_size_at: 240,
                checksum_version_at: 268,
                crc_at: 308,
                checkpoint: Checkpoint::parse_19,
            }),
            _ => None,
        }
    }
}

impl ControlFile {
    /// Reads a whole control file of PostgreSQL 13 to 18, or 19 as a preview, and checks its
    /// CRC-32C.
    pub fn parse(bytes: &[u8]) -> Result<Self, ControlFileError> {
        let wrong_size = ControlFileError::WrongSize {
            found: bytes.len() as u64,
        };
        if bytes.len() != CONTROL_FILE_SIZE {
            return Err(wrong_size);
        }
        let control_version = u32_at(bytes, 8).unwrap_or_default();
        let layout = Layout::of(control_version).ok_or(ControlFileError::UnknownVersion {
            found: control_version,
        })?;
        let found = u32_at(bytes, layout.crc_at).unwrap_or_default();
        let computed = crc32c::crc32c(bytes.get(..layout.crc_at).unwrap_or_default());
        if found != computed {
            return Err(ControlFileError::BadCrc { found, computed });
        }
        Self::fields(bytes, control_version, &layout)
            .ok_or(wrong_size)
            .flatten()
    }

    fn fields(
        bytes: &[u8],
        control_version: u32,
        layout: &Layout,
    ) -> Option<Result<Self, ControlFileError>> {
        let bad = |field, found| Some(Err(ControlFileError::BadField { field, found }));
        let state = match u32_at(bytes, 16)? {
            0 => DatabaseState::StartingUp,
            1 => DatabaseState::ShutDown,
            2 => DatabaseState::ShutDownInRecovery,
            3 => DatabaseState::ShuttingDown,
            4 => DatabaseState::InCrashRecovery,
            5 => DatabaseState::InArchiveRecovery,
            6 => DatabaseState::InProduction,
            other => return bad("state", i64::from(other)),
        };
        // What lies behind the checkpoint, at the offsets of 13.
        let behind = bytes.get(layout.moved..)?;
        let wal_level = i32_at(behind, 172)?;
        let Some(wal_level) = WalLevel::from_number(wal_level) else {
            return bad("wal_level", i64::from(wal_level));
        };
        let segment_size = u32_at(bytes, layout.segment_size_at)?;
        let Ok(segment_size) = SegmentSize::new(u64::from(segment_size)) else {
            return bad("WAL segment size", i64::from(segment_size));
        };
        Some(Ok(Self {
            system_id: SystemId(u64_at(bytes, 0)?),
            control_version,
            catalog_version: u32_at(bytes, 12)?,
            state,
            time: from_time_t(i64_at(bytes, 24)?),
            checkpoint_lsn: Lsn::new(u64_at(bytes, 32)?),
            checkpoint: (layout.checkpoint)(bytes.get(CHECKPOINT_AT..)?)?,
            min_recovery_point: Lsn::new(u64_at(behind, 136)?),
            min_recovery_point_timeline: TimelineId(u32_at(behind, 144)?),
            backup_start: Lsn::new(u64_at(behind, 152)?),
            backup_end: Lsn::new(u64_at(behind, 160)?),
            backup_end_required: *behind.get(168)? != 0,
            wal_level,
            wal_log_hints: *behind.get(176)? != 0,
            max_connections: i32_at(behind, 180)?,
            max_worker_processes: i32_at(behind, 184)?,
            max_wal_senders: i32_at(behind, 188)?,
            max_prepared_transactions: i32_at(behind, 192)?,
            max_locks_per_transaction: i32_at(behind, 196)?,
            track_commit_timestamp: *behind.get(200)? != 0,
            block_size: u32_at(behind, 216)?,
            relation_segment_blocks: u32_at(behind, 220)?,
            wal_block_size: u32_at(bytes, layout.wal_block_size_at)?,
            segment_size,
            data_checksum_version: u32_at(bytes, layout.checksum_version_at)?,
        }))
    }

    /// Whether every data page must match its checksum. Not so while 19 switches them on or
    /// off.
    pub const fn pages_must_match_checksums(&self) -> bool {
        self.data_checksum_version == 1
    }

    /// Where replay from the last checkpoint begins.
    pub const fn redo(&self) -> Lsn {
        self.checkpoint.redo
    }

    /// The timeline of the last checkpoint.
    pub const fn timeline(&self) -> TimelineId {
        self.checkpoint.timeline
    }

    /// The timeline before that one.
    pub const fn previous_timeline(&self) -> TimelineId {
        self.checkpoint.previous_timeline
    }

    /// The PostgreSQL major version, known from the catalog's version; `None` for one that
    /// was never released as such (forks, betas).
    pub const fn major(&self) -> Option<u32> {
        match self.catalog_version {
            202_007_201 => Some(13),
            202_107_181 => Some(14),
            202_209_061 => Some(15),
            202_307_071 => Some(16),
            202_406_281 => Some(17),
            202_506_291 => Some(18),
            // Its catalog may still change: known by the control file's format.
            _ if self.control_version == 1905 => Some(19),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file with plain values at their places, sealed with its checksum.
    fn sealed(version: u32, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = vec![0; CONTROL_FILE_SIZE];
        bytes[0..8].copy_from_slice(&7_300_000_000_000_000_001_u64.to_le_bytes());
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        bytes[16] = 6;
        let (wal_level, segment_size, at) = match version {
            1905 => (180, 240, 308),
            1800 => (172, 228, 292),
            _ => (172, 228, 288),
        };
        bytes[wal_level] = 1;
        bytes[segment_size..segment_size + 4].copy_from_slice(&(16_u32 << 20).to_le_bytes());
        change(&mut bytes);
        let crc = crc32c::crc32c(&bytes[..at]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn every_format_is_read() {
        for version in [1300, 1700, 1800, 1905] {
            let file = ControlFile::parse(&sealed(version, |_| ())).unwrap();
            assert_eq!(file.system_id, SystemId(7_300_000_000_000_000_001));
            assert_eq!(file.state, DatabaseState::InProduction);
            assert_eq!(file.wal_level, WalLevel::Replica);
            assert!(!file.pages_must_match_checksums());
        }
    }

    #[test]
    fn pages_must_match_only_when_checksums_are_fully_on() {
        for (version, at) in [(1300, 252), (1800, 252), (1905, 268)] {
            for (state, must) in [(0, false), (1, true), (2, false), (3, false)] {
                let file = ControlFile::parse(&sealed(version, |bytes| bytes[at] = state)).unwrap();
                assert_eq!(file.pages_must_match_checksums(), must);
            }
        }
    }

    #[test]
    fn each_damage_has_its_own_error() {
        let good = sealed(1300, |_| ());
        assert!(matches!(
            ControlFile::parse(&good[..8191]),
            Err(ControlFileError::WrongSize { found: 8191 })
        ));
        let mut other = good.clone();
        other[8] = 1;
        assert!(matches!(
            ControlFile::parse(&other),
            Err(ControlFileError::UnknownVersion { .. })
        ));
        let mut flipped = good;
        flipped[100] ^= 0x10;
        assert!(matches!(
            ControlFile::parse(&flipped),
            Err(ControlFileError::BadCrc { .. })
        ));
        for at in [16, 172, 228] {
            let bad = sealed(1300, |bytes| bytes[at] = 77);
            assert!(matches!(
                ControlFile::parse(&bad),
                Err(ControlFileError::BadField { .. })
            ));
        }
    }

    proptest! {
        #[test]
        fn any_flip_under_the_checksum_is_noticed(at in 0usize..292, bit in 0u8..8) {
            let mut bytes = sealed(1700, |_| ());
            bytes[at] ^= 1 << bit;
            prop_assert!(ControlFile::parse(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_answered(seed: Vec<u8>, version in prop_oneof![Just(1300u32), Just(1700), Just(1800), Just(1905), 1290u32..1910]) {
            let _ = ControlFile::parse(&seed);
            let bytes = sealed(version, |bytes| {
                for (at, byte) in seed.iter().enumerate().take(200) {
                    bytes[12 + at] = *byte;
                }
            });
            let _ = ControlFile::parse(&bytes);
        }
    }
}
