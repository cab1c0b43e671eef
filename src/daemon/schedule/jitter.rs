//! Each cluster's own, stable share of a schedule's jitter.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// The share of `jitter` that is a cluster's own in a schedule: the same every time and on
/// every daemon, in whole seconds, less than `jitter`. Over many clusters the shares spread
/// evenly.
pub fn share(schedule: &str, cluster: &str, jitter: Duration) -> Duration {
    let mut hash = Sha256::new();
    hash.update(schedule.as_bytes());
    // Names hold no slash.
    hash.update(b"/");
    hash.update(cluster.as_bytes());
    let digest = hash.finalize();
    let mut first = [0_u8; 8];
    for (to, from) in first.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    Duration::from_secs(
        u64::from_be_bytes(first)
            .checked_rem(jitter.as_secs())
            .unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_stable_and_spread() {
        let hour = Duration::from_hours(1);
        assert_eq!(share("a", "b", hour), share("a", "b", hour));
        assert_eq!(share("a", "b", Duration::ZERO), Duration::ZERO);
        let mut tenths = [0_u32; 10];
        for cluster in 0..1_000 {
            let share = share("nightly", &format!("cluster-{cluster}"), hour);
            assert!(share < hour);
            tenths[usize::try_from(share.as_secs() / 360).unwrap()] += 1;
        }
        for count in tenths {
            assert!((60..140).contains(&count), "{tenths:?}");
        }
        assert_ne!(
            share("nightly", "orders", hour),
            share("weekly", "orders", hour)
        );
    }
}
