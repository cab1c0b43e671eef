//! The image as `make image` builds it, opened as a node opens it: what is in it and what is
//! not, who it runs as, what it is made of. As a pod it runs in `tests/kubernetes`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and measured sizes are printed"
)]

#[path = "../common/mod.rs"]
mod common;

mod archive;
mod elf;
mod rootless;
mod sbom;
mod scan;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::archive::Image;
use crate::common::{process, require, scratch};

/// What a node pulls, at most. Most of it is the program.
const LIMIT: u64 = 30_000_000;

/// The image's user and group.
const USER: u64 = 65532;

/// A file of the project.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The image that is shipped.
pub(crate) fn shipped() -> Image {
    Image::open(&require::image())
}

/// Nothing else is in it: a new file is a decision. No shell, no package manager, nothing with
/// rights of its own, nothing that others than root could change.
#[test]
fn holds_the_program_and_nothing_that_it_does_not_need() {
    require!(Image);
    let image = shipped();
    let names: Vec<&str> = image.files.keys().map(String::as_str).collect();
    let expected = [
        "etc",
        "etc/group",
        "etc/nsswitch.conf",
        "etc/passwd",
        "etc/ssl",
        "etc/ssl/certs",
        "etc/ssl/certs/ca-certificates.crt",
        "etc/walproof",
        "tmp",
        "usr",
        "usr/bin",
        "usr/bin/walproof",
        "usr/share",
        "usr/share/licenses",
        "usr/share/licenses/walproof",
        "usr/share/licenses/walproof/LICENSE",
        "usr/share/sbom",
        "usr/share/sbom/walproof.cdx.json",
        "var",
        "var/lib",
        "var/lib/walproof",
        "var/tmp",
    ];
    assert_eq!(names, expected);
    for (name, entry) in &image.files {
        let place_to_write = ["tmp", "var/tmp"].contains(&name.as_str());
        let kind_and_mode = match entry.kind {
            tar::EntryType::Directory if place_to_write => 0o1777,
            tar::EntryType::Directory if name == "var/lib/walproof" => 0o750,
            tar::EntryType::Directory => 0o755,
            tar::EntryType::Regular if name == "usr/bin/walproof" => 0o755,
            tar::EntryType::Regular => 0o644,
            other => panic!("{name} is {other:?}"),
        };
        assert_eq!(entry.mode, kind_and_mode, "{name}: {:o}", entry.mode);
        let owner = if name == "var/lib/walproof" { USER } else { 0 };
        assert_eq!(entry.owner, (owner, owner), "{name}");
    }
    let moments: std::collections::BTreeSet<u64> =
        image.files.values().map(|entry| entry.modified).collect();
    assert_eq!(moments.len(), 1, "times of the build: {moments:?}");
    assert!(!elf::is_dynamic(image.program()));
    // The other way: a program of the distribution asks for a loader.
    assert!(elf::is_dynamic(&std::fs::read("/usr/bin/env").unwrap()));
}

#[test]
fn runs_as_nobody_in_particular_and_says_what_it_is() {
    require!(Image);
    let image = shipped();
    let config = &image.config["config"];
    assert_eq!(config["User"], format!("{USER}:{USER}"));
    assert_eq!(
        config["Entrypoint"],
        serde_json::json!(["/usr/bin/walproof"])
    );
    assert_eq!(config["WorkingDir"], "/var/lib/walproof");
    assert!(config["ExposedPorts"]["9188/tcp"].is_object());
    let label = |name: &str| {
        let name = format!("org.opencontainers.image.{name}");
        config["Labels"][&name].as_str().unwrap().to_owned()
    };
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("licenses"), env!("CARGO_PKG_LICENSE"));
    assert_eq!(label("title"), "walproof");
    assert_eq!(label("revision").trim_end_matches("-dirty").len(), 40);
    for name in ["description", "url", "documentation", "vendor"] {
        assert!(!label(name).is_empty(), "{name}");
    }
    // No variable of the machine that built it came along.
    let variables = config["Env"].as_array().unwrap();
    let names: Vec<&str> = variables
        .iter()
        .map(|variable| variable.as_str().unwrap().split('=').next().unwrap())
        .collect();
    assert_eq!(names, ["PATH", "HOME", "XDG_STATE_HOME"]);
    // The user has a name, for what asks for it.
    let passwd = String::from_utf8(image.files["etc/passwd"].bytes.clone()).unwrap();
    assert!(passwd.contains("walproof:x:65532:65532:"), "{passwd}");
}

#[test]
fn is_small() {
    require!(Image);
    let image = shipped();
    println!(
        "image: {} bytes to pull, program {} bytes, SBOM {} bytes",
        image.size,
        image.program().len(),
        image.files["usr/share/sbom/walproof.cdx.json"].bytes.len()
    );
    assert!(
        image.size < LIMIT,
        "{} bytes are more than {LIMIT}: if that is worth it, raise the limit and docs/image.md",
        image.size
    );
    assert_eq!(image.manifest["layers"].as_array().unwrap().len(), 1);
}

/// The program runs without any file of this machine around it.
#[test]
fn the_program_needs_nothing_around_it() {
    require!(Image);
    let directory = scratch::directory();
    let program = directory.path().join("walproof");
    std::fs::write(&program, shipped().program()).unwrap();
    std::fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let said = process::run(Command::new(&program).arg("--version").env_clear());
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
}

/// The same input gives the same bytes, whoever packs it and when.
#[test]
fn the_file_system_is_packed_alike_each_time() {
    let directory = scratch::directory();
    let packed = |name: &str, epoch: &str| {
        let out = directory.path().join(name);
        process::run(
            Command::new(file("deploy/image/rootfs"))
                .args([Path::new("/usr/bin/env"), &out])
                .env("SOURCE_DATE_EPOCH", epoch),
        );
        std::fs::read(out).unwrap()
    };
    let first = packed("first.tar", "1700000000");
    assert!(first == packed("second.tar", "1700000000"));
    assert!(first != packed("later.tar", "1700000001"));
}
