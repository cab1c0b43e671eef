//! Follows the ledger for the drills that end.

use std::collections::HashMap;

use super::facts::FleetFacts;
use super::standing::phase;
use super::tally::Tally;
use crate::evidence::EntryKind;
use crate::evidence::ledger::{DrillBody, EntryContent};
use crate::state::{State, StateError};

/// How many entries are read at once, and how often in a row: what comes faster than five
/// thousand entries between two scrapes is caught up with by the next ones.
const ENTRIES: u32 = 500;
const ROUNDS: u32 = 10;

/// Where in the ledger the last look ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Follower {
    after: Option<u64>,
}

impl Follower {
    /// Adds the drills of new entries to a tally. The first look only remembers where the
    /// ledger ends: what happened before this process counts nothing.
    pub(super) async fn follow(
        &mut self,
        state: &State,
        fleet: &FleetFacts,
        tally: &mut Tally,
    ) -> Result<(), StateError> {
        let head = fleet.records.head;
        let Some(mut after) = self.after else {
            self.after = Some(head);
            return Ok(());
        };
        let tiers: HashMap<&str, &str> = fleet
            .clusters
            .iter()
            .map(|cluster| (cluster.name.as_str(), cluster.tier.as_str()))
            .collect();
        for _ in 0..ROUNDS {
            if after >= head {
                break;
            }
            for entry in state.entries(after, ENTRIES).await? {
                after = after.max(entry.sequence);
                if let Ok(content) = entry.content() {
                    observe(&content, &tiers, tally);
                }
            }
            self.after = Some(after);
        }
        // A ledger that became shorter is followed from its new end.
        self.after = Some(after.min(head));
        Ok(())
    }
}

/// A drill of a cluster that the configuration names.
fn observe(entry: &EntryContent, tiers: &HashMap<&str, &str>, tally: &mut Tally) {
    if entry.kind != EntryKind::Drill {
        return;
    }
    let Some(tier) = tiers.get(entry.cluster.as_deref().unwrap_or_default()) else {
        return;
    };
    let Ok(body) = serde_json::from_value::<DrillBody>(entry.body.clone()) else {
        return;
    };
    for timing in body.phases {
        if let Some(phase) = phase(&timing.name) {
            tally.phase(tier, phase, timing.duration_ms);
        }
    }
}
