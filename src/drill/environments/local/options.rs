//! What the `local` environment is told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Network;
use super::scratch::default_root;

/// How the `local` environment is used.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Where scratch directories are made.
    pub scratch_root: PathBuf,
    /// At most this many bytes of it may be used, however many are free.
    pub scratch_limit: Option<u64>,
    /// The directory of PostgreSQL's programs; looked for if not given.
    pub binaries: Option<PathBuf>,
    /// The operating system user of the server, when walproof runs as root.
    pub run_as: Option<String>,
    /// The network.
    pub network: Network,
    /// The superuser of the restored cluster.
    pub superuser: String,
    /// Libraries that the checks need loaded at start.
    pub preload: Vec<String>,
    /// Tuning of the server.
    pub settings: BTreeMap<String, String>,
    /// walproof's own program; found by itself if not given.
    pub program: Option<PathBuf>,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            scratch_root: default_root(),
            scratch_limit: None,
            binaries: None,
            run_as: None,
            network: Network::default(),
            superuser: "postgres".to_owned(),
            preload: Vec::new(),
            settings: BTreeMap::new(),
            program: None,
        }
    }
}
