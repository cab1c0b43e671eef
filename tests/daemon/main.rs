//! The daemon as a process of its own over real repositories: what is due is run, what was
//! missed is made up for or recorded, a changed configuration is taken up whole or not at
//! all, and neither a stop nor a kill loses anything. And a month of it in simulated time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "this is test code; clippy knows only functions marked #[test] as such"
)]

#[path = "../common/mod.rs"]
mod common;

mod away;
mod drills;
#[allow(unreachable_pub, reason = "shared by the modules of this test")]
mod kit;
mod process;
mod soak;
mod told;
#[allow(unreachable_pub, reason = "shared by the modules of this test")]
mod two;
