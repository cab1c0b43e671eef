//! The objects of a scratch namespace, one file for each kind, in the order of creation.

mod meta;
mod namespace;

use serde_json::Value;

use super::{ManifestError, ScratchPlan, invariant};

/// The Secret with the object store's credentials.
pub const STORE_SECRET: &str = "walproof-store";
/// The key of the store's certificate authority in [`STORE_SECRET`].
pub const STORE_CA_KEY: &str = "ca.crt";
/// The ObjectStore.
pub const OBJECT_STORE: &str = "origin";
/// The source among the recovery Cluster's external clusters.
pub const CLUSTER_SOURCE: &str = "origin";
/// The NetworkPolicies' names begin with it.
pub const POLICY: &str = "walproof";

/// The objects that the plan asks for, in the order of creation. All were checked by
/// [`invariant::check`].
///
/// # Errors
///
/// Something is missing in the plan, or a manifest would break a rule.
pub fn manifests(plan: &ScratchPlan) -> Result<Vec<Value>, ManifestError> {
    let all = vec![namespace::manifest(plan)];
    invariant::check(plan, &all)?;
    Ok(all)
}
