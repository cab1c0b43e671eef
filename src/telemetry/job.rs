//! The spans of a job.

use tracing::field::Empty;
use tracing::{Span, info_span};
use uuid::Uuid;

use crate::evidence::Verdict;

/// The root span of one job: everything that it does is one trace. What is empty here is
/// filled in when its run begins ([`begun`]) and ends ([`ended`]).
pub fn job(kind: &'static str) -> Span {
    info_span!(
        parent: None,
        "job",
        otel.name = format!("job {kind}"),
        walproof.job.kind = kind,
        walproof.cluster = Empty,
        walproof.copy = Empty,
        walproof.run_id = Empty,
        walproof.exit_code = Empty,
        walproof.verdict = Empty,
        walproof.findings = Empty,
        otel.status_code = Empty,
    )
}

/// A phase of the job that is under way.
pub fn phase(name: &'static str) -> Span {
    info_span!("phase", otel.name = name, walproof.phase = name)
}

/// Notes on the span of the job under way which run it is.
pub fn begun(run: Uuid, cluster: &str, copy: &str) {
    let span = Span::current();
    span.record("walproof.run_id", run.to_string());
    span.record("walproof.cluster", cluster);
    if !copy.is_empty() {
        span.record("walproof.copy", copy);
    }
}

/// Notes on the span of the job under way how it ended.
pub fn ended(exit_code: u8, verdict: Option<Verdict>, findings: usize) {
    let span = Span::current();
    span.record("walproof.exit_code", i64::from(exit_code));
    span.record("walproof.findings", findings);
    if let Some(verdict) = verdict {
        span.record("walproof.verdict", verdict.as_str());
    }
    // A backup that is not well is a result, not an error of the job.
    span.record(
        "otel.status_code",
        if exit_code > 1 { "ERROR" } else { "OK" },
    );
}
