//! The rounds of a kind whose resources are work of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::Resource as _;
use kube::api::{ApiResource, DynamicObject};
use kube::core::object::HasStatus as _;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::compile::Key;
use super::kind::{Around, Kind, Told};
use super::watching::Watched;
use super::write::{Target, Writer};
use crate::kubernetes::Kube;

/// A [`Kind`] whatever its types are.
pub trait Rounds: Send + Sync {
    /// Begins to watch.
    fn begin(
        &mut self,
        kube: &Kube,
        namespaces: &[String],
        changed: &Arc<Notify>,
        tasks: &mut JoinSet<()>,
    );

    /// Whether its watches work.
    fn is_current(&self) -> bool;

    /// One step of each resource that may need it. `mark` is another number whenever the queue
    /// changed. Gives when to come again at the latest.
    fn round<'a>(
        &'a mut self,
        around: &'a Around,
        mark: u64,
    ) -> BoxFuture<'a, Option<DateTime<Utc>>>;

    /// Forgets what was done: somebody else did it meanwhile.
    fn forget(&mut self);
}

/// Makes the rounds of a kind.
pub fn rounds<K: Kind>(kind: K) -> Box<dyn Rounds> {
    Box::new(Rounder {
        kind,
        watched: None,
        done: BTreeMap::new(),
        writer: Writer::default(),
    })
}

struct Rounder<K: Kind> {
    kind: K,
    watched: Option<Watched<DynamicObject>>,
    /// What was looked at last: the resource's version and the queue's mark; and when to look
    /// again.
    done: BTreeMap<Key, (String, u64, Option<DateTime<Utc>>)>,
    writer: Writer,
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "what a watch keeps is a choice; all is kept here"
)]
fn keep(mut object: DynamicObject) -> Option<DynamicObject> {
    object.metadata.managed_fields = None;
    Some(object)
}

impl<K: Kind> Rounds for Rounder<K> {
    fn begin(
        &mut self,
        kube: &Kube,
        namespaces: &[String],
        changed: &Arc<Notify>,
        tasks: &mut JoinSet<()>,
    ) {
        let kind = ApiResource::erase::<K::Resource>(&());
        self.watched = Some(Watched::begin(
            kube, &kind, namespaces, keep, changed, tasks,
        ));
    }

    fn round<'a>(
        &'a mut self,
        around: &'a Around,
        mark: u64,
    ) -> BoxFuture<'a, Option<DateTime<Utc>>> {
        async move {
            let all = self.watched.as_ref().map(Watched::all).unwrap_or_default();
            self.done.retain(|key, _| all.contains_key(key));
            for (key, object) in all {
                // Whatever is left is not done, and comes first thing in the next round.
                if !around.is_held() {
                    break;
                }
                let version = object.metadata.resource_version.clone().unwrap_or_default();
                let known = self.done.get(&key);
                if known.is_some_and(|(seen, queue, again)| {
                    *seen == version
                        && *queue == mark
                        && again.is_none_or(|again| again > around.now)
                }) {
                    continue;
                }
                match self.one(around, object).await {
                    Ok(again) => {
                        self.done.insert(key, (version, mark, again));
                    }
                    Err(error) => {
                        tracing::warn!(namespace = %key.0, name = %key.1, %error, "a resource's step came to nothing; trying again");
                    }
                }
            }
            self.done.values().filter_map(|(_, _, again)| *again).min()
        }
        .boxed()
    }

    fn is_current(&self) -> bool {
        let watched = self.watched.as_ref();
        watched.is_some_and(|watched| watched.is_current(false))
    }

    fn forget(&mut self) {
        self.done.clear();
    }
}

impl<K: Kind> Rounder<K> {
    async fn one(
        &mut self,
        around: &Around,
        object: DynamicObject,
    ) -> Result<Option<DateTime<Utc>>, String> {
        let resource: K::Resource = serde_json::to_value(&object)
            .and_then(serde_json::from_value)
            .map_err(|error| format!("it cannot be read: {error}"))?;
        let step = self.kind.reconcile(&resource, around).await;
        let step = step.map_err(|failure| failure.to_string())?;
        let kind = ApiResource::erase::<K::Resource>(&());
        let json = |error: serde_json::Error| error.to_string();
        let old = serde_json::to_value(resource.status()).map_err(json)?;
        let new = serde_json::to_value(&step.status).map_err(json)?;
        let target = Target::of(kind, resource.meta(), old.clone());
        // A status is written after its Events: one that stays has told its own. Told anew they
        // would bear the time of now.
        let told: &[Told] = if old == new { &[] } else { &step.told };
        self.writer
            .write(around, &target, step.finalizer, told, &new)
            .await
            .map_err(|error| error.to_string())?;
        Ok(step.again_at)
    }
}
