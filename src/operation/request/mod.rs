//! Requests: a person's restore to a moment, beside production, for as long as it is leased.
//!
//! A request is kept in the state ([`crate::state::Request`]), because it lives longer than any
//! run. It is restored by the course of a drill in Kubernetes, with a drill's proof, and handed
//! over only when that is `proven`. Until then nobody but walproof reaches it; afterwards the
//! pods of the namespaces that were named, to PostgreSQL's port. At the end of its lease, or
//! before when somebody says so, everything goes.
//!
//! Whoever dies meanwhile leaves a row that says where it stood: [`tend()`] concludes what nobody
//! works at any more, and removes what is due.

mod ask;
mod end;
mod hand;
mod keep;
mod report;
mod restore;
mod spec;
mod tend;
#[cfg(test)]
mod tests;

pub use ask::{Asked, ask};
pub use end::{Ending, end, wish_end};
pub use keep::extend;
pub use report::{LIST_SCHEMA, RequestList, RequestPlan, RequestReport, RequestResult};
pub use restore::{Restored, plan, restore};
pub use spec::{Approval, RequestAccess, RequestSpec, SecretPlace, Wanted};
pub use tend::{Tended, due, tend, tend_one, tend_removed};

use std::time::Duration;

use super::Failure;
use crate::config::Config;
use crate::evidence::NewEntry;
use crate::evidence::ledger::{Body, RequestBody, RequestEvent, cut};
use crate::kubernetes::scratch::{self, PlacedSecret};
use crate::kubernetes::{Access, Kube, KubeErrorKind};
use crate::state::Request;

/// What the names of the scratch namespaces begin with.
const NAMESPACE_PREFIX: &str = "walproof-request";

/// How long the API may take to remove a namespace with everything in it.
const PATIENCE: Duration = Duration::from_mins(5);

/// How the configuration reaches Kubernetes.
fn access(config: &Config) -> Access {
    Access {
        kubeconfig: config.kubernetes.kubeconfig.clone(),
        context: config.kubernetes.context.clone(),
    }
}

/// What an entry about a request says; the caller adds what happened.
fn body(request: &Request, event: RequestEvent, by: &str) -> RequestBody {
    let spec = RequestSpec::of(request).ok();
    RequestBody {
        request: request.id,
        event,
        by: by.to_owned(),
        reason: spec
            .as_ref()
            .map(|spec| cut(&spec.reason))
            .unwrap_or_default(),
        target: spec
            .as_ref()
            .map(|spec| spec.target.to_string())
            .unwrap_or_default(),
        run: None,
        location: None,
        backup: None,
        recovered_to: None,
        namespace: request.namespace.clone(),
        access: spec
            .map(|spec| spec.access.namespaces.into_iter().collect())
            .unwrap_or_default(),
        lease_ms: Some(request.lease_seconds.saturating_mul(1000)),
        expires_at: request.expires_at,
        opened: Vec::new(),
        closed: Vec::new(),
    }
}

/// An entry about a request and no run.
fn entry(request: &Request, body: RequestBody) -> Result<NewEntry, Failure> {
    NewEntry::new(chrono::Utc::now(), &Body::Request(Box::new(body)))
        .map(|entry| entry.about(&request.cluster, &request.copy))
        .map_err(|error| Failure::new(super::FailureClass::Defect, error))
}

/// Removes everything that was made for a request. What is left is named; empty when nothing
/// is.
async fn remove(config: &Config, request: &Request) -> Result<Vec<String>, Failure> {
    let placed: Option<PlacedSecret> = request
        .traces
        .clone()
        .and_then(|traces| serde_json::from_value(traces).ok());
    let (Some(namespace), Some(run)) = (&request.namespace, request.run_id) else {
        return Ok(Vec::new());
    };
    let kube = Kube::connect(&access(config)).await?;
    if let Some(placed) = &placed {
        scratch::remove_secret(&kube, placed).await?;
    }
    match Box::pin(scratch::remove(&kube, namespace, run, PATIENCE)).await {
        Ok(removal) => Ok(removal.left),
        // A namespace of that name is another's: nothing of ours is there.
        Err(error) if error.kind == KubeErrorKind::Conflict => Ok(vec![error.to_string()]),
        Err(error) => Err(error.into()),
    }
}
