//! Names of the files that hold relations.

use std::fmt;

use serde::Serialize;

use super::wal::RelationLocator;

/// OID of `pg_default`, whose files lie in `base` (`DEFAULTTABLESPACE_OID`).
pub const DEFAULT_TABLESPACE: u32 = 1663;
/// OID of `pg_global`, whose files lie in `global` (`GLOBALTABLESPACE_OID`).
pub const GLOBAL_TABLESPACE: u32 = 1664;

/// One of the sequences of blocks that make up a relation (`ForkNumber` in
/// `src/include/common/relpath.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fork {
    /// The rows, or the index.
    Main,
    /// How much room each block has.
    FreeSpaceMap,
    /// Which blocks all transactions can see.
    VisibilityMap,
    /// What an unlogged relation is reset to after recovery.
    Init,
}

impl Fork {
    /// The number in block references of WAL records.
    pub const fn number(self) -> u8 {
        match self {
            Self::Main => 0,
            Self::FreeSpaceMap => 1,
            Self::VisibilityMap => 2,
            Self::Init => 3,
        }
    }

    /// The fork of a number; `None` for one that PostgreSQL does not know.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Main),
            1 => Some(Self::FreeSpaceMap),
            2 => Some(Self::VisibilityMap),
            3 => Some(Self::Init),
            _ => None,
        }
    }

    /// What a file name has after the number.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::FreeSpaceMap => "_fsm",
            Self::VisibilityMap => "_vm",
            Self::Init => "_init",
        }
    }
}

impl fmt::Display for Fork {
    /// As PostgreSQL's messages name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Main => "main",
            Self::FreeSpaceMap => "fsm",
            Self::VisibilityMap => "vm",
            Self::Init => "init",
        })
    }
}

/// One file of a relation, known by its name (`GetRelationPath` in
/// `src/common/relpath.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RelationFile {
    /// The relation.
    pub locator: RelationLocator,
    /// The fork.
    pub fork: Fork,
    /// The file's number within the fork: 0 for the first, which has no `.N`.
    pub segment: u32,
    /// The backend whose temporary relation it was: `t<backend>_<number>`. Nothing in it
    /// outlives a restart.
    pub backend: Option<u32>,
}

impl RelationFile {
    /// Reads a path relative to the data directory: `base/5/1259`, `global/1260_fsm`,
    /// `pg_tblspc/16400/PG_15_202209061/5/16390.1`. `None` for every file that is no
    /// relation's: maps, temporary files, `PG_VERSION`, incremental files, and others.
    pub fn parse(path: &str) -> Option<Self> {
        let (first, rest) = path.split_once('/')?;
        match first {
            "base" => Self::in_databases(rest, DEFAULT_TABLESPACE),
            "global" => Self::of_name(rest, GLOBAL_TABLESPACE, 0),
            "pg_tblspc" => {
                let (oid, rest) = rest.split_once('/')?;
                Self::parse_in_tablespace(rest, number(oid)?)
            }
            _ => None,
        }
    }

    /// Reads a path relative to the directory of the tablespace `oid`:
    /// `PG_15_202209061/5/16390`.
    pub fn parse_in_tablespace(path: &str, oid: u32) -> Option<Self> {
        let (version, rest) = path.split_once('/')?;
        let (major, catalog) = version.strip_prefix("PG_")?.split_once('_')?;
        number(major)?;
        number(catalog)?;
        Self::in_databases(rest, oid)
    }

    fn in_databases(path: &str, tablespace: u32) -> Option<Self> {
        let (database, name) = path.split_once('/')?;
        Self::of_name(name, tablespace, number(database)?)
    }

    fn of_name(name: &str, tablespace: u32, database: u32) -> Option<Self> {
        let (stem, segment) = match name.split_once('.') {
            Some((stem, segment)) => (stem, number(segment)?),
            None => (name, 0),
        };
        let (backend, stem) = match stem.strip_prefix('t') {
            Some(rest) => {
                let (backend, stem) = rest.split_once('_')?;
                // Backends are counted from 0 since 17.
                (
                    Some(if backend == "0" { 0 } else { number(backend)? }),
                    stem,
                )
            }
            None => (None, stem),
        };
        let (relation, fork) = match stem.split_once('_') {
            None => (stem, Fork::Main),
            Some((stem, "fsm")) => (stem, Fork::FreeSpaceMap),
            Some((stem, "vm")) => (stem, Fork::VisibilityMap),
            Some((stem, "init")) => (stem, Fork::Init),
            Some(_) => return None,
        };
        Some(Self {
            locator: RelationLocator {
                tablespace,
                database,
                relation: number(relation)?,
            },
            fork,
            segment,
            backend,
        })
    }

    /// Whether the relation was temporary.
    pub const fn is_temporary(&self) -> bool {
        self.backend.is_some()
    }

    /// The number of the file's first block within the fork. `segment_blocks` is what the
    /// control file says, 131,072 unless PostgreSQL was built otherwise. `None` past the
    /// last block that a relation can have.
    pub fn first_block(&self, segment_blocks: u32) -> Option<u32> {
        self.segment.checked_mul(segment_blocks)
    }

    /// The file's own name: `1259_fsm.1`.
    pub fn name(&self) -> String {
        let mut name = match self.backend {
            Some(backend) => format!("t{backend}_"),
            None => String::new(),
        };
        name += &self.locator.relation.to_string();
        name += self.fork.suffix();
        if self.segment > 0 {
            name += ".";
            name += &self.segment.to_string();
        }
        name
    }

    /// The path relative to the data directory. `version_directory` is the one inside a
    /// tablespace, such as `PG_15_202209061`.
    pub fn path(&self, version_directory: &str) -> String {
        let RelationLocator {
            tablespace,
            database,
            ..
        } = self.locator;
        let name = self.name();
        match tablespace {
            DEFAULT_TABLESPACE => format!("base/{database}/{name}"),
            GLOBAL_TABLESPACE => format!("global/{name}"),
            other => format!("pg_tblspc/{other}/{version_directory}/{database}/{name}"),
        }
    }
}

impl fmt::Display for RelationFile {
    /// The path relative to the data directory; in a tablespace with `PG_*` for the
    /// directory whose name the file does not tell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path("PG_*"))
    }
}

/// A number as PostgreSQL writes OIDs and segments: from 1, without leading zeros or signs.
fn number(text: &str) -> Option<u32> {
    let plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(place: (u32, u32, u32), fork: Fork, segment: u32) -> RelationFile {
        let (tablespace, database, relation) = place;
        RelationFile {
            locator: RelationLocator {
                tablespace,
                database,
                relation,
            },
            fork,
            segment,
            backend: None,
        }
    }

    #[test]
    fn every_kind_of_name_is_read() {
        let cases = [
            ("base/5/1259", file((1663, 5, 1259), Fork::Main, 0)),
            ("base/5/1259.12", file((1663, 5, 1259), Fork::Main, 12)),
            (
                "base/5/1259_fsm",
                file((1663, 5, 1259), Fork::FreeSpaceMap, 0),
            ),
            (
                "base/5/1259_vm.1",
                file((1663, 5, 1259), Fork::VisibilityMap, 1),
            ),
            (
                "base/5/4294967295_init",
                file((1663, 5, u32::MAX), Fork::Init, 0),
            ),
            ("global/1260", file((1664, 0, 1260), Fork::Main, 0)),
            (
                "pg_tblspc/16400/PG_15_202209061/5/16390.1",
                file((16400, 5, 16390), Fork::Main, 1),
            ),
            (
                "base/5/t3_16390_fsm.1",
                RelationFile {
                    backend: Some(3),
                    ..file((1663, 5, 16390), Fork::FreeSpaceMap, 1)
                },
            ),
            (
                "base/5/t0_16390",
                RelationFile {
                    backend: Some(0),
                    ..file((1663, 5, 16390), Fork::Main, 0)
                },
            ),
        ];
        for (path, expected) in cases {
            assert_eq!(RelationFile::parse(path), Some(expected), "{path}");
            assert_eq!(expected.path("PG_15_202209061"), path);
            assert_eq!(expected.is_temporary(), path.contains("/t"));
        }
        let inside = RelationFile::parse_in_tablespace("PG_18_202506291/5/16390", 16400).unwrap();
        assert_eq!(inside.to_string(), "pg_tblspc/16400/PG_*/5/16390");
    }

    #[test]
    fn other_files_are_no_relations() {
        for path in [
            "",
            "base",
            "base/5",
            "base/5/",
            "base/5/PG_VERSION",
            "base/5/pg_filenode.map",
            "base/5/pg_internal.init",
            "base/5/1259_other",
            "base/5/1259_",
            "base/5/1259_fsm_vm",
            "base/5/1259.",
            "base/5/1259.0",
            "base/5/1259.01",
            "base/5/1259.1.1",
            "base/5/01259",
            "base/5/0",
            "base/5/+1259",
            "base/5/4294967296",
            "base/5/t_16390",
            "base/5/t3",
            "base/5/t3_fsm",
            "base/5/INCREMENTAL.1259",
            "base/5/1259/1",
            "base/x/1259",
            "base/pgsql_tmp/pgsql_tmp123.0",
            "global/pg_control",
            "global/5/1259",
            "pg_xact/0000",
            "pg_tblspc/16400",
            "pg_tblspc/16400/5/16390",
            "pg_tblspc/16400/PG_15/5/16390",
            "pg_tblspc/16400/PG_15_202209061/16390",
            "other/5/1259",
            "./base/5/1259",
        ] {
            assert_eq!(RelationFile::parse(path), None, "{path}");
        }
    }

    #[test]
    fn blocks_are_counted_on_through_the_files() {
        let of = |segment| file((1663, 5, 1259), Fork::Main, segment).first_block(131_072);
        assert_eq!(of(0), Some(0));
        assert_eq!(of(3), Some(393_216));
        assert_eq!(of(32_767), Some(4_294_836_224));
        assert_eq!(of(32_768), None);
    }

    #[test]
    fn forks_and_their_numbers_are_inverse() {
        for number in 0..4 {
            assert_eq!(Fork::from_number(number).unwrap().number(), number);
        }
        assert_eq!(Fork::from_number(4), None);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_again(
            tablespace in 1u32.., database in 1u32.., relation in 1u32..,
            fork in 0u8..4, segment: u32, backend: Option<u32>,
        ) {
            let file = RelationFile {
                locator: RelationLocator {
                    tablespace,
                    database: if tablespace == GLOBAL_TABLESPACE { 0 } else { database },
                    relation,
                },
                fork: Fork::from_number(fork).unwrap(),
                segment,
                backend,
            };
            prop_assert_eq!(RelationFile::parse(&file.path("PG_13_202007201")), Some(file));
        }

        #[test]
        fn any_text_is_answered(path in "(base/|global/|pg_tblspc/1/PG_1_1/)?[0-9t_./a-z]*") {
            if let Some(file) = RelationFile::parse(&path)
                && !path.starts_with("pg_tblspc")
            {
                prop_assert_eq!(file.to_string(), path);
            }
        }
    }
}
