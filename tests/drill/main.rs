//! Drills of real repositories: real backups, a real server, real damage.

#[path = "../common/mod.rs"]
mod common;

mod cleanup;
mod damaged;
mod kit;
mod machine;
mod proven;
mod targets;
mod traps;
