//! Too little room, said before anything is fetched where that can be known, and survived
//! where it cannot.

use std::path::Path;
use std::process::Command;

use crate::common::damage::Tree;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::common::walproof::{self, Run, run_command};
use crate::kit::Place;
use crate::places::{assert_explained, assert_unproven, fingerprint, state_of};

/// A repository whose backups say that the cluster was this large.
fn sized(bytes: &str) -> Tree {
    let tree = Fixture::get(&RepositoryOptions::default()).tree();
    for backup in tree.backups() {
        tree.set_info(&backup, "cluster_size", bytes);
    }
    tree
}

/// Runs walproof where `/mnt` is a file system of its own in memory, which goes with the
/// process; gives what is left on it as well.
fn on_small_disk(place: &Place, mount: &str, arguments: &[&str]) -> (Run, String) {
    let left = place.path().join("left");
    let script = format!(
        "mount -t tmpfs -o mode=755,{mount} none /mnt || exit 99\n\
         \"$@\"\ncode=$?\nfind /mnt -mindepth 1 >'{}'\nexit $code",
        left.display()
    );
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !nix::unistd::Uid::effective().is_root() {
        command.arg("--map-root-user");
    }
    command
        .args(["sh", "-c", &script, "sh"])
        .arg(walproof::program())
        .args(arguments)
        .env("NO_COLOR", "1");
    let run = run_command(command);
    assert_ne!(run.code, Some(99), "no mount: {}", run.stderr);
    (run, std::fs::read_to_string(left).unwrap())
}

#[test]
fn a_cluster_larger_than_the_disk_is_not_begun() {
    require!(Postgres, S3, Barman);
    let place = Place::new();
    let tree = sized("500000000");
    let (url, state) = (tree.url(), state_of(&place));
    let go = |words: &[&str]| {
        let common = ["--output", "json", "--state", &state];
        on_small_disk(&place, "size=400m", &[words, &common].concat())
    };
    let (drill, left) = go(&["drill", "run", &url, "--scratch", "/mnt/scratch"]);
    assert_unproven(&drill, "bytes free, the drill needs about", "--scratch");
    assert_eq!(left, "");
    let restore = ["restore", &url, "--into", "/mnt/into"];
    for dry in [&["--dry-run"][..], &[]] {
        let (restore, left) = go(&[&restore[..], dry].concat());
        let what = "bytes free, the backup needs at least";
        assert_explained(&restore, 3, what, "choose another directory");
        assert_eq!(left, "");
    }
    // A person may know better, and what the backup says of itself may be wrong.
    let (restore, left) = go(&[&restore[..], &["--ignore-free-space"]].concat());
    restore.expect_code(0);
    assert!(left.contains("/mnt/into/PG_VERSION\n"), "{left}");
}

#[test]
fn a_disk_that_fills_up_on_the_way_blames_no_backup_and_is_emptied() {
    require!(Postgres, S3, Barman);
    let place = Place::new();
    let tree = Fixture::get(&RepositoryOptions::default()).tree();
    let before = fingerprint(tree.root());
    let (url, state) = (tree.url(), state_of(&place));
    let common = ["--output", "json", "--state", &state];
    let drill = ["drill", "run", &url, "--scratch", "/mnt/scratch"];
    let restore = ["restore", &url, "--into", "/mnt/into"];

    let (run, left) = on_small_disk(&place, "size=16m", &[&drill[..], &common].concat());
    assert_unproven(&run, "/mnt has", "--scratch");
    assert_eq!(left, "");
    let (run, left) = on_small_disk(&place, "size=16m", &[&restore[..], &common].concat());
    assert_explained(&run, 3, "/mnt has", "choose another directory");
    assert_eq!(left, "");
    // Bytes enough, but no more files: nobody could know that beforehand.
    let few = "size=2g,nr_inodes=300";
    let (run, left) = on_small_disk(&place, few, &[&drill[..], &common].concat());
    let report = assert_unproven(&run, "No space left on device", "make room");
    assert_eq!(report["environment"]["removed"], true);
    assert_eq!(left, "/mnt/scratch\n");
    let (run, left) = on_small_disk(&place, few, &[&restore[..], &common].concat());
    assert_explained(&run, 3, "No space left on device", "make room");
    assert_eq!(left, "");
    // The same disk with files enough.
    let (run, left) = on_small_disk(&place, "size=2g", &[&drill[..], &common].concat());
    assert_eq!(run.expect_code(0).json()["verdict"], "proven");
    assert_eq!(left, "/mnt/scratch\n");
    assert_eq!(fingerprint(tree.root()), before);
    assert!(Path::new(&place.scratch()).read_dir().is_err());
}
