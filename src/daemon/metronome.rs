//! What makes the tick come: `tokio-cron-scheduler`, and nothing but this.
//!
//! It is not trusted with more. It forgets what it missed, and is known to fall silent under
//! load (mvniekerk/tokio-cron-scheduler#113), so the loop does not wait for it for longer
//! than two ticks.

use std::sync::Arc;

use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use super::bell::Bell;
use super::clock::Clock;

/// Rings every second, as long as it is kept.
pub(super) struct Metronome(JobScheduler);

impl Metronome {
    pub(super) async fn start(
        bell: Arc<Bell>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        scheduler
            .add(Job::new_async("* * * * * *", move |_, _| {
                bell.ring(clock.as_ref());
                Box::pin(std::future::ready(()))
            })?)
            .await?;
        scheduler.start().await?;
        Ok(Self(scheduler))
    }

    pub(super) async fn stop(mut self) {
        if let Err(error) = self.0.shutdown().await {
            tracing::debug!(%error, "the metronome was stopped before");
        }
    }
}
