//! The same promises on local files and on real servers of every kind; and each way to fail
//! says what it is, soon.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod conformance;
mod downloads;
mod faults;
mod kit;
mod local;
mod once;
mod posture;
mod reach;
mod refusals;
mod servers;
mod stores;
mod unreachable;
mod uploads;
