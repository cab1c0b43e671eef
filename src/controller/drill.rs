//! Where a RecoveryDrill stands, from the jobs and runs of its schedule: pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::drill_jobs::{RUNS, key, newest};
use super::kind::{Told, Tone};
use super::resources::{DrillPhase, DrillRun, RecoveryDrill, RecoveryDrillStatus, set_condition};
use crate::daemon::Refusal;
use crate::evidence::Verdict;
use crate::kubernetes::time::whole;
use crate::state::{Job, JobStatus, StoredDrill};

/// So many reasons of each, cut at so many characters.
const REASONS: usize = 5;
const REASON: usize = 250;
const ACTION: &str = "Drill";

/// What is known of a RecoveryDrill.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) resource: &'a RecoveryDrill,
    pub(super) refusal: Option<&'a Refusal>,
    /// Its clusters, by their names in the configuration.
    pub(super) clusters: &'a [String],
    /// Whether the configuration in force has it.
    pub(super) in_force: bool,
    /// Its jobs, the newest first.
    pub(super) jobs: &'a [Job],
    /// What the newest runs of its clusters came to ([`super::drill_jobs::judging`]).
    pub(super) verdicts: &'a BTreeMap<Uuid, Verdict>,
    /// Runs that are to be shown and are not in its status yet ([`super::drill_jobs::showing`]).
    pub(super) runs: &'a BTreeMap<Uuid, StoredDrill>,
    pub(super) next: Option<DateTime<Utc>>,
    pub(super) now: DateTime<Utc>,
}

impl Known<'_> {
    fn generation(&self) -> i64 {
        self.resource.metadata.generation.unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.resource.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(super) fn is_one_off(&self) -> bool {
        self.resource.spec.schedule.is_none()
    }

    fn old(&self) -> RecoveryDrillStatus {
        self.resource.status.clone().unwrap_or_default()
    }

    /// The clusters for which a one-off drill has no job yet, with the keys of the jobs.
    pub(super) fn wanted(&self) -> Vec<(String, String)> {
        let held = self.resource.metadata.finalizers.iter().flatten();
        let held = held.clone().any(|one| one == super::resources::CLEANUP);
        let generation = self.generation();
        if !self.is_one_off()
            || self.resource.spec.suspend
            || !self.in_force
            || !held
            || self.refusal.is_some()
            || self.is_done()
        {
            return Vec::new();
        }
        self.clusters
            .iter()
            .map(|cluster| (cluster.clone(), key(self.uid(), generation, cluster)))
            .filter(|(_, key)| !self.jobs.iter().any(|job| job.key == *key))
            .collect()
    }

    /// Its status, and what is to be told.
    pub(super) fn status(&self) -> (RecoveryDrillStatus, Vec<Told>) {
        let old = self.old();
        let mut told = Vec::new();
        let mut status = RecoveryDrillStatus {
            observed_generation: Some(self.generation()),
            target: self.target(),
            next_run_at: self.next.filter(|_| !self.is_one_off()),
            completed_generation: old.completed_generation,
            conditions: old.conditions.clone(),
            ..RecoveryDrillStatus::default()
        };
        status.runs = self.runs(&old);
        status.last_run = status.runs.first().cloned();
        status.verdict = status.last_run.as_ref().and_then(|run| run.verdict.clone());
        status.phase = Some(self.phase(&mut status));
        self.reason(&mut status);
        self.tell(&old, &status, &mut told);
        self.conditions(&mut status);
        (status, told)
    }

    fn target(&self) -> Option<String> {
        let spec = &self.resource.spec;
        if let Some(reference) = &spec.cluster_ref {
            return Some(match &reference.namespace {
                Some(namespace) => format!("{namespace}/{}", reference.name),
                None => reference.name.clone(),
            });
        }
        let protected = spec.protected_cluster.as_ref()?;
        Some(format!("{protected} ({})", self.clusters.len()))
    }

    /// Whether it was to be run once, and was.
    fn is_done(&self) -> bool {
        self.is_one_off() && self.old().completed_generation == Some(self.generation())
    }

    /// What keeps it from being run; nothing, where there is nothing left to run: what it proved
    /// stays when its Cluster goes.
    fn refusal(&self) -> Option<&Refusal> {
        self.refusal.filter(|_| !self.is_done())
    }

    fn open(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(|job| !job.status.is_over())
    }

    /// Of a one-off drill: the jobs of this generation.
    fn own(&self) -> Vec<&Job> {
        let begin = key(self.uid(), self.generation(), "");
        let jobs = self.jobs.iter();
        jobs.filter(|job| job.key.starts_with(&begin)).collect()
    }

    fn phase(&self, status: &mut RecoveryDrillStatus) -> DrillPhase {
        let running = self.open().find(|job| job.status == JobStatus::Running);
        if let Some(job) = running {
            let step = job.progress.as_ref().map(|progress| progress.phase.clone());
            status.step = Some(step.unwrap_or_else(|| "begin".to_owned()));
            return DrillPhase::Running;
        }
        if self.refusal().is_some() {
            return DrillPhase::Refused;
        }
        if self.open().next().is_some() {
            return DrillPhase::Queued;
        }
        if self.is_one_off() {
            return self.one_off(status);
        }
        if self.resource.spec.suspend {
            return DrillPhase::Suspended;
        }
        let newest = self.verdicts(&self.jobs.iter().collect::<Vec<_>>(), status);
        // The queue forgets its jobs; the last run is still known.
        let known = status.verdict.as_deref();
        match newest.or_else(|| known.map(|verdict| of_verdict(Some(verdict)))) {
            Some(phase) => phase,
            None if self.in_force => DrillPhase::Scheduled,
            None => DrillPhase::Pending,
        }
    }

    /// A one-off drill of which nothing waits or runs.
    fn one_off(&self, status: &mut RecoveryDrillStatus) -> DrillPhase {
        let generation = Some(self.generation());
        let own = self.own();
        if own.is_empty() && status.completed_generation == generation {
            // The queue has forgotten the jobs; the runs are still known.
            return of_verdict(status.verdict.as_deref());
        }
        let all = own.len() >= self.clusters.len() && !own.is_empty();
        if all && let Some(phase) = self.verdicts(&own, status) {
            status.completed_generation = generation;
            return phase;
        }
        if self.resource.spec.suspend {
            return DrillPhase::Suspended;
        }
        DrillPhase::Pending
    }

    /// What the newest job of each cluster came to, together: one that failed counts most.
    fn verdicts(&self, jobs: &[&Job], status: &RecoveryDrillStatus) -> Option<DrillPhase> {
        let mut worst: Option<DrillPhase> = None;
        for job in newest(jobs.iter().copied()) {
            let id = job.run_id.unwrap_or(job.id).to_string();
            let run = status.runs.iter().find(|run| run.id == id);
            let known = job.run_id.and_then(|id| self.verdicts.get(&id));
            let verdict = match (known, run) {
                (Some(verdict), _) => Some(verdict.as_str()),
                (None, Some(run)) => run.verdict.as_deref(),
                (None, None) => None,
            };
            let phase = of_verdict(verdict);
            worst = Some(match (worst, phase) {
                (Some(DrillPhase::Failed), _) | (_, DrillPhase::Failed) => DrillPhase::Failed,
                (Some(DrillPhase::Unproven), _) | (_, DrillPhase::Unproven) => DrillPhase::Unproven,
                _ => DrillPhase::Proven,
            });
        }
        worst
    }

    /// The newest runs: those that are known, and those that came.
    fn runs(&self, old: &RecoveryDrillStatus) -> Vec<DrillRun> {
        let mut runs: Vec<DrillRun> = Vec::new();
        let over = self.jobs.iter().filter(|job| job.status.is_over());
        for job in over.filter(|job| job.status != JobStatus::Skipped) {
            let id = job.run_id.unwrap_or(job.id).to_string();
            let known = old.runs.iter().find(|run| run.id == id);
            let stored = job.run_id.and_then(|id| self.runs.get(&id));
            runs.push(match (known, stored) {
                (Some(known), _) => known.clone(),
                (None, Some(stored)) => of_stored(job, stored),
                // Newer ones are shown.
                (None, None) if job.run_id.is_some() => continue,
                (None, None) => of_job(job),
            });
        }
        // Those whose jobs the queue has forgotten.
        for run in &old.runs {
            if !runs.iter().any(|one| one.id == run.id) {
                runs.push(run.clone());
            }
        }
        runs.sort_by_key(|run| std::cmp::Reverse(run.ended_at));
        runs.truncate(RUNS);
        runs
    }

    fn reason(&self, status: &mut RecoveryDrillStatus) {
        status.reason = match (status.phase, self.refusal()) {
            (Some(DrillPhase::Refused), Some(refusal)) => Some(refusal.reason.to_owned()),
            (Some(DrillPhase::Failed | DrillPhase::Unproven), _) => why(status),
            _ => None,
        };
    }

    fn conditions(&self, status: &mut RecoveryDrillStatus) {
        let generation = Some(self.generation());
        let mut set = |kind: &str, holds: Option<bool>, reason: &str, message: &str| {
            let words = (reason, message);
            set_condition(
                &mut status.conditions,
                kind,
                holds,
                words,
                generation,
                self.now,
            );
        };
        if let Some(refusal) = self.refusal() {
            set("Refused", Some(true), refusal.reason, &refusal.message);
            set("Ready", Some(false), refusal.reason, &refusal.message);
        } else {
            set(
                "Refused",
                Some(false),
                "Accepted",
                "nothing is wrong with it",
            );
            if self.in_force {
                set(
                    "Ready",
                    Some(true),
                    "InForce",
                    "it is part of the configuration in force",
                );
            } else if self.is_done() {
                set("Ready", Some(true), "Done", "it was run, once");
            } else {
                set(
                    "Ready",
                    Some(false),
                    "Pending",
                    "it is about to be taken up",
                );
            }
        }
        let verdict = verdict(status);
        let reason = why(status).unwrap_or_default();
        let mut set = |holds: Option<bool>, word: &str, message: &str| {
            let words = (word, message);
            let all = &mut status.conditions;
            set_condition(all, "Proven", holds, words, generation, self.now);
        };
        match verdict {
            Some("proven") => set(Some(true), "Proven", "the last run was proven"),
            Some("failed") => set(Some(false), "Failed", &reason),
            Some(_) => set(None, "Unproven", &reason),
            None => set(None, "NoRunYet", "no run has ended yet"),
        }
    }

    fn tell(&self, old: &RecoveryDrillStatus, status: &RecoveryDrillStatus, told: &mut Vec<Told>) {
        let generation = self.generation();
        if let Some(refusal) = self.refusal() {
            told.push(Told {
                tone: Tone::Warning,
                reason: "Refused",
                action: ACTION,
                note: format!("{}: {}", refusal.reason, refusal.message),
                once: format!("{generation} {}", refusal.message),
            });
        } else if let Some(next) = status.next_run_at
            && self.in_force
            && old.observed_generation != status.observed_generation
        {
            told.push(Told {
                tone: Tone::Normal,
                reason: "Scheduled",
                action: ACTION,
                note: format!("due next at {}", next.format("%Y-%m-%d %H:%M:%S UTC")),
                once: generation.to_string(),
            });
        }
        for job in self.open() {
            Self::tell_open(job, told);
        }
        for job in self.jobs.iter().filter(|job| job.status.is_over()) {
            let id = job.run_id.unwrap_or(job.id).to_string();
            if !old.runs.iter().any(|run| run.id == id)
                && let Some(run) = status.runs.iter().find(|run| run.id == id)
            {
                // However fast it was, the story begins at its begin.
                Self::tell_open(job, told);
                let stored = job.run_id.and_then(|id| self.runs.get(&id));
                tell_end(run, stored, told);
            }
        }
    }

    fn tell_open(job: &Job, told: &mut Vec<Told>) {
        let mut tell = |reason: &'static str, note: String, once: String| {
            told.push(Told {
                tone: Tone::Normal,
                reason,
                action: ACTION,
                note,
                once,
            });
        };
        tell(
            "Queued",
            format!(
                "job {} of {} waits for its turn",
                short(job.id),
                job.cluster
            ),
            job.id.to_string(),
        );
        if job.attempts == 0 {
            return;
        }
        let again = if job.attempts > 1 {
            format!(" (attempt {} of {})", job.attempts, job.max_attempts)
        } else {
            String::new()
        };
        tell(
            "Started",
            format!("a drill of {} began{again}", job.cluster),
            format!("{} {}", job.id, job.token),
        );
        if let Some(progress) = &job.progress {
            tell(
                "Step",
                progress.phase.clone(),
                format!("{} {} {}", job.id, job.token, progress.phase),
            );
        }
    }
}

/// What the drill came to: all its clusters together where they are over, else the last run.
fn verdict(status: &RecoveryDrillStatus) -> Option<&'static str> {
    match (status.phase, status.verdict.as_deref()) {
        (Some(DrillPhase::Failed), _) => Some("failed"),
        (Some(DrillPhase::Unproven), _) => Some("unproven"),
        (_, Some("proven")) => Some("proven"),
        (_, Some("failed")) => Some("failed"),
        (_, Some(_)) => Some("unproven"),
        (_, None) => None,
    }
}

/// Why it came to that: the newest of the runs that came to the same says it.
fn why(status: &RecoveryDrillStatus) -> Option<String> {
    let verdict = verdict(status)?;
    let mut runs = status.runs.iter();
    match runs.find(|run| run.verdict.as_deref() == Some(verdict)) {
        Some(run) => run.reasons.first().cloned(),
        None => Some(format!(
            "the newest run of one of its Clusters is {verdict}"
        )),
    }
}

fn short(id: Uuid) -> String {
    id.to_string().chars().take(13).collect()
}

fn of_verdict(verdict: Option<&str>) -> DrillPhase {
    match verdict {
        Some("proven") => DrillPhase::Proven,
        Some("failed") => DrillPhase::Failed,
        _ => DrillPhase::Unproven,
    }
}

fn tell_end(run: &DrillRun, stored: Option<&StoredDrill>, told: &mut Vec<Told>) {
    let (tone, reason) = match run.verdict.as_deref() {
        Some("proven") => (Tone::Normal, "Proven"),
        Some("failed") => (Tone::Warning, "Failed"),
        _ => (Tone::Warning, "Unproven"),
    };
    let mut note = format!(
        "{} is {}",
        run.cluster,
        run.verdict.as_deref().unwrap_or("unproven")
    );
    if let Some(to) = run.recovered_to {
        let _ = write!(
            note,
            ", recovered to {}",
            to.format("%Y-%m-%d %H:%M:%S UTC")
        );
    }
    if let Some(time) = &run.time_to_verified {
        let _ = write!(note, ", verified in {time}");
    }
    if let Some(first) = run.reasons.first() {
        let _ = write!(note, ": {first}");
    }
    let body = stored.and_then(|stored| stored.report.as_ref());
    let body = body.map_or(&Value::Null, |report| &report.body);
    let phases: Vec<String> = body["phases"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|phase| {
            let took = phase["milliseconds"].as_u64()?;
            let name = phase["phase"].as_str()?;
            Some(format!("{name} {}", in_words(took)))
        })
        .collect();
    if !phases.is_empty() {
        let _ = write!(note, " ({})", phases.join(", "));
    }
    told.push(Told {
        tone,
        reason,
        action: ACTION,
        note,
        once: run.id.clone(),
    });
    let place = body.pointer("/environment/kubernetes/namespace");
    let place = place
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty());
    let Some(place) = place else { return };
    let kept = body.pointer("/environment/kubernetes/kept_until");
    let (tone, reason, note) = if body.pointer("/environment/removed") == Some(&Value::Bool(true)) {
        (
            Tone::Normal,
            "CleanedUp",
            format!("scratch namespace {place} is gone"),
        )
    } else if let Some(until) = kept.and_then(Value::as_str) {
        (
            Tone::Normal,
            "Kept",
            format!("scratch namespace {place} is kept until {until}"),
        )
    } else {
        (
            Tone::Warning,
            "LeftBehind",
            format!("scratch namespace {place} is not gone yet; the next sweep goes on"),
        )
    };
    told.push(Told {
        tone,
        reason,
        action: ACTION,
        note,
        once: run.id.clone(),
    });
}

/// A job that came to its end without a run.
fn of_job(job: &Job) -> DrillRun {
    let why = match job.status {
        JobStatus::Missed => "it was not begun before its deadline".to_owned(),
        JobStatus::Cancelled => "it was cancelled".to_owned(),
        _ => job
            .error
            .clone()
            .unwrap_or_else(|| "no run of it is known".to_owned()),
    };
    DrillRun {
        id: job.run_id.unwrap_or(job.id).to_string(),
        cluster: job.cluster.clone(),
        started_at: job.started_at.map(whole),
        ended_at: job.finished_at.map(whole),
        verdict: Some("unproven".to_owned()),
        reasons: vec![cut(&why)],
        ..DrillRun::default()
    }
}

fn of_stored(job: &Job, stored: &StoredDrill) -> DrillRun {
    let run = &stored.run;
    let body = stored
        .report
        .as_ref()
        .map_or(&Value::Null, |report| &report.body);
    let measured = &body["measurements"];
    let length = |name: &str| measured[name].as_u64().map(in_words);
    let reasons: Vec<String> = body["reasons"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|reason| {
            let text = reason.as_str().or_else(|| reason["text"].as_str());
            Some(cut(text?))
        })
        .take(REASONS)
        .collect();
    let verdict = run.verdict.map_or("unproven", |verdict| verdict.as_str());
    DrillRun {
        id: run.id.to_string(),
        cluster: job.cluster.clone(),
        started_at: Some(whole(run.started_at)),
        ended_at: run.finished_at.or(job.finished_at).map(whole),
        verdict: Some(verdict.to_owned()),
        recovered_to: measured
            .pointer("/recovery_point/time")
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok())
            .map(whole),
        time_to_service: length("time_to_service"),
        time_to_verified: length("time_to_verified"),
        exposure: length("recovery_point_achieved"),
        reasons: if reasons.is_empty() && verdict != "proven" {
            vec![cut(&run.summary)]
        } else {
            reasons
        },
    }
}

fn cut(text: &str) -> String {
    text.chars().take(REASON).collect()
}

/// Milliseconds for people: `850ms`, `12s`, `3m12s`, `1h2m`.
pub(super) fn in_words(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 if milliseconds > 0 => format!("{milliseconds}ms"),
        0 => "0s".to_owned(),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
#[path = "drill_tests.rs"]
mod tests;
