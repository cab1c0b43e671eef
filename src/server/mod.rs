//! The daemon's face over HTTP: `/healthz`, `/readyz`, `/metrics`, and a page that links them.
//!
//! It reads the state, the configuration and a few facts about the process that serves it,
//! and changes nothing. Without authentication and encryption by design: it listens on the
//! loopback unless told otherwise, and shows no secrets and no rows.
//!
//! Bounded: connections ([`Limits::connections`]), the size and time of a request, and one
//! computation of metrics at a time, whose facts serve every scrape for a while.

mod clock;
mod collect;
mod connection;
mod controller;
mod facts;
mod follow;
mod health;
mod metrics;
mod page;
mod process;
mod promised;
mod scrape;
mod serve;
mod standing;
mod tally;
mod text;

pub use clock::Now;
pub use collect::collect;
pub use controller::{ControllerFacts, ControllerHealth};
pub use facts::{
    ClusterFacts, CopyFacts, CopyRole, DrillFacts, FindingFacts, FleetFacts, JobFacts,
    NotificationFacts, ObjectiveFacts, ProofFacts, RecordFacts, ReplicaFacts, RunFacts,
    VerificationFacts,
};
pub use health::{Health, Silence, Trouble};
pub use metrics::{CATALOGUE, MetricInfo, MetricKind, Scene, ScrapeFacts, render};
pub use process::ProcessFacts;
pub use serve::{Limits, ServerState, serve};
pub use tally::{Durations, Tally};
