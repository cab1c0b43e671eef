//! walproof proves that PostgreSQL backups restore.
//!
//! It reads what backup tools wrote to object storage, finds from the bytes alone where
//! recovery must end, restores for real, compares, and records the proof. Modules are
//! floors of one house (see `docs/architecture.md`): a module uses only those below it.

pub mod backup;
pub mod cli;
pub mod codec;
pub mod config;
pub mod controller;
pub mod daemon;
pub mod drill;
pub mod evidence;
pub mod finding;
pub mod kubernetes;
pub mod notify;
pub mod operation;
pub mod postgres;
pub mod replicate;
pub mod repository;
pub mod restore;
pub mod server;
pub mod state;
pub mod storage;
pub mod telemetry;
pub mod verify;
