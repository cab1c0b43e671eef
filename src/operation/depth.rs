//! How deeply a verification looks, and how much it reads.

use super::Failure;
use crate::config::{ByteSize, Period, Verification, VerificationDepth};
use crate::postgres::SegmentNumber;
use crate::repository::Catalog;
use crate::verify::ledger::LedgerOptions;
use crate::verify::listed::Survey;
use crate::verify::rotation::{Pace, Selection, Subset};
use crate::verify::{RequestedDepth, VerifyOptions};

/// Within which time depth `sampled` reads everything again, unless told otherwise.
const REREAD_WITHIN: u64 = 30 * 24 * 60 * 60;

/// How deeply, and how much. What is said here wins over the tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DepthWish {
    /// How deeply; as the tier says if it is left out, else `listed`.
    pub depth: Option<RequestedDepth>,
    /// Read everything again within this time.
    pub reread_within: Option<Period>,
    /// Read only this part.
    pub subset: Option<Subset>,
    /// Read at most this much, as stored.
    pub max_bytes: Option<ByteSize>,
    /// Read only what fits into this time at the rate of the last run.
    pub max_time: Option<Period>,
    /// Take objects that changed for what they hold now; they are told a last time.
    pub accept_changed: bool,
    /// Forget what has been gone from the repository for longer than this.
    pub forget_absent: Option<Period>,
}

/// What is asked for, by the wish and the tier together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How deeply to look.
    pub depth: RequestedDepth,
    /// How the ledger is used.
    pub ledger: LedgerOptions,
}

/// A configured depth as the verification takes it.
pub(super) const fn requested(depth: VerificationDepth) -> RequestedDepth {
    match depth {
        VerificationDepth::Listed => RequestedDepth::Listed,
        VerificationDepth::Sampled => RequestedDepth::Sampled,
        VerificationDepth::Read => RequestedDepth::Read,
    }
}

impl DepthWish {
    /// Puts these over what the tier says.
    pub fn over(&self, tier: Option<&Verification>) -> Result<Asked, Failure> {
        let limited = self.subset.is_some()
            || self.max_bytes.is_some()
            || self.max_time.is_some()
            || self.reread_within.is_some();
        let by_tier = tier.and_then(|tier| tier.depth).map(requested);
        let depth = match self.depth {
            Some(depth) => depth,
            // Who limits the reading wants some.
            None if limited => match by_tier {
                Some(RequestedDepth::Read) if self.reread_within.is_some() => RequestedDepth::Read,
                _ => RequestedDepth::Sampled,
            },
            None => by_tier.unwrap_or_default(),
        };
        if depth == RequestedDepth::Listed && limited {
            return Err(Failure::configuration(
                "--depth listed reads nothing that --subset, --max-bytes, --max-time or --reread-within could limit",
            )
            .with_hint("leave them out, or say --depth sampled"));
        }
        if depth == RequestedDepth::Read
            && (self.subset.is_some() || self.max_bytes.is_some() || self.max_time.is_some())
        {
            return Err(Failure::configuration(
                "--depth read reads everything, so it cannot go with --subset, --max-bytes or --max-time",
            )
            .with_hint("say --depth sampled to read a part"));
        }
        // The tier's limits are for the depth that the tier names.
        let tier = tier.filter(|_| depth == RequestedDepth::Sampled);
        let max_bytes = self.max_bytes.or(tier.and_then(|tier| tier.max_bytes));
        let max_time = self.max_time.or(tier.and_then(|tier| tier.max_time));
        let within = self
            .reread_within
            .or(tier.and_then(|tier| tier.reread_within));
        let pace = match depth {
            RequestedDepth::Listed => None,
            RequestedDepth::Read => within.map(|within| Pace::AtOnce(within.as_chrono())),
            RequestedDepth::Sampled
                if within.is_none() && (max_bytes.is_some() || max_time.is_some()) =>
            {
                Some(Pace::Budget)
            }
            RequestedDepth::Sampled => within
                .or_else(|| Period::from_secs(REREAD_WITHIN))
                .map(|within| Pace::Spread(within.as_chrono())),
        };
        Ok(Asked {
            depth,
            ledger: LedgerOptions {
                pace,
                subset: self.subset,
                max_bytes: max_bytes.map(ByteSize::bytes),
                max_time: max_time.map(Period::as_std),
                accept_changed: self.accept_changed,
                forget_absent: self.forget_absent.map(Period::as_chrono),
            },
        })
    }
}

/// What a restore tonight would read: the newest usable base backup and all WAL on the way
/// from its begin.
pub(super) fn newest(catalog: &Catalog, options: &VerifyOptions) -> Selection {
    let survey = Survey::of(catalog, options);
    let mut selection = Selection::nothing();
    let Some(backup) = survey.usable(catalog).max_by_key(|backup| backup.end_lsn) else {
        return selection;
    };
    selection.add_backup(&backup.id);
    if let Some(begin) = backup.begin_lsn {
        let first = catalog.wal.segment_size.segment_of(begin);
        for stretch in survey.path.split(first, SegmentNumber(u64::MAX)) {
            selection.add_segments(stretch.timeline, stretch.first, stretch.last);
        }
    }
    selection
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::super::FailureClass;
    use super::*;

    fn asked(args: &DepthWish, tier: Option<&Verification>) -> Asked {
        args.over(tier).unwrap()
    }

    #[test]
    fn without_options_names_and_sizes_are_looked_at() {
        let plain = asked(&DepthWish::default(), None);
        assert_eq!(plain.depth, RequestedDepth::Listed);
        assert_eq!(plain.ledger, LedgerOptions::default());
    }

    #[test]
    fn sampled_reads_everything_within_thirty_days() {
        let sampled = |args: DepthWish| {
            let depth = Some(RequestedDepth::Sampled);
            asked(&DepthWish { depth, ..args }, None).ledger
        };
        assert_eq!(
            sampled(DepthWish::default()).pace,
            Some(Pace::Spread(TimeDelta::days(30)))
        );
        let budget = sampled(DepthWish {
            max_bytes: ByteSize::new(5),
            ..DepthWish::default()
        });
        assert_eq!(budget.pace, Some(Pace::Budget));
        assert_eq!(budget.max_bytes, Some(5));
    }

    #[test]
    fn a_limit_alone_asks_for_a_sample_and_contradictions_are_refused() {
        let limited = DepthWish {
            subset: Subset::new(1, 7),
            ..DepthWish::default()
        };
        assert_eq!(asked(&limited, None).depth, RequestedDepth::Sampled);
        for depth in [RequestedDepth::Listed, RequestedDepth::Read] {
            let args = DepthWish {
                depth: Some(depth),
                ..limited.clone()
            };
            assert_eq!(
                args.over(None).unwrap_err().class,
                FailureClass::Configuration
            );
        }
    }

    #[test]
    fn the_tier_says_what_the_command_line_leaves_open() {
        let tier = Verification {
            depth: Some(VerificationDepth::Sampled),
            reread_within: Period::from_secs(7 * 86_400),
            max_bytes: ByteSize::new(1 << 30),
            max_time: None,
            shards: None,
        };
        let by_tier = asked(&DepthWish::default(), Some(&tier));
        assert_eq!(by_tier.depth, RequestedDepth::Sampled);
        assert_eq!(by_tier.ledger.max_bytes, Some(1 << 30));
        assert_eq!(by_tier.ledger.pace, Some(Pace::Spread(TimeDelta::days(7))));
        let read = DepthWish {
            depth: Some(RequestedDepth::Read),
            ..DepthWish::default()
        };
        let read = asked(&read, Some(&tier));
        assert_eq!(read.depth, RequestedDepth::Read);
        assert_eq!(read.ledger, LedgerOptions::default(), "everything");
    }
}
