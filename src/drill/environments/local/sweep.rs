//! Removing what dead drills left behind, and nothing else.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::process::{ProcessId, boot_id};
use super::scratch::{MARKER, Marker, PREFIX, outside_sockets, remove_tree};

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SweepReport {
    /// Directories that were removed.
    pub removed: Vec<PathBuf>,
    /// Servers without an owner that were ended, by process number.
    pub ended: Vec<i32>,
    /// Directories that were left alone, with the reason.
    pub kept: Vec<Kept>,
    /// Directories that should be gone and are not, with the reason.
    pub failed: Vec<Kept>,
}

/// A directory and why it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Kept {
    /// The directory.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// Looks at every scratch directory below `root` and removes those whose owner is gone.
///
/// A directory is removed only if all of this holds: it is a directory (no link) of our
/// own user, named after a drill; its marker is ours and names the same drill; nobody
/// holds the marker's lock; and the marker was written in this boot of the system, or its
/// deadline has passed (on a shared file system the owner may live on another machine).
/// A server is ended only if it is a `postgres` that works in that very directory.
/// Blocking.
pub fn sweep(root: &Path, now: DateTime<Utc>) -> SweepReport {
    walk(root, now, false)
}

/// What [`sweep`] would do; touches nothing.
pub fn would_sweep(root: &Path, now: DateTime<Utc>) -> SweepReport {
    walk(root, now, true)
}

fn walk(root: &Path, now: DateTime<Utc>, only_look: bool) -> SweepReport {
    let mut report = SweepReport::default();
    let Ok(root) = root.canonicalize() else {
        return report; // nothing was ever made here
    };
    let Ok(entries) = std::fs::read_dir(&root) else {
        return report;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let kept = |reason: &str| Kept {
            path: path.clone(),
            reason: reason.to_owned(),
        };
        match ours(&path, id, now) {
            Err(reason) => report.kept.push(kept(reason)),
            Ok(_) if only_look => report.removed.push(path),
            Ok((marker, _lock)) => {
                end_servers(&path, &marker, &mut report.ended);
                if let Some(sockets) = sockets_of(&marker)
                    && let Err(error) = remove_tree(&sockets)
                {
                    report.failed.push(kept(&error.to_string()));
                }
                match remove_tree(&path) {
                    Ok(()) => report.removed.push(path),
                    Err(error) => report.failed.push(kept(&error.to_string())),
                }
            }
        }
    }
    report
}

/// The marker and its lock, if the directory is ours and its owner is gone.
fn ours(
    path: &Path,
    id: &str,
    now: DateTime<Utc>,
) -> Result<(Marker, std::fs::File), &'static str> {
    let metadata = std::fs::symlink_metadata(path).map_err(|_| "it cannot be looked at")?;
    if !metadata.is_dir() {
        return Err("it is not a directory");
    }
    if metadata.uid() != Uid::effective().as_raw() {
        return Err("it belongs to another user");
    }
    let marker = Marker::read(path).ok_or("it has no marker of ours")?;
    if Uuid::parse_str(id) != Ok(marker.id) {
        return Err("its marker names another drill");
    }
    let lock = std::fs::File::open(path.join(MARKER)).map_err(|_| "its marker cannot be opened")?;
    if lock.try_lock().is_err() {
        return Err("its drill is running");
    }
    // The lock may be free although the owner lives only where locks do not reach.
    let same_boot = boot_id().as_deref() == Some(marker.boot_id.as_str());
    if same_boot && marker.owner.is_alive() && Some(marker.owner) != ProcessId::own() {
        return Err("its drill is running");
    }
    if !same_boot && marker.deadline > now {
        return Err(
            "it was made on another machine or before a restart, and its deadline has not passed",
        );
    }
    Ok((marker, lock))
}

/// The socket directory outside the scratch directory, if its name is one that we give.
fn sockets_of(marker: &Marker) -> Option<PathBuf> {
    let path = marker.socket_directory.clone()?;
    // Computed anew: a marker may have been changed, and other drills have theirs there.
    let ours = path == outside_sockets(marker.id);
    (ours && std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()))
        .then_some(path)
}

/// Ends the servers that work in this directory and have no owner.
fn end_servers(path: &Path, marker: &Marker, ended: &mut Vec<i32>) {
    let data = path.join("data");
    let recorded = std::fs::read_to_string(data.join("postmaster.pid"))
        .ok()
        .and_then(|text| text.lines().next()?.trim().parse().ok())
        .and_then(ProcessId::of);
    for process in [marker.server, recorded].into_iter().flatten() {
        if !process.is_alive() || !process.serves(&data) {
            continue;
        }
        // SIGQUIT lets the server end its own children; nothing in it is worth more.
        for (signal, patience) in [(Signal::SIGQUIT, 5), (Signal::SIGKILL, 5)] {
            process.signal(signal);
            let until = Instant::now() + Duration::from_secs(patience);
            while process.is_alive() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        ended.push(process.pid);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::scratch::{FORMAT, Scratch, tests::myself};
    use super::*;

    /// A directory as a drill that was killed leaves it.
    fn left_behind(root: &Path, change: impl FnOnce(&mut Marker)) -> PathBuf {
        let id = Uuid::now_v7();
        let path = root.join(format!("{PREFIX}{id}"));
        std::fs::create_dir_all(path.join("data/base")).unwrap();
        let mut marker = Marker {
            format: FORMAT.into(),
            id,
            owner: ProcessId {
                pid: i32::MAX,
                start_time: 1,
            },
            boot_id: boot_id().unwrap(),
            created_at: Utc::now(),
            deadline: Utc::now() + chrono::TimeDelta::hours(1),
            server: None,
            socket_directory: None,
        };
        change(&mut marker);
        std::fs::write(path.join(MARKER), serde_json::to_vec(&marker).unwrap()).unwrap();
        path
    }

    fn reasons(report: &SweepReport) -> Vec<&str> {
        report
            .kept
            .iter()
            .map(|kept| kept.reason.as_str())
            .collect()
    }

    #[test]
    fn what_a_dead_owner_left_goes_and_nothing_it_points_to() {
        let root = tempfile::tempdir().unwrap();
        let precious = root.path().join("precious");
        std::fs::write(&precious, "production").unwrap();
        let path = left_behind(root.path(), |_| {});
        symlink(&precious, path.join("data/link")).unwrap();
        symlink(root.path(), path.join("data/pg_tblspc")).unwrap();
        let canonical = path.canonicalize().unwrap();
        let looked = would_sweep(root.path(), Utc::now());
        assert_eq!(looked.removed, std::slice::from_ref(&canonical));
        assert!(path.exists());
        let report = sweep(root.path(), Utc::now());
        assert_eq!(report.removed, [canonical]);
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "production");
    }

    #[test]
    fn a_running_drill_is_left_alone_until_it_ends() {
        let root = tempfile::tempdir().unwrap();
        let past = Utc::now() - chrono::TimeDelta::hours(1);
        let scratch = Scratch::create(root.path(), Uuid::now_v7(), past, &myself()).unwrap();
        let report = sweep(root.path(), Utc::now());
        assert_eq!(reasons(&report), ["its drill is running"]);
        drop(scratch); // as a crash would: the lock is free, the directory stays
        assert_eq!(sweep(root.path(), Utc::now()).removed.len(), 1);
    }

    #[test]
    fn everything_without_a_good_marker_stays() {
        let root = tempfile::tempdir().unwrap();
        let id = Uuid::now_v7();
        let plain = root.path().join(format!("{PREFIX}{id}"));
        std::fs::create_dir(&plain).unwrap();
        std::fs::create_dir(root.path().join("somebody-else")).unwrap();
        std::fs::write(root.path().join("drill-file"), "").unwrap();
        left_behind(root.path(), |marker| marker.id = Uuid::now_v7());
        left_behind(root.path(), |marker| marker.format = "other/v1".into());
        left_behind(root.path(), |marker| marker.boot_id = "another".into());
        let foreign = tempfile::tempdir().unwrap();
        let target = left_behind(foreign.path(), |_| {});
        symlink(&target, root.path().join(target.file_name().unwrap())).unwrap();
        let report = sweep(root.path(), Utc::now());
        assert_eq!(report.removed, Vec::<PathBuf>::new());
        let mut reasons = reasons(&report);
        reasons.sort_unstable();
        assert_eq!(
            reasons,
            [
                "it has no marker of ours",
                "it has no marker of ours",
                "it is not a directory",
                "it is not a directory",
                "it was made on another machine or before a restart, and its deadline has not passed",
                "its marker names another drill",
            ]
        );
        assert!(target.exists() && plain.exists());
    }

    #[test]
    fn another_boots_directory_goes_after_its_deadline() {
        let root = tempfile::tempdir().unwrap();
        left_behind(root.path(), |marker| {
            marker.boot_id = "another".into();
            marker.deadline = Utc::now() - chrono::TimeDelta::seconds(1);
        });
        assert_eq!(sweep(root.path(), Utc::now()).removed.len(), 1);
    }

    #[test]
    fn a_process_that_is_no_server_of_this_directory_is_never_signalled() {
        let root = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let path = left_behind(root.path(), |marker| marker.server = ProcessId::of(pid));
        std::fs::write(path.join("data/postmaster.pid"), format!("{pid}\n")).unwrap();
        let report = sweep(root.path(), Utc::now());
        assert_eq!((report.removed.len(), report.ended.len()), (1, 0));
        assert!(
            child.try_wait().unwrap().is_none(),
            "the bystander was ended"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn only_socket_directories_of_our_naming_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let precious = root.path().join("wp-precious");
        std::fs::create_dir(&precious).unwrap();
        left_behind(root.path(), |marker| {
            marker.socket_directory = Some(precious.clone());
        });
        assert_eq!(sweep(root.path(), Utc::now()).removed.len(), 1);
        assert!(precious.exists());
    }
}
