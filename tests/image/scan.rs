//! That `scripts/scan` finds a hole where there is one, and is quiet where there is none: against
//! a database of one advisory about a package that is in the image.

use std::path::Path;
use std::process::Command;

use crate::common::{process, require, scratch};
use crate::file;

/// An invented advisory, in the form of RustSec's database: versions before `patched` have it.
fn advisory(patched: &str) -> String {
    format!(
        "```toml\n[advisory]\nid = \"RUSTSEC-2020-9999\"\npackage = \"rustls\"\ndate = \"2020-01-01\"\n\n\
         [versions]\npatched = [\">= {patched}\"]\n```\n\n# Invented for a test\n\nNothing is wrong with it.\n"
    )
}

fn git(directory: &Path, words: &[&str]) {
    let who = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
    process::run(
        Command::new("git")
            .arg("-C")
            .arg(directory)
            .args(who)
            .args(words),
    );
}

/// What the scan says against a database, or how it objects.
fn scanned(database: Option<&Path>) -> Result<String, String> {
    let mut command = Command::new(file("scripts/scan"));
    command
        .env("WALPROOF_SCAN", "required")
        .env_remove("WALPROOF_ADVISORY_DB");
    if let Some(database) = database {
        command.env("WALPROOF_ADVISORY_DB", database);
    }
    process::try_run(&mut command)
}

#[test]
fn a_planted_hole_is_found_and_what_is_mended_is_not() {
    require!(CargoDeny);
    let directory = scratch::directory();
    let database = directory.path();
    std::fs::create_dir_all(database.join("crates/rustls")).unwrap();
    git(database, &["init", "--quiet"]);
    let plant = |patched: &str| {
        let place = database.join("crates/rustls/RUSTSEC-2020-9999.md");
        std::fs::write(place, advisory(patched)).unwrap();
        git(database, &["add", "--all"]);
        git(database, &["commit", "--quiet", "--message", patched]);
    };
    plant("99.0.0");
    let found = scanned(Some(database)).unwrap_err();
    assert!(found.contains("RUSTSEC-2020-9999"), "{found}");
    assert!(found.contains(", 1 advisories of "), "{found}");
    plant("0.1.0");
    let quiet = scanned(Some(database)).unwrap();
    assert!(quiet.contains(", 1 advisories of "), "{quiet}");

    // A database that is not there is no database without holes.
    scanned(Some(&database.join("nowhere"))).unwrap_err();
}
