//! The daemon: schedules, the queue's tick and its workers, reload, stop, sweeping.
//!
//! [`schedule`] computes when something is due; the tick turns due moments into jobs of the
//! state database, workers claim jobs and let an executor perform them. What may be written
//! is decided by fencing tokens in the database, never by clocks; [`clock`] only says when
//! it is time to look.

pub mod clock;
pub mod schedule;
