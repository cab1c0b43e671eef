//! When schedules are due: pure computing over cron expressions, zones and calendars. No
//! clock is read here, and no state.

mod hold;
mod jitter;
mod moments;
mod once;
mod outline;

pub use hold::Hold;
pub use jitter::share;
pub use moments::{Moments, Passed};
pub use once::once;
pub use outline::{Due, Outline, Outlines, Situation, Target, outline};
