//! From a catalog and a target to a data directory that PostgreSQL recovers, and the WAL
//! that it asks for on the way.
//!
//! A target is first turned into one explicit record ([`Target`]); the base backup is
//! extracted without trusting a single name in it; the server starts from walproof's own
//! configuration; and it gets its WAL from walproof, which makes recovery stop, instead
//! of promote, when something that was promised is not there.

mod choose;
pub mod configuration;
mod destination;
mod durable;
mod error;
mod extract;
mod inspect;
mod nearest;
mod progress;
mod resolve;
mod resolve_error;
mod review;
mod room;
mod run;
mod stop;
mod tablespaces;
mod target;
mod unpack;
#[cfg(test)]
mod unpack_tests;
pub mod wal;

pub use crate::verify::base::placement::{SET_ASIDE, STANDARD_DIRECTORIES, UNFINISHED};
pub use choose::{BackupChoice, Choice, PassedOver, Wish, choose};
pub use destination::{check_free, enclosing_data_directory};
pub use error::RestoreError;
pub use extract::{ExtractOptions, ExtractReport, FetchedArchive, check_restorable, extract};
pub use inspect::RestoredFacts;
pub use nearest::{Nearest, Reachable, nearest};
pub use progress::{Cancel, Progress, ProgressSink, Step, Unwatched, Watch};
pub use resolve::{ResolvedTarget, resolve};
pub use resolve_error::ResolveError;
pub use review::{review_set_aside, set_aside_finding, settings_raised_finding};
pub use room::free_bytes;
pub use run::{
    RestoreOptions, RestorePlan, RestoreReport, RunError, WAL_PLAN_FILE, plan, read_plan, run,
};
pub use tablespaces::{PlacedTablespace, TablespaceMap, TablespaceOverride, default_parent};
pub use target::{ParseTargetError, Target};
pub use unpack::Extracted;
pub use wal::{WalAnswer, WalPlan, WalServer, WalServerLog, WalServerOptions};
