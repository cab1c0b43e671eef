//! Drills: restores for proof.
//!
//! A drill picks a base backup and a target, reads beforehand the WAL that recovery will
//! replay and computes where it must end, restores in a scratch place, proves that the
//! server ended exactly there, asks it questions, measures, and removes everything. What
//! goes wrong with the backup makes it `failed`; what could not be looked at makes it
//! `unproven`; only a drill without either is `proven`.

mod admit;
pub mod cancel;
pub mod checks;
mod conclude;
pub mod course;
pub mod environments;
pub mod facts;
mod last_words;
pub mod log;
pub mod neutral;
pub mod observer;
pub mod options;
pub mod phases;
pub mod plan;
pub mod preload;
pub mod proof;
pub mod record;
pub mod report;
pub mod restored;
mod run;
pub mod settings;
mod torn;
pub mod verdict;
mod watching;

pub use cancel::{Cancellation, Canceller};
pub use course::{Stop, Trouble};
pub use environments::local::{LocalOptions, SweepReport, sweep, would_sweep};
pub use observer::{DrillObserver, Progress, Unit, Unobserved};
pub use options::{DrillOptions, EnvironmentOptions, Objectives};
pub use phases::{Phase, PhaseTiming};
pub use plan::DrillPlan;
pub use record::{RecordContext, record};
pub use report::{DrillReport, Ending, Measurements};
pub use run::{plan, run};

pub use crate::evidence::Verdict;
pub use crate::restore::BackupChoice;
