//! Everything that goes wrong around a user: the real program, a real store, a real
//! server, and trouble. Each case ends with the right exit code and with words that say
//! what happened and what to do, leaves nothing behind, and touches nothing of the user's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "the drill tests use the other part of it")]
#[path = "../drill/kit.rs"]
mod kit;

mod pipe;
mod places;
mod recovery;
mod room;
mod signals;
mod state;
mod stores;
mod surroundings;
