//! Drills of real repositories: real backups, a real server, real damage.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod cleanup;
mod damaged;
mod ends;
mod kit;
mod machine;
mod outside;
mod proven;
mod shipped;
mod source;
mod targets;
mod traps;
