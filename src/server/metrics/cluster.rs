//! Clusters and what was promised to them.

use std::fmt;

use super::super::facts::{ClusterFacts, FleetFacts};
use super::catalogue::{
    BACKUP_AGE_LIMIT, CLUSTER, LAG_LIMIT, Metric, PROOF_DUE, RETENTION, RPO, RTO,
};
use super::writer::Writer;

pub(super) fn write(writer: &mut Writer<'_>, fleet: &FleetFacts) -> fmt::Result {
    writer.family(&CLUSTER, |family| {
        for cluster in &fleet.clusters {
            family.info([&cluster.name, &cluster.tier, &cluster.owner])?;
        }
        Ok(())
    })?;
    limit(writer, &RPO, fleet, |cluster| cluster.objectives.rpo)?;
    limit(writer, &RTO, fleet, |cluster| cluster.objectives.rto)?;
    limit(writer, &RETENTION, fleet, |cluster| {
        cluster.objectives.retention
    })?;
    limit(writer, &BACKUP_AGE_LIMIT, fleet, |cluster| {
        cluster.objectives.backup_age
    })?;
    writer.family(&LAG_LIMIT, |family| {
        for cluster in &fleet.clusters {
            for copy in &cluster.copies {
                family.gauge([&cluster.name, &copy.name], copy.lag_limit)?;
            }
        }
        Ok(())
    })?;
    writer.family(&PROOF_DUE, |family| {
        for cluster in &fleet.clusters {
            let due = &cluster.objectives;
            family.gauge([&cluster.name, "verify"], due.verify_due)?;
            family.gauge([&cluster.name, "replicate"], due.replicate_due)?;
            family.gauge([&cluster.name, "drill"], due.drill_due)?;
        }
        Ok(())
    })
}

fn limit(
    writer: &mut Writer<'_>,
    metric: &'static Metric<1>,
    fleet: &FleetFacts,
    of: impl Fn(&ClusterFacts) -> Option<u64>,
) -> fmt::Result {
    writer.family(metric, |family| {
        for cluster in &fleet.clusters {
            family.gauge([&cluster.name], of(cluster))?;
        }
        Ok(())
    })
}
