//! What became of everything, written into the statuses by the one controller that may.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use kube::api::ApiResource;
use uuid::Uuid;

use super::board::{Fleet, Queue};
use super::compile::Key;
use super::kind::{Around, Finalizer};
use super::resources::{ProtectedCluster, RecoveryDrill};
use super::run::Controller;
use super::write::Target;
use super::{cleanup, cluster, drill, drill_jobs, names};
use crate::config::Config;
use crate::daemon::schedule::once;
use crate::daemon::{Origin, Overlay, Refusal};
use crate::kubernetes::{KubeError, KubeErrorKind};
use crate::operation::{Failure, FailureClass, definition_digest};
use crate::state::{Job, JobFilter, Lease, RunKind, State, StoredDrill};

/// How often everything that the state says is read again.
const FLEET_EVERY: TimeDelta = TimeDelta::seconds(30);

impl Controller {
    /// Brings every status up to date.
    pub(super) async fn write(
        &mut self,
        lease: Lease,
        until: Instant,
        protected: &BTreeMap<Key, Arc<ProtectedCluster>>,
        drills: &BTreeMap<Key, Arc<RecoveryDrill>>,
        now: DateTime<Utc>,
    ) -> Result<(), Failure> {
        let around = Around {
            kube: self.kube.clone(),
            state: self.options.state.clone(),
            config: Arc::clone(&self.options.in_force.borrow()),
            own_namespace: self.own_namespace.clone(),
            lease,
            until,
            now,
        };
        self.keep(&around).await?;
        let queue = Queue::read(&around.state).await?;
        let head = around.state.entry_head().await?.map_or(0, |(head, _)| head);
        let mut heard = DefaultHasher::new();
        (head, queue.mark).hash(&mut heard);
        let heard = heard.finish();
        if heard != self.heard || self.fleet_at.is_none_or(|at| now - at > FLEET_EVERY) {
            self.fleet = Fleet::read(&around.state).await?;
            (self.heard, self.fleet_at) = (heard, Some(now));
        }
        let mut refusals = self.compiled.refusals.clone();
        refusals.extend(self.options.refusals.borrow().iter().cloned());
        for (key, resource) in protected {
            if !around.is_held() {
                ran_out();
                return Ok(());
            }
            self.protected(&around, key, resource, &refusals).await;
        }
        for (key, resource) in drills {
            if !around.is_held() {
                ran_out();
                return Ok(());
            }
            self.drill(&around, key, resource, &refusals, &queue).await;
        }
        let kept = |origin: &Origin| {
            let key = (origin.namespace.clone(), origin.name.clone());
            protected.contains_key(&key) || drills.contains_key(&key)
        };
        self.done.retain(|origin, _| kept(origin));
        for kind in &mut self.options.kinds {
            if !around.is_held() {
                ran_out();
                return Ok(());
            }
            // When to come again at the latest: sooner than that anyway.
            let _ = kind.round(&around, queue.mark).await;
        }
        Ok(())
    }

    /// Keeps what is declared for commands beside the daemon.
    async fn keep(&mut self, around: &Around) -> Result<(), Failure> {
        let known = self.kept.as_ref() == Some(&self.compiled.overlay);
        if known {
            return Ok(());
        }
        let overlay = self.compiled.overlay.clone();
        let body = serde_json::to_value(&overlay)
            .map_err(|error| Failure::new(FailureClass::Defect, error))?;
        let state = &around.state;
        state
            .keep_declared(&around.lease, &body, around.now)
            .await?;
        self.kept = Some(overlay);
        Ok(())
    }

    async fn protected(
        &mut self,
        around: &Around,
        key: &Key,
        resource: &Arc<ProtectedCluster>,
        refusals: &[Refusal],
    ) {
        if resource.metadata.deletion_timestamp.is_some() {
            return;
        }
        let own = |refusal: &&Refusal| {
            refusal.by.kind == "ProtectedCluster"
                && refusal.by.namespace == key.0
                && refusal.by.name == key.1
        };
        let found = self.compiled.found.get(key);
        let known = cluster::Known {
            resource,
            refusals: refusals.iter().filter(own).collect(),
            found: found.map_or(&[], Vec::as_slice),
            fleet: &self.fleet,
            config: &around.config,
            now: around.now,
        };
        let (status, told) = known.status();
        let target = target(&**resource, resource.status.as_ref());
        let status = serde_json::to_value(&status).unwrap_or_default();
        let wrote = self
            .writer
            .write(around, &target, Finalizer::Gone, &told, &status)
            .await;
        said(wrote, "ProtectedCluster", key);
    }

    async fn drill(
        &mut self,
        around: &Around,
        key: &Key,
        resource: &Arc<RecoveryDrill>,
        refusals: &[Refusal],
        queue: &Queue,
    ) {
        let name = names::config_name(&key.0, &key.1);
        let refusal = refusals.iter().find(|refusal| {
            refusal.by.kind == "RecoveryDrill"
                && refusal.by.namespace == key.0
                && refusal.by.name == key.1
        });
        let next = self.fleet.next.get(&name).copied();
        let in_force = is_in_force(&self.compiled.overlay, &around.config, &name);
        let clusters = self.compiled.drilled.get(key).cloned().unwrap_or_default();
        let mut mark = DefaultHasher::new();
        (queue.of(&name), next, in_force, &clusters).hash(&mut mark);
        resource.metadata.resource_version.hash(&mut mark);
        refusal
            .map(|one| (one.reason, &one.message))
            .hash(&mut mark);
        let mark = mark.finish();
        let origin = Origin {
            kind: "RecoveryDrill".into(),
            namespace: key.0.clone(),
            name: key.1.clone(),
        };
        let deleted = resource.metadata.deletion_timestamp.is_some();
        if self.done.get(&origin) == Some(&mark) && !deleted {
            return;
        }
        let stepped = if deleted {
            self.drop_drill(around, &name, resource).await
        } else {
            let about = About {
                name: &name,
                refusal,
                clusters: &clusters,
                in_force,
                next,
            };
            self.step_drill(around, resource, &about).await
        };
        if stepped.is_ok() {
            self.done.insert(origin, mark);
        }
        said(stepped, "RecoveryDrill", key);
    }

    async fn step_drill(
        &mut self,
        around: &Around,
        resource: &Arc<RecoveryDrill>,
        about: &About<'_>,
    ) -> Result<bool, KubeError> {
        cleanup::cancel_outdated(&around.state, about.name, resource, around.now)
            .await
            .map_err(|error| of_state(error.into()))?;
        let mut jobs = jobs(around, about).await.map_err(of_state)?;
        jobs.retain(|job| drill_jobs::is_of(resource, job));
        let status = resource.status.clone().unwrap_or_default();
        let verdicts = around.state.verdicts(&drill_jobs::judging(&jobs)).await;
        let verdicts = verdicts.map_err(|error| of_state(error.into()))?;
        let mut runs: BTreeMap<Uuid, StoredDrill> = BTreeMap::new();
        for id in drill_jobs::showing(&jobs, &status) {
            if let Some(stored) = stored(&around.state, id).await.map_err(of_state)? {
                runs.insert(id, stored);
            }
        }
        let known = drill::Known {
            resource,
            refusal: about.refusal,
            clusters: about.clusters,
            in_force: about.in_force,
            jobs: &jobs,
            verdicts: &verdicts,
            runs: &runs,
            next: about.next.map(crate::kubernetes::time::whole),
            now: around.now,
        };
        let new: Vec<_> = known
            .wanted()
            .into_iter()
            .filter_map(|(cluster, key)| {
                once(&around.config, about.name, &cluster, key, around.now)
            })
            .collect();
        if !new.is_empty() {
            let added = around.state.enqueue(&new).await;
            let added = added.map_err(|error| of_state(error.into()))?;
            tracing::info!(
                drill = about.name,
                jobs = added.len(),
                "a one-off drill is in the queue"
            );
        }
        let (status, told) = known.status();
        let target = target(&**resource, resource.status.as_ref());
        let status = serde_json::to_value(&status).unwrap_or_default();
        self.writer
            .write(around, &target, Finalizer::Held, &told, &status)
            .await
    }

    /// A drill that goes: what waits or runs is cancelled, and when nothing is left of it, the
    /// finalizer is taken away.
    async fn drop_drill(
        &mut self,
        around: &Around,
        name: &str,
        resource: &Arc<RecoveryDrill>,
    ) -> Result<bool, KubeError> {
        let target = target(&**resource, resource.status.as_ref());
        if !target.is_held() {
            return Ok(false);
        }
        let over = cleanup::is_over(around, name, resource).await;
        if !over.map_err(of_state)? {
            return Ok(false);
        }
        let status = target.status.clone();
        self.writer
            .write(around, &target, Finalizer::Gone, &[], &status)
            .await
    }
}

/// A lease that ended within the round: another may write by now.
fn ran_out() {
    tracing::info!("the lease ended before everything was written; the next round goes on");
}

/// What is known of a drill beside the resource.
struct About<'a> {
    name: &'a str,
    refusal: Option<&'a Refusal>,
    clusters: &'a [String],
    in_force: bool,
    next: Option<DateTime<Utc>>,
}

/// Whether a configuration has a drill as it was compiled now, and not as it was before an edit.
/// Its clusters come and go without one.
fn is_in_force(compiled: &Overlay, config: &Config, name: &str) -> bool {
    let mut compiled = compiled.drills.iter().filter(|one| one.what.name == name);
    let (new, old) = (compiled.next(), config.drill(name));
    new.zip(old).is_some_and(|(new, old)| {
        definition_digest(&new.what) == definition_digest(&old.definition)
    })
}

/// Its newest jobs: twice what one round of its clusters needs.
async fn jobs(around: &Around, about: &About<'_>) -> Result<Vec<Job>, Failure> {
    let clusters = u32::try_from(about.clusters.len()).unwrap_or(u32::MAX);
    let filter = JobFilter {
        schedule: Some(about.name.to_owned()),
        limit: clusters.saturating_mul(2).saturating_add(10),
        ..JobFilter::default()
    };
    Ok(around.state.jobs(&filter).await?)
}

async fn stored(state: &State, id: Uuid) -> Result<Option<StoredDrill>, Failure> {
    let found = state.find_runs(RunKind::Drill, &id.to_string()).await?;
    match found.into_iter().next() {
        Some(run) => Ok(Some(state.drill(run).await?)),
        None => Ok(None),
    }
}

/// A resource as it is written to.
fn target<K, S>(resource: &K, status: Option<&S>) -> Target
where
    K: kube::Resource<DynamicType = ()>,
    S: serde::Serialize,
{
    let kind = ApiResource::erase::<K>(&());
    let status = serde_json::to_value(status).unwrap_or_default();
    Target::of(kind, resource.meta(), status)
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err wants it")]
fn of_state(failure: Failure) -> KubeError {
    KubeError::new(KubeErrorKind::Other, "ask the state", failure.to_string())
}

/// A conflict is no trouble: somebody was faster, and what is watched will tell.
fn said(wrote: Result<bool, KubeError>, kind: &str, (namespace, name): &Key) {
    match wrote {
        Ok(_) => {}
        Err(error)
            if matches!(
                error.kind,
                KubeErrorKind::Conflict | KubeErrorKind::NotFound
            ) =>
        {
            tracing::debug!(kind, %namespace, %name, %error, "changed meanwhile");
        }
        Err(error) => {
            tracing::warn!(kind, %namespace, %name, %error, "could not be brought up to date; trying again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DrillDefinition;
    use crate::daemon::{Declared, merge};

    #[test]
    fn a_drill_is_in_force_only_as_it_was_compiled_now() {
        let overlay = |timeout: &str| {
            let cluster = serde_json::json!([{"name": "a", "primary": {"url": "s3://b/a"}}]);
            let files = Config {
                clusters: serde_json::from_value(cluster).unwrap(),
                ..Config::default()
            };
            let drill = Declared {
                by: Origin {
                    kind: "RecoveryDrill".into(),
                    namespace: "shop".to_owned(),
                    name: "d".to_owned(),
                },
                what: DrillDefinition {
                    // One of them is guarded by nothing, and goes.
                    clusters: vec!["a".to_owned(), "gone".to_owned()],
                    timeout: Some(timeout.parse().unwrap()),
                    ..DrillDefinition::plain("shop.d")
                },
            };
            let overlay = Overlay {
                drills: vec![drill],
                ..Overlay::default()
            };
            let config = merge(&files, &overlay).config;
            (overlay, config)
        };
        let (before, old) = overlay("1h");
        let (after, new) = overlay("2h");
        assert!(is_in_force(&before, &old, "shop.d"));
        // Between an edit and its taking up the old configuration holds.
        assert!(!is_in_force(&after, &old, "shop.d"));
        assert!(is_in_force(&after, &new, "shop.d"));
        assert!(!is_in_force(&Overlay::default(), &old, "shop.d"));
        assert!(!is_in_force(&after, &Config::default(), "shop.d"));
    }
}
