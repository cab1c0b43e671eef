//! What `walproof init` writes.

/// The commented starter of `walproof.yaml`.
pub const STARTER_CONFIG: &str = include_str!("starter/walproof.yaml");

/// The commented starter of a drill definition: the one that ships in `drills/`.
pub const STARTER_DRILL: &str = include_str!("../../drills/nightly.yaml");
