//! A plan and what came of it, for machines and for people.

use schemars::JsonSchema;
use serde::Serialize;

use super::execute::ExpireOutcome;
use super::plan::ExpirePlan;

/// The contract of [`ExpireReport`] as JSON. Fields are only added within a version.
pub const SCHEMA: &str = "walproof.replicate-expire/v1";

/// A plan, and what came of it if it was carried out.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ExpireReport {
    /// The contract, `walproof.replicate-expire/v1`.
    pub schema: String,
    /// The version of walproof that wrote it.
    pub version: String,
    /// What goes and what stays.
    pub plan: ExpirePlan,
    /// What was removed; `null` when the plan was only shown.
    pub outcome: Option<ExpireOutcome>,
}

impl ExpireReport {
    /// The report of a plan.
    pub fn new(plan: ExpirePlan, outcome: Option<ExpireOutcome>) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            plan,
            outcome,
        }
    }
}
