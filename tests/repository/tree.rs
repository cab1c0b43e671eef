//! Small repositories in a directory.

use std::path::Path;

use tempfile::TempDir;
use walproof::codec::{Codec, encode_all};
use walproof::repository::{Repository, open};
use walproof::storage::{StorageOptions, Store};

/// A finished backup's description.
pub(crate) const DONE: &str = "begin_time=2026-11-21 13:31:59.674836+00:00\nbegin_wal=000000010000000000000002\nbegin_xlog=0/2000028\nend_time=2026-11-21 13:32:01+00:00\nend_wal=000000010000000000000002\nend_xlog=0/2000138\nmode=None\nserver_name=cloud\nstatus=DONE\nsystemid=7575056789012345678\ntablespaces=[('tbs1', 16384, '/srv/tbs1')]\ntimeline=1\nversion=150018\nxlog_segment_size=16777216\n";

/// A directory of objects.
pub(crate) struct Tree {
    directory: TempDir,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn put(&self, key: &str, bytes: &[u8]) -> &Self {
        let path = self.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self
    }

    /// A segment that takes no room on disk.
    pub(crate) fn put_segment(&self, server: &str, file: &str) -> &Self {
        let (name, codec) = Codec::split_extension(file);
        let key = format!("{server}wals/{}/{file}", &name[..16]);
        let path = self.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let object = std::fs::File::create(path).unwrap();
        if codec == Codec::None {
            object.set_len(16 << 20).unwrap();
        } else {
            let zeros = encode_all(codec, &vec![0; 16 << 20]).unwrap();
            std::io::Write::write_all(&mut &object, &zeros).unwrap();
        }
        self
    }

    pub(crate) fn store(&self) -> Store {
        let location = format!("file://{}", self.path().display());
        Store::open(&location.parse().unwrap(), &StorageOptions::default()).unwrap()
    }

    pub(crate) fn repository(&self) -> Repository {
        open(self.store())
    }
}
