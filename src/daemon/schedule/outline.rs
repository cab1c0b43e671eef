//! What the schedules of a configuration do, cluster by cluster, and what a due moment
//! comes to: jobs, and what is to be said about those that are late, left out or missed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::{Hold, Moments, Passed, share};
use crate::config::{
    CatchUp, Cluster, Config, Period, RepositoryConfig, Schedule, ScheduledJob, Zone,
};
use crate::evidence::ledger::{
    Body, LateBody, LateReason, MissedBody, MissedReason, SealError, SkippedBody, SkippedReason,
};
use crate::evidence::{EntryKind, NewEntry};
use crate::operation::JobSpec;
use crate::state::{JobKind, NewJob, ScheduleRow};

/// How often a job is tried.
const ATTEMPTS: u32 = 4;

/// What a schedule does for one cluster. Pure data: a thousand clusters are a thousand of
/// these, which share what is the same.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The schedule's name.
    pub schedule: String,
    /// The cluster; empty for a report, which is about the fleet.
    pub cluster: String,
    /// The kind of its jobs.
    pub kind: JobKind,
    /// The cluster's tier.
    pub tier: Option<String>,
    /// What it does at each moment.
    pub targets: Vec<Target>,
    moments: Arc<Moments>,
    hold: Arc<Hold>,
    /// What decides about its moments, as it is stored.
    definition: String,
    share: TimeDelta,
    catch_up: CatchUp,
    deadline: Option<TimeDelta>,
    priority: u8,
    scratch_bytes: u64,
}

/// One job of each due moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which copy; empty where the drill's definition or the job says it.
    pub copy: String,
    /// What it reads, for the budget per bucket; empty for none.
    pub bucket: String,
    /// What is to be done.
    pub spec: JobSpec,
}

/// What is known when a moment is dealt with.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Now.
    pub now: DateTime<Utc>,
    /// So much later than it should be is not yet late.
    pub grace: TimeDelta,
    /// What the schedule's jobs that wait or run are about: their keys up to the moment.
    pub under_way: &'a BTreeSet<String>,
}

/// What a due moment comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// The moment that was dealt with: the newest.
    pub last_due: DateTime<Utc>,
    /// The next one.
    pub next_due: DateTime<Utc>,
    /// What is to be done.
    pub jobs: Vec<NewJob>,
    /// What is to be said.
    pub entries: Vec<NewEntry>,
}

/// What the schedules of a configuration do, in the order of the file.
pub fn outline(config: &Config) -> Vec<Outline> {
    let drills = u64::from(config.daemon.drills().max(1));
    let scratch_bytes = config
        .daemon
        .scratch
        .map_or(0, |size| size.bytes() / drills);
    let mut outlines = Vec::new();
    for schedule in &config.schedules {
        let zone = schedule.time_zone.unwrap_or(config.time_zone);
        let moments = Arc::new(Moments::new(&schedule.cron, zone));
        let hold = Arc::new(Hold::new(zone, &[], &schedule.blackout));
        let mut push = |cluster: &str, tier: Option<&String>, targets: Vec<Target>| {
            if targets.is_empty() {
                return;
            }
            let jitter = schedule.jitter.map_or(Duration::ZERO, Period::as_std);
            let own = share(&schedule.name, cluster, jitter);
            outlines.push(Outline {
                schedule: schedule.name.clone(),
                cluster: cluster.to_owned(),
                kind: kind_of(schedule.job),
                tier: tier.cloned(),
                targets,
                moments: Arc::clone(&moments),
                hold: Arc::clone(&hold),
                definition: definition(schedule, zone),
                share: TimeDelta::from_std(own).unwrap_or_default(),
                catch_up: schedule.catch_up,
                deadline: schedule.deadline.map(Period::as_chrono),
                priority: schedule.priority(),
                scratch_bytes: match schedule.job {
                    ScheduledJob::Drill => scratch_bytes,
                    _ => 0,
                },
            });
        };
        if schedule.job == ScheduledJob::Report {
            push("", None, vec![report(schedule)]);
            continue;
        }
        for cluster in &config.clusters {
            if schedule.selects(&cluster.name, cluster.tier.as_deref()) {
                let targets = targets(config, schedule, cluster);
                push(&cluster.name, cluster.tier.as_ref(), targets);
            }
        }
    }
    outlines
}

const fn kind_of(job: ScheduledJob) -> JobKind {
    match job {
        ScheduledJob::Verify => JobKind::Verify,
        ScheduledJob::Replicate => JobKind::Replicate,
        ScheduledJob::Drill => JobKind::Drill,
        ScheduledJob::Report => JobKind::Report,
        ScheduledJob::Capture => JobKind::Capture,
    }
}

/// A change of anything in it begins the schedule anew from now on.
fn definition(schedule: &Schedule, zone: Zone) -> String {
    format!("{} {} {zone}", schedule.job.as_str(), schedule.cron)
}

fn report(schedule: &Schedule) -> Target {
    // A day has its own unit, and is a period.
    let day = "1d".parse::<Period>().ok();
    let period = schedule.period.or(day).unwrap_or(Period::MAX);
    Target {
        copy: String::new(),
        bucket: String::new(),
        spec: JobSpec::Report { period },
    }
}

fn targets(config: &Config, schedule: &Schedule, cluster: &Cluster) -> Vec<Target> {
    let wanted = |label: &str| {
        schedule
            .copies
            .as_ref()
            .is_none_or(|copies| copies.iter().any(|copy| copy == label))
    };
    match schedule.job {
        ScheduledJob::Report => Vec::new(),
        ScheduledJob::Verify => cluster
            .copies()
            .filter(|(label, _)| wanted(label))
            .map(|(label, repository)| Target {
                copy: label,
                bucket: bucket(repository),
                spec: JobSpec::Verify {
                    depth: schedule.depth,
                },
            })
            .collect(),
        ScheduledJob::Replicate => cluster
            .copies()
            .skip(1)
            .filter(|(label, _)| wanted(label))
            .map(|(label, _)| Target {
                copy: label,
                // What is read is the primary.
                bucket: bucket(&cluster.primary),
                spec: JobSpec::Replicate { copy: None },
            })
            .collect(),
        ScheduledJob::Drill => drills(config, schedule, cluster),
        ScheduledJob::Capture => cluster
            .copies()
            .skip(1)
            .filter(|(label, _)| wanted(label))
            // What is read is the API server; what is written are a few small objects.
            .map(|(label, _)| Target {
                copy: label,
                bucket: String::new(),
                spec: JobSpec::Capture,
            })
            .collect(),
    }
}

fn drills(config: &Config, schedule: &Schedule, cluster: &Cluster) -> Vec<Target> {
    let mut definitions: Vec<(Option<String>, Option<String>)> = match &schedule.drill {
        Some(name) => {
            let copy = config
                .drill(name)
                .and_then(|drill| drill.definition.copy.clone());
            vec![(Some(name.clone()), copy)]
        }
        None => config
            .drills_of(&cluster.name)
            .map(|drill| {
                let definition = &drill.definition;
                (Some(definition.name.clone()), definition.copy.clone())
            })
            .collect(),
    };
    if definitions.is_empty() {
        definitions.push((None, None));
    }
    let copies: Vec<(String, &RepositoryConfig)> = cluster.copies().collect();
    let mut targets = Vec::new();
    for (definition, own) in definitions {
        let chosen: Vec<String> = match (&schedule.copies, own) {
            (Some(copies), _) => copies.clone(),
            (None, Some(own)) => vec![own],
            (None, None) => copies
                .first()
                .map(|(label, _)| label.clone())
                .into_iter()
                .collect(),
        };
        for copy in chosen {
            let Some((_, repository)) = copies.iter().find(|(label, _)| *label == copy) else {
                continue;
            };
            targets.push(Target {
                copy,
                bucket: bucket(repository),
                spec: JobSpec::Drill {
                    definition: definition.clone(),
                    // Whatever the name means when it is due.
                    digest: None,
                },
            });
        }
    }
    targets
}

/// What stands for a bucket in the budget per bucket. Directories of this machine have
/// none.
pub(super) fn bucket(repository: &RepositoryConfig) -> String {
    if repository.url.bucket().is_empty() {
        return String::new();
    }
    let scheme = repository.url.scheme().as_str();
    match &repository.endpoint {
        Some(endpoint) => format!(
            "{scheme}://{} at {}",
            repository.url.bucket(),
            endpoint.as_str()
        ),
        None => format!("{scheme}://{}", repository.url.bucket()),
    }
}

impl Outline {
    /// As the state keeps it, for a schedule that is new: due next after `now`. `None` when
    /// it is never due again.
    pub fn row(&self, now: DateTime<Utc>) -> Option<ScheduleRow> {
        Some(ScheduleRow {
            schedule: self.schedule.clone(),
            cluster: self.cluster.clone(),
            kind: self.kind,
            definition: self.definition.clone(),
            next_due: self.moments.after(now)?,
            last_due: None,
        })
    }

    /// The next due moment after `moment`, and when its jobs may start.
    pub fn next(&self, moment: DateTime<Utc>) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let due = self.moments.after(moment)?;
        Some((due, self.run_after(due)?))
    }

    /// When the jobs of a due moment may start: its share of the jitter later, and not
    /// within a blackout.
    fn run_after(&self, due: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.hold.release(due.checked_add_signed(self.share)?)
    }

    /// What the moments up to now come to, from `due` on, which is the one that the state
    /// has stored. `None` when nothing is due.
    pub fn due(
        &self,
        due: DateTime<Utc>,
        situation: &Situation<'_>,
    ) -> Result<Option<Due>, SealError> {
        let now = situation.now;
        if due > now {
            return Ok(None);
        }
        let before = due.checked_sub_signed(TimeDelta::seconds(1)).unwrap_or(due);
        let far = DateTime::<Utc>::MAX_UTC;
        // A moment that another definition stored was due all the same.
        let passed = match self.moments.passed(before, now) {
            Some(passed) if passed.first == due => passed,
            Some(passed) => Passed {
                first: due,
                moments: passed.moments + 1,
                ..passed
            },
            None => Passed {
                first: due,
                last: due,
                moments: 1,
            },
        };
        let next_due = self.moments.after(passed.last).unwrap_or(far);
        let mut result = Due {
            last_due: passed.last,
            next_due,
            jobs: Vec::new(),
            entries: Vec::new(),
        };
        let may_start = self.run_after(passed.last);
        let behind = may_start.is_none_or(|start| now > start + situation.grace);
        let start = may_start.and_then(|start| self.hold.release(start.max(now)));
        let deadline = match (self.deadline, start) {
            (Some(deadline), _) => passed.last.checked_add_signed(deadline),
            // Until it is due again, counted from when it may start.
            (None, Some(start)) => start.checked_add_signed(next_due - passed.last),
            (None, None) => None,
        };
        let too_late = deadline.is_some_and(|deadline| deadline < now);
        let start = start.filter(|_| !(too_late || behind && self.catch_up == CatchUp::None));
        for target in &self.targets {
            let key = self.key(target, passed.last);
            let Some(start) = start else {
                let reason = if behind {
                    MissedReason::Down
                } else {
                    MissedReason::Deadline
                };
                let missed = self.missed(&passed, passed.moments, reason, Some(key));
                result.say(now, self, target, &missed)?;
                continue;
            };
            let overlap = situation.under_way.contains(&self.about(target));
            let beyond = start >= next_due;
            let passed_over = passed.moments - 1;
            if behind || (beyond && !overlap) {
                let late = Body::Late(Box::new(LateBody {
                    job: self.entry_kind(),
                    schedule: Some(self.schedule.clone()),
                    key: Some(key.clone()),
                    due_at: passed.last,
                    run_after: start,
                    reason: if behind {
                        LateReason::Down
                    } else {
                        LateReason::Blackout
                    },
                    passed_over,
                }));
                if overlap {
                    // The run under way stands for it; only what went by before is missed.
                    if passed_over > 0 {
                        let missed = self.missed(&passed, passed_over, MissedReason::Down, None);
                        result.say(now, self, target, &missed)?;
                    }
                } else {
                    result.say(now, self, target, &late)?;
                }
            } else if passed_over > 0 {
                let missed = self.missed(&passed, passed_over, MissedReason::Down, None);
                result.say(now, self, target, &missed)?;
            }
            if overlap {
                let skipped = Body::Skipped(Box::new(SkippedBody {
                    job: self.entry_kind(),
                    schedule: Some(self.schedule.clone()),
                    key: Some(key),
                    due_at: passed.last,
                    moments: 1,
                    reason: SkippedReason::Overlap,
                    earlier: None,
                }));
                result.say(now, self, target, &skipped)?;
                continue;
            }
            result.jobs.push(NewJob {
                key,
                kind: self.kind,
                schedule: Some(self.schedule.clone()),
                cluster: self.cluster.clone(),
                copy: target.copy.clone(),
                bucket: target.bucket.clone(),
                tier: self.tier.clone(),
                due_at: passed.last,
                run_after: start,
                deadline,
                priority: self.priority,
                late: behind || beyond,
                scratch_bytes: self.scratch_bytes,
                max_attempts: ATTEMPTS,
                // A plain structure of words always has a JSON form.
                spec: serde_json::to_value(&target.spec).unwrap_or_default(),
            });
        }
        Ok(Some(result))
    }

    /// What makes a job one of its kind: the same moment never brings a second one.
    fn key(&self, target: &Target, due: DateTime<Utc>) -> String {
        let due = due.to_rfc3339_opts(SecondsFormat::Secs, true);
        format!("{}@{due}", self.about(target))
    }

    /// What a job is about, whenever it is due: two of them at once overlap.
    fn about(&self, target: &Target) -> String {
        let (schedule, cluster, copy) = (&self.schedule, &self.cluster, &target.copy);
        match &target.spec {
            JobSpec::Drill {
                definition: Some(definition),
                ..
            } => format!("{schedule}/{cluster}/{copy}/{definition}"),
            _ => format!("{schedule}/{cluster}/{copy}"),
        }
    }

    const fn entry_kind(&self) -> EntryKind {
        match self.kind {
            JobKind::Replicate => EntryKind::Replicate,
            JobKind::Drill => EntryKind::Drill,
            JobKind::Report => EntryKind::Report,
            JobKind::Capture => EntryKind::Capture,
            JobKind::Request => EntryKind::Request,
            JobKind::Verify | JobKind::Sweep => EntryKind::Verify,
        }
    }

    /// `moments` of those that passed, from the first on: all of them, or all but the last.
    fn missed(
        &self,
        passed: &Passed,
        moments: u64,
        reason: MissedReason,
        key: Option<String>,
    ) -> Body {
        let all = moments == passed.moments;
        let due_at = if all {
            passed.last
        } else if moments == 1 {
            passed.first
        } else {
            // The one before the last.
            self.moments
                .passed(
                    passed.first,
                    passed
                        .last
                        .checked_sub_signed(TimeDelta::seconds(1))
                        .unwrap_or(passed.last),
                )
                .map_or(passed.first, |before| before.last)
        };
        Body::Missed(Box::new(MissedBody {
            job: self.entry_kind(),
            schedule: Some(self.schedule.clone()),
            key,
            due_at,
            first_due_at: (moments > 1).then_some(passed.first),
            moments,
            reason,
            newest_at: None,
            opened: Vec::new(),
            closed: Vec::new(),
        }))
    }
}

impl Due {
    fn say(
        &mut self,
        now: DateTime<Utc>,
        outline: &Outline,
        target: &Target,
        body: &Body,
    ) -> Result<(), SealError> {
        let entry = NewEntry::new(now, body)?;
        self.entries.push(if outline.cluster.is_empty() {
            entry
        } else {
            entry.about(&outline.cluster, &target.copy)
        });
        Ok(())
    }
}

/// The outlines by schedule and cluster.
pub type Outlines = BTreeMap<(String, String), Arc<Outline>>;

#[cfg(test)]
mod tests;
