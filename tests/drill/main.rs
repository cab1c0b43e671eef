//! Drills of real repositories: real backups, a real server, real damage.

#[path = "../common/mod.rs"]
mod common;

mod proven;
