//! The Dockerfile with buildah, as root and as somebody who is not, without a registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::archive::Image;
use crate::common::{process, require, scratch};
use crate::file;

/// Builds from a file system that is there, and packs the image. Nothing outside of `$1` is
/// written.
const BUILD: &str = r#"
    set -euo pipefail
    cd "$1"
    export HOME=$1/home XDG_RUNTIME_DIR=$1/home
    mkdir -p home
    store=(--root "$1/storage" --runroot "$1/run" --storage-driver vfs)
    buildah "${store[@]}" build --quiet --isolation chroot --format oci --signature-policy policy.json \
        --file Dockerfile --target walproof --build-arg ROOTFS=given --timestamp 1700000000 \
        --tag localhost/walproof:test context >/dev/null
    buildah "${store[@]}" push --quiet --signature-policy policy.json localhost/walproof:test \
        "oci-archive:$1/image.tar:localhost/walproof:test"
    if [ "$(id -u)" -eq 0 ]; then rm -rf storage run; else buildah unshare rm -rf storage run; fi
    id -u
"#;

/// As [`BUILD`] by another user, who is given the ids that every user of a machine has
/// (subuid(5)); what is mounted for that is seen by nobody else.
const BY_ANOTHER: &str = r#"
    set -euo pipefail
    printf '%s:200000:65536\n' "$2" >"$1/ids"
    mount --bind "$1/ids" /etc/subuid
    mount --bind "$1/ids" /etc/subgid
    exec setpriv --reuid="$2" --regid="$(id -g "$2")" --clear-groups bash -c "$3" build "$1"
"#;

fn prepared(directory: &Path, name: &str) -> PathBuf {
    let place = directory.join(name);
    std::fs::create_dir_all(place.join("context")).unwrap();
    process::run(
        Command::new(file("deploy/image/rootfs"))
            .args([Path::new("/usr/bin/env"), &place.join("context/rootfs.tar")]),
    );
    let policy = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
    std::fs::write(place.join("policy.json"), policy).unwrap();
    std::fs::copy(file("deploy/image/Dockerfile"), place.join("Dockerfile")).unwrap();
    place
}

fn digest(place: &Path) -> String {
    let image = Image::open(&place.join("image.tar"));
    assert_eq!(image.config["config"]["User"], "65532:65532");
    assert_eq!(image.files["var/lib/walproof"].owner, (65532, 65532));
    let layer = &image.manifest["layers"][0]["digest"];
    layer.as_str().unwrap().to_owned()
}

#[test]
fn the_dockerfile_builds_with_and_without_root_to_the_same_bytes() {
    require!(Buildah);
    let directory = scratch::directory();
    let ours = prepared(directory.path(), "ours");
    let uid = process::run(Command::new("bash").args(["-c", BUILD, "build"]).arg(&ours));
    let first = digest(&ours);
    if uid != "0" {
        println!("built as {uid}: {first}");
        return;
    }
    let theirs = prepared(directory.path(), "theirs");
    let user = "nobody";
    process::run(Command::new("chmod").arg("755").arg(directory.path()));
    process::run(Command::new("chown").args(["-R", user]).arg(&theirs));
    let uid = process::run(
        Command::new("unshare")
            .args(["--mount", "bash", "-c", BY_ANOTHER, "build"])
            .arg(&theirs)
            .args([user, BUILD]),
    );
    assert_ne!(uid.lines().last(), Some("0"));
    assert_eq!(digest(&theirs), first);
    println!("built as 0 and as {uid}: {first}");
}
