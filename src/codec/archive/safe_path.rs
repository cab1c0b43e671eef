//! From a name in an archive to a path that stays where it belongs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A checked path below some directory: relative, without `.` and `..`, never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SafePath(PathBuf);

/// Why a member's name is no path for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnsafeName {
    /// `/etc/passwd`.
    #[error("the name is an absolute path")]
    Absolute,
    /// `../x` or `base/../../x`.
    #[error("the name climbs out of its directory with `..`")]
    ParentDirectory,
    /// A zero byte or a control character, which no file of a cluster has in its name.
    #[error("the name holds a control character")]
    ControlCharacter,
    /// Longer than any file system takes.
    #[error("the name is longer than file systems allow")]
    TooLong,
    /// More folders deep than any file of a cluster lies.
    #[error("the name is too many folders deep")]
    TooDeep,
}

impl SafePath {
    /// Longest name of one folder or file, in bytes (Linux `NAME_MAX`).
    const MAX_COMPONENT: usize = 255;
    /// Longest whole name, in bytes; below `PATH_MAX` to leave room for the directory.
    const MAX_LENGTH: usize = 2_048;
    /// Deepest nesting.
    const MAX_DEPTH: usize = 64;

    /// Checks a member's name. `.` and repeated slashes are dropped (Barman writes top
    /// files as `./PG_VERSION`); `Ok(None)` is the directory itself.
    pub(crate) fn check(name: &[u8]) -> Result<Option<Self>, UnsafeName> {
        if name.first() == Some(&b'/') {
            return Err(UnsafeName::Absolute);
        }
        if name.len() > Self::MAX_LENGTH {
            return Err(UnsafeName::TooLong);
        }
        if name.iter().any(u8::is_ascii_control) {
            return Err(UnsafeName::ControlCharacter);
        }
        let mut path = PathBuf::new();
        for (depth, part) in name
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .enumerate()
        {
            if part == b".." {
                return Err(UnsafeName::ParentDirectory);
            }
            if part.len() > Self::MAX_COMPONENT {
                return Err(UnsafeName::TooLong);
            }
            if depth >= Self::MAX_DEPTH {
                return Err(UnsafeName::TooDeep);
            }
            path.push(OsStr::from_bytes(part));
        }
        Ok((!path.as_os_str().is_empty()).then_some(Self(path)))
    }

    /// The path, relative.
    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }

    /// The path as bytes, parts joined by single slashes.
    #[cfg(test)]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_os_str().as_bytes()
    }

    /// The first part: a name directly in the directory.
    pub(crate) fn first(&self) -> &OsStr {
        self.0.iter().next().unwrap_or_default()
    }

    /// Whether the file lies directly in the directory.
    pub(crate) fn is_top_level(&self) -> bool {
        self.0.iter().nth(1).is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_are_normalised() {
        for (name, path) in [
            ("./PG_VERSION", "PG_VERSION"),
            ("base/1/1259", "base/1/1259"),
            ("base//1/./", "base/1"),
            ("pg_tblspc/..hidden", "pg_tblspc/..hidden"),
        ] {
            let checked = SafePath::check(name.as_bytes()).unwrap().unwrap();
            assert_eq!(checked.as_path(), Path::new(path), "{name}");
        }
        for root in ["", ".", "./", "././/"] {
            assert_eq!(SafePath::check(root.as_bytes()), Ok(None), "{root:?}");
        }
    }

    #[test]
    fn each_escape_is_refused_for_its_own_reason() {
        for (name, reason) in [
            ("/etc/passwd", UnsafeName::Absolute),
            ("//x", UnsafeName::Absolute),
            ("..", UnsafeName::ParentDirectory),
            ("../../x", UnsafeName::ParentDirectory),
            ("base/../../x", UnsafeName::ParentDirectory),
            ("./../x", UnsafeName::ParentDirectory),
            ("base/..", UnsafeName::ParentDirectory),
            ("a\0b", UnsafeName::ControlCharacter),
            ("a\nb", UnsafeName::ControlCharacter),
        ] {
            assert_eq!(SafePath::check(name.as_bytes()), Err(reason), "{name:?}");
        }
        let long = "x".repeat(256);
        assert_eq!(SafePath::check(long.as_bytes()), Err(UnsafeName::TooLong));
        let longer = "x/".repeat(2_000);
        assert_eq!(SafePath::check(longer.as_bytes()), Err(UnsafeName::TooLong));
        let deep = "x/".repeat(65);
        assert_eq!(SafePath::check(deep.as_bytes()), Err(UnsafeName::TooDeep));
    }

    proptest! {
        #[test]
        fn whatever_passes_stays_below(name: Vec<u8>) {
            if let Ok(Some(path)) = SafePath::check(&name) {
                prop_assert!(path.as_path().is_relative());
                prop_assert!(path.as_path().components().all(
                    |part| matches!(part, std::path::Component::Normal(_))
                ));
                prop_assert_eq!(SafePath::check(path.as_bytes()), Ok(Some(path)));
            }
        }
    }
}
