//! Services of the cluster, from outside of it.

use super::{Kube, KubeError};

/// A URL by which a Service of the cluster can be reached from here, for an endpoint whose
/// host is one (`*.svc`, `*.svc.cluster.local`) and does not resolve here; none for any
/// other.
pub async fn reach(_kube: &Kube, _endpoint: &str) -> Result<Option<String>, KubeError> {
    Ok(None)
}
