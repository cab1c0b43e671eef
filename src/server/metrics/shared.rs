//! What belongs to no cluster alone: drills by tier, jobs, runs, records, notifications.

use std::collections::BTreeSet;
use std::fmt;

use super::super::facts::{ClusterFacts, FleetFacts};
use super::super::tally::{Durations, Tally};
use super::catalogue::{
    DRILL_PHASES, JOBS, LATE, MISSED, Metric, NOTICES_GIVEN_UP, NOTICES_WAITING, RECORDS_BROKEN,
    RECORDS_FOLLOWED_AT, RECORDS_HEAD, RUNS, SKIPPED, UNANSWERED,
};
use super::writer::{Writer, moment};
use crate::drill::Phase;

pub(super) fn write(writer: &mut Writer<'_>, fleet: &FleetFacts, tally: &Tally) -> fmt::Result {
    phases(writer, fleet, tally)?;
    writer.family(&JOBS, |family| {
        for jobs in &fleet.jobs {
            family.gauge([jobs.kind, jobs.status], Some(jobs.count))?;
        }
        Ok(())
    })?;
    writer.family(&RUNS, |family| {
        for runs in &fleet.runs {
            family.counter([runs.kind, &runs.outcome], runs.count)?;
        }
        Ok(())
    })?;
    writer.family(&UNANSWERED, |family| {
        for cluster in &fleet.clusters {
            for copy in &cluster.copies {
                for (kind, number) in &copy.unanswered {
                    family.counter([&cluster.name, &copy.name, kind], *number)?;
                }
            }
        }
        Ok(())
    })?;
    due(writer, &MISSED, fleet, |cluster| cluster.missed)?;
    due(writer, &LATE, fleet, |cluster| cluster.late)?;
    due(writer, &SKIPPED, fleet, |cluster| cluster.skipped)?;
    writer.single(&RECORDS_HEAD, Some(fleet.records.head))?;
    let followed_at = fleet.records.followed_at.map(moment);
    writer.single(&RECORDS_FOLLOWED_AT, followed_at)?;
    writer.single(&RECORDS_BROKEN, fleet.records.broken.map(u32::from))?;
    writer.single(&NOTICES_WAITING, Some(fleet.notifications.waiting))?;
    writer.family(&NOTICES_GIVEN_UP, |family| {
        family.counter([], fleet.notifications.given_up)
    })
}

/// For each cluster from the start: a counter that begins with 1 hides its first event from
/// `increase()`.
fn due(
    writer: &mut Writer<'_>,
    metric: &'static Metric<1>,
    fleet: &FleetFacts,
    of: impl Fn(&ClusterFacts) -> u64,
) -> fmt::Result {
    writer.family(metric, |family| {
        for cluster in &fleet.clusters {
            family.counter([&cluster.name], of(cluster))?;
        }
        Ok(())
    })
}

/// A tier's histograms are there from the start too, empty.
fn phases(writer: &mut Writer<'_>, fleet: &FleetFacts, tally: &Tally) -> fmt::Result {
    let empty = Durations::default();
    let mut tiers: BTreeSet<&str> = tally.tiers().collect();
    tiers.extend(fleet.clusters.iter().map(|cluster| cluster.tier.as_str()));
    writer.family(&DRILL_PHASES, |family| {
        for tier in tiers {
            for phase in Phase::ALL {
                let durations = tally.durations(tier, phase).unwrap_or(&empty);
                let (sum, count) = (durations.sum(), durations.count());
                family.histogram([tier, phase.as_str()], sum, count, &durations.buckets())?;
            }
        }
        Ok(())
    })
}
