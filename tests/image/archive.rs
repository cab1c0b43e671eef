//! An image as the archive holds it that `scripts/image` writes (OCI image layout), opened
//! without any tool for images.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;

/// What an image consists of.
pub(crate) struct Image {
    /// The manifest.
    pub(crate) manifest: Value,
    /// The configuration: user, entry point, labels.
    pub(crate) config: Value,
    /// What lies at each path, without a slash at its begin or end.
    pub(crate) files: BTreeMap<String, Entry>,
    /// The layers as they are pulled, in bytes.
    pub(crate) size: u64,
}

/// A file, or whatever else lies at a path.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: tar::EntryType,
    /// Permissions with the bits for setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) modified: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Image {
    /// Opens an archive. The images have one layer; more would need to be laid over another.
    pub(crate) fn open(archive: &Path) -> Self {
        let mut blobs = BTreeMap::new();
        for entry in tar::Archive::new(File::open(archive).unwrap())
            .entries()
            .unwrap()
        {
            let mut entry = entry.unwrap();
            let name = path(&entry);
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            blobs.insert(name, bytes);
        }
        let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            &blobs[&format!("blobs/{}", digest.replace(':', "/"))]
        };
        let index = json(&blobs["index.json"]);
        let manifest = json(blob(&index["manifests"][0]));
        let config = json(blob(&manifest["config"]));
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 1, "{layers:?}");
        let layer = blob(&layers[0]);
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(GzDecoder::new(&layer[..]))
            .entries()
            .unwrap()
        {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let header = entry.header();
            let found = Entry {
                kind: header.entry_type(),
                mode: header.mode().unwrap() & 0o7777,
                owner: (header.uid().unwrap(), header.gid().unwrap()),
                modified: header.mtime().unwrap(),
                bytes,
            };
            files.insert(path(&entry), found);
        }
        let size = layer.len() as u64;
        Self {
            manifest,
            config,
            files,
            size,
        }
    }

    /// The program.
    pub(crate) fn program(&self) -> &[u8] {
        &self.files["usr/bin/walproof"].bytes
    }

    /// The list of what the program is made of.
    pub(crate) fn sbom(&self) -> Value {
        serde_json::from_slice(&self.files["usr/share/sbom/walproof.cdx.json"].bytes).unwrap()
    }
}

fn path<R: Read>(entry: &tar::Entry<'_, R>) -> String {
    let path = entry.path().unwrap();
    path.to_str().unwrap().trim_matches('/').to_owned()
}
