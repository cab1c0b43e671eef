//! What is told of the work while it goes on: logs on standard error, for people or as JSON
//! lines, and traces to a collector of OpenTelemetry where one is named.
//!
//! One trace per job: its root is a span [`job()`], below it one span per phase. Spans carry
//! names and figures, never a secret or a row. A collector that is away costs nothing but
//! the traces: the queue is bounded and what does not fit is left out.

mod exporter;
mod job;
mod log;
mod otlp;

pub use job::{begun, ended, job, phase};
pub use log::{LogFormat, LogLevelError, directives, start};
pub use otlp::{Traces, TracesError};
