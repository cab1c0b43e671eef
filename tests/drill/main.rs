//! Drills of real repositories: real backups, a real server, real damage.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and the fault table is printed"
)]

#[path = "../common/mod.rs"]
mod common;

mod alone;
mod cleanup;
mod damaged;
mod ends;
mod kit;
mod machine;
mod matrix;
mod outside;
mod proven;
mod rows;
mod shipped;
mod source;
mod table;
mod targets;
mod traps;
