//! What happens to a recovery: its Job, pods, volumes, events and log lines, from the
//! moment that the Cluster is created until it is ready or past saving.
//!
//! [`judge`] is a pure state machine over the API's objects and the containers' lines;
//! [`Recovery`] feeds it.

mod attempt;
mod feed;
pub mod judge;
mod lines;
mod logbook;
mod objects;
pub mod observation;
mod quota;
mod recovery;
pub mod trouble;
mod words;

pub use judge::Graces;
pub use logbook::LogBook;
pub use observation::{ClusterEvent, Observation, PodLine, PostgresLine, What};
pub use recovery::Recovery;
pub use trouble::{Trouble, TroubleClass};

#[cfg(test)]
mod replay_tests;
