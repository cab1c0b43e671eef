//! `tablespace_map`, which tells recovery where the tablespaces of a base backup lie.

use serde::Serialize;

/// The largest file that is looked at: thousands of tablespaces.
const SIZE_MAX: usize = 4 << 20;
/// What recovery keeps of a line (`MAXPGPATH`); a longer one it would cut silently.
const LINE_MAX: usize = 1023;

/// What `tablespace_map` says (`read_tablespace_map` in
/// `src/backend/access/transam/xlogrecovery.c`). Lies in a backup beside `backup_label` when
/// the cluster has tablespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TablespaceMap {
    /// The tablespaces, in the file's order.
    pub tablespaces: Vec<MappedTablespace>,
}

/// One tablespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MappedTablespace {
    /// Its OID.
    pub oid: u32,
    /// The directory that held it, as bytes: a path need not be text.
    #[serde(serialize_with = "as_text")]
    pub location: Vec<u8>,
}

/// Why bytes are not such a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TablespaceMapError {
    /// Far larger than any server writes.
    #[error("{found} bytes are too many for a tablespace_map")]
    TooLarge {
        /// Bytes found.
        found: u64,
    },
    /// A line that is no OID, one space and a path.
    #[error("line {line} of tablespace_map is not an OID, a space and a directory: {text:?}")]
    BadLine {
        /// Line number, from 1; line breaks inside a path do not count.
        line: usize,
        /// The line, cut to 80 characters.
        text: String,
    },
    /// A line longer than the longest path.
    #[error("line {line} of tablespace_map is longer than the 1023 bytes that PostgreSQL reads")]
    LineTooLong {
        /// Line number, from 1.
        line: usize,
    },
    /// The last line has no end: the file is cut.
    #[error("the last line of tablespace_map has no end: the file is cut")]
    Cut,
    /// Two lines for one tablespace.
    #[error("tablespace_map names tablespace {oid} twice")]
    Twice {
        /// The tablespace.
        oid: u32,
    },
}

impl TablespaceMap {
    /// Reads a `tablespace_map` by the rules of 15 and later: a backslash takes a line
    /// break, or another backslash, into the path. Earlier servers wrote a backslash in a
    /// path plain; that one is read without it.
    pub fn parse(bytes: &[u8]) -> Result<Self, TablespaceMapError> {
        if bytes.len() > SIZE_MAX {
            return Err(TablespaceMapError::TooLarge {
                found: bytes.len() as u64,
            });
        }
        let mut tablespaces: Vec<MappedTablespace> = Vec::new();
        let mut oids = std::collections::BTreeSet::new();
        let mut line = Vec::new();
        let mut number = 1;
        let mut escaped = false;
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' if !escaped => {
                    // Empty lines are passed over: the second half of a \r\n.
                    if !line.is_empty() {
                        let tablespace = MappedTablespace::parse(&line, number)?;
                        if !oids.insert(tablespace.oid) {
                            return Err(TablespaceMapError::Twice {
                                oid: tablespace.oid,
                            });
                        }
                        tablespaces.push(tablespace);
                        number += 1;
                        line.clear();
                    }
                }
                b'\\' if !escaped => escaped = true,
                other => {
                    if line.len() >= LINE_MAX {
                        return Err(TablespaceMapError::LineTooLong { line: number });
                    }
                    line.push(other);
                    escaped = false;
                }
            }
        }
        if escaped || !line.is_empty() {
            return Err(TablespaceMapError::Cut);
        }
        Ok(Self { tablespaces })
    }
}

impl MappedTablespace {
    fn parse(line: &[u8], number: usize) -> Result<Self, TablespaceMapError> {
        let read = || {
            let space = line.iter().position(|byte| *byte == b' ')?;
            let (oid, location) = line.split_at_checked(space)?;
            let location = location.get(1..).filter(|rest| !rest.is_empty())?;
            let oid = std::str::from_utf8(oid).ok()?;
            if !oid.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            Some(Self {
                oid: oid.parse().ok()?,
                location: location.to_owned(),
            })
        };
        read().ok_or_else(|| TablespaceMapError::BadLine {
            line: number,
            text: String::from_utf8_lossy(line).chars().take(80).collect(),
        })
    }
}

fn as_text<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Vec<(u32, String)>, TablespaceMapError> {
        let map = TablespaceMap::parse(text.as_bytes())?;
        Ok(map
            .tablespaces
            .into_iter()
            .map(|one| (one.oid, String::from_utf8(one.location).unwrap()))
            .collect())
    }

    #[test]
    fn lines_and_escapes_are_read() {
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(
            parse("16400 /srv/fast\n16401  a b\r\n").unwrap(),
            [(16400, "/srv/fast".to_owned()), (16401, " a b".to_owned())]
        );
        assert_eq!(
            parse("1 /a\\\nb\\\\c\\\rd\n2 /e\n").unwrap(),
            [(1, "/a\nb\\c\rd".to_owned()), (2, "/e".to_owned())]
        );
    }

    #[test]
    fn what_recovery_refuses_is_refused() {
        for text in [
            "16400\n",
            "16400 \n",
            " /x\n",
            "x /y\n",
            "+1 /y\n",
            "4294967296 /y\n",
        ] {
            assert!(
                matches!(
                    parse(text),
                    Err(TablespaceMapError::BadLine { line: 1, .. })
                ),
                "{text:?}"
            );
        }
        assert_eq!(parse("1 /a\n2 /b"), Err(TablespaceMapError::Cut));
        assert_eq!(parse("1 /a\n\\"), Err(TablespaceMapError::Cut));
        assert_eq!(
            parse("1 /a\n1 /b\n"),
            Err(TablespaceMapError::Twice { oid: 1 })
        );
        let long = format!("1 /a\n2 /{}\n", "x".repeat(1024));
        assert_eq!(
            parse(&long),
            Err(TablespaceMapError::LineTooLong { line: 2 })
        );
        assert!(matches!(
            TablespaceMap::parse(&vec![b'\n'; SIZE_MAX + 1]),
            Err(TablespaceMapError::TooLarge { .. })
        ));
    }

    proptest! {
        #[test]
        fn what_a_server_writes_is_read_again(places in prop::collection::btree_map(any::<u32>(), "/[a \\\\\n\r]{0,20}", 0..5)) {
            let mut text = String::new();
            for (oid, place) in &places {
                text += &oid.to_string();
                text.push(' ');
                for c in place.chars() {
                    if matches!(c, '\\' | '\n' | '\r') {
                        text.push('\\');
                    }
                    text.push(c);
                }
                text.push('\n');
            }
            prop_assert_eq!(parse(&text).unwrap(), places.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = TablespaceMap::parse(&bytes);
        }
    }
}
