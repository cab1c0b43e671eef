//! Restores from repositories made by the real tools, recovered by the real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod client;
mod damage;
mod place;
mod targets;
