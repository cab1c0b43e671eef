//! The metrics: which there are ([`CATALOGUE`]) and how facts become OpenMetrics text
//! ([`render()`]). `docs/metrics.md` lists them for people; a test holds the two together.

mod catalogue;
mod cluster;
mod copy;
mod process;
mod render;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

pub use catalogue::{CATALOGUE, MetricInfo, MetricKind};
pub use render::{Scene, ScrapeFacts, render};
