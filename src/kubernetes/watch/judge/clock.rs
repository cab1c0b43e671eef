//! What takes too long.

use chrono::{DateTime, Utc};

use super::{CLAIMS_DUE, Judge, Seen, WORTH_TELLING, trouble};
use crate::kubernetes::watch::objects::Role;
use crate::kubernetes::watch::observation::What;
use crate::kubernetes::watch::quota;
use crate::kubernetes::watch::trouble::{Trouble, TroubleClass};

impl Judge {
    pub(super) fn look_at_clock(&mut self, now: DateTime<Utc>, out: &mut Vec<Seen>) {
        if self.over {
            return;
        }
        if let Some((since, words)) = &self.away
            && now.signed_duration_since(*since) >= self.graces.api
        {
            let words = format!(
                "no answer for {} s: {words}",
                now.signed_duration_since(*since).num_seconds()
            );
            self.end(
                trouble(TroubleClass::ApiUnreachable, "API server", &words),
                out,
            );
            return;
        }
        // While the API is away nothing else can be known.
        if self.away.is_some() || self.ready {
            return;
        }
        self.look_at_operator(now, out);
        let mut fatal = None;
        for pending in self.pending.values_mut() {
            let age = now.signed_duration_since(pending.since);
            if age >= pending.grace {
                // The one with the more telling class comes first where two are due.
                let trouble = &pending.trouble;
                if fatal.as_ref().is_none_or(|known: &Trouble| {
                    known.class == TroubleClass::Unschedulable
                        && trouble.class != TroubleClass::Unschedulable
                }) {
                    fatal = Some(trouble.clone());
                }
            } else if age >= WORTH_TELLING.max(pending.grace / 6) && !pending.told {
                pending.told = true;
                out.push((None, What::Trouble(pending.trouble.clone())));
            }
        }
        if let Some(trouble) = fatal {
            self.end(trouble, out);
        }
    }

    fn look_at_operator(&mut self, now: DateTime<Utc>, out: &mut Vec<Seen>) {
        let name = format!("cluster {}", self.cluster);
        if !self.claim_seen
            && self.job.is_none()
            && self
                .cluster_seen
                .is_some_and(|seen| now.signed_duration_since(seen) >= CLAIMS_DUE)
            && let Some(words) = self
                .quotas
                .values()
                .find_map(|quota| quota::shortage(quota, &self.cluster_object))
        {
            self.end(trouble(TroubleClass::Quota, &name, &words), out);
            return;
        }
        let silent =
            |since: DateTime<Utc>| now.signed_duration_since(since) >= self.graces.operator;
        if let Some((since, words)) = self.job_failed.clone() {
            // The pod's own verdict comes when its log has ended.
            let waiting = self
                .pods
                .values()
                .any(|pod| pod.role == Some(Role::Job) && !pod.judged);
            if !waiting || now.signed_duration_since(since) >= self.graces.log {
                let verdict = self
                    .last_trouble
                    .clone()
                    .unwrap_or_else(|| trouble(TroubleClass::ClusterTerminal, &name, &words));
                self.end(verdict, out);
            }
            return;
        }
        let words = match (self.cluster_seen, self.job_succeeded) {
            (Some(created), _) if self.phase.is_none() && self.job.is_none() && silent(created) => {
                "the operator has not looked at the Cluster"
            }
            (_, Some(done)) if !self.instance_seen && silent(done) => {
                "the recovery Job is done and the operator starts no instance"
            }
            (Some(created), None)
                if self.job.is_none()
                    && self.pending.is_empty()
                    && now.signed_duration_since(created)
                        >= self
                            .graces
                            .operator
                            .checked_mul(2)
                            .unwrap_or(self.graces.operator) =>
            {
                "the operator has made no recovery Job"
            }
            _ => return,
        };
        self.end(trouble(TroubleClass::OperatorSilent, &name, words), out);
    }
}
