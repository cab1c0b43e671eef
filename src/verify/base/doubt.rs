//! What can be wrong with a block, and runs of blocks.

use crate::postgres::Lsn;
use crate::postgres::relation_file::Fork;

/// What looks wrong with a block of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Its bytes do not match its checksum.
    Checksum { found: u16, computed: u16 },
    /// Its header is none that a server writes.
    Header(&'static str),
    /// Its header says that it is new, and the rest is not zero.
    NotAllZero,
    /// The file ends within it.
    Cut { bytes: u16 },
    /// It was changed after the backup's end.
    BeyondEnd(Lsn),
    /// It lacks a change that WAL before the backup has.
    Stale { found: Lsn, changed: Lsn },
    /// The relation's files do not have it, and WAL before the backup changed it.
    Absent { changed: Lsn },
    /// It is new, and the visibility map says that all rows in it are visible.
    VisibleYetNew,
    /// The relation's files do not have it, and the visibility map says the same.
    VisibleYetAbsent,
}

impl Doubt {
    /// Whether the block is a page that was read, so that it is counted among the pages.
    pub(super) const fn is_page(self) -> bool {
        !matches!(
            self,
            Self::Cut { .. } | Self::Absent { .. } | Self::VisibleYetAbsent
        )
    }
}

/// One block that looks wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DoubtfulBlock {
    pub(super) fork: Fork,
    /// Its number within the fork.
    pub(super) block: u32,
    /// The archive that holds it or should hold it, by its place in the catalog.
    pub(super) archive: u16,
    pub(super) doubt: Doubt,
}

/// Numbers in ascending order, kept as runs. Bounded: see [`Runs::MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs {
    /// First and last, both inclusive.
    runs: Vec<(u32, u32)>,
    /// Whether there were more runs than are kept.
    overflowed: bool,
}

impl Runs {
    /// The most runs that are kept of one relation.
    const MAX: usize = 4_096;

    /// Adds a number; one that goes on from the last one takes no room.
    pub(super) fn push(&mut self, number: u32) {
        if let Some((_, last)) = self.runs.last_mut()
            && last.checked_add(1) == Some(number)
        {
            *last = number;
        } else if self.runs.len() < Self::MAX {
            self.runs.push((number, number));
        } else {
            self.overflowed = true;
        }
    }

    /// Adds the runs of another file of the same relation.
    pub(super) fn merge(&mut self, other: Self) {
        self.overflowed |= other.overflowed;
        self.runs.extend(other.runs);
        self.runs.sort_unstable();
        if self.runs.len() > Self::MAX {
            self.overflowed = true;
            self.runs.truncate(Self::MAX);
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether some runs were not kept.
    pub(super) const fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Numbers in both.
    pub(super) fn common<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        let mut rest = other.runs.as_slice();
        self.runs.iter().flat_map(move |(begin, end)| {
            while let Some(((_, last), after)) = rest.split_first()
                && last < begin
            {
                rest = after;
            }
            rest.iter()
                .take_while(move |(first, _)| first <= end)
                .flat_map(move |(first, last)| *first.max(begin)..=*last.min(end))
        })
    }

    /// Numbers from `from` on.
    pub(super) fn from(&self, from: u32) -> impl Iterator<Item = u32> + '_ {
        self.runs
            .iter()
            .filter(move |(_, last)| *last >= from)
            .flat_map(move |(first, last)| *first.max(&from)..=*last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(numbers: &[u32]) -> Runs {
        let mut runs = Runs::default();
        for number in numbers {
            runs.push(*number);
        }
        runs
    }

    #[test]
    fn runs_are_joined_and_compared() {
        let visible = runs(&[0, 1, 2, 5, 6, 9]);
        assert_eq!(visible.runs, [(0, 2), (5, 6), (9, 9)]);
        let new = runs(&[2, 3, 4, 5, 9, 10]);
        let both = |one: &Runs, other: &Runs| one.common(other).collect::<Vec<_>>();
        assert_eq!(both(&visible, &new), [2, 5, 9]);
        assert_eq!(both(&new, &visible), [2, 5, 9]);
        assert!(both(&new, &Runs::default()).is_empty());
        assert_eq!(visible.from(2).collect::<Vec<_>>(), [2, 5, 6, 9]);
        let mut all = runs(&[7]);
        all.merge(runs(&[0, 1]));
        assert_eq!(all.runs, [(0, 1), (7, 7)]);
    }

    #[test]
    fn more_runs_than_are_kept_are_owned_up_to() {
        let numbers: Vec<u32> = (0..5_000).map(|number| number * 2).collect();
        let many = runs(&numbers);
        assert!(many.overflowed());
        assert_eq!(many.runs.len(), Runs::MAX);
        assert!(!runs(&[1, 2]).overflowed());
    }
}
