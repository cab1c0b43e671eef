//! `pg_filenode.map`: where the catalogs lie that cannot be looked up in a catalog.

use serde::Serialize;

use super::little_endian::u32_at;

const MAGIC: u32 = 0x0059_2717;
const MAPPING: usize = 8;

/// The files of the most basic catalogs of one database, or of the cluster (`global`)
/// (`RelMapFile` in `src/backend/utils/cache/relmapper.c`). Without it no catalog is found:
/// a server with a damaged one does not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RelationMap {
    /// The mappings, in the file's order.
    pub mappings: Vec<RelationMapping>,
}

/// Where one catalog lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RelationMapping {
    /// The catalog, `pg_class.oid`.
    pub oid: u32,
    /// Its file's number.
    pub relation: u32,
}

/// Why bytes are no such map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RelationMapError {
    /// Another size than every such file.
    #[error(
        "pg_filenode.map has {found} bytes instead of 512 (PostgreSQL 13 to 15) or 524 (16 and later)"
    )]
    WrongSize {
        /// Bytes found.
        found: u64,
    },
    /// It begins with something else.
    #[error("pg_filenode.map begins with {found:#010x} instead of 0x00592717")]
    WrongMagic {
        /// The number found.
        found: u32,
    },
    /// More mappings than have room.
    #[error("pg_filenode.map claims {found} mappings, at most {limit} fit")]
    TooMany {
        /// The number found.
        found: u32,
        /// How many fit.
        limit: u32,
    },
    /// The bytes do not match their checksum.
    #[error("pg_filenode.map is damaged: CRC-32C is {computed:#010x}, recorded is {found:#010x}")]
    BadCrc {
        /// The checksum in the file.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
}

impl RelationMap {
    /// The name of the file, in `global` and in every database's directory.
    pub const FILE_NAME: &'static str = "pg_filenode.map";

    /// Reads a map and checks its CRC-32C, as `read_relmap_file` does.
    pub fn parse(bytes: &[u8]) -> Result<Self, RelationMapError> {
        // 62 mappings and padding until 15, 64 without padding since.
        let limit: u32 = match bytes.len() {
            512 => 62,
            524 => 64,
            found => {
                return Err(RelationMapError::WrongSize {
                    found: found as u64,
                });
            }
        };
        let crc_at = 8 + usize::try_from(limit).unwrap_or_default() * MAPPING;
        let number = |at| u32_at(bytes, at).unwrap_or_default();
        let magic = number(0);
        if magic != MAGIC {
            return Err(RelationMapError::WrongMagic { found: magic });
        }
        let count = number(4);
        if count > limit {
            return Err(RelationMapError::TooMany {
                found: count,
                limit,
            });
        }
        let found = number(crc_at);
        let computed = crc32c::crc32c(bytes.get(..crc_at).unwrap_or_default());
        if found != computed {
            return Err(RelationMapError::BadCrc { found, computed });
        }
        let (mappings, _) = bytes.get(8..crc_at).unwrap_or_default().as_chunks::<4>();
        let (mappings, _) = mappings.as_chunks::<2>();
        Ok(Self {
            mappings: mappings
                .iter()
                .take(usize::try_from(count).unwrap_or_default())
                .map(|[oid, relation]| RelationMapping {
                    oid: u32::from_le_bytes(*oid),
                    relation: u32::from_le_bytes(*relation),
                })
                .collect(),
        })
    }

    /// The file's number of a catalog.
    pub fn relation(&self, oid: u32) -> Option<u32> {
        let mapping = self.mappings.iter().find(|mapping| mapping.oid == oid)?;
        Some(mapping.relation)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(size: usize, count: u32) -> Vec<u8> {
        let mut bytes = vec![0; size];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&count.to_le_bytes());
        bytes[8..12].copy_from_slice(&1259_u32.to_le_bytes());
        bytes[12..16].copy_from_slice(&16390_u32.to_le_bytes());
        let at = if size == 512 { 504 } else { 520 };
        let crc = crc32c::crc32c(&bytes[..at]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn both_sizes_are_read() {
        for size in [512, 524] {
            let map = RelationMap::parse(&sealed(size, 1)).unwrap();
            assert_eq!(map.mappings.len(), 1);
            assert_eq!(map.relation(1259), Some(16390));
            assert_eq!(map.relation(1260), None);
        }
    }

    #[test]
    fn each_damage_has_its_own_error() {
        let parse = |bytes: &[u8]| RelationMap::parse(bytes).unwrap_err();
        let good = sealed(512, 1);
        assert_eq!(
            parse(&good[..511]),
            RelationMapError::WrongSize { found: 511 }
        );
        let mut bytes = good.clone();
        bytes[0] = 0;
        assert!(matches!(parse(&bytes), RelationMapError::WrongMagic { .. }));
        assert_eq!(
            parse(&sealed(512, 63)),
            RelationMapError::TooMany {
                found: 63,
                limit: 62
            }
        );
        assert!(RelationMap::parse(&sealed(524, 64)).is_ok());
        let mut bytes = good;
        bytes[400] = 1;
        assert!(matches!(parse(&bytes), RelationMapError::BadCrc { .. }));
    }

    proptest! {
        #[test]
        fn any_flip_under_the_checksum_is_noticed(at in 0usize..508, bit in 0u8..8) {
            let mut bytes = sealed(512, 1);
            bytes[at] ^= 1 << bit;
            prop_assert!(RelationMap::parse(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 500..530)) {
            let _ = RelationMap::parse(&bytes);
        }
    }
}
