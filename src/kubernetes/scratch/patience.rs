//! Asking again while the API does not answer, for as long as there is patience.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::kubernetes::{Kube, KubeError, KubeErrorKind};

/// How often it is looked again whether something is gone.
pub(super) const LOOK: Duration = Duration::from_millis(500);

/// A request, repeated while the API is away.
pub(super) async fn patient<'a, T>(
    kube: &Kube,
    action: &str,
    until: Instant,
    mut request: impl FnMut() -> BoxFuture<'a, Result<T, kube::Error>>,
) -> Result<T, KubeError> {
    loop {
        match kube.call(action, request()).await {
            Err(error)
                if matches!(
                    error.kind,
                    KubeErrorKind::Unreachable | KubeErrorKind::Timeout
                ) && Instant::now() < until =>
            {
                tracing::debug!(%error, "trying again");
                tokio::time::sleep(LOOK).await;
            }
            result => return result,
        }
    }
}
