//! The files of `pg_xact`.

use super::check::name_in;
use crate::postgres::page::BLOCK_SIZE;

/// One file of `pg_xact` that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StatusFile {
    /// Its name, such as `0000`.
    pub(super) name: String,
    /// Its size in bytes.
    pub(super) bytes: u64,
    /// For each of its pages, in order, whether it holds anything but zeros. At most 32 in
    /// a sound file (`SLRU_PAGES_PER_SEGMENT`); later ones are not kept.
    pub(super) filled: u64,
}

/// Reads one file.
#[derive(Debug)]
pub(super) struct StatusReader {
    file: StatusFile,
}

impl StatusReader {
    /// The file at `path`, if it is one of `pg_xact`.
    pub(super) fn of(path: &str) -> Option<Self> {
        let name = name_in(path, "pg_xact")?;
        let legal = name.len() >= 4
            && name
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
        legal.then(|| Self {
            file: StatusFile {
                name: name.to_owned(),
                bytes: 0,
                filled: 0,
            },
        })
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let page = self.file.bytes / BLOCK_SIZE as u64;
            let within = usize::try_from(self.file.bytes % BLOCK_SIZE as u64).unwrap_or(0);
            let (piece, rest) = bytes
                .split_at_checked(BLOCK_SIZE - within)
                .unwrap_or((bytes, &[]));
            if page < 64 && piece.iter().any(|byte| *byte != 0) {
                self.file.filled |= 1 << page;
            }
            self.file.bytes += piece.len() as u64;
            bytes = rest;
        }
    }

    pub(super) fn end(self) -> StatusFile {
        self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_with_contents_are_told_from_zeros() {
        let mut bytes = vec![0; 3 * BLOCK_SIZE];
        bytes[2 * BLOCK_SIZE + 7] = 1;
        for piece in [1, 100, 8192, 30_000] {
            let mut reader = StatusReader::of("pg_xact/00AF").unwrap();
            for piece in bytes.chunks(piece) {
                reader.push(piece);
            }
            let file = reader.end();
            assert_eq!((file.bytes, file.filled), (24_576, 0b100));
            assert_eq!(file.name, "00AF");
        }
        for path in [
            "pg_xact/00af",
            "pg_xact/000",
            "pg_xact/x",
            "pg_subtrans/0000",
        ] {
            assert!(StatusReader::of(path).is_none(), "{path}");
        }
    }
}
