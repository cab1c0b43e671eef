//! PostgreSQL's own opinion on the pages of a base backup as it was copied, before recovery.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::common::codec;
use crate::common::damage::Tree;
use crate::common::postgres::TestServer;
use crate::common::scratch;

/// What `pg_checksums` says of a copy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RawPages {
    /// Blocks that it looked at.
    pub(crate) blocks: u64,
    /// Failing blocks by file; `base/5/16384` or `pg_tblspc/16385/PG_15_…/5/16386`.
    pub(crate) bad: BTreeMap<String, Vec<u32>>,
    /// Main files with an `_init` fork beside them: reset by recovery.
    pub(crate) unlogged: Vec<String>,
    /// Files that end within a block.
    pub(crate) ragged: Vec<String>,
    /// Every file, without directories, that the copy holds.
    pub(crate) files: Vec<String>,
}

impl RawPages {
    /// Failing blocks that only WAL can make good again.
    pub(crate) fn torn(&self) -> usize {
        self.bad
            .iter()
            .filter(|(file, _)| !self.is_reset(file))
            .map(|(_, blocks)| blocks.len())
            .sum()
    }

    /// Failing blocks that recovery throws away.
    pub(crate) fn torn_but_reset(&self) -> usize {
        self.bad
            .iter()
            .filter(|(file, _)| self.is_reset(file))
            .map(|(_, blocks)| blocks.len())
            .sum()
    }

    fn is_reset(&self, file: &str) -> bool {
        let name = file.rsplit('/').next().unwrap_or(file);
        let main = name.split(['_', '.']).next().unwrap_or(name);
        let main = format!("{}{main}", &file[..file.len() - name.len()]);
        name.starts_with('t') || self.unlogged.contains(&main)
    }
}

/// Asks `pg_checksums`. It only looks at clusters that were shut down, so the copy gets
/// `control`, the control file that the server left when it was stopped.
pub(crate) fn raw_pages(tree: &Tree, backup: &str, control: &[u8]) -> RawPages {
    let keep = scratch::directory();
    let data = keep.path().join("data");
    std::fs::create_dir_all(data.join("pg_tblspc")).unwrap();
    for key in tree.archives(backup) {
        let stored = tree.read(&key);
        let bytes = codec::decode(codec::extension(Path::new(&key)), &stored);
        let name = key.rsplit('/').next().unwrap();
        let name = name.split(['.', '_']).next().unwrap();
        let place = if name == "data" {
            data.clone()
        } else {
            data.join("pg_tblspc").join(name)
        };
        // Links of tablespaces are replaced by what they lead to.
        if name != "data" && place.is_symlink() {
            std::fs::remove_file(&place).unwrap();
        }
        std::fs::create_dir_all(&place).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().into_owned();
            if place.join(&path).exists() && !place.join(&path).is_dir() {
                continue;
            }
            if entry.header().entry_type().is_symlink() && path.starts_with("pg_tblspc") {
                continue;
            }
            entry.unpack_in(&place).unwrap();
        }
    }
    std::fs::write(data.join("global/pg_control"), control).unwrap();
    let mut raw = RawPages::default();
    look_around(&data, &data, &mut raw);
    let mut command = Command::new(TestServer::bin("pg_checksums"));
    command.arg("--check").arg(&data).env("LC_ALL", "C");
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    raw.blocks = out
        .lines()
        .find_map(|line| line.strip_prefix("Blocks scanned:"))
        .unwrap_or_else(|| panic!("pg_checksums: {out}{words}"))
        .trim()
        .parse()
        .unwrap();
    let prefix = format!("{}/", data.display());
    for line in words.lines() {
        let Some((_, rest)) = line.split_once("checksum verification failed in file \"") else {
            continue;
        };
        let (file, rest) = rest.split_once("\", block ").unwrap();
        let block = rest.split(':').next().unwrap().parse().unwrap();
        let file = file.strip_prefix(&prefix).unwrap_or(file).to_owned();
        raw.bad.entry(file).or_default().push(block);
    }
    raw
}

/// Notes files, unlogged relations and files that end within a block; those are cut to whole
/// blocks, which is all that `pg_checksums` reads.
fn look_around(root: &Path, directory: &Path, raw: &mut RawPages) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            look_around(root, &path, raw);
            continue;
        }
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        if let Some(main) = name.strip_suffix("_init") {
            raw.unlogged.push(main.to_owned());
        }
        let file = name.rsplit('/').next().unwrap();
        let relation = (name.starts_with("base/") || name.starts_with("pg_tblspc/"))
            && file.starts_with(|first: char| first.is_ascii_digit() || first == 't');
        let length = path.metadata().unwrap().len();
        if relation && length % 8192 != 0 {
            raw.ragged.push(name.clone());
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_len(length / 8192 * 8192).unwrap();
        }
        raw.files.push(name);
    }
}

/// The control file that a server left when it was stopped in order.
pub(crate) fn control_of_stopped(server: &TestServer) -> Vec<u8> {
    let state = &TestServer::control_data(&server.data())["Database cluster state"];
    assert!(state.starts_with("shut down"), "{state}");
    std::fs::read(server.data().join("global/pg_control")).unwrap()
}
