//! Labels and annotations by which walproof knows what it made.
//!
//! Nothing in a cluster is removed, or even looked at twice, that does not carry
//! [`DRILL`] with the drill's id.

/// Label: who manages an object (a name that Kubernetes recommends).
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const WALPROOF: &str = "walproof";
/// Label: the drill that an object was made for, a UUID.
pub const DRILL: &str = "walproof.dev/drill";
/// Label: the request that an object was made for, a UUID.
pub const REQUEST: &str = "walproof.dev/request";
/// Label: the guarded cluster.
pub const CLUSTER: &str = "walproof.dev/cluster";
/// Label: the guarded cluster's owner.
pub const OWNER: &str = "walproof.dev/owner";
/// Label: who pays.
pub const COST_CENTRE: &str = "walproof.dev/cost-centre";
/// Annotation: after this moment (RFC 3339) a sweep removes it, whoever made it.
pub const EXPIRES_AT: &str = "walproof.dev/expires-at";
/// Annotation: the process that made it.
pub const HOLDER: &str = "walproof.dev/holder";
/// Annotation: `true` for what is kept for a person until it expires.
pub const KEPT: &str = "walproof.dev/kept";
/// The name of the recovery Cluster in its scratch namespace.
pub const SCRATCH_CLUSTER: &str = "drill";

/// A text as a label's value: at most 63 characters out of letters, digits, `-`, `_` and
/// `.`, with a letter or digit at both ends. What does not fit becomes `-`; nothing is left
/// of a text without letters and digits.
pub fn label_value(text: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut value: String = text
        .chars()
        .map(|c| if legal(c) { c } else { '-' })
        .take(63)
        .collect();
    let end = |c: char| !c.is_ascii_alphanumeric();
    value = value.trim_matches(end).to_owned();
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_legal_label() {
        for (text, value) in [
            ("team-orders", "team-orders"),
            ("Team Orders <o@example.com>", "Team-Orders--o-example.com"),
            ("--", ""),
            ("größe", "gr--e"),
        ] {
            assert_eq!(label_value(text), value);
        }
        assert_eq!(label_value(&"x-".repeat(50)).len(), 63);
        assert_eq!(label_value(&format!("{}-y", "x".repeat(62))).len(), 62);
    }
}
