//! Drills: restores for proof.
pub mod cancel;
pub mod environments;
pub mod log;
pub mod observer;
pub mod phases;
