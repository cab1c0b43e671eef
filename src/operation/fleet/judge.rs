//! Whether a cluster is proven. Pure.
//!
//! Something that is wrong makes it `failed`, whatever was proven; else anything that is not
//! known, or not known any more, makes it `unproven`; only a cluster without either is
//! `proven`.

use chrono::{DateTime, TimeDelta, Utc};

use super::report::{CopyRole, LastProof, Overdue, ReasonWhy};
use crate::config::{Due, Period};
use crate::evidence::Verdict;
use crate::finding::Severity;
use crate::operation::standing::{DrillStanding, ReplicateStanding, VerifyStanding};
use crate::state::{Incident, IncidentKind, RunKind};
use crate::verify::words::{count, length};

/// How long a look at a copy counts where its tier has no `due` for verifications.
pub const LOOK_COUNTS: TimeDelta = TimeDelta::days(1);

/// How long a drill's proof counts where the tier has no `due` for drills.
pub const PROOF_COUNTS: TimeDelta = TimeDelta::days(30);

/// What is dated further ahead than this is not believed: a clock is wrong somewhere, and
/// by it nothing would ever be overdue.
pub const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// What is known of one copy.
#[derive(Clone, Copy, Debug)]
pub struct CopyProofs<'a> {
    /// Its label.
    pub copy: &'a str,
    /// What it is.
    pub role: CopyRole,
    /// Its newest verification.
    pub verify: Option<&'a VerifyStanding>,
    /// The newest replication to it.
    pub replicate: Option<&'a ReplicateStanding>,
    /// The newest drill from it.
    pub drill: Option<&'a DrillStanding>,
}

/// What a cluster came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is not `proven`, the weightiest first.
    pub reasons: Vec<ReasonWhy>,
    /// Proofs that are older than their due.
    pub overdue: Vec<Overdue>,
    /// The newest drill that proved a copy.
    pub last_proof: Option<LastProof>,
}

/// Judges a cluster by what is known of its copies and by what is open.
pub fn judge(
    due: Due,
    copies: &[CopyProofs<'_>],
    incidents: &[Incident],
    now: DateTime<Utc>,
) -> Judged {
    let mut work = Work {
        due,
        now,
        reasons: Vec::new(),
        overdue: Vec::new(),
    };
    for copy in copies {
        work.verification(copy);
        if copy.role == CopyRole::Replica {
            work.replication(copy);
        }
        work.drill(copy);
    }
    let last_proof = work.proof(copies);
    work.incidents(incidents, copies);
    // Stable: within a verdict they stay in the order of the copies.
    work.reasons
        .sort_by_key(|reason| reason.verdict != Verdict::Failed);
    let verdict = work
        .reasons
        .iter()
        .fold(Verdict::Proven, |verdict, reason| {
            verdict.and(reason.verdict)
        });
    Judged {
        verdict,
        reasons: work.reasons,
        overdue: work.overdue,
        last_proof,
    }
}

/// How a proof's age compares with what it may be.
enum Age {
    /// It counts.
    Counts,
    /// It is too old.
    Old(TimeDelta),
    /// It is dated in the future.
    Ahead(TimeDelta),
}

struct Work {
    due: Due,
    now: DateTime<Utc>,
    reasons: Vec<ReasonWhy>,
    overdue: Vec<Overdue>,
}

impl Work {
    fn say(&mut self, verdict: Verdict, copy: Option<&str>, text: String) {
        self.reasons.push(ReasonWhy {
            verdict,
            copy: copy.map(str::to_owned),
            text,
        });
    }

    fn age(&self, at: DateTime<Utc>, limit: TimeDelta) -> Age {
        let age = self.now.signed_duration_since(at);
        if age < -CLOCK_TOLERANCE {
            Age::Ahead(-age)
        } else if age > limit {
            Age::Old(age)
        } else {
            Age::Counts
        }
    }

    /// Notes a proof that does not count, and that it is overdue if the tier set a due.
    #[expect(clippy::too_many_arguments, reason = "the parts of one sentence")]
    fn outdated(
        &mut self,
        kind: RunKind,
        copy: Option<&str>,
        newest_at: Option<DateTime<Utc>>,
        due: Option<Period>,
        what: &str,
        age: &Age,
        counts: TimeDelta,
    ) {
        let text = match (age, due) {
            (Age::Counts, _) => return,
            (Age::Ahead(by), _) => format!(
                "{what} is dated {} ahead: look at the clocks of the machines",
                length(*by)
            ),
            (Age::Old(age), Some(due)) => {
                format!("{what} is {} old, due every {due}", length(*age))
            }
            (Age::Old(age), None) => format!(
                "{what} is {} old and counts for {}; `due` of its tier says otherwise",
                length(*age),
                length(counts)
            ),
        };
        self.say(Verdict::Unproven, copy, text);
        self.late(kind, copy, newest_at, due);
    }

    fn late(
        &mut self,
        kind: RunKind,
        copy: Option<&str>,
        newest_at: Option<DateTime<Utc>>,
        due: Option<Period>,
    ) {
        if let Some(due) = due {
            self.overdue.push(Overdue {
                kind,
                copy: copy.map(str::to_owned),
                newest_at,
                due_seconds: due.as_secs(),
            });
        }
    }

    fn verification(&mut self, proofs: &CopyProofs<'_>) {
        let (copy, due) = (Some(proofs.copy), self.due.verify);
        let Some(seen) = proofs.verify else {
            self.say(
                Verdict::Unproven,
                copy,
                format!("{} was never verified", proofs.copy),
            );
            self.late(RunKind::Verify, copy, None, due);
            return;
        };
        let bad: Vec<&str> = seen
            .findings
            .iter()
            .filter(|(_, tally)| tally.severity >= Severity::Warning)
            .map(|(code, _)| code.as_str())
            .collect();
        if !bad.is_empty() {
            self.say(
                Verdict::Failed,
                copy,
                format!("the verification of {} found {}", proofs.copy, list(&bad)),
            );
        }
        let counts = due.map_or(LOOK_COUNTS, Period::as_chrono);
        let age = self.age(seen.checked_at, counts);
        let what = format!("the newest look at {}", proofs.copy);
        let newest = Some(seen.checked_at);
        self.outdated(RunKind::Verify, copy, newest, due, &what, &age, counts);
    }

    fn replication(&mut self, proofs: &CopyProofs<'_>) {
        let (copy, due) = (Some(proofs.copy), self.due.replicate);
        let Some(done) = proofs.replicate else {
            // Without a due, others may keep it; the looks at it tell what it holds.
            if due.is_some() {
                self.say(
                    Verdict::Unproven,
                    copy,
                    format!("nothing was ever copied to {}", proofs.copy),
                );
                self.late(RunKind::Replicate, copy, None, due);
            }
            return;
        };
        if done.differs > 0 {
            self.say(
                Verdict::Failed,
                copy,
                format!(
                    "the replication to {} found {} wrong with the copy",
                    proofs.copy,
                    count(done.differs, "thing")
                ),
            );
        }
        if !done.complete {
            let missing = if done.missing_objects > 0 {
                format!(
                    "{} left to be copied",
                    count(done.missing_objects, "object")
                )
            } else {
                format!("it ended as `{}`", done.ended)
            };
            self.say(
                Verdict::Unproven,
                copy,
                format!(
                    "the newest replication to {} is not complete: {missing}",
                    proofs.copy
                ),
            );
        }
        let Some(limit) = due else {
            return;
        };
        let age = self.age(done.finished_at, limit.as_chrono());
        let what = format!("the newest replication to {}", proofs.copy);
        let newest = Some(done.finished_at);
        let counts = limit.as_chrono();
        self.outdated(RunKind::Replicate, copy, newest, due, &what, &age, counts);
    }

    /// A drill that failed is told, whatever was proven before or elsewhere.
    fn drill(&mut self, proofs: &CopyProofs<'_>) {
        if let Some(drill) = proofs.drill
            && drill.verdict == Verdict::Failed
        {
            let why = drill
                .reasons
                .first()
                .map_or_else(String::new, |reason| format!(": {reason}"));
            self.say(
                Verdict::Failed,
                Some(proofs.copy),
                format!("the newest drill from {} failed{why}", proofs.copy),
            );
        }
    }

    /// One proof of any copy is enough, if it is not too old.
    fn proof(&mut self, copies: &[CopyProofs<'_>]) -> Option<LastProof> {
        let due = self.due.drill;
        let newest = copies
            .iter()
            .filter_map(|proofs| Some((proofs.copy, proofs.drill?.last_proven.as_ref()?)))
            .max_by_key(|(_, proof)| proof.at);
        let Some((copy, proof)) = newest else {
            let tried = copies
                .iter()
                .find_map(|proofs| Some((proofs.copy, proofs.drill?)));
            let text = match tried {
                None => "no drill has ever been run".to_owned(),
                Some((copy, drill)) => {
                    let why = drill.reasons.first().map_or_else(String::new, |reason| {
                        format!("; the newest, from {copy}: {reason}")
                    });
                    format!("no drill has ever proven a copy{why}")
                }
            };
            self.say(Verdict::Unproven, None, text);
            self.late(RunKind::Drill, None, None, due);
            return None;
        };
        let counts = due.map_or(PROOF_COUNTS, Period::as_chrono);
        let age = self.age(proof.at, counts);
        let what = "the newest proof by a drill";
        self.outdated(
            RunKind::Drill,
            None,
            Some(proof.at),
            due,
            what,
            &age,
            counts,
        );
        Some(LastProof {
            at: proof.at,
            age_seconds: self.now.signed_duration_since(proof.at).num_seconds(),
            due_seconds: due.map(Period::as_secs),
            run_id: proof.run_id.to_string(),
            copy: copy.to_owned(),
        })
    }

    /// What is open and not told yet.
    fn incidents(&mut self, incidents: &[Incident], copies: &[CopyProofs<'_>]) {
        for incident in incidents {
            if incident.closed_at.is_some() || incident.severity < Severity::Warning {
                continue;
            }
            let verdict = match incident.kind {
                // Overdue proofs and the like: nothing is wrong with the backup.
                // Nor is it where only what a rebuild needs besides data is amiss.
                IncidentKind::Schedule | IncidentKind::Capture => Verdict::Unproven,
                // A restore for use, a removal by policy: no statement on the copies.
                IncidentKind::Restore | IncidentKind::Expire | IncidentKind::Request => continue,
                IncidentKind::Verify
                | IncidentKind::Drill
                | IncidentKind::Backup
                | IncidentKind::Replicate
                | IncidentKind::Compare => Verdict::Failed,
            };
            if self.is_told(incident, copies) {
                continue;
            }
            let age = length(self.now.signed_duration_since(incident.opened_at));
            let text = format!(
                "{} is open since {age}: {}: {}",
                incident.code, incident.object, incident.message
            );
            let copy = Some(incident.copy.as_str()).filter(|copy| !copy.is_empty());
            self.say(verdict, copy, text);
        }
    }

    /// Whether the newest runs tell the same already.
    fn is_told(&self, incident: &Incident, copies: &[CopyProofs<'_>]) -> bool {
        let proofs = copies.iter().find(|proofs| proofs.copy == incident.copy);
        match incident.kind {
            IncidentKind::Verify => proofs.and_then(|proofs| proofs.verify).is_some_and(|seen| {
                let tally = seen.findings.get(&incident.code);
                tally.is_some_and(|tally| tally.severity >= Severity::Warning)
            }),
            IncidentKind::Drill => proofs.and_then(|proofs| proofs.drill).is_some_and(|drill| {
                drill.verdict == Verdict::Failed
                    && drill.definition.as_deref().unwrap_or_default() == incident.scope
            }),
            IncidentKind::Replicate => proofs
                .and_then(|proofs| proofs.replicate)
                .is_some_and(|done| done.differs > 0),
            IncidentKind::Schedule => {
                !self.overdue.is_empty() && incident.code.ends_with("-overdue")
            }
            IncidentKind::Restore
            | IncidentKind::Backup
            | IncidentKind::Compare
            | IncidentKind::Expire
            | IncidentKind::Capture
            | IncidentKind::Request => false,
        }
    }
}

/// A few names, and how many more.
fn list(names: &[&str]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = names.iter().copied().take(SHOWN).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
