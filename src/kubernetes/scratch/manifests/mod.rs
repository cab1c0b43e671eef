//! The objects of a scratch namespace, one file for each kind, in the order of creation.

mod cluster;
mod grant;
mod limits;
mod meta;
mod namespace;
mod object_store;
mod policy;
mod quota;
mod secret;
mod snapshot;

use serde_json::Value;

use super::{Form, ManifestError, ScratchPlan, invariant, resources};

pub use cluster::settings_of;
pub(crate) use cluster::{SKIP_ARCHIVING, uses_plugin};
pub use grant::GRANT;

/// The Secret with the object store's credentials.
pub const STORE_SECRET: &str = "walproof-store";
/// The key of the store's certificate authority in [`STORE_SECRET`].
pub const STORE_CA_KEY: &str = "ca.crt";
/// The ObjectStore.
pub const OBJECT_STORE: &str = "origin";
/// The source among the recovery Cluster's external clusters.
pub const CLUSTER_SOURCE: &str = "origin";
/// The name of the ResourceQuota and the LimitRange; those of the NetworkPolicies begin with
/// it.
pub const POLICY: &str = "walproof";

/// The objects that the plan asks for, in the order of creation: what refuses and limits
/// comes before what works. All were checked by [`invariant::check`].
///
/// # Errors
///
/// Something is missing in the plan, or a manifest would break a rule.
pub fn manifests(plan: &ScratchPlan) -> Result<Vec<Value>, ManifestError> {
    resources::check(plan)?;
    let mut all = vec![namespace::manifest(plan)];
    all.extend(grant::manifest(plan));
    all.extend(policy::manifests(plan)?);
    all.push(quota::manifest(plan));
    all.push(limits::manifest(plan));
    all.extend(secret::store(plan));
    all.extend(secret::pull(plan));
    if uses_plugin(plan) {
        all.push(object_store::manifest(plan));
    }
    if let (Form::Snapshot, Some(set)) = (plan.form, &plan.snapshots) {
        all.extend(snapshot::manifests(plan, set));
    }
    all.push(cluster::manifest(plan)?);
    invariant::check(plan, &all)?;
    Ok(all)
}
