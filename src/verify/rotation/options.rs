//! How much is read, and how often everything.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// One of several equal parts of a repository: `2/7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subset {
    part: u32,
    of: u32,
}

/// A text that names no subset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a subset: {0:?} (expected PART/PARTS such as 1/7, PART from 1 to PARTS, at most 10000)"
)]
pub struct SubsetError(String);

impl Subset {
    /// The most parts into which a repository is divided.
    pub const MOST: u32 = 10_000;

    /// Part `part` of `of`, counted from 1.
    pub const fn new(part: u32, of: u32) -> Option<Self> {
        if part >= 1 && part <= of && of <= Self::MOST {
            Some(Self { part, of })
        } else {
            None
        }
    }

    /// Which part, from 1.
    pub const fn part(self) -> u32 {
        self.part
    }

    /// How many parts there are.
    pub const fn of(self) -> u32 {
        self.of
    }

    /// Whether something with this unchanging number belongs to it.
    pub fn holds(self, number: u64) -> bool {
        number % u64::from(self.of) == u64::from(self.part - 1)
    }
}

impl FromStr for Subset {
    type Err = SubsetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_once('/')
            .and_then(|(part, of)| Self::new(part.parse().ok()?, of.parse().ok()?))
            .ok_or_else(|| SubsetError(text.to_owned()))
    }
}

impl fmt::Display for Subset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
}

/// How what was read long ago comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Everything that was read longer ago than this, at once. With zero: everything.
    AtOnce(TimeDelta),
    /// Spread over the runs within this time, so that no night reads everything again.
    Spread(TimeDelta),
    /// As much as fits into the budget, what was read longest ago first.
    Budget,
}

/// What is asked of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationOptions {
    /// The moment of the run.
    pub now: DateTime<Utc>,
    /// How what was read long ago comes back.
    pub pace: Pace,
    /// Only this part, read today or not.
    pub subset: Option<Subset>,
    /// At most this many stored bytes.
    pub max_bytes: Option<u64>,
    /// At most this long: nothing is begun after it. [`Self::bytes_per_second`] tells how
    /// much that is, so that what matters most is chosen.
    pub max_time: Option<Duration>,
    /// How fast the repository could last be read.
    pub bytes_per_second: Option<u64>,
}

impl RotationOptions {
    /// Assumed where nothing was read yet, in bytes per second: a network of 1 Gbit/s.
    pub const FIRST_RATE: u64 = 100_000_000;

    /// Everything.
    pub const fn everything(now: DateTime<Utc>) -> Self {
        Self {
            now,
            pace: Pace::AtOnce(TimeDelta::zero()),
            subset: None,
            max_bytes: None,
            max_time: None,
            bytes_per_second: None,
        }
    }

    /// The bytes that may be read.
    pub fn budget(&self) -> Option<u64> {
        let by_time = self.max_time.map(|time| {
            let rate = self.bytes_per_second.unwrap_or(Self::FIRST_RATE);
            let bytes = u128::from(rate).saturating_mul(time.as_millis()) / 1_000;
            u64::try_from(bytes).unwrap_or(u64::MAX)
        });
        match (self.max_bytes, by_time) {
            (Some(bytes), Some(time)) => Some(bytes.min(time)),
            (bytes, time) => bytes.or(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_written_as_part_of_parts() {
        let subset: Subset = "2/7".parse().unwrap();
        assert_eq!((subset.part(), subset.of()), (2, 7));
        assert_eq!(subset.to_string(), "2/7");
        assert!(subset.holds(8) && !subset.holds(7));
        for text in [
            "", "1", "0/7", "8/7", "1/0", "a/b", "1/7/9", "-1/7", "1/10001",
        ] {
            let error = text.parse::<Subset>().unwrap_err();
            assert!(error.to_string().contains("such as 1/7"), "{text}");
        }
    }

    #[test]
    fn a_limit_in_time_is_one_in_bytes_too() {
        let mut options = RotationOptions::everything(DateTime::UNIX_EPOCH);
        assert_eq!(options.budget(), None);
        options.max_time = Some(Duration::from_secs(60));
        assert_eq!(options.budget(), Some(6_000_000_000));
        options.bytes_per_second = Some(1_000);
        assert_eq!(options.budget(), Some(60_000));
        options.max_bytes = Some(50_000);
        assert_eq!(options.budget(), Some(50_000));
    }
}
