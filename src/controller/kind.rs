//! How a kind whose resources are work of their own plugs in.

use std::fmt;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use kube::core::NamespaceResourceScope;
use kube::core::object::HasStatus;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Instant;

use crate::config::Config;
use crate::kubernetes::Kube;
use crate::operation::Failure;
use crate::state::{Lease, State};

/// What a step of a resource has around it.
#[derive(Clone, Debug)]
pub struct Around {
    /// The API.
    pub kube: Kube,
    /// The state.
    pub state: State,
    /// The configuration in force: the file's with what resources add.
    pub config: Arc<Config>,
    /// The controller's own namespace.
    pub own_namespace: String,
    /// The right to write: the lease `controller`, held now.
    pub lease: Lease,
    /// When that right ends, by this process's own steady clock.
    pub until: Instant,
    /// Now, by the daemon's clock.
    pub now: DateTime<Utc>,
}

impl Around {
    /// Whether the right to write still holds: a round may take longer than its lease.
    pub fn is_held(&self) -> bool {
        Instant::now() < self.until
    }
}

/// A kind of resources, each of which is work of its own.
///
/// [`Self::reconcile`] is called when the resource, or the state behind it, may have changed,
/// and when [`Reconciled::again_at`] has come; only by the holder of the lease `controller`,
/// and never for one resource twice at a time. It looks, does the next step (a job in the
/// queue under a key that is the resource's own, so that it is never doubled), and says what
/// is to be seen. Status, finalizer and Events are written by the caller, and only where they
/// differ. It must bear being called again after any crash.
pub trait Kind: Send + Sync + 'static {
    /// The resource.
    type Resource: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + HasStatus<Status = Self::Status>
        + Clone
        + fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// Its status.
    type Status: Serialize + Clone + Default + PartialEq + Send + Sync;

    /// One step.
    fn reconcile<'a>(
        &'a self,
        resource: &'a Self::Resource,
        around: &'a Around,
    ) -> BoxFuture<'a, Result<Reconciled<Self::Status>, Failure>>;
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconciled<S> {
    /// The whole status as it is to be.
    pub status: S,
    /// What becomes of the finalizer `walproof.dev/cleanup`.
    pub finalizer: Finalizer,
    /// What is to be told as Events, once each.
    pub told: Vec<Told>,
    /// When to look again at the latest, though nothing was heard.
    pub again_at: Option<DateTime<Utc>>,
}

/// What becomes of the finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finalizer {
    /// It is there, from before anything is made for the resource until that is gone.
    Held,
    /// It is not there: nothing would be left behind.
    Gone,
}

/// How an Event is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// An Event of a resource (events.k8s.io/v1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// How it is meant.
    pub tone: Tone,
    /// Why, in one CamelCase word: `Started`.
    pub reason: &'static str,
    /// What walproof was doing: `Drill`.
    pub action: &'static str,
    /// In words; at most 1,024 characters are told.
    pub note: String,
    /// What makes it one of its kind, such as a run's id with a phase: the same is told once.
    pub once: String,
}
