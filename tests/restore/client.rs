//! The `walproof wal fetch` and `walproof wal get` of these tests: this test binary,
//! started by the restored server through a small script with the program's own words.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use walproof::restore::wal::{WalGetOptions, fetch, wal_get};
use walproof::restore::{WalAnswer, read_plan};
use walproof::storage::{StorageOptions, Store};

/// Makes a program in `directory` that answers to `wal fetch` and `wal get`.
pub(crate) fn program(directory: &Path) -> PathBuf {
    let copy = directory.join("client-binary");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let script = directory.join("walproof");
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\nexport WALPROOF_TEST_WORDS=\"$*\"\n\
             exec '{}' --ignored --exact client::answers_like_the_program --nocapture >/dev/null\n",
            copy.display()
        ),
    )
    .unwrap();
    for file in [&copy, &script] {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    script
}

#[test]
#[ignore = "the client's half: started by the servers of the other tests"]
fn answers_like_the_program() {
    let words = std::env::var("WALPROOF_TEST_WORDS").expect("started by hand");
    let words: Vec<&str> = words.split(' ').collect();
    let answer = match words[..] {
        ["wal", "fetch", "--socket", socket, name, path] => {
            fetch(Path::new(socket), name, Path::new(path))
        }
        ["wal", "get", url, "--plan", plan, name, path] => get(url, plan, name, path),
        _ => WalAnswer::Stop(format!("words that the program does not know: {words:?}")),
    };
    if answer != WalAnswer::Delivered {
        eprintln!("walproof: {name}: {answer}", name = words[words.len() - 2]);
    }
    std::process::exit(i32::from(answer.exit_code()));
}

fn get(url: &str, plan: &str, name: &str, path: &str) -> WalAnswer {
    let store = Store::open(&url.parse().unwrap(), &StorageOptions::default()).unwrap();
    let options = WalGetOptions {
        plan: Some(read_plan(Path::new(plan)).unwrap()),
        ..WalGetOptions::default()
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(wal_get(
            &walproof::repository::open(store),
            name,
            Path::new(path),
            &options,
        ))
}
