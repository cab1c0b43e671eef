//! The names that resources have in the configuration.

use crate::evidence::sha256_hex;

/// As long as a name of the configuration may be.
const LONGEST: usize = 63;
/// Of the digest that tells long names apart.
const DIGEST: usize = 8;

/// `<namespace>.<name>`: of a discovered cluster, of a RecoveryDrill's definition and schedule.
/// One that would be too long is cut and ends with a digest of the whole. A namespace has no
/// dot, so no two are the same.
pub fn config_name(namespace: &str, name: &str) -> String {
    fitted(format!("{namespace}.{name}"))
}

/// `<namespace>.<name>.<what>`: of what a ProtectedCluster makes beside its clusters.
pub fn part_name(namespace: &str, name: &str, what: &str) -> String {
    fitted(format!("{namespace}.{name}.{what}"))
}

fn fitted(whole: String) -> String {
    if whole.len() <= LONGEST {
        return whole;
    }
    let digest: String = sha256_hex(whole.as_bytes()).chars().take(DIGEST).collect();
    let kept: String = whole.chars().take(LONGEST - DIGEST - 1).collect();
    format!("{kept}-{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_stay_apart() {
        assert_eq!(config_name("shop", "orders"), "shop.orders");
        assert_eq!(part_name("shop", "orders", "verify"), "shop.orders.verify");
        let long = "n".repeat(60);
        let (a, b) = (
            config_name(&long, "orders-a"),
            config_name(&long, "orders-b"),
        );
        assert_eq!((a.len(), b.len()), (63, 63));
        assert_ne!(a, b);
        assert_eq!(a, config_name(&long, "orders-a"));
    }
}
