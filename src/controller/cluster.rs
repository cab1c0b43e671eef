//! Where a ProtectedCluster stands, from what is known of its Clusters: pure.

use chrono::{DateTime, TimeDelta, Utc};

use super::board::Fleet;
use super::compile::Found;
use super::drill::in_words;
use super::kind::{Told, Tone};
use super::resources::{
    GuardedStatus, ProtectedCluster, ProtectedClusterCounts, ProtectedClusterPhase,
    ProtectedClusterStatus, set_condition,
};
use crate::config::Config;
use crate::daemon::Refusal;
use crate::evidence::Verdict;
use crate::kubernetes::time::whole;
use crate::operation::standing::VerifyStanding;

/// So many Clusters are shown; all are counted.
const SHOWN: usize = 100;
const ACTION: &str = "Guard";

/// What is known of a ProtectedCluster.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) resource: &'a ProtectedCluster,
    /// What of it does not hold: of itself, or of one of its Clusters.
    pub(super) refusals: Vec<&'a Refusal>,
    pub(super) found: &'a [Found],
    pub(super) fleet: &'a Fleet,
    /// The configuration in force.
    pub(super) config: &'a Config,
    pub(super) now: DateTime<Utc>,
}

impl Known<'_> {
    /// The refusal of the resource as a whole: one that is about none of its Clusters.
    fn refusal(&self) -> Option<&Refusal> {
        self.refusals
            .iter()
            .find(|refusal| !self.found.iter().any(|one| one.config_name == refusal.what))
            .copied()
    }

    pub(super) fn status(&self) -> (ProtectedClusterStatus, Vec<Told>) {
        let old = self.resource.status.clone().unwrap_or_default();
        let generation = self.resource.metadata.generation;
        let mut counts = ProtectedClusterCounts::default();
        let mut clusters = Vec::new();
        let mut exposure: Option<i64> = None;
        let mut first_out: Option<String> = None;
        for found in self.found {
            let one = self.one(found);
            match &one.left_out {
                Some(why) => {
                    counts.left_out += 1;
                    first_out
                        .get_or_insert_with(|| format!("{}/{}: {why}", one.namespace, one.name));
                }
                None => counts.clusters += 1,
            }
            match one.verdict.as_deref() {
                Some("proven") => counts.proven += 1,
                Some(_) => counts.not_proven += 1,
                None => {}
            }
            counts.problems += u32::from(one.findings > 0);
            exposure = exposure.max(one.exposure_seconds);
            if clusters.len() < SHOWN {
                clusters.push(one);
            }
        }
        let refusal = self.refusal();
        let phase = self.phase(refusal, counts);
        let mut status = ProtectedClusterStatus {
            observed_generation: generation,
            phase: Some(phase),
            reason: refusal
                .map(|refusal| refusal.reason.to_owned())
                .or_else(|| first_out.clone()),
            exposure: exposure
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(|seconds| in_words(seconds.saturating_mul(1000))),
            counts,
            clusters,
            conditions: old.conditions.clone(),
        };
        self.conditions(&mut status, refusal, first_out.as_deref());
        let told = self.told(&old, &status, refusal);
        (status, told)
    }

    fn phase(
        &self,
        refusal: Option<&Refusal>,
        counts: ProtectedClusterCounts,
    ) -> ProtectedClusterPhase {
        if refusal.is_some() {
            return ProtectedClusterPhase::Refused;
        }
        if self.resource.spec.suspend {
            return ProtectedClusterPhase::Suspended;
        }
        if counts.problems + counts.not_proven + counts.left_out > 0 {
            return ProtectedClusterPhase::Problem;
        }
        if counts.clusters == 0 {
            return ProtectedClusterPhase::Waiting;
        }
        ProtectedClusterPhase::Guarding
    }

    fn one(&self, found: &Found) -> GuardedStatus {
        let refused = self
            .refusals
            .iter()
            .find(|one| one.what == found.config_name);
        let left_out = found
            .left_out
            .clone()
            .or_else(|| refused.map(|refusal| refusal.message.clone()))
            .or_else(|| {
                let known = self.config.cluster(&found.config_name).is_some();
                let refused = self.refusal().is_some();
                (!known && refused).then(|| "its ProtectedCluster is refused".to_owned())
            });
        let mut one = GuardedStatus {
            namespace: found.namespace.clone(),
            name: found.name.clone(),
            ..GuardedStatus::default()
        };
        if left_out.is_some() {
            one.left_out = left_out;
            return one;
        }
        let name = &found.config_name;
        one.config_name = Some(name.clone());
        one.findings = self.fleet.incidents.get(name).copied().unwrap_or_default();
        if let Some(standing) = self.fleet.verified.get(name) {
            one.last_verified = Some(whole(standing.at));
            if let Ok(verified) = serde_json::from_value::<VerifyStanding>(standing.body.clone()) {
                one.window_begin = verified.oldest_begin.map(whole);
                one.window_end = verified.window_end.map(whole);
                let tip = verified.tip_commit_at.filter(|_| verified.exposure_known);
                one.exposure_seconds = tip.map(|tip| {
                    (verified.checked_at - tip)
                        .max(TimeDelta::zero())
                        .num_seconds()
                });
            }
        }
        if let Some(standing) = self.fleet.drilled.get(name) {
            one.last_drill = Some(whole(standing.at));
            one.verdict = standing.verdict.map(Verdict::as_str).map(str::to_owned);
        }
        one
    }

    fn conditions(
        &self,
        status: &mut ProtectedClusterStatus,
        refusal: Option<&Refusal>,
        first_out: Option<&str>,
    ) {
        let generation = self.resource.metadata.generation;
        let counts = status.counts;
        let mut set = |kind: &str, holds: bool, reason: &str, message: &str| {
            let (all, words) = (&mut status.conditions, (reason, message));
            set_condition(all, kind, Some(holds), words, generation, self.now);
        };
        if let Some(refusal) = refusal {
            set("Refused", true, refusal.reason, &refusal.message);
            set("Ready", false, refusal.reason, &refusal.message);
            return;
        }
        set("Refused", false, "Accepted", "nothing is wrong with it");
        match (counts.clusters, first_out) {
            (0, None) => set("Ready", false, "NoClusterFound", "no Cluster matches"),
            (_, Some(why)) => set("Ready", false, "ClusterLeftOut", why),
            (some, None) => set("Ready", true, "Guarding", &format!("{some} guarded")),
        }
    }

    fn told(
        &self,
        old: &ProtectedClusterStatus,
        status: &ProtectedClusterStatus,
        refusal: Option<&Refusal>,
    ) -> Vec<Told> {
        let mut told = Vec::new();
        let generation = self.resource.metadata.generation.unwrap_or_default();
        if let Some(refusal) = refusal {
            told.push(Told {
                tone: Tone::Warning,
                reason: "Refused",
                action: ACTION,
                note: format!("{}: {}", refusal.reason, refusal.message),
                once: format!("{generation} {}", refusal.message),
            });
            return told;
        }
        let uid = self.resource.metadata.resource_version.as_deref();
        for one in &status.clusters {
            let before = old
                .clusters
                .iter()
                .find(|known| known.namespace == one.namespace && known.name == one.name);
            if before.is_some_and(|known| known.left_out == one.left_out) {
                continue;
            }
            let (tone, reason, note) = match &one.left_out {
                None => (Tone::Normal, "Guarded", "is guarded".to_owned()),
                Some(why) => (Tone::Warning, "LeftOut", format!("is left out: {why}")),
            };
            told.push(Told {
                tone,
                reason,
                action: ACTION,
                note: format!("Cluster {}/{} {note}", one.namespace, one.name),
                once: format!("{}/{} {}", one.namespace, one.name, uid.unwrap_or_default()),
            });
        }
        let gone = old.clusters.iter().filter(|known| {
            let still =
                |one: &GuardedStatus| known.namespace == one.namespace && known.name == one.name;
            !status.clusters.iter().any(still)
        });
        // Where not all are shown, one that is not shown may be there.
        for known in gone.filter(|_| old.clusters.len() < SHOWN && status.clusters.len() < SHOWN) {
            told.push(Told {
                tone: Tone::Warning,
                reason: "Gone",
                action: ACTION,
                note: format!(
                    "Cluster {}/{} is no longer selected, or gone",
                    known.namespace, known.name
                ),
                once: format!(
                    "{}/{} {}",
                    known.namespace,
                    known.name,
                    uid.unwrap_or_default()
                ),
            });
        }
        told
    }
}
