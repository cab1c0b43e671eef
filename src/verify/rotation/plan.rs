//! The choice of what is read this time, and the date by which everything will have been.

use chrono::{DateTime, TimeDelta, Utc};

use super::units::{Content, Due, Unit, units};
use super::{Holdings, Pace, RotationOptions, RotationReport, Selection};
use crate::verify::words::{bytes, length};

/// How far apart runs are taken to be while only one is known, and the least that is looked
/// ahead: what would become too old before the next night is read in this one.
const NIGHT: TimeDelta = TimeDelta::days(1);

/// An archive younger than this says nothing about how much arrives.
const SETTLED: TimeDelta = TimeDelta::days(7);

/// How many nights are thought ahead.
const NIGHTS: i32 = 3_650;

/// What is read this time, and what that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// What is read.
    pub selection: Selection,
    /// How much that is, and when everything will have been read.
    pub report: RotationReport,
}

/// Chooses. Changed and damaged objects come first, then what was never read (the newest
/// base backup, the WAL since, then the one before), then what was read longest ago. Runs of
/// segments begin with the segment before them, so that every border is joined by somebody.
/// Memory: some 10 bytes per segment.
pub fn rotate(holdings: &Holdings, options: &RotationOptions) -> Rotation {
    let budget = options.budget();
    // Small enough that a night's budget holds several.
    let largest = budget.map_or(u64::MAX, |budget| (budget / 8).max(1));
    let units = units(holdings, largest, options.subset);
    let total = holdings.bytes();
    let mut chosen = Choice::new(holdings);
    let mut later = Vec::new();
    let mut wanted = Wanted::new(options, holdings, total);
    for unit in &units {
        if !wanted.wants(unit) || !chosen.take(unit, budget) {
            later.push(unit);
        }
    }
    let by = everything_read_by(holdings, options, &later);
    let report = chosen.report(options, total, &later, by);
    let everything = chosen.is_everything();
    Rotation {
        selection: if everything {
            Selection::everything()
        } else {
            chosen.selection
        },
        report,
    }
}

/// How long runs are apart.
fn gap(holdings: &Holdings, now: DateTime<Utc>) -> TimeDelta {
    holdings.newest_read().map_or(NIGHT, |newest| {
        now.signed_duration_since(newest).max(TimeDelta::zero())
    })
}

/// What should be read if there is room.
struct Wanted {
    /// Everything that was read before this moment.
    due_before: DateTime<Utc>,
    /// This much of the rest, in bytes.
    share: u64,
    everything: bool,
}

impl Wanted {
    fn new(options: &RotationOptions, holdings: &Holdings, total: u64) -> Self {
        let none = |due_before| Self {
            due_before,
            share: 0,
            everything: false,
        };
        if options.subset.is_some() {
            return Self {
                everything: true,
                ..none(options.now)
            };
        }
        match options.pace {
            Pace::Budget => Self {
                everything: true,
                ..none(options.now)
            },
            Pace::AtOnce(within) => Self {
                everything: within <= TimeDelta::zero(),
                ..none(options.now - within)
            },
            Pace::Spread(within) => {
                let gap = gap(holdings, options.now);
                let ahead = gap.max(NIGHT).min(within / 2);
                let part = u128::from(total) * millis(gap.min(within)) / millis(within).max(1);
                Self {
                    share: u64::try_from(part).unwrap_or(u64::MAX),
                    ..none(options.now - within + ahead)
                }
            }
        }
    }

    /// Asked in the order of the units.
    fn wants(&mut self, unit: &Unit) -> bool {
        let due = self.everything
            || unit.due < Due::Again
            || unit.last_read.is_none_or(|read| read <= self.due_before);
        let in_share = self.share > 0;
        if unit.due == Due::Again {
            self.share = self.share.saturating_sub(unit.own);
        }
        due || in_share
    }
}

fn millis(time: TimeDelta) -> u128 {
    u128::try_from(time.num_milliseconds()).unwrap_or_default()
}

/// What was chosen so far.
struct Choice<'a> {
    holdings: &'a Holdings,
    selection: Selection,
    /// Which segments are chosen, by their place.
    taken: Vec<bool>,
    segments: u64,
    backups: u64,
    bytes: u64,
}

impl<'a> Choice<'a> {
    fn new(holdings: &'a Holdings) -> Self {
        Self {
            holdings,
            selection: Selection::nothing(),
            taken: vec![false; holdings.segments().len()],
            segments: 0,
            backups: 0,
            bytes: 0,
        }
    }

    /// Takes a unit if it fits into the budget.
    fn take(&mut self, unit: &Unit, budget: Option<u64>) -> bool {
        let (wal, backup) = match &unit.content {
            Content::Segments(timeline, first, last) => (Some((*timeline, *first, *last)), None),
            Content::Backup(index) => {
                let backup = self.holdings.backups().get(*index);
                (backup.and_then(|backup| backup.wal), backup)
            }
        };
        let stretch = wal.map(|(timeline, first, last)| {
            let first = first
                .previous()
                .filter(|before| !self.holdings.stretch(timeline, *before, *before).is_empty())
                .unwrap_or(first);
            let places = self.holdings.stretch(timeline, first, last);
            (timeline, first, last, places)
        });
        let mut cost = backup.map_or(0, |backup| backup.bytes);
        let mut more = 0;
        if let Some((.., places)) = &stretch {
            let held = self.holdings.segments().get(places.clone());
            let taken = self.taken.get(places.clone());
            for (held, taken) in held.into_iter().flatten().zip(taken.into_iter().flatten()) {
                if !taken {
                    cost += u64::from(held.bytes);
                    more += 1;
                }
            }
        }
        if budget.is_some_and(|budget| self.bytes.saturating_add(cost) > budget) {
            return false;
        }
        self.bytes += cost;
        self.segments += more;
        if let Some((timeline, first, last, places)) = stretch {
            if let Some(taken) = self.taken.get_mut(places) {
                taken.fill(true);
            }
            self.selection.add_segments(timeline, first, last);
        }
        if let Some(backup) = backup {
            self.backups += 1;
            self.selection.add_backup(&backup.id);
        }
        true
    }

    fn is_everything(&self) -> bool {
        self.taken.iter().all(|taken| *taken)
            && self.backups == self.holdings.backups().len() as u64
    }

    fn report(
        &self,
        options: &RotationOptions,
        total: u64,
        later: &[&Unit],
        by: Result<DateTime<Utc>, String>,
    ) -> RotationReport {
        let new = later.iter().filter(|unit| unit.due < Due::Again);
        let (everything_read_by, never_because) = match by {
            Ok(by) => (Some(by), None),
            Err(because) => (None, Some(because)),
        };
        RotationReport {
            segments: self.segments,
            backups: self.backups,
            bytes: self.bytes,
            of_segments: self.holdings.segments().len() as u64,
            of_backups: self.holdings.backups().len() as u64,
            of_bytes: total,
            new_left_bytes: new.map(|unit| unit.own).sum(),
            subset: options.subset.map(|subset| subset.to_string()),
            budget_bytes: options.budget(),
            reread_within_seconds: match options.pace {
                Pace::AtOnce(within) | Pace::Spread(within) => Some(within.num_seconds()),
                Pace::Budget => None,
            },
            oldest_read: self.holdings.oldest_read(),
            everything_read_by,
            never_because,
        }
    }
}

/// By when everything that is there now will have been read since now or, where a time was
/// given within which it is read again, within that time.
fn everything_read_by(
    holdings: &Holdings,
    options: &RotationOptions,
    later: &[&Unit],
) -> Result<DateTime<Utc>, String> {
    let now = options.now;
    if let Some(subset) = options.subset {
        let nights = i32::try_from(subset.of() - 1).unwrap_or(i32::MAX);
        if options.budget().is_none() {
            return Ok(now + NIGHT * nights);
        }
    }
    let pace = match options.pace {
        _ if options.subset.is_some() => TimeDelta::zero(),
        Pace::AtOnce(within) | Pace::Spread(within) => within,
        Pace::Budget => TimeDelta::zero(),
    };
    if later.is_empty() && options.subset.is_none() {
        return Ok(now);
    }
    let Some(budget) = options.budget() else {
        return Ok(now + pace);
    };
    let apart = gap(holdings, now).max(NIGHT);
    let arriving = arriving(holdings, now, apart);
    let room = budget.saturating_sub(arriving);
    if let Some(unit) = later.iter().find(|unit| unit.cost > room) {
        return Err(too_little(holdings, unit, budget, arriving));
    }
    let nights = nights(later, room).ok_or_else(|| {
        format!(
            "at {} a run it takes more than {}",
            bytes(budget),
            length(NIGHT * NIGHTS)
        )
    })?;
    // The other parts have nights of their own.
    let nights = options
        .subset
        .map_or(Some(nights), |subset| {
            nights.checked_mul(i32::try_from(subset.of()).ok()?)
        })
        .unwrap_or(i32::MAX);
    // One more, for smaller pieces do not always make shorter work.
    let by = apart
        .checked_mul(nights.saturating_add(1))
        .unwrap_or(TimeDelta::MAX);
    now.checked_add_signed(by.max(pace))
        .ok_or_else(|| "at this budget it takes centuries".to_owned())
}

fn too_little(holdings: &Holdings, unit: &Unit, budget: u64, arriving: u64) -> String {
    let what = match &unit.content {
        Content::Backup(index) => {
            let backup = holdings.backups().get(*index);
            let id = backup.map_or("", |backup| backup.id.as_str());
            format!("base backup {id} with its WAL is {}", bytes(unit.cost))
        }
        Content::Segments(..) => format!("a run of WAL is {}", bytes(unit.cost)),
    };
    if unit.cost > budget {
        format!("{what}, and a run may read {}", bytes(budget))
    } else {
        format!(
            "{what}, and beside the {} that arrive between runs a run may read {} more",
            bytes(arriving),
            bytes(budget.saturating_sub(arriving))
        )
    }
}

/// How much arrives between two runs, if the archive has always grown as it did.
fn arriving(holdings: &Holdings, now: DateTime<Utc>, apart: TimeDelta) -> u64 {
    // On the first run everything is new, and what arrives is not known.
    if holdings.newest_read().is_none() {
        return 0;
    }
    let age = holdings
        .began()
        .map_or(SETTLED, |began| now.signed_duration_since(began))
        .max(SETTLED);
    let arriving = u128::from(holdings.bytes()) * millis(apart) / millis(age).max(1);
    u64::try_from(arriving).unwrap_or(u64::MAX)
}

/// How many further runs it takes to read these, in this order, as far as they fit.
fn nights(later: &[&Unit], room: u64) -> Option<i32> {
    let mut left: Vec<u64> = later.iter().map(|unit| unit.cost).collect();
    for night in 0..NIGHTS {
        if left.is_empty() {
            return Some(night);
        }
        let mut free = room;
        left.retain(|cost| {
            let fits = *cost <= free;
            if fits {
                free -= cost;
            }
            !fits
        });
    }
    None
}
