//! The scratch directory of one drill, and the marker that makes it ours.
//!
//! Only a directory that carries our marker is ever removed. The marker is locked
//! (flock) for as long as its owner lives; the system releases the lock however the
//! owner ends, so a free lock is the proof that nobody uses the directory any more.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RunAs;
use super::process::{ProcessId, boot_id};

/// The name of the marker file.
pub const MARKER: &str = "walproof.scratch.json";
/// The format that the marker declares.
pub const FORMAT: &str = "walproof.scratch/v1";
/// What scratch directories' names begin with.
pub const PREFIX: &str = "drill-";
/// A marker larger than this is not ours.
const MARKER_LIMIT: u64 = 16 << 10;
/// The longest path of a unix socket: `sun_path` has 108 bytes with its closing zero.
const SOCKET_LIMIT: usize = 107;
/// The name that PostgreSQL gives its socket, for the port that drills use.
pub const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// What the marker file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Always [`FORMAT`].
    pub format: String,
    /// The drill.
    pub id: Uuid,
    /// The process that owns the directory.
    pub owner: ProcessId,
    /// The boot of the system in which it runs.
    pub boot_id: String,
    /// When the directory was made.
    pub created_at: DateTime<Utc>,
    /// When the drill must be over.
    pub deadline: DateTime<Utc>,
    /// The restored server, once started.
    #[serde(default)]
    pub server: Option<ProcessId>,
    /// A directory for sockets outside this one, where the path would be too long.
    #[serde(default)]
    pub socket_directory: Option<PathBuf>,
}

/// Why there is no scratch directory.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// A file or directory cannot be made, written or removed.
    #[error(
        "cannot {action} {path}: {source}; check the scratch directory, its permissions and free space"
    )]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// The path holds something that configuration files and commands cannot carry.
    #[error(
        "the scratch directory {0} must be an absolute path without control characters, quotes, backslashes or `%`"
    )]
    OddPath(PathBuf),
    /// Sockets need short paths.
    #[error(
        "the socket path {path} has {length} bytes, a unix socket's may have 107; name a shorter scratch directory with --scratch"
    )]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// Somebody else could exchange what root makes there.
    #[error(
        "the scratch directory {0} can be changed by other users than root, who runs this drill; name one of root's own with --scratch"
    )]
    Shared(PathBuf),
    /// This system has no `/proc`, so owners cannot be told.
    #[error("cannot read /proc; the local environment needs Linux")]
    NoProc,
}

pub(super) fn io(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> ScratchError + use<> {
    let path = path.to_owned();
    move |source| ScratchError::Io {
        action,
        path,
        source,
    }
}

impl Marker {
    /// Reads the marker of a scratch directory; `None` when there is none or it is not
    /// ours.
    pub fn read(directory: &Path) -> Option<Self> {
        let mut text = String::new();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(directory.join(MARKER))
            .ok()?;
        file.take(MARKER_LIMIT).read_to_string(&mut text).ok()?;
        let marker: Self = serde_json::from_str(&text).ok()?;
        (marker.format == FORMAT).then_some(marker)
    }
}

/// Where scratch directories are made unless somebody says otherwise: below `$TMPDIR`, or
/// in `/var/tmp`, which is on disk where `/tmp` often is memory. Every user has a place of
/// its own there, because nobody may look into another's.
pub fn default_root() -> PathBuf {
    let own = nix::unistd::Uid::effective();
    let name = if own.is_root() {
        "walproof".to_owned()
    } else {
        format!("walproof-{own}")
    };
    std::env::var_os("TMPDIR")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .unwrap_or_else(|| PathBuf::from("/var/tmp"))
        .join(name)
}

/// One drill's scratch directory. Not removed on drop: whoever made it says when.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    marker: Marker,
    /// Held locked until the directory is gone.
    lock: File,
    sockets: PathBuf,
}

/// Whether other users than root may rename what root makes in this directory. The sticky
/// bit keeps them from it, though not the directory's own owner.
fn is_shared(root: &Path) -> Result<bool, ScratchError> {
    let metadata = std::fs::metadata(root).map_err(io("look at", root))?;
    let open_to_all = metadata.mode() & 0o1002 == 0o0002;
    Ok(metadata.uid() != 0 || open_to_all)
}

/// Makes a directory that must not exist yet.
fn make(path: &Path, mode: u32) -> Result<(), ScratchError> {
    DirBuilder::new()
        .mode(mode)
        .create(path)
        .map_err(io("make", path))?;
    // The process's umask may have taken bits away.
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(io("open", path))
}

impl Scratch {
    /// Makes `<root>/drill-<id>` with its marker, and below it the directories that the
    /// server's user owns: `data` and one for sockets.
    pub fn create(
        root: &Path,
        id: Uuid,
        deadline: DateTime<Utc>,
        run_as: &RunAs,
    ) -> Result<Self, ScratchError> {
        let odd = root.to_str().is_none_or(|text| {
            text.chars()
                .any(|c| c.is_control() || matches!(c, '\'' | '"' | '\\' | '%'))
        });
        if odd || !root.is_absolute() {
            return Err(ScratchError::OddPath(root.to_owned()));
        }
        if !root.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o711)
                .create(root)
                .map_err(io("make", root))?;
        }
        // The server's working directory is shown without links; names must agree.
        let root = root.canonicalize().map_err(io("look at", root))?;
        if Uid::effective().is_root() && is_shared(&root)? {
            return Err(ScratchError::Shared(root));
        }
        let path = root.join(format!("{PREFIX}{id}"));
        let owner = ProcessId::own().ok_or(ScratchError::NoProc)?;
        let boot_id = boot_id().ok_or(ScratchError::NoProc)?;
        make(&path, 0o711)?;
        let mut marker = Marker {
            format: FORMAT.to_owned(),
            id,
            owner,
            boot_id,
            created_at: Utc::now(),
            deadline,
            server: None,
            socket_directory: None,
        };
        let file = path.join(MARKER);
        let lock = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&file)
            .map_err(io("make", &file))?;
        lock.try_lock()
            .map_err(|error| io("lock", &file)(error.into()))?;
        let sockets = Self::socket_directory(&path, id);
        if !sockets.starts_with(&path) {
            marker.socket_directory = Some(sockets.clone());
        }
        let mut scratch = Self {
            path,
            marker,
            lock,
            sockets,
        };
        // The marker is written before anything that it must answer for.
        scratch.write_marker()?;
        let provision = scratch.provision(run_as);
        if let Err(error) = provision {
            let _ = scratch.remove();
            return Err(error);
        }
        Ok(scratch)
    }

    fn provision(&self, run_as: &RunAs) -> Result<(), ScratchError> {
        let longest = self.sockets.join(SOCKET_NAME);
        let length = longest.as_os_str().len();
        if length > SOCKET_LIMIT {
            return Err(ScratchError::SocketPath {
                path: longest,
                length,
            });
        }
        for directory in [self.data(), self.sockets.clone()] {
            make(&directory, 0o700)?;
            if run_as.change {
                chown(&directory, Some(run_as.uid), Some(run_as.gid))
                    .map_err(io("hand over", &directory))?;
            }
        }
        make(&self.configuration(), 0o711)
    }

    /// Inside the scratch directory if the socket's path stays short enough, else in
    /// `/tmp`.
    fn socket_directory(path: &Path, id: Uuid) -> PathBuf {
        let inside = path.join("s");
        if inside.join(SOCKET_NAME).as_os_str().len() <= SOCKET_LIMIT {
            return inside;
        }
        outside_sockets(id)
    }

    fn write_marker(&mut self) -> Result<(), ScratchError> {
        use std::io::Seek;
        let file = self.path.join(MARKER);
        let text = serde_json::to_vec_pretty(&self.marker)
            .map_err(|error| io("write", &file)(error.into()))?;
        // Written in place, because the lock is on this very file. The text only grows,
        // and a torn one is unreadable, so that the directory is kept, not removed.
        self.lock
            .rewind()
            .and_then(|()| self.lock.write_all(&text))
            .and_then(|()| {
                self.lock
                    .set_len(u64::try_from(text.len()).unwrap_or(u64::MAX))
            })
            .and_then(|()| self.lock.sync_data())
            .map_err(io("write", &file))
    }

    /// Notes the server, so that a sweep can end it after a crash of walproof.
    pub fn note_server(&mut self, server: ProcessId) -> Result<(), ScratchError> {
        self.marker.server = Some(server);
        self.write_marker()
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The data directory. The server's user owns it.
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// The directory for sockets: the server's, and the one that hands out WAL.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// Where walproof's own configuration of the server lies. The server may read it, not
    /// write it.
    pub fn configuration(&self) -> PathBuf {
        self.path.join("conf")
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// Removes the directory and everything in it. Links are removed, not followed.
    pub fn remove(self) -> Result<(), ScratchError> {
        if let Some(sockets) = &self.marker.socket_directory {
            remove_tree(sockets)?;
        }
        remove_tree(&self.path)
    }
}

/// Where the sockets of a drill lie that has no room for them: its id's last digits, which
/// are random.
pub(super) fn outside_sockets(id: Uuid) -> PathBuf {
    let digits = id.simple().to_string();
    let tail: String = digits.chars().skip(20).collect();
    PathBuf::from("/tmp").join(format!("wp-{tail}"))
}

/// Removes a tree. A process that is just ending may still write into it, so a failure is
/// tried again a few times.
pub(super) fn remove_tree(path: &Path) -> Result<(), ScratchError> {
    let mut attempts = 0;
    loop {
        match std::fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if attempts >= 10 => return Err(io("remove", path)(error)),
            Err(_) => {
                attempts += 1;
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn myself() -> RunAs {
        RunAs {
            uid: nix::unistd::Uid::effective().as_raw(),
            gid: nix::unistd::Gid::effective().as_raw(),
            name: "me".into(),
            change: false,
        }
    }

    #[test]
    fn a_scratch_directory_carries_its_marker_and_goes_whole() {
        let root = tempfile::tempdir().unwrap();
        let id = Uuid::now_v7();
        let mut scratch = Scratch::create(root.path(), id, Utc::now(), &myself()).unwrap();
        let path = scratch.path().to_owned();
        let marker = Marker::read(&path).unwrap();
        assert_eq!((marker.id, marker.owner), (id, ProcessId::own().unwrap()));
        scratch
            .note_server(ProcessId {
                pid: 1,
                start_time: 2,
            })
            .unwrap();
        assert_eq!(Marker::read(&path).unwrap().server.unwrap().pid, 1);
        for directory in [scratch.data(), scratch.sockets().to_owned()] {
            let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", directory.display());
        }
        scratch.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn long_paths_put_only_the_sockets_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let long = root.path().join("x".repeat(60));
        let scratch = Scratch::create(&long, Uuid::now_v7(), Utc::now(), &myself()).unwrap();
        let sockets = scratch.sockets().to_owned();
        assert!(sockets.starts_with("/tmp"), "{}", sockets.display());
        assert!(sockets.join(SOCKET_NAME).as_os_str().len() <= SOCKET_LIMIT);
        let noted = Marker::read(scratch.path()).unwrap().socket_directory;
        assert_eq!(noted.as_deref(), Some(sockets.as_path()));
        scratch.remove().unwrap();
        assert!(!sockets.exists());
    }

    #[test]
    fn root_makes_nothing_where_others_could_exchange_it() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let made = |mode: u32, owner: u32| {
            std::fs::set_permissions(&root, Permissions::from_mode(mode)).unwrap();
            if Uid::effective().is_root() {
                chown(&root, Some(owner), None).unwrap();
            }
            Scratch::create(&root, Uuid::now_v7(), Utc::now(), &myself())
                .map(|scratch| scratch.remove().unwrap())
        };
        assert!(made(0o755, 0).is_ok());
        assert!(made(0o1777, 0).is_ok());
        if Uid::effective().is_root() {
            assert!(matches!(made(0o777, 0), Err(ScratchError::Shared(_))));
            assert!(matches!(made(0o755, 65_534), Err(ScratchError::Shared(_))));
        }
    }

    #[test]
    fn paths_that_a_command_line_would_misread_are_refused() {
        for odd in ["relative", "/tmp/it's", "/tmp/100%p", "/tmp/a\nb"] {
            let made = Scratch::create(Path::new(odd), Uuid::now_v7(), Utc::now(), &myself());
            assert!(matches!(made, Err(ScratchError::OddPath(_))), "{odd}");
        }
    }
}
