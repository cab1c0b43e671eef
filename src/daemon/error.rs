//! What keeps a daemon from starting, or ends it.

use std::net::SocketAddr;

use crate::state::StateError;

/// What keeps a daemon from starting, or ends it.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state database cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Nothing can be served at the address.
    #[error("listen on {address}: {cause} (`daemon: {{listen: …}}` names another address)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        cause: std::io::Error,
    },
    /// A signal cannot be heard.
    #[error("listen for signals: {0}")]
    Signals(std::io::Error),
    /// The metronome does not start.
    #[error("start the tick: {0}")]
    Metronome(String),
}
