//! Reading repositories, and writing ones that the real Barman Cloud tools accept.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod barman;
mod catalog;
mod push;
mod s3;
mod take;
mod tree;
