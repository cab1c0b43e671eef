//! Directories for servers that do not run as the user who runs the tests.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Gid, Uid, User};
use tempfile::TempDir;

/// The user under whom PostgreSQL servers run: PostgreSQL refuses to run as root.
pub fn server_user() -> Option<User> {
    if !Uid::effective().is_root() {
        return None;
    }
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten())
}

/// A command that runs as the server's user.
pub fn as_server_user(program: impl AsRef<Path>) -> Command {
    let program = program.as_ref();
    match server_user() {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command
                .arg(format!("--reuid={}", user.uid))
                .arg(format!("--regid={}", user.gid))
                .arg("--clear-groups")
                .arg("--")
                .arg(program)
                .env("HOME", "/tmp");
            command
        }
    }
}

/// A temporary directory that the server's user can pass through. Its path is short: a
/// Unix socket's path has 107 bytes at most.
pub fn directory() -> TempDir {
    let base = std::env::temp_dir();
    let base = if base.as_os_str().len() > 40 {
        PathBuf::from("/tmp")
    } else {
        base
    };
    let directory = tempfile::Builder::new()
        .prefix("wp")
        .rand_bytes(8)
        .tempdir_in(base)
        .expect("no temporary directory");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Makes a directory (mode 700) that belongs to the server's user.
pub fn server_directory(path: &Path) {
    std::fs::create_dir_all(path).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    give_to_server_user(path);
}

/// Gives `path` and all below it to the server's user; links themselves, not their targets.
pub fn give_to_server_user(path: &Path) {
    let Some(user) = server_user() else { return };
    change_owner(path, user.uid, user.gid);
}

fn change_owner(path: &Path, uid: Uid, gid: Gid) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    if metadata.uid() != uid.as_raw() {
        std::os::unix::fs::lchown(path, Some(uid.as_raw()), Some(gid.as_raw())).unwrap();
    }
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            change_owner(&entry.unwrap().path(), uid, gid);
        }
    }
}

/// Copies a directory tree; links stay links.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
