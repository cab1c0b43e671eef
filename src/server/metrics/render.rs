//! From facts to text.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::super::facts::FleetFacts;
use super::super::health::Health;
use super::super::process::ProcessFacts;
use super::super::tally::Tally;
use super::writer::Writer;
use super::{cluster, copy, process, shared};
use crate::kubernetes::calls::Count;

/// How the state answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScrapeFacts {
    /// Whether it answered when it was last asked.
    pub up: bool,
    /// How long it took, the last time, in milliseconds.
    pub took_ms: u64,
    /// How often it answered.
    pub answered: u64,
    /// How often it gave an error.
    pub failed: u64,
    /// How often it took too long.
    pub timed_out: u64,
}

/// All that the metrics tell at one moment.
#[derive(Clone, Debug)]
pub struct Scene {
    /// What time it is.
    pub now: DateTime<Utc>,
    /// The fleet, if it is known.
    pub fleet: Option<Arc<FleetFacts>>,
    /// What happened since the process started.
    pub tally: Arc<Tally>,
    /// How the daemon is.
    pub health: Arc<Health>,
    /// How many clusters the configuration has.
    pub clusters: u64,
    /// The process.
    pub process: ProcessFacts,
    /// What was asked of API servers of Kubernetes.
    pub requests: Vec<Count>,
    /// How the state answered.
    pub scrape: ScrapeFacts,
}

impl Collector for Scene {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer::new(encoder);
        process::write(&mut writer, self)?;
        let Some(fleet) = &self.fleet else {
            return Ok(());
        };
        cluster::write(&mut writer, fleet)?;
        copy::write(&mut writer, fleet, self.now)?;
        shared::write(&mut writer, fleet, &self.tally)
    }
}

/// Writes the metrics as `OpenMetrics` text. Sample by sample: what is kept of the text is up
/// to the writer.
pub fn render(scene: Scene, to: &mut impl fmt::Write) -> fmt::Result {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scene));
    encode(to, &registry)
}
