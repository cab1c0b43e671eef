//! What is handed over of a restored request, kept as long as its lease, and taken back.

use chrono::Utc;
use uuid::Uuid;

use super::spec::RequestSpec;
use super::{PATIENCE, access};
use crate::config::Config;
use crate::drill::environments::cnpg::{HandOver, HandedOver, hand_over};
use crate::kubernetes::scratch::{self, PlacedSecret};
use crate::kubernetes::{Kube, KubeError, KubeErrorKind};
use crate::operation::drill::PreparedDrill;
use crate::state::{Request, RequestChange, RequestStatus, State};

/// Hands over what was restored and proven. A Secret beside whoever asked is written down
/// before anybody is let in, so that whoever comes after a kill knows of it.
pub(super) async fn handed_over(
    state: &State,
    config: &Config,
    request: &Request,
    spec: &RequestSpec,
    drill: &PreparedDrill<'_>,
) -> Result<HandedOver, String> {
    let say = |error: KubeError| error.to_string();
    let found = state
        .request(request.id)
        .await
        .map_err(|error| error.to_string())?;
    // Its lease may be another by now, and nobody may want it any more.
    let request = found.unwrap_or_else(|| request.clone());
    if let Some(why) = &request.end_reason {
        return Err(format!("it was ended meanwhile: {why}"));
    }
    let namespace = request.namespace.clone().unwrap_or_default();
    let kube = Kube::connect(&access(config)).await.map_err(say)?;
    let now = kube.time().await.unwrap_or_else(|_| Utc::now());
    let wish = HandOver {
        request: request.id,
        cluster: request.cluster.clone(),
        run: drill.options.id,
        namespace,
        from: spec.access.namespaces.clone(),
        role: spec.access.role,
        read_only: spec.access.read_only,
        secret: spec
            .access
            .secret
            .as_ref()
            .map(|place| (place.namespace.clone(), place.name.clone())),
        until: now + request.lease(),
    };
    let note = async |placed: PlacedSecret| {
        let change = RequestChange {
            traces: serde_json::to_value(&placed).ok(),
            ..RequestChange::default()
        };
        let from = [RequestStatus::Restoring];
        let noted = state
            .change_request(wish.request, &from, &change, None)
            .await;
        let trouble = match noted {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => (KubeErrorKind::Conflict, "it is over meanwhile".to_owned()),
            Err(error) => (KubeErrorKind::Other, error.to_string()),
        };
        Err(KubeError::new(trouble.0, "note the Secret", trouble.1))
    };
    hand_over(&kube, &wish, note).await.map_err(say)
}

/// Keeps the namespace until the lease of a request that is ready ends. It was handed over
/// before that was written down, perhaps with another lease. Trouble is logged: the daemon
/// goes by the state.
pub(super) async fn keep(config: &Config, request: &Request, handed: &HandedOver) {
    let (Some(namespace), Some(run), Some(until)) =
        (&request.namespace, request.run_id, request.expires_at)
    else {
        return;
    };
    if request.status != RequestStatus::Ready || until == handed.until {
        return;
    }
    let kept = async {
        let kube = Kube::connect(&access(config)).await?;
        scratch::keep(&kube, namespace, run, until).await
    };
    if let Err(error) = kept.await {
        tracing::warn!(%error, namespace, "it says another end than that of its lease");
    }
}

/// Takes back what was handed over and could not be written down.
pub(super) async fn undo(config: &Config, namespace: &str, run: Uuid, handed: Option<&HandedOver>) {
    let undone = async {
        let kube = Kube::connect(&access(config)).await?;
        if let Some(placed) = handed.and_then(|handed| handed.placed.as_ref()) {
            scratch::remove_secret(&kube, placed).await?;
        }
        Box::pin(scratch::remove(&kube, namespace, run, PATIENCE)).await
    };
    if let Err(error) = undone.await {
        tracing::warn!(%error, namespace, "not removed; a sweep does when its lease is over");
    }
}
