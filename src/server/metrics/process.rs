//! The process, the daemon in it, and how the state answers.

use std::fmt;

use super::catalogue::{
    BUILD, CLUSTERS, COLLECTION_TIME, COLLECTIONS, CONFIGURATION_LOADED_AT, CONFIGURATION_REFUSED,
    CONFIGURATION_REFUSED_AT, FACTS_AT, FOLLOWED_AT, LEASE_SEEN_AT, PROCESS_CPU, PROCESS_FDS,
    PROCESS_FDS_MAX, PROCESS_MEMORY, PROCESS_STARTED_AT, PROCESS_VIRTUAL, REQUESTS, RESOURCE_READY,
    STARTED_AT, STATE_UP, TICK_AT, WRITES,
};
use super::render::Scene;
use super::writer::{Writer, moment, seconds};

pub(super) fn write(writer: &mut Writer<'_>, scene: &Scene) -> fmt::Result {
    let (health, process, scrape) = (&scene.health, &scene.process, &scene.scrape);
    writer.family(&BUILD, |family| family.info([env!("CARGO_PKG_VERSION")]))?;
    writer.single(&STATE_UP, Some(u32::from(scrape.up)))?;
    let facts_at = scene.fleet.as_ref().map(|fleet| moment(fleet.at));
    writer.single(&FACTS_AT, facts_at)?;
    writer.single(&COLLECTION_TIME, Some(seconds(scrape.took_ms)))?;
    writer.family(&COLLECTIONS, |family| {
        family.counter(["ok"], scrape.answered)?;
        family.counter(["failed"], scrape.failed)?;
        family.counter(["timeout"], scrape.timed_out)
    })?;
    writer.single(&STARTED_AT, Some(moment(health.started_at())))?;
    writer.single(&TICK_AT, health.ticked_at().map(moment))?;
    writer.single(&LEASE_SEEN_AT, health.lease_seen_at().map(moment))?;
    let loaded_at = health.configuration_loaded_at().map(moment);
    writer.single(&CONFIGURATION_LOADED_AT, loaded_at)?;
    let refused_at = health.configuration_refused_at().map(moment);
    writer.single(&CONFIGURATION_REFUSED_AT, refused_at)?;
    let refused = u32::from(health.is_configuration_refused());
    writer.single(&CONFIGURATION_REFUSED, Some(refused))?;
    writer.single(&CLUSTERS, Some(scene.clusters))?;
    writer.family(&REQUESTS, |family| {
        for count in &scene.requests {
            let labels = [
                count.verb,
                &count.group,
                &count.resource,
                &count.code.to_string(),
            ];
            family.counter(labels, count.number)?;
        }
        Ok(())
    })?;
    let controller = health.controller().facts();
    let controller = controller.as_ref();
    let followed_at = controller.map(|facts| moment(facts.followed_at));
    writer.single(&FOLLOWED_AT, followed_at)?;
    let writes = controller.map(|facts| u32::from(facts.writes));
    writer.single(&WRITES, writes)?;
    writer.family(&RESOURCE_READY, |family| {
        for ((kind, resource), ready) in controller.iter().flat_map(|facts| &facts.ready) {
            family.gauge([kind, resource], Some(u32::from(*ready)))?;
        }
        Ok(())
    })?;
    writer.family(&PROCESS_CPU, |family| match process.cpu {
        Some(cpu) => family.counter_seconds([], cpu),
        None => Ok(()),
    })?;
    writer.single(&PROCESS_MEMORY, process.resident_bytes)?;
    writer.single(&PROCESS_VIRTUAL, process.virtual_bytes)?;
    writer.single(&PROCESS_FDS, process.open_fds)?;
    writer.single(&PROCESS_FDS_MAX, process.max_fds)?;
    writer.single(&PROCESS_STARTED_AT, process.started_at.map(moment))
}
