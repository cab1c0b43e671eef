//! What happens to a recovery: its Job, pods, volumes, events and log lines, from the
//! moment that the Cluster is created until it is ready or past saving.
//!
//! `judge` is a pure state machine over the API's objects; [`Recovery`] feeds it.

pub mod observation;
pub mod trouble;

pub use observation::{ClusterEvent, Observation, PodLine, PostgresLine, What};
pub use trouble::{Trouble, TroubleClass};
