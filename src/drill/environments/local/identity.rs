//! As which operating system user the restored server runs.

use nix::unistd::{Gid, Uid, User};

/// The user of the restored server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunAs {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The user's name, where it has one.
    pub name: String,
    /// Whether walproof must change to this user: it runs as root.
    pub change: bool,
}

/// Why no user can be chosen.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RunAsError {
    /// The named user does not exist.
    #[error("there is no user {0:?} on this machine; create it or name another with --run-as")]
    Unknown(String),
    /// PostgreSQL refuses to run as root.
    #[error("PostgreSQL refuses to run as root; name an unprivileged user with --run-as")]
    Root,
    /// A user that owns other databases could reach them from the restored server.
    #[error(
        "user {name:?} runs another PostgreSQL server (process {pid}); a restored server as the \
         same user could write to its files: create a user `walproof`, or name one that owns nothing"
    )]
    OwnsServer {
        /// The user.
        name: String,
        /// A server process of that user.
        pid: i32,
    },
    /// Another user was asked for, but only root can change users.
    #[error("only root can run the server as user {0:?}; run walproof as that user instead")]
    NotRoot(String),
    /// There is neither `walproof` nor `nobody`.
    #[error(
        "there is neither a user `walproof` nor `nobody`; name an unprivileged user with --run-as"
    )]
    NoneLeft,
}

/// Users tried in this order when root gives no name. Neither owns databases.
const UNPRIVILEGED: [&str; 2] = ["walproof", "nobody"];

fn lookup(name: &str) -> Option<User> {
    User::from_name(name).ok().flatten()
}

/// A running PostgreSQL server process of this user whose data directory lies elsewhere
/// than below `scratch_root`.
fn foreign_server(uid: Uid, scratch_root: &std::path::Path) -> Option<i32> {
    let entries = std::fs::read_dir("/proc").ok()?;
    entries.flatten().find_map(|entry| {
        use std::os::unix::fs::MetadataExt;
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let owner = entry.metadata().ok()?.uid();
        let process = super::process::ProcessId::of(pid)?;
        let elsewhere = || {
            process
                .working_directory()
                .is_some_and(|place| !place.starts_with(scratch_root))
        };
        (owner == uid.as_raw() && process.program()? == "postgres" && elsewhere()).then_some(pid)
    })
}

/// Chooses the user: the named one, or, for root, `walproof` or else `nobody`; anybody
/// else runs the server as themselves.
pub fn choose(named: Option<&str>, scratch_root: &std::path::Path) -> Result<RunAs, RunAsError> {
    let own = Uid::effective();
    if !own.is_root() {
        let name = User::from_uid(own)
            .ok()
            .flatten()
            .map_or_else(|| own.to_string(), |user| user.name);
        if let Some(asked) = named.filter(|asked| *asked != name) {
            return Err(RunAsError::NotRoot(asked.to_owned()));
        }
        return Ok(RunAs {
            uid: own.as_raw(),
            gid: Gid::effective().as_raw(),
            name,
            change: false,
        });
    }
    let user = match named {
        Some(name) => {
            let user = lookup(name).ok_or_else(|| RunAsError::Unknown(name.to_owned()))?;
            if user.uid.is_root() {
                return Err(RunAsError::Root);
            }
            if let Some(pid) = foreign_server(user.uid, scratch_root) {
                return Err(RunAsError::OwnsServer {
                    name: name.to_owned(),
                    pid,
                });
            }
            user
        }
        None => UNPRIVILEGED
            .iter()
            .find_map(|name| lookup(name))
            .ok_or(RunAsError::NoneLeft)?,
    };
    Ok(RunAs {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        name: user.name,
        change: true,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn root_never_stays_root_and_others_stay_themselves() {
        let chosen = choose(None, Path::new("/var/tmp/walproof")).unwrap();
        assert_ne!(chosen.uid, 0);
        if Uid::effective().is_root() {
            assert!(chosen.change);
            assert!(UNPRIVILEGED.contains(&chosen.name.as_str()));
        } else {
            assert_eq!(chosen.uid, Uid::effective().as_raw());
        }
    }

    #[test]
    fn impossible_users_are_refused_with_words() {
        let root = Path::new("/var/tmp/walproof");
        let error = choose(Some("no-such-user-here"), root).unwrap_err();
        if Uid::effective().is_root() {
            assert_eq!(error, RunAsError::Unknown("no-such-user-here".into()));
            assert_eq!(choose(Some("root"), root), Err(RunAsError::Root));
        } else {
            assert_eq!(error, RunAsError::NotRoot("no-such-user-here".into()));
        }
    }
}
