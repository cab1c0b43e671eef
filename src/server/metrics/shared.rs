//! What belongs to no cluster alone: drills by tier, jobs, runs, records, notifications.

use std::collections::BTreeSet;
use std::fmt;

use super::super::facts::FleetFacts;
use super::super::tally::{Durations, KINDS, Tally, VERDICTS};
use super::catalogue::{
    DRILL_PHASES, JOBS, LATE, MISSED, NOTICES_GIVEN_UP, NOTICES_WAITING, RECORDS_BROKEN,
    RECORDS_HEAD, RUNS, SKIPPED,
};
use super::writer::Writer;
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
        for kind in KINDS {
            for verdict in VERDICTS {
                family.counter([kind, verdict], tally.runs(kind, verdict))?;
            }
        }
        Ok(())
    })?;
    for (metric, numbers) in [
        (&MISSED, tally.missed()),
        (&LATE, tally.late()),
        (&SKIPPED, tally.skipped()),
    ] {
        writer.family(metric, |family| {
            for cluster in &fleet.clusters {
                let number = numbers.get(&cluster.name).copied().unwrap_or_default();
                family.counter([&cluster.name], number)?;
            }
            Ok(())
        })?;
    }
    writer.single(&RECORDS_HEAD, Some(fleet.records.head))?;
    let broken = u32::from(fleet.records.broken);
    writer.single(&RECORDS_BROKEN, Some(broken))?;
    writer.single(&NOTICES_WAITING, Some(fleet.notifications.waiting))?;
    writer.single(&NOTICES_GIVEN_UP, Some(fleet.notifications.given_up))
}

/// A tier's histograms are there from the start, empty: a counter that begins with 1 hides its
/// first event from `increase()`.
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
