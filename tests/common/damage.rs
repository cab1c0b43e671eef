//! A repository as a tree of files, and everything that can go wrong with one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::postgres::TestServer;
use super::{codec, scratch};

/// A repository of a test's own: the server folder of the Barman Cloud layout, as files.
#[derive(Clone, Debug)]
pub struct Tree {
    keep: Arc<TempDir>,
    root: PathBuf,
}

impl Tree {
    /// A copy of the server folder `from`, under the name `server`.
    pub fn copy_of(from: &Path, server: &str) -> Self {
        let keep = Arc::new(scratch::directory());
        let root = keep.path().join("repository").join(server);
        scratch::copy_tree(from, &root);
        Self { keep, root }
    }

    /// An empty server folder.
    pub fn empty(server: &str) -> Self {
        let keep = Arc::new(scratch::directory());
        let root = keep.path().join("repository").join(server);
        std::fs::create_dir_all(&root).unwrap();
        Self { keep, root }
    }

    /// Makes `server` archive straight into this tree, plain or by gzip: milliseconds per
    /// segment, for tests that do not need the real tool. Base backups come by
    /// `walproof backup take`, or by Barman into another place.
    pub fn archive(&self, server: &TestServer, gzip: bool) {
        let wals = self.root.join("wals");
        std::fs::create_dir_all(&wals).unwrap();
        scratch::give_to_server_user(self.keep.path());
        let script = server.home().join("archive-to-tree.sh");
        let (store, extension) = if gzip {
            ("gzip -1c", ".gz")
        } else {
            ("cat", "")
        };
        std::fs::write(
            &script,
            format!(
                "set -e\n\
                 case \"$2\" in *.history) d='{wals}' ;; *) d='{wals}'/$(echo \"$2\" | cut -c1-16) ;; esac\n\
                 mkdir -p \"$d\"\n\
                 {store} \"$1\" >\"$d/.$2.$$\"\n\
                 mv \"$d/.$2.$$\" \"$d/$2{extension}\"\n",
                wals = wals.display(),
            ),
        )
        .unwrap();
        server.set(
            "archive_command",
            &format!("sh '{}' %p %f", script.display()),
        );
    }

    /// The server folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `file:///…`, as walproof takes it.
    pub fn url(&self) -> String {
        format!("file://{}", self.root.display())
    }

    /// The file of a key relative to the server folder.
    pub fn file(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// All keys, sorted, relative to the server folder.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let mut open = vec![self.root.clone()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let key = path.strip_prefix(&self.root).unwrap();
                    keys.push(key.to_str().unwrap().to_owned());
                }
            }
        }
        keys.sort();
        keys
    }

    /// The keys of a WAL file (a name without codec extension); more than one if duplicated.
    pub fn wal_keys(&self, name: &str) -> Vec<String> {
        self.keys()
            .into_iter()
            .filter(|key| {
                let path = Path::new(key);
                let file = path.file_name().unwrap().to_str().unwrap();
                key.starts_with("wals/") && file.strip_suffix(codec::extension(path)) == Some(name)
            })
            .collect()
    }

    /// The one key of a WAL file.
    #[track_caller]
    pub fn wal_key(&self, name: &str) -> String {
        let keys = self.wal_keys(name);
        assert_eq!(keys.len(), 1, "objects of {name}: {keys:?}");
        keys.into_iter().next().unwrap()
    }

    /// The names of all full segments, in order of name, without codec extension.
    pub fn segments(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .keys()
            .iter()
            .filter(|key| key.starts_with("wals/"))
            .filter_map(|key| {
                let path = Path::new(key);
                let file = path.file_name()?.to_str()?;
                let name = file.strip_suffix(codec::extension(path))?;
                (name.len() == 24 && !name.contains('.')).then(|| name.to_owned())
            })
            .collect();
        names.dedup();
        names
    }

    /// The full segments of one timeline.
    pub fn segments_of(&self, timeline: u32) -> Vec<String> {
        let prefix = format!("{timeline:08X}");
        self.segments()
            .into_iter()
            .filter(|name| name.starts_with(&prefix))
            .collect()
    }

    /// The ids of the base backups, oldest first.
    pub fn backups(&self) -> Vec<String> {
        let mut ids: Vec<String> = std::fs::read_dir(self.root.join("base"))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        ids.sort();
        ids
    }

    /// The objects that are the base backup's archives.
    pub fn archives(&self, backup: &str) -> Vec<String> {
        let prefix = format!("base/{backup}/");
        self.keys()
            .into_iter()
            .filter(|key| key.starts_with(&prefix) && key.contains(".tar"))
            .collect()
    }

    /// Reads an object as it is stored.
    pub fn read(&self, key: &str) -> Vec<u8> {
        std::fs::read(self.file(key)).unwrap_or_else(|error| panic!("{key}: {error}"))
    }

    /// Writes an object as it is to be stored.
    pub fn write(&self, key: &str, bytes: &[u8]) {
        let file = self.file(key);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    /// Removes an object.
    #[track_caller]
    pub fn delete(&self, key: &str) {
        std::fs::remove_file(self.file(key)).unwrap_or_else(|error| panic!("{key}: {error}"));
    }

    /// Removes a WAL file under whatever extension.
    #[track_caller]
    pub fn delete_wal(&self, name: &str) {
        self.delete(&self.wal_key(name));
    }

    /// Renames an object.
    pub fn rename(&self, from: &str, to: &str) {
        let bytes = self.read(from);
        self.write(to, &bytes);
        self.delete(from);
    }

    /// Cuts the stored object to `length` bytes.
    pub fn truncate(&self, key: &str, length: usize) {
        let mut bytes = self.read(key);
        assert!(bytes.len() > length, "{key} has only {} bytes", bytes.len());
        bytes.truncate(length);
        self.write(key, &bytes);
    }

    /// Cuts the stored object in half.
    pub fn halve(&self, key: &str) {
        self.truncate(key, self.read(key).len() / 2);
    }

    /// Flips every bit of the stored byte at `offset`.
    pub fn flip(&self, key: &str, offset: usize) {
        let mut bytes = self.read(key);
        bytes[offset] ^= 0xFF;
        self.write(key, &bytes);
    }

    /// Flips a byte of the stored object: the one in its middle, or the first after it whose flip
    /// changes what is inside. In a run of zeros an archive copies from a little further away as
    /// well, and unpacks, by its checksum too, to the very same.
    pub fn flip_middle(&self, key: &str) {
        let bytes = self.read(key);
        let extension = codec::extension(Path::new(key));
        // Flipped again it is as before, though what is damaged unpacks to nothing.
        let inside = codec::try_decode(extension, &bytes).ok();
        let counts = |offset: &usize| {
            let mut changed = bytes.clone();
            changed[*offset] ^= 0xFF;
            codec::try_decode(extension, &changed).ok() != inside
        };
        let offset = (bytes.len() / 2..bytes.len()).find(counts).unwrap();
        self.flip(key, offset);
    }

    /// Puts bytes behind the stored object's end.
    pub fn append(&self, key: &str, more: &[u8]) {
        let mut bytes = self.read(key);
        bytes.extend_from_slice(more);
        self.write(key, &bytes);
    }

    /// Makes two objects change places.
    pub fn swap(&self, one: &str, other: &str) {
        let (first, second) = (self.read(one), self.read(other));
        self.write(one, &second);
        self.write(other, &first);
    }

    /// Stores the object a second time with another codec (`".gz"`, `""`, …), after
    /// `change` of what is inside. Gives the new key.
    pub fn duplicate(
        &self,
        key: &str,
        extension: &str,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> String {
        let old = codec::extension(Path::new(key));
        let mut bytes = codec::decode(old, &self.read(key));
        change(&mut bytes);
        let new = format!("{}{extension}", key.strip_suffix(old).unwrap());
        assert_ne!(new, key);
        self.write(&new, &codec::encode(extension, &bytes));
        new
    }

    /// Changes what is inside an object: decodes, calls `change`, encodes alike.
    pub fn change_inside(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let extension = codec::extension(Path::new(key));
        let mut bytes = codec::decode(extension, &self.read(key));
        change(&mut bytes);
        self.write(key, &codec::encode(extension, &bytes));
    }

    /// Changes files of a base backup's main archive: those named get new contents, or go
    /// (`None`); names that are not there are added.
    pub fn change_members(&self, backup: &str, change: &[(&str, Option<&[u8]>)]) {
        let key = self
            .archives(backup)
            .into_iter()
            .find(|key| key.contains("/data.tar"))
            .unwrap();
        self.change_inside(&key, |bytes| {
            let mut archive = tar::Archive::new(&bytes[..]);
            let mut changed = tar::Builder::new(Vec::new());
            let mut open: Vec<_> = change.iter().collect();
            for entry in archive.entries().unwrap() {
                let mut entry = entry.unwrap();
                let name = entry.path().unwrap().to_str().unwrap().to_owned();
                let name = name.trim_start_matches("./");
                let mut header = entry.header().clone();
                match open.iter().position(|(changed, _)| *changed == name) {
                    None => changed.append(&header, &mut entry).unwrap(),
                    Some(index) => {
                        let (_, contents) = open.remove(index);
                        if let Some(contents) = contents {
                            header.set_size(contents.len() as u64);
                            header.set_cksum();
                            changed.append(&header, *contents).unwrap();
                        }
                    }
                }
            }
            for (name, contents) in open {
                let contents = contents.unwrap_or_else(|| panic!("{name} is not in {key}"));
                let mut header = tar::Header::new_ustar();
                header.set_mode(0o600);
                header.set_size(contents.len() as u64);
                changed.append_data(&mut header, name, contents).unwrap();
            }
            *bytes = changed.into_inner().unwrap();
        });
    }

    /// A backup's description.
    pub fn info(&self, backup: &str) -> String {
        String::from_utf8(self.read(&format!("base/{backup}/backup.info"))).unwrap()
    }

    /// Changes a backup's description.
    pub fn change_info(&self, backup: &str, change: impl FnOnce(String) -> String) {
        let text = change(self.info(backup));
        self.write(&format!("base/{backup}/backup.info"), text.as_bytes());
    }

    /// Sets one field of a backup's description.
    #[track_caller]
    pub fn set_info(&self, backup: &str, field: &str, value: &str) {
        self.change_info(backup, |text| {
            assert!(
                text.lines()
                    .any(|line| line.starts_with(&format!("{field}="))),
                "{text}"
            );
            let lines: Vec<String> = text
                .lines()
                .map(|line| match line.split_once('=') {
                    Some((name, _)) if name == field => format!("{field}={value}"),
                    _ => line.to_owned(),
                })
                .collect();
            lines.join("\n") + "\n"
        });
    }
}
