//! Reading every byte: what is healthy stays without a finding, what is damaged is named.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tables are printed"
)]

#[path = "../common/mod.rs"]
mod common;

mod ground;
mod healthy;
mod kinds;
mod matrix;
mod oracle;
mod worlds;
