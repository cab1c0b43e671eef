//! The WAL that recovery asks for, and the answers that make it stop instead of promote.
//!
//! PostgreSQL takes "exit 1" from `restore_command` for the end of the archive and opens
//! for writing; above 125 it stops (`RestoreArchivedFile` in
//! `src/backend/access/transam/xlogarchive.c`). So "not there" is only ever said of what
//! recovery can do without.

mod client;
mod command;
mod fetch;
mod get;
#[cfg(test)]
mod get_tests;
mod plan;
mod protocol;
mod server;
#[cfg(test)]
mod server_tests;

pub use client::fetch;
pub use command::{shell_quote, wal_fetch_command, wal_get_command};
pub use get::{WalGetOptions, wal_get};
pub use plan::{Stretch, WalPlan};
pub use protocol::WalAnswer;
pub use server::{RefusedFile, ServedFile, WalServer, WalServerLog, WalServerOptions};
