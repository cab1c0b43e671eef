//! Where walproof keeps its state when nothing says otherwise.

use std::path::{Path, PathBuf};

/// The directory for state, records and logs: `/var/lib/walproof` for root, else
/// `$XDG_STATE_HOME/walproof` or `~/.local/state/walproof` (XDG Base Directory
/// Specification 0.8). Without a home directory it is `.walproof` where walproof runs.
pub fn default_state_directory() -> PathBuf {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    directory_for(
        nix::unistd::geteuid().is_root(),
        absolute("XDG_STATE_HOME"),
        absolute("HOME"),
    )
}

fn directory_for(root: bool, state_home: Option<PathBuf>, home: Option<PathBuf>) -> PathBuf {
    if root {
        return Path::new("/var/lib/walproof").to_owned();
    }
    state_home
        .or_else(|| home.map(|home| home.join(".local/state")))
        .map_or_else(|| PathBuf::from(".walproof"), |base| base.join("walproof"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_system_for_root_and_xdg_for_people() {
        let home = Some(PathBuf::from("/home/ada"));
        let xdg = Some(PathBuf::from("/xdg"));
        assert_eq!(
            directory_for(true, xdg.clone(), home.clone()),
            Path::new("/var/lib/walproof")
        );
        assert_eq!(
            directory_for(false, xdg, home.clone()),
            Path::new("/xdg/walproof")
        );
        assert_eq!(
            directory_for(false, None, home),
            Path::new("/home/ada/.local/state/walproof")
        );
        assert_eq!(directory_for(false, None, None), Path::new(".walproof"));
    }
}
