//! The files of a running server's directory, in a fixed order.

use std::fs::{DirEntry, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::exclude;

/// Something to put into an archive.
#[derive(Debug)]
pub(super) enum Found {
    /// A folder.
    Folder {
        /// Its name within the archive.
        name: String,
        /// Its owner, mode and time.
        metadata: Metadata,
    },
    /// A file, or a link to one.
    File {
        /// Its name within the archive.
        name: String,
        /// Where it lies.
        path: PathBuf,
    },
    /// A name that is no UTF-8 or a kind of file that no backup can hold.
    Skipped {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
}

/// Which directory is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// The data directory; these paths are tablespaces of their own and are left out.
    Data(&'a [PathBuf]),
    /// A tablespace's location: only the folder of this major version belongs to it.
    Tablespace(u32),
}

/// Walks `root` and hands out folders before what they hold, names in order. Memory: the
/// names of one folder per level. Whatever vanishes on the way is passed over, because
/// replay brings it to where it belongs.
pub(super) fn walk(
    root: &Path,
    kind: Kind<'_>,
    visit: &mut dyn FnMut(Found) -> io::Result<()>,
) -> io::Result<()> {
    if let Kind::Data(_) = kind {
        let metadata = std::fs::metadata(root)?;
        visit(Found::Folder {
            name: ".".to_owned(),
            metadata,
        })?;
    }
    let mut walker = Walker { kind, visit };
    walker.folder(root, "")
}

struct Walker<'a, 'v> {
    kind: Kind<'a>,
    visit: &'v mut dyn FnMut(Found) -> io::Result<()>,
}

impl Walker<'_, '_> {
    fn folder(&mut self, path: &Path, below: &str) -> io::Result<()> {
        let mut entries = match std::fs::read_dir(path) {
            Ok(entries) => entries.collect::<io::Result<Vec<DirEntry>>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(path, &error)),
        };
        entries.sort_by_key(DirEntry::file_name);
        let parent = below.rsplit('/').next().unwrap_or_default().to_owned();
        for entry in entries {
            self.entry(&entry.path(), below, &parent, &entry)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: &Path,
        below: &str,
        parent: &str,
        entry: &DirEntry,
    ) -> io::Result<()> {
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str() else {
            return self.skip(path, "its name is not UTF-8");
        };
        let top = below.is_empty();
        if exclude::is_left_out(parent, name) || !self.belongs(top, name, path) {
            return Ok(());
        }
        let full = if top {
            name.to_owned()
        } else {
            format!("{below}/{name}")
        };
        // Follows links: a linked configuration file is kept by its contents.
        let link = match std::fs::symlink_metadata(path) {
            Ok(metadata) => metadata.is_symlink(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(path, &error)),
        };
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(path, &error)),
        };
        let emptied = top && matches!(self.kind, Kind::Data(_)) && exclude::is_emptied(name);
        if metadata.is_dir() {
            if link && !emptied {
                return self.skip(path, "it is a link to a folder outside");
            }
            (self.visit)(Found::Folder {
                name: full.clone(),
                metadata,
            })?;
            if emptied {
                return Ok(());
            }
            return self.folder(path, &full);
        }
        if !metadata.is_file() {
            return self.skip(path, "it is neither a file nor a folder");
        }
        (self.visit)(Found::File {
            name: full,
            path: path.to_owned(),
        })
    }

    fn belongs(&self, top: bool, name: &str, path: &Path) -> bool {
        match self.kind {
            Kind::Tablespace(major) => !top || name.starts_with(&format!("PG_{major}_")),
            Kind::Data(tablespaces) => !tablespaces.iter().any(|location| location == path),
        }
    }

    fn skip(&mut self, path: &Path, reason: &'static str) -> io::Result<()> {
        (self.visit)(Found::Skipped {
            path: path.to_owned(),
            reason,
        })
    }
}

/// An error with the path it concerns.
pub(super) fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path, kind: Kind<'_>) -> Vec<String> {
        let mut names = Vec::new();
        walk(root, kind, &mut |found| {
            names.push(match found {
                Found::Folder { name, .. } => format!("{name}/"),
                Found::File { name, .. } => name,
                Found::Skipped { path, .. } => {
                    format!("!{}", path.file_name().unwrap().display())
                }
            });
            Ok(())
        })
        .unwrap();
        names
    }

    fn put(root: &Path, name: &str) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }

    #[test]
    fn the_data_directory_without_what_must_not_travel() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in [
            "PG_VERSION",
            "postmaster.pid",
            "backup_label",
            "base/5/1259",
            "base/5/t3_16384",
            "base/pgsql_tmp/pgsql_tmp1.0",
            "global/pg_control",
            "pg_wal/archive_status/000000010000000000000001.done",
            "pg_replslot/standby/state",
            "pg_tblspc/16384/PG_15_1/x",
            "spaces/one/PG_15_202209061/5/1",
        ] {
            put(root, name);
        }
        put(directory.path(), "outside/log");
        std::os::unix::fs::symlink(root.join("outside"), root.join("linked")).unwrap();
        std::os::unix::fs::symlink(root.join("outside"), root.join("log")).unwrap();
        std::os::unix::fs::symlink(root.join("outside/log"), root.join("server.crt")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("dangling")).unwrap();
        let tablespaces = [root.join("spaces/one"), root.join("outside")];
        assert_eq!(
            names(root, Kind::Data(&tablespaces)),
            [
                "./",
                "PG_VERSION",
                "base/",
                "base/5/",
                "base/5/1259",
                "global/",
                "global/pg_control",
                "!linked",
                "log/",
                "pg_replslot/",
                "pg_tblspc/",
                "pg_wal/",
                "server.crt",
                "spaces/",
            ]
        );
    }

    #[test]
    fn a_tablespace_is_the_folder_of_its_version() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        put(root, "PG_15_202209061/5/16390");
        put(root, "PG_14_202107181/5/16390");
        put(root, "readme");
        assert_eq!(
            names(root, Kind::Tablespace(15)),
            [
                "PG_15_202209061/",
                "PG_15_202209061/5/",
                "PG_15_202209061/5/16390"
            ]
        );
    }
}
