//! Families and their samples, written one after the other; nothing is collected before.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::registry::Unit;

use super::catalogue::Metric;

/// Writes families.
pub(super) struct Writer<'a>(DescriptorEncoder<'a>);

impl<'a> Writer<'a> {
    pub(super) const fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// A family with what `fill` puts into it.
    pub(super) fn family<const N: usize>(
        &mut self,
        metric: &'static Metric<N>,
        fill: impl FnOnce(&mut Family<'_, N>) -> fmt::Result,
    ) -> fmt::Result {
        let unit = (!metric.unit.is_empty()).then(|| Unit::Other(metric.unit.to_owned()));
        let encoder = self.0.encode_descriptor(
            metric.base,
            metric.help,
            unit.as_ref(),
            metric.kind.into(),
        )?;
        fill(&mut Family { metric, encoder })
    }

    /// A family without labels.
    pub(super) fn single(
        &mut self,
        metric: &'static Metric<0>,
        value: Option<impl EncodeGaugeValue>,
    ) -> fmt::Result {
        self.family(metric, |family| family.gauge([], value))
    }
}

/// Writes the samples of a family.
pub(super) struct Family<'a, const N: usize> {
    metric: &'static Metric<N>,
    encoder: MetricEncoder<'a>,
}

impl<const N: usize> Family<'_, N> {
    /// A gauge; nothing where there is no value.
    pub(super) fn gauge(
        &mut self,
        values: [&str; N],
        value: Option<impl EncodeGaugeValue>,
    ) -> fmt::Result {
        let Some(value) = value else {
            return Ok(());
        };
        // An empty label set would be written as `{}`.
        if N == 0 {
            return self.encoder.encode_gauge(&value);
        }
        let labels = self.labels(values);
        self.encoder.encode_family(&labels)?.encode_gauge(&value)
    }

    /// A counter that is a whole number.
    pub(super) fn counter(&mut self, values: [&str; N], value: u64) -> fmt::Result {
        let labels = self.labels(values);
        self.encoder
            .encode_family(&labels)?
            .encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    /// A counter of seconds.
    pub(super) fn counter_seconds(&mut self, values: [&str; N], value: Duration) -> fmt::Result {
        if N == 0 {
            let value = value.as_secs_f64();
            return self
                .encoder
                .encode_counter::<NoLabelSet, _, f64>(&value, None);
        }
        let labels = self.labels(values);
        self.encoder
            .encode_family(&labels)?
            .encode_counter::<NoLabelSet, _, f64>(&value.as_secs_f64(), None)
    }

    /// An info.
    pub(super) fn info(&mut self, values: [&str; N]) -> fmt::Result {
        let labels = self.labels(values);
        self.encoder.encode_info(&labels.as_slice())
    }

    /// A histogram; each bucket counts its own, the last is without a limit.
    pub(super) fn histogram(
        &mut self,
        values: [&str; N],
        sum: f64,
        count: u64,
        buckets: &[(f64, u64)],
    ) -> fmt::Result {
        let labels = self.labels(values);
        self.encoder
            .encode_family(&labels)?
            .encode_histogram::<NoLabelSet>(sum, count, buckets, None)
    }

    fn labels<'b>(&self, values: [&'b str; N]) -> [(&'static str, &'b str); N] {
        let mut names = self.metric.labels.iter();
        values.map(|value| (names.next().copied().unwrap_or_default(), value))
    }
}

/// A moment in seconds since 1970, with milliseconds.
pub(super) fn moment(at: DateTime<Utc>) -> f64 {
    signed(at.timestamp_millis())
}

/// Milliseconds as seconds.
pub(super) fn signed(milliseconds: i64) -> f64 {
    let seconds = Duration::from_millis(milliseconds.unsigned_abs()).as_secs_f64();
    if milliseconds < 0 { -seconds } else { seconds }
}

/// Milliseconds as seconds.
pub(super) const fn seconds(milliseconds: u64) -> f64 {
    Duration::from_millis(milliseconds).as_secs_f64()
}

/// How long ago, never less than zero: clocks of two machines differ.
pub(super) fn age(now: DateTime<Utc>, at: DateTime<Utc>) -> f64 {
    signed(now.signed_duration_since(at).num_milliseconds().max(0))
}
