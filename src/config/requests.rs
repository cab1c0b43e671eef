//! For how long what a person asked for stays.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Period;

/// How long requests live: restores that people ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestsConfig {
    /// For how long a restored database stays when nothing is said, from when it is ready.
    /// Default: 4h.
    #[serde(default)]
    pub lease: Option<Period>,
    /// To how long a lease may be extended, from when it is ready; at most 14d. Default: 24h.
    #[serde(default)]
    pub max_lease: Option<Period>,
}

impl RequestsConfig {
    /// Whatever is asked for, nothing stays longer: 14 days in seconds.
    pub const LONGEST: u64 = 14 * 24 * 60 * 60;

    /// The lease when nothing is said, in seconds. Never longer than [`Self::most_seconds`].
    pub fn lease_seconds(&self) -> u64 {
        let lease = self.lease.map_or(4 * 60 * 60, Period::as_secs);
        lease.min(self.most_seconds())
    }

    /// The longest lease in seconds.
    pub fn most_seconds(&self) -> u64 {
        let most = self.max_lease.map_or(24 * 60 * 60, Period::as_secs);
        most.min(Self::LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_never_longer_than_the_longest() {
        let config = |lease: Option<&str>, most: Option<&str>| RequestsConfig {
            lease: lease.map(|text| text.parse().unwrap()),
            max_lease: most.map(|text| text.parse().unwrap()),
        };
        for (lease, most, expected) in [
            (None, None, (4 * 3600, 24 * 3600)),
            (None, Some("1h"), (3600, 3600)),
            (Some("2h"), None, (2 * 3600, 24 * 3600)),
            (Some("60d"), Some("30d"), (14 * 86_400, 14 * 86_400)),
        ] {
            let config = config(lease, most);
            assert_eq!((config.lease_seconds(), config.most_seconds()), expected);
        }
    }
}
