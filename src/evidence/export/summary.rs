//! The numbers of a period, from its entries one by one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, Utc};

use super::days::Days;
use super::incidents::Incidents;
use super::measured::{self, Gathered, Measurement};
use super::{
    FindingRow, FindingTotals, MeasuredBy, MeasuredKey, MeasuredRow, Miss, MissKey, Outcome,
    Population, PopulationKey,
};
use crate::evidence::Trigger;
use crate::evidence::ledger::{Asked, Body, EntryContent, EntryKind, MissedReason};

/// How many changes of the configuration a page shows.
const SHOWN: usize = 100;

/// What an export is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The first moment.
    pub from: DateTime<Utc>,
    /// The moment at which it ends; not part of it.
    pub to: DateTime<Utc>,
    /// Only this cluster, and what is about no cluster.
    pub cluster: Option<String>,
}

impl Scope {
    /// Whether the moment lies in the period.
    pub fn covers(&self, at: DateTime<Utc>) -> bool {
        self.from <= at && at < self.to
    }

    /// Whether an entry is about what was asked for, whenever it was made.
    pub fn is_about(&self, cluster: Option<&str>) -> bool {
        match (&self.cluster, cluster) {
            (Some(wanted), Some(cluster)) => wanted == cluster,
            _ => true,
        }
    }
}

/// A change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationChange {
    /// The entry.
    pub sequence: u64,
    /// When.
    pub at: DateTime<Utc>,
    /// Whether it was taken up.
    pub accepted: bool,
    /// SHA-256 of the file.
    pub sha256: String,
    /// What changed, or why it was refused.
    pub words: Vec<String>,
}

/// Numbers over everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Entries within the period.
    pub entries: u64,
    /// Of them, entries whose body this version cannot read: they are in the files, not in
    /// the numbers.
    pub unreadable: u64,
    /// Daemons that began.
    pub started: u64,
    /// Daemons that ended by themselves.
    pub stopped: u64,
    /// Runs that were killed.
    pub interrupted: u64,
    /// Configurations taken up.
    pub configurations: u64,
    /// Configurations refused.
    pub refused: u64,
}

/// The last due moment of a schedule, and what it counts as.
#[derive(Clone, Copy, Debug)]
struct Last {
    due_at: DateTime<Utc>,
    outcome: Outcome,
    late: bool,
    at: DateTime<Utc>,
}

/// What the numbers of one schedule's runs hang on.
type ScheduleKey = (PopulationKey, String);

/// The numbers of a period. Memory: numbers by cluster, copy, kind and schedule, incidents
/// that are open, and eight bytes per measured value.
#[derive(Clone, Debug)]
pub struct Summary {
    scope: Scope,
    days: Days,
    totals: Totals,
    population: BTreeMap<PopulationKey, Population>,
    /// What drills came to, by cluster and stretch of the period.
    drills: BTreeMap<String, Vec<DayCounts>>,
    last: BTreeMap<ScheduleKey, Last>,
    measured: BTreeMap<MeasuredKey, Gathered>,
    misses: BTreeMap<MissKey, Miss>,
    incidents: Incidents,
    configurations: VecDeque<ConfigurationChange>,
    clusters: BTreeSet<String>,
}

/// What a drill of a day came to, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DrillDay {
    Proven,
    Skipped,
    Missed,
    Unproven,
    Failed,
}

impl From<Outcome> for DrillDay {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Proven | Outcome::Passed => Self::Proven,
            Outcome::Failed => Self::Failed,
            Outcome::Unproven => Self::Unproven,
        }
    }
}

/// A day's drills, counted by what they came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DayCounts {
    proven: u32,
    skipped: u32,
    missed: u32,
    unproven: u32,
    failed: u32,
}

impl DayCounts {
    fn of(&mut self, came_to: DrillDay) -> &mut u32 {
        match came_to {
            DrillDay::Proven => &mut self.proven,
            DrillDay::Skipped => &mut self.skipped,
            DrillDay::Missed => &mut self.missed,
            DrillDay::Unproven => &mut self.unproven,
            DrillDay::Failed => &mut self.failed,
        }
    }

    /// The worst that one of them came to; `None` on a day without any.
    pub(super) fn worst(self) -> Option<DrillDay> {
        [
            (self.failed, DrillDay::Failed),
            (self.unproven, DrillDay::Unproven),
            (self.missed, DrillDay::Missed),
            (self.skipped, DrillDay::Skipped),
            (self.proven, DrillDay::Proven),
        ]
        .into_iter()
        .find_map(|(count, came_to)| (count > 0).then_some(came_to))
    }
}

impl Summary {
    /// Of nothing yet.
    pub fn new(scope: Scope) -> Self {
        Self {
            days: Days::new(scope.from, scope.to),
            scope,
            totals: Totals::default(),
            population: BTreeMap::new(),
            drills: BTreeMap::new(),
            last: BTreeMap::new(),
            measured: BTreeMap::new(),
            misses: BTreeMap::new(),
            incidents: Incidents::default(),
            configurations: VecDeque::new(),
            clusters: BTreeSet::new(),
        }
    }

    /// The next entry of the ledger, in order. What is before the period only tells which
    /// findings were open when it began. Gives the findings that it closed within the period.
    pub fn feed(&mut self, entry: &EntryContent) -> Vec<FindingRow> {
        if entry.at >= self.scope.to || !self.scope.is_about(entry.cluster.as_deref()) {
            return Vec::new();
        }
        let closed = self.incidents.follow(entry, &self.scope);
        if !self.scope.covers(entry.at) {
            return closed;
        }
        self.totals.entries = self.totals.entries.saturating_add(1);
        if let Some(cluster) = &entry.cluster {
            self.clusters.insert(cluster.clone());
        }
        match Body::read(entry.kind, entry.body.clone()) {
            Ok(body) => self.count(entry, &body),
            Err(_) => self.totals.unreadable = self.totals.unreadable.saturating_add(1),
        }
        closed
    }

    fn count(&mut self, entry: &EntryContent, body: &Body) {
        match body {
            Body::Verify(body) => {
                if let Some(measured) = measured::of_verification(body) {
                    self.measure(entry, "rpo", MeasuredBy::Verification, measured);
                }
                let outcome = Outcome::of(entry.kind, &body.run);
                self.ran(entry, entry.kind, &body.run.asked, outcome);
            }
            Body::Drill(body) => {
                for name in ["rpo", "rto"] {
                    if let Some(measured) = measured::of_drill(body, name) {
                        self.measure(entry, name, MeasuredBy::Drill, measured);
                    }
                }
                let outcome = Outcome::of(entry.kind, &body.run);
                self.ran(entry, entry.kind, &body.run.asked, outcome);
            }
            Body::Replicate(body) => {
                let outcome = Outcome::of(entry.kind, &body.run);
                self.ran(entry, entry.kind, &body.run.asked, outcome);
            }
            Body::Compare(body)
            | Body::Restore(body)
            | Body::Backup(body)
            | Body::Expire(body)
            | Body::Capture(body) => {
                let outcome = Outcome::of(entry.kind, &body.run);
                self.ran(entry, entry.kind, &body.run.asked, outcome);
            }
            // What happened to it beside its runs is no run.
            Body::Request(body) => {
                if let Some(run) = &body.run {
                    self.ran(entry, entry.kind, &run.asked, Outcome::of(entry.kind, run));
                }
            }
            Body::Report(body) => {
                let outcome = if body.error.is_none() {
                    Outcome::Passed
                } else {
                    Outcome::Unproven
                };
                self.ran(entry, entry.kind, &body.asked, outcome);
            }
            Body::Interrupted(body) => {
                self.totals.interrupted = self.totals.interrupted.saturating_add(1);
                if body.again {
                    // One attempt of several, noticed perhaps after the last of them: what
                    // the due moment came to stands in another entry.
                    let population = self.population.entry(Self::key(entry, body.job));
                    let population = population.or_default();
                    population.retries = population.retries.saturating_add(1);
                } else {
                    self.ran(entry, body.job, &body.asked, Outcome::Unproven);
                }
            }
            Body::Missed(body) => {
                let schedule = body.schedule.clone().unwrap_or_default();
                let key = Self::key(entry, body.job);
                let run_before = self.run_before(&key, &schedule, body.due_at);
                if body.reason == MissedReason::Overdue {
                    let population = self.population.entry(key.clone()).or_default();
                    population.overdue = population.overdue.saturating_add(1);
                    let first = body.first_due_at.unwrap_or(body.due_at);
                    self.miss(
                        key,
                        schedule,
                        ("overdue", "overdue"),
                        1,
                        (first, body.due_at),
                    );
                } else if !run_before {
                    // What was tried counts as what the last attempt came to.
                    let population = self.population.entry(key.clone()).or_default();
                    population.missed = population.missed.saturating_add(body.moments);
                    self.day(entry, body.job, DrillDay::Missed);
                    let first = body.first_due_at.unwrap_or(body.due_at);
                    let why = ("missed", body.reason.as_str());
                    self.miss(key, schedule, why, body.moments, (first, body.due_at));
                }
            }
            Body::Skipped(body) => {
                let schedule = body.schedule.clone().unwrap_or_default();
                let key = Self::key(entry, body.job);
                // What was tried counts as what the last attempt came to.
                if !self.run_before(&key, &schedule, body.due_at) {
                    let population = self.population.entry(key.clone()).or_default();
                    population.skipped = population.skipped.saturating_add(body.moments);
                    self.day(entry, body.job, DrillDay::Skipped);
                    let why = ("skipped", body.reason.as_str());
                    self.miss(key, schedule, why, body.moments, (body.due_at, body.due_at));
                }
            }
            Body::Late(body) => {
                // The run itself says that it is late; here only what it stands for besides.
                if body.passed_over > 0 {
                    let key = Self::key(entry, body.job);
                    let population = self.population.entry(key.clone()).or_default();
                    population.missed = population.missed.saturating_add(body.passed_over);
                    self.day(entry, body.job, DrillDay::Missed);
                    let schedule = body.schedule.clone().unwrap_or_default();
                    let why = ("missed", body.reason.as_str());
                    self.miss(
                        key,
                        schedule,
                        why,
                        body.passed_over,
                        (body.due_at, body.due_at),
                    );
                }
            }
            Body::Configuration(body) => {
                let count = if body.accepted {
                    &mut self.totals.configurations
                } else {
                    &mut self.totals.refused
                };
                *count = count.saturating_add(1);
                if self.configurations.len() == SHOWN {
                    self.configurations.pop_front();
                }
                self.configurations.push_back(ConfigurationChange {
                    sequence: entry.sequence,
                    at: entry.at,
                    accepted: body.accepted,
                    sha256: body.sha256.clone(),
                    words: body
                        .mistake
                        .clone()
                        .map_or_else(|| body.changes.clone(), |mistake| vec![mistake]),
                });
            }
            Body::Started(_) => self.totals.started = self.totals.started.saturating_add(1),
            Body::Stopped(_) => self.totals.stopped = self.totals.stopped.saturating_add(1),
            // What it opened and closed is followed with the incidents.
            Body::Noticed(_) => {}
        }
    }

    /// Whether the due moment brought a run.
    fn run_before(&self, key: &PopulationKey, schedule: &str, due_at: DateTime<Utc>) -> bool {
        self.last
            .get(&(key.clone(), schedule.to_owned()))
            .is_some_and(|last| last.due_at == due_at)
    }

    fn key(entry: &EntryContent, kind: EntryKind) -> PopulationKey {
        PopulationKey {
            cluster: entry.cluster.clone().unwrap_or_default(),
            kind,
            copy: entry.copy.clone().unwrap_or_default(),
        }
    }

    fn ran(&mut self, entry: &EntryContent, kind: EntryKind, asked: &Asked, outcome: Outcome) {
        let key = Self::key(entry, kind);
        self.day(entry, kind, outcome.into());
        let population = self.population.entry(key.clone()).or_default();
        if asked.trigger == Trigger::Manual {
            population.by_hand.add(outcome);
            return;
        }
        let late = u64::from(asked.late);
        if let Some(due_at) = asked.due_at {
            let schedule = (key, asked.schedule.clone().unwrap_or_default());
            let now = Last {
                due_at,
                outcome,
                late: asked.late,
                at: entry.at,
            };
            if let Some(before) = self.last.insert(schedule, now)
                && before.due_at == due_at
            {
                population.scheduled.take_back(before.outcome);
                population.late = population.late.saturating_sub(u64::from(before.late));
                population.retries = population.retries.saturating_add(1);
                if kind == EntryKind::Drill
                    && let Some(count) = self
                        .days
                        .of(before.at)
                        .zip(
                            self.drills
                                .get_mut(entry.cluster.as_deref().unwrap_or_default()),
                        )
                        .and_then(|(day, days)| days.get_mut(day))
                        .map(|day| day.of(before.outcome.into()))
                {
                    *count = count.saturating_sub(1);
                }
            }
        }
        population.scheduled.add(outcome);
        population.late = population.late.saturating_add(late);
    }

    fn measure(
        &mut self,
        entry: &EntryContent,
        objective: &'static str,
        by: MeasuredBy,
        measured: Measurement,
    ) {
        let key = MeasuredKey {
            cluster: entry.cluster.clone().unwrap_or_default(),
            objective,
            by,
            copy: entry.copy.clone().unwrap_or_default(),
        };
        let day = self.days.of(entry.at);
        self.measured.entry(key).or_default().add(measured, day);
    }

    fn miss(
        &mut self,
        key: PopulationKey,
        schedule: String,
        why: (&'static str, &'static str),
        moments: u64,
        (first, last): (DateTime<Utc>, DateTime<Utc>),
    ) {
        let key = MissKey {
            cluster: key.cluster,
            kind: key.kind,
            copy: key.copy,
            schedule,
            why,
        };
        self.misses
            .entry(key)
            .and_modify(|miss| {
                miss.moments = miss.moments.saturating_add(moments);
                miss.first = miss.first.min(first);
                miss.last = miss.last.max(last);
            })
            .or_insert(Miss {
                moments,
                first,
                last,
            });
    }

    fn day(&mut self, entry: &EntryContent, kind: EntryKind, came_to: DrillDay) {
        if kind != EntryKind::Drill {
            return;
        }
        let days = self
            .drills
            .entry(entry.cluster.clone().unwrap_or_default())
            .or_insert_with(|| vec![DayCounts::default(); self.days.count()]);
        if let Some(day) = self.days.of(entry.at).and_then(|day| days.get_mut(day)) {
            let count = day.of(came_to);
            *count = count.saturating_add(1);
        }
    }

    /// What it is about.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Numbers over everything.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// The clusters that have entries in the period.
    pub const fn clusters(&self) -> &BTreeSet<String> {
        &self.clusters
    }

    /// What was due and what came of it.
    pub const fn population(&self) -> &BTreeMap<PopulationKey, Population> {
        &self.population
    }

    /// The same over all clusters and copies, by kind.
    pub fn by_kind(&self) -> BTreeMap<EntryKind, Population> {
        let mut kinds: BTreeMap<EntryKind, Population> = BTreeMap::new();
        for (key, population) in &self.population {
            kinds.entry(key.kind).or_default().plus(population);
        }
        kinds
    }

    /// What was measured against the objectives. Sorts the values.
    pub fn measured(&mut self) -> BTreeMap<MeasuredKey, MeasuredRow> {
        self.measured
            .iter_mut()
            .map(|(key, gathered)| (key.clone(), gathered.row()))
            .collect()
    }

    /// What did not happen, and why.
    pub const fn misses(&self) -> &BTreeMap<MissKey, Miss> {
        &self.misses
    }

    /// Findings open at the end of the period, the worst and oldest first.
    pub fn open_findings(&self) -> Vec<FindingRow> {
        self.incidents.open()
    }

    /// The last 200 findings that were closed within the period.
    pub fn closed_findings(&self) -> impl Iterator<Item = &FindingRow> {
        self.incidents.closed()
    }

    /// How many findings were opened and closed.
    pub fn finding_totals(&self) -> FindingTotals {
        self.incidents.totals()
    }

    /// The last 100 changes of the configuration.
    pub fn configurations(&self) -> impl Iterator<Item = &ConfigurationChange> {
        self.configurations.iter()
    }

    pub(super) const fn days(&self) -> Days {
        self.days
    }

    pub(super) const fn drill_days(&self) -> &BTreeMap<String, Vec<DayCounts>> {
        &self.drills
    }
}
