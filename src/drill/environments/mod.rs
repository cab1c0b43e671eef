//! Where restores run: `local` (PostgreSQL binaries on this machine).

pub mod local;
