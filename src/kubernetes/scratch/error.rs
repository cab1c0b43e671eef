//! Why a plan does not become manifests.

/// A plan from which no safe manifests follow. Nothing was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Something is missing.
    #[error("the recovery's {what} is missing; {hint}")]
    Missing {
        /// What.
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A value is not what it must be.
    #[error("{what} is {value:?}; {hint}")]
    Value {
        /// What it is the value of.
        what: String,
        /// The value.
        value: String,
        /// What it must be.
        hint: &'static str,
    },
    /// The manifests would let the recovered server write or reach where it must not. This
    /// is a defect of walproof; the recovery is refused.
    #[error("{object}: {rule}; refused, because a recovery must not be able to harm its source")]
    Unsafe {
        /// Kind and name.
        object: String,
        /// The rule that is broken.
        rule: String,
    },
}
