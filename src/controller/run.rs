//! The controller as it runs beside the daemon: it watches, compiles, and, where it holds the
//! lease, writes what became of everything.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DynamicObject};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::board::Fleet;
use super::compile::{Compiled, Key, Seen, SeenCluster, compile};
use super::resources::{CLEANUP, Condition, ProtectedCluster, RecoveryDrill, holds};
use super::rounds::Rounds;
use super::watching::Watched;
use super::write::Writer;
use crate::config::{Config, ControllerConfig, SecretReference};
use crate::daemon::clock::Clock;
use crate::daemon::{Origin, Overlay, Refusal};
use crate::kubernetes::cnpg::{ObjectStore, SourceCluster, StoreConfiguration, resources};
use crate::kubernetes::{Access, Kube, KubeError, KubeErrorKind, names as labels};
use crate::operation::Failure;
use crate::server::Health;
use crate::state::{Lease, State};

/// The name of the lease whose holder writes.
pub const CONTROLLER_LEASE: &str = "controller";
/// How long the lease of a controller that fell silent keeps others out.
const LEASE: Duration = Duration::from_secs(15);
/// What changes within this time is dealt with at once.
const GATHER: Duration = Duration::from_millis(300);
/// How often the state is asked though nothing was heard.
const LOOK: Duration = Duration::from_secs(3);
/// A region that could not be read is tried again after this.
const REGION_AGAIN: TimeDelta = TimeDelta::seconds(60);
/// One that was read is read again after this: nobody watches Secrets.
const REGION_OLD: TimeDelta = TimeDelta::minutes(10);

/// What a controller is given.
pub struct ControllerOptions {
    /// Which API server, as whom.
    pub access: Access,
    /// Which resources.
    pub config: ControllerConfig,
    /// Where what they add to the configuration goes.
    pub overlay: watch::Sender<Option<Arc<Overlay>>>,
    /// The configuration in force.
    pub in_force: watch::Receiver<Arc<Config>>,
    /// What of the overlay does not hold.
    pub refusals: watch::Receiver<Arc<Vec<Refusal>>>,
    /// The state.
    pub state: State,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// The daemon: the holder of the lease.
    pub holder: Uuid,
    /// Where it notes how it is.
    pub health: Arc<Health>,
    /// Kinds whose resources are work of their own.
    pub kinds: Vec<Box<dyn Rounds>>,
}

/// Runs until it is to stop.
pub async fn run(mut options: ControllerOptions, mut stop: watch::Receiver<bool>) {
    options.health.controller().began(options.clock.now());
    let Some(kube) = connect(&options.access, &mut stop).await else {
        return;
    };
    let own = options.config.namespace.clone();
    let own_namespace = own.unwrap_or_else(|| kube.namespace().to_owned());
    let changed = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    let watches = Watches::begin(&kube, &options.config.namespaces, &changed, &mut tasks);
    for kind in &mut options.kinds {
        kind.begin(&kube, &options.config.namespaces, &changed, &mut tasks);
    }
    tracing::info!(server = kube.server(), %own_namespace, namespaces = ?options.config.namespaces, "custom resources are watched");
    let mut controller = Controller {
        kube,
        own_namespace,
        watches,
        compiled: Compiled::default(),
        inputs: None,
        sent: None,
        kept: None,
        regions: BTreeMap::new(),
        lease: None,
        fleet: Fleet::default(),
        fleet_at: None,
        heard: 0,
        done: BTreeMap::new(),
        writer: Writer::default(),
        options,
    };
    loop {
        let (in_force, refusals) = (
            &mut controller.options.in_force,
            &mut controller.options.refusals,
        );
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(GATHER).await,
            Ok(()) = in_force.changed() => {}
            Ok(()) = refusals.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
            () = stopped(&mut stop) => break,
        }
        // What a round leaves undone when it is to stop, the next holder of the lease does, as
        // after any crash.
        tokio::select! {
            () = controller.round() => controller.note(),
            () = stopped(&mut stop) => break,
        }
    }
    if let Some(lease) = controller.lease.take() {
        let released = controller.options.state.release_lease(&lease).await;
        if let Err(error) = released {
            tracing::debug!(%error, "the controller's lease runs out by itself");
        }
    }
    tasks.shutdown().await;
}

/// Waits until it is to stop; a stop that nobody can ask for any more is one, too.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A client, as soon as there can be one.
async fn connect(access: &Access, stop: &mut watch::Receiver<bool>) -> Option<Kube> {
    let mut said = false;
    loop {
        match Kube::connect(access).await {
            Ok(kube) => return Some(kube),
            Err(error) if !std::mem::replace(&mut said, true) => {
                tracing::error!(%error, hint = error.hint(), "custom resources cannot be watched; trying on");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stopped(stop) => return None,
        }
    }
}

/// Everything that is watched.
struct Watches {
    protected: Watched<Arc<ProtectedCluster>>,
    drills: Watched<Arc<RecoveryDrill>>,
    clusters: Watched<SeenCluster>,
    stores: Watched<StoreConfiguration>,
}

impl Watches {
    fn begin(
        kube: &Kube,
        namespaces: &[String],
        changed: &Arc<Notify>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let own = ApiResource::erase::<ProtectedCluster>(&());
        let drill = ApiResource::erase::<RecoveryDrill>(&());
        let (cluster, store) = (resources::cluster(), resources::object_store());
        Self {
            protected: Watched::begin(kube, &own, namespaces, read, changed, tasks),
            drills: Watched::begin(kube, &drill, namespaces, read, changed, tasks),
            clusters: Watched::begin(kube, &cluster, namespaces, seen_cluster, changed, tasks),
            stores: Watched::begin(kube, &store, namespaces, seen_store, changed, tasks),
        }
    }

    fn are_seen(&self) -> bool {
        self.protected.is_seen()
            && self.drills.is_seen()
            && self.clusters.is_seen()
            && self.stores.is_seen()
    }

    /// Whether nothing is missed: CloudNativePG's kinds need not be there, walproof's own must.
    fn are_current(&self) -> bool {
        self.protected.is_current(false)
            && self.drills.is_current(false)
            && self.clusters.is_current(true)
            && self.stores.is_current(true)
    }

    /// What is ready of the resources that declare configuration, and stay.
    fn ready(&self) -> BTreeMap<(&'static str, String), bool> {
        let protected = ready("ProtectedCluster", self.protected.all(), |one| {
            one.status.as_ref().map(|status| &status.conditions)
        });
        let drills = ready("RecoveryDrill", self.drills.all(), |one| {
            one.status.as_ref().map(|status| &status.conditions)
        });
        protected.into_iter().chain(drills).collect()
    }
}

fn ready<T: kube::Resource>(
    kind: &'static str,
    all: BTreeMap<Key, Arc<T>>,
    conditions: fn(&T) -> Option<&Vec<Condition>>,
) -> Vec<((&'static str, String), bool)> {
    all.into_iter()
        .filter(|(_, one)| one.meta().deletion_timestamp.is_none())
        .map(|((namespace, name), one)| {
            let ready = conditions(&one).is_some_and(|all| holds(all, "Ready"));
            ((kind, format!("{namespace}/{name}")), ready)
        })
        .collect()
}

fn read<T: DeserializeOwned>(mut object: DynamicObject) -> Option<Arc<T>> {
    object.metadata.managed_fields = None;
    let title = format!(
        "{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    );
    let mut value = serde_json::to_value(object).ok()?;
    let read = serde_json::from_value(value.clone()).or_else(|_| {
        // A status by a later version: it is written anew in any case.
        if let Some(parts) = value.as_object_mut() {
            parts.remove("status");
        }
        serde_json::from_value(value)
    });
    match read {
        Ok(resource) => Some(Arc::new(resource)),
        Err(error) => {
            tracing::error!(resource = %title, %error, "a resource that this version cannot read is left alone");
            None
        }
    }
}

/// What matters of a Cluster: nothing of a drill's own, or of one that goes.
fn seen_cluster(object: DynamicObject) -> Option<SeenCluster> {
    if object.labels().contains_key(labels::DRILL) || object.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let labels = object.labels().clone();
    let cluster = SourceCluster::parse(serde_json::to_value(object).ok()?).ok()?;
    Some(SeenCluster {
        labels,
        archive: cluster.archive,
    })
}

fn seen_store(object: DynamicObject) -> Option<StoreConfiguration> {
    let store = ObjectStore::parse(serde_json::to_value(object).ok()?).ok()?;
    Some(store.configuration)
}

/// What is compiled: not the statuses, which change more often.
#[derive(PartialEq)]
struct Inputs {
    resources: u64,
    clusters: BTreeMap<Key, SeenCluster>,
    stores: BTreeMap<Key, StoreConfiguration>,
}

/// Another number when the spec of a resource changes, or one comes or goes.
fn mark(
    protected: &BTreeMap<Key, Arc<ProtectedCluster>>,
    drills: &BTreeMap<Key, Arc<RecoveryDrill>>,
) -> u64 {
    let mut mark = DefaultHasher::new();
    let all = protected
        .iter()
        .map(|(key, one)| (0_u8, key, &one.metadata));
    let drills = drills.iter().map(|(key, one)| (1_u8, key, &one.metadata));
    for (kind, key, metadata) in all.chain(drills) {
        let held = metadata
            .finalizers
            .iter()
            .flatten()
            .any(|one| one == CLEANUP);
        let deleted = metadata.deletion_timestamp.is_some();
        (kind, key, &metadata.uid, metadata.generation, held, deleted).hash(&mut mark);
    }
    mark.finish()
}

/// After how long a region is read again.
fn again_after(read: &Result<String, String>) -> TimeDelta {
    if read.is_ok() {
        REGION_OLD
    } else {
        REGION_AGAIN
    }
}

/// How long a lease still holds. One that reaches further than any that was taken was taken
/// before the clock was set back: others may see its end sooner, so nothing of it is left.
fn remaining(lease: &Lease, now: DateTime<Utc>) -> Duration {
    let left = (lease.until - now).to_std().unwrap_or_default();
    if left > LEASE { Duration::ZERO } else { left }
}

/// The controller between its rounds.
pub(super) struct Controller {
    pub(super) kube: Kube,
    /// What was compiled last.
    inputs: Option<Inputs>,
    pub(super) own_namespace: String,
    watches: Watches,
    pub(super) compiled: Compiled,
    sent: Option<Arc<Overlay>>,
    /// What of it the state has, by this holder of the lease.
    pub(super) kept: Option<Overlay>,
    /// Regions that were read, with when.
    regions: BTreeMap<SecretReference, (Result<String, String>, DateTime<Utc>)>,
    lease: Option<Lease>,
    pub(super) fleet: Fleet,
    pub(super) fleet_at: Option<DateTime<Utc>>,
    /// The end of the ledger when the fleet was read, with the queue's mark.
    pub(super) heard: u64,
    /// What each resource was written for last.
    pub(super) done: BTreeMap<Origin, u64>,
    pub(super) writer: Writer,
    pub(super) options: ControllerOptions,
}

impl Controller {
    /// Compiles, and writes where it may.
    async fn round(&mut self) {
        if !self.watches.are_seen() {
            return;
        }
        let protected = self.watches.protected.all();
        let drills = self.watches.drills.all();
        let now = self.options.clock.now();
        self.compile(&protected, &drills, now).await;
        // Compiling may have waited for the API.
        let (now, begun) = (self.options.clock.now(), Instant::now());
        match self.hold(now).await {
            Ok(Some(lease)) => {
                let until = begun + remaining(&lease, now);
                let wrote = self.write(lease, until, &protected, &drills, now).await;
                if let Err(failure) = wrote {
                    tracing::warn!(%failure, "the statuses could not be written; trying again");
                }
            }
            Ok(None) => {}
            Err(failure) => tracing::warn!(%failure, "the controller's lease could not be had"),
        }
    }

    /// Notes how it is, for the metrics.
    fn note(&self) {
        let mut kinds = self.options.kinds.iter();
        let current = self.watches.are_current() && kinds.all(|kind| kind.is_current());
        let now = self.options.clock.now();
        let writes = self
            .lease
            .as_ref()
            .is_some_and(|lease| !remaining(lease, now).is_zero());
        let controller = self.options.health.controller();
        controller.went_round(current.then_some(now), writes, self.watches.ready());
    }

    /// Compiles when something that matters to it changed, and hands over what is new. What is
    /// written of it waits until it is in force, which is heard.
    async fn compile(
        &mut self,
        protected: &BTreeMap<Key, Arc<ProtectedCluster>>,
        drills: &BTreeMap<Key, Arc<RecoveryDrill>>,
        now: DateTime<Utc>,
    ) {
        let inputs = Inputs {
            resources: mark(protected, drills),
            clusters: self.watches.clusters.all(),
            stores: self.watches.stores.all(),
        };
        let again = self
            .regions
            .values()
            .any(|(read, at)| now - *at >= again_after(read));
        if self.inputs.as_ref() == Some(&inputs) && !again {
            return;
        }
        let mut compiled = compile(&self.seen(protected, drills, now));
        match self.read_regions(&mut compiled, now).await {
            Ok(true) => compiled = compile(&self.seen(protected, drills, now)),
            Ok(false) => {}
            Err(error) => {
                // What could not be asked is not gone: without it a Cluster would no longer be
                // guarded, and its incidents be closed. The next round tries again.
                tracing::warn!(%error, "what resources say is not taken up before this can be read");
                return;
            }
        }
        self.inputs = Some(inputs);
        self.compiled = compiled;
        let new = Arc::new(self.compiled.overlay.clone());
        if self.sent.as_ref().is_none_or(|sent| **sent != *new) {
            self.sent = Some(Arc::clone(&new));
            self.options.overlay.send_replace(Some(new));
        }
    }

    /// What there is to compile: no resource that goes, and no drill before its finalizer.
    fn seen(
        &self,
        protected: &BTreeMap<Key, Arc<ProtectedCluster>>,
        drills: &BTreeMap<Key, Arc<RecoveryDrill>>,
        now: DateTime<Utc>,
    ) -> Seen {
        Seen {
            own_namespace: self.own_namespace.clone(),
            clusters: self.watches.clusters.all(),
            stores: self.watches.stores.all(),
            regions: self
                .regions
                .iter()
                .filter(|(_, (read, at))| now - *at < again_after(read))
                .map(|(reference, (read, _))| (reference.clone(), read.clone()))
                .collect(),
            protected: protected
                .iter()
                .filter(|(_, one)| one.metadata.deletion_timestamp.is_none())
                .map(|(key, one)| (key.clone(), ProtectedCluster::clone(one)))
                .collect(),
            drills: drills
                .iter()
                .filter(|(_, one)| one.metadata.deletion_timestamp.is_none())
                .filter(|(_, one)| one.finalizers().iter().any(|one| one == CLEANUP))
                .map(|(key, one)| (key.clone(), RecoveryDrill::clone(one)))
                .collect(),
        }
    }

    /// Reads the regions that stand in Secrets. Gives whether there is something new.
    ///
    /// # Errors
    ///
    /// The API server could not be asked: not that it refuses, or has no such Secret.
    async fn read_regions(
        &mut self,
        compiled: &mut Compiled,
        now: DateTime<Utc>,
    ) -> Result<bool, KubeError> {
        let wanted = std::mem::take(&mut compiled.regions);
        let some = !wanted.is_empty();
        for reference in wanted {
            let read = match self.region(&reference).await {
                Err(error) if error.is_transient() => return Err(error),
                read => read.map_err(|error| error.to_string()),
            };
            self.regions.insert(reference, (read, now));
        }
        Ok(some)
    }

    async fn region(&self, reference: &SecretReference) -> Result<String, KubeError> {
        let secrets: Api<Secret> = Api::namespaced(self.kube.client(), &reference.namespace);
        let action = format!("read {reference}");
        let secret = self
            .kube
            .call(action.as_str(), secrets.get(&reference.name))
            .await?;
        let value = secret.data.unwrap_or_default().remove(&reference.key);
        let value = value.and_then(|value| String::from_utf8(value.0).ok());
        value.map(|text| text.trim().to_owned()).ok_or_else(|| {
            KubeError::new(
                KubeErrorKind::NotFound,
                action,
                "it has no such key with a text",
            )
        })
    }

    /// The lease, taken or renewed.
    async fn hold(&mut self, now: DateTime<Utc>) -> Result<Option<Lease>, Failure> {
        if let Some(lease) = &self.lease
            && remaining(lease, now) > LEASE / 2
        {
            return Ok(Some(lease.clone()));
        }
        let state = &self.options.state;
        let taken = state
            .try_lease(CONTROLLER_LEASE, self.options.holder, now, LEASE)
            .await?;
        let before = self.lease.as_ref().map(|lease| lease.token);
        if taken.as_ref().map(|lease| lease.token) != before {
            // Somebody else may have written meanwhile.
            self.done.clear();
            self.kept = None;
            for kind in &mut self.options.kinds {
                kind.forget();
            }
            match (&taken, before) {
                (Some(_), _) => tracing::info!("this controller writes"),
                (None, Some(_)) => tracing::warn!("another controller writes from now on"),
                (None, None) => {}
            }
        }
        self.lease.clone_from(&taken);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A later version may write a status that this one cannot read; what is asked for counts.
    #[test]
    fn a_resource_is_read_whatever_its_status_says() {
        let of = |phase: &str, name: &str| {
            let resource = serde_json::json!({
                "apiVersion": "walproof.dev/v1alpha1", "kind": "ProtectedCluster",
                "metadata": {"namespace": "shop", "name": "orders"},
                "spec": {"name": name}, "status": {"phase": phase},
            });
            serde_json::from_value::<DynamicObject>(resource).unwrap()
        };
        let known = read::<ProtectedCluster>(of("Guarding", "orders")).unwrap();
        assert!(known.status.is_some());
        let later = read::<ProtectedCluster>(of("Hovering", "orders")).unwrap();
        assert_eq!(later.spec, known.spec);
        assert!(later.status.is_none());
        let mut strange = of("Guarding", "orders");
        strange.data["spec"]["name"] = serde_json::json!(7);
        assert!(read::<ProtectedCluster>(strange).is_none());
    }

    #[test]
    fn a_lease_is_trusted_only_as_far_as_one_may_reach() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let lease = Lease {
            name: CONTROLLER_LEASE.to_owned(),
            holder: Uuid::nil(),
            token: 1,
            until: now + LEASE,
        };
        let at = |seconds: i64| remaining(&lease, now + TimeDelta::seconds(seconds));
        assert_eq!(at(0), LEASE);
        assert_eq!(at(10), Duration::from_secs(5));
        assert_eq!(at(16), Duration::ZERO);
        // The clock was set back by an hour.
        assert_eq!(at(-3600), Duration::ZERO);
    }
}
