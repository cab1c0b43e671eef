//! Stores opened over what a test has started, and how to look at them.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use bytes::Bytes;
use futures::TryStreamExt;
use walproof::storage::{Location, StorageOptions, Store};

pub(crate) fn file_store(directory: &Path) -> Store {
    let location: Location = format!("file://{}", directory.display()).parse().unwrap();
    Store::open(&location, &StorageOptions::default()).unwrap()
}

/// Options with which a client of these environment variables reaches its server.
pub(crate) fn options(environment: Vec<(String, String)>) -> StorageOptions {
    StorageOptions {
        environment,
        ..StorageOptions::default()
    }
}

/// A store at a URL.
pub(crate) fn open(url: &str, options: &StorageOptions) -> Store {
    Store::open(&url.parse().unwrap(), options).unwrap()
}

/// Bytes that tell their place.
pub(crate) fn pattern(length: usize) -> Bytes {
    (0..length)
        .map(|at| (at / 7 + at % 251).to_le_bytes()[0])
        .collect()
}

pub(crate) async fn keys(store: &Store, prefix: &str) -> Vec<String> {
    let entries: Vec<_> = store.list(prefix).try_collect().await.unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

/// Everything below a directory.
pub(crate) fn walk(directory: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            paths.extend(walk(&path));
        }
        paths.push(path.display().to_string());
    }
    paths
}

/// What a mute or single-minded server says: the same answer to every request, or none.
pub(crate) fn fixed_answer(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let Some(answer) = answer else {
                silent.push(client);
                continue;
            };
            let _ = client.read(&mut [0; 16 << 10]);
            let _ = client.write_all(answer.as_bytes());
        }
    });
    endpoint
}
