//! What takes seconds to build is built once and shared by all test binaries of a run: below
//! the build directory, locked, for an hour.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

const MAX_AGE: Duration = Duration::from_hours(1);

/// What `build` says of the directory that it fills, and that directory, which is not to be
/// changed. `key` stands for all that the outcome depends on, the code included.
pub fn shared<T: Serialize + DeserializeOwned>(
    key: u64,
    build: impl FnOnce(&Path) -> T,
) -> (T, PathBuf) {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("repositories")
        .join(format!("{key:016x}"));
    std::fs::create_dir_all(&home).unwrap();
    let lock = File::create(home.join("lock")).unwrap();
    lock.lock().unwrap();
    let now = SystemTime::now();
    let age = |path: &Path| {
        path.metadata()
            .and_then(|metadata| metadata.modified())
            .map_or(Duration::MAX, |time| {
                now.duration_since(time).unwrap_or_default()
            })
    };
    for entry in std::fs::read_dir(&home).unwrap().flatten() {
        let path = entry.path();
        let facts = path.join("facts.json");
        if age(&facts) < MAX_AGE {
            let facts = serde_json::from_slice(&std::fs::read(facts).unwrap()).unwrap();
            return (facts, path);
        }
        // Another test may still be copying from one that has just grown too old.
        if path.is_dir() && age(&facts) > 2 * MAX_AGE && age(&path) > 2 * MAX_AGE {
            let _ = std::fs::remove_dir_all(path);
        }
    }
    let seconds = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let directory = home.join(format!("{seconds}-{}", std::process::id()));
    let facts = build(&directory);
    std::fs::write(
        directory.join("facts.json"),
        serde_json::to_vec_pretty(&facts).unwrap(),
    )
    .unwrap();
    (facts, directory)
}
