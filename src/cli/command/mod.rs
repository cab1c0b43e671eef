//! The commands, one thin file each: arguments, help, and a call into the room that works.

pub mod backup;
pub mod config;
pub mod drill;
mod drill_run;
pub mod evidence;
pub mod help;
pub mod history;
pub mod init;
pub mod internal;
pub mod job;
pub mod notify;
pub mod replicate;
mod replicate_compare;
mod replicate_expire;
mod replicate_pair;
mod replicate_run;
mod replicate_status;
pub mod repository;
pub mod restore;
pub mod status;
pub mod verify;
mod verify_depth;
pub mod wal;
mod wal_find;
mod wal_show;
