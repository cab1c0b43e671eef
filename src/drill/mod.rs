//! Drills: restores for proof.
pub mod cancel;
pub mod checks;
pub mod data_directory;
pub mod environments;
pub mod log;
pub mod neutral;
pub mod observer;
pub mod phases;
pub mod preload;
pub mod proof;
pub mod settings;
