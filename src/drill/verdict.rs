//! The verdict and its reasons.
//!
//! Proven only if nothing was wrong and nothing was left open: the way to the target had
//! no hole, the end of recovery is proven, the server said that it was confined, every
//! required check passed, the objectives are met, and where it was demanded no other copy
//! could be reached. Something that is wrong makes the
//! drill `failed`, whatever else could not be looked at; else anything that could not be
//! looked at makes it `unproven`, which is never blamed on the backup.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::checks::{CheckOutcome, CheckResult};
use super::course::Stop;
use super::neutral::SafetyReport;
use super::proof::{EndProof, ProofState};
use crate::evidence::Verdict;
use crate::finding::{Code, Finding};
use crate::repository::Alone;
use crate::verify::words;

/// What came of an objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectiveState {
    /// None is set.
    #[default]
    NotSet,
    /// It says nothing about a drill of this kind.
    NotApplicable,
    /// The measured value is within the limit.
    Met,
    /// It is beyond.
    Missed,
    /// Nothing could be measured.
    NotMeasured,
}

/// An objective and what was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Objective {
    /// The limit in milliseconds.
    pub limit_milliseconds: Option<u64>,
    /// What was measured, in milliseconds.
    pub actual_milliseconds: Option<u64>,
    /// What came of it.
    pub state: ObjectiveState,
    /// What exactly was measured.
    pub method: String,
}

impl Objective {
    /// Compares. Without a limit nothing is demanded; a limit without a measured value is
    /// not met.
    pub fn judge(
        limit_milliseconds: Option<u64>,
        actual_milliseconds: Option<u64>,
        applicable: bool,
        method: impl Into<String>,
    ) -> Self {
        let state = match (limit_milliseconds, actual_milliseconds) {
            (None, _) => ObjectiveState::NotSet,
            (Some(_), _) if !applicable => ObjectiveState::NotApplicable,
            (Some(_), None) => ObjectiveState::NotMeasured,
            (Some(limit), Some(actual)) if actual <= limit => ObjectiveState::Met,
            (Some(_), Some(_)) => ObjectiveState::Missed,
        };
        Self {
            limit_milliseconds,
            actual_milliseconds,
            state,
            method: method.into(),
        }
    }
}

/// One reason for a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// The verdict that it leads to.
    pub verdict: Verdict,
    /// The finding behind it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<Code>,
    /// In words.
    pub text: String,
}

/// Everything that a verdict depends on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Why the drill did not come to its end, if it did not.
    pub stop: Option<&'a Stop>,
    /// WAL behind a hole that the target should have reached: findings that name it.
    pub holes: &'a [Finding],
    /// The proof of the end.
    pub proof: &'a EndProof,
    /// The confinement.
    pub safety: &'a SafetyReport,
    /// The checks.
    pub checks: &'a [CheckResult],
    /// The recovery point objective.
    pub rpo: &'a Objective,
    /// The recovery time objective.
    pub rto: &'a Objective,
    /// What was read, and whether another copy could be reached.
    pub alone: &'a Alone,
}

/// A verdict with its reasons, the weightiest first. A proven drill has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is not `proven`.
    pub reasons: Vec<Reason>,
}

#[derive(Default)]
struct Reasons(Vec<Reason>);

impl Reasons {
    fn add(&mut self, verdict: Verdict, code: Option<Code>, text: impl Into<String>) {
        self.0.push(Reason {
            verdict,
            code,
            text: text.into(),
        });
    }

    fn found(&mut self, findings: &[Finding]) {
        for finding in findings {
            self.add(
                Verdict::Failed,
                Some(finding.code),
                format!("{}: {}", finding.object, finding.message),
            );
        }
    }
}

/// Judges a drill.
pub fn judge(facts: &Facts<'_>) -> Judgement {
    let mut reasons = Reasons::default();
    reasons.found(facts.holes);
    match facts.stop {
        None => {}
        // It stopped because it was not confined, which is told below. Whatever else may
        // come to stop it without a finding: what did not end is never proven.
        Some(Stop::Failed(findings))
            if findings.is_empty() && facts.safety.holds != Some(false) =>
        {
            reasons.add(Verdict::Failed, None, "the drill did not come to its end");
        }
        Some(Stop::Failed(findings)) => reasons.found(findings),
        Some(Stop::Refused { reason, .. }) => {
            reasons.add(Verdict::Unproven, None, format!("refused: {reason}"));
        }
        Some(Stop::Unproven(words)) => reasons.add(Verdict::Unproven, None, words),
        Some(Stop::Store(error)) => reasons.add(Verdict::Unproven, None, error.to_string()),
        Some(Stop::Interrupted) => reasons.add(Verdict::Unproven, None, "interrupted"),
    }
    judge_end(facts, &mut reasons);
    for check in facts.checks.iter().filter(|check| check.required) {
        let verdict = match check.outcome {
            CheckOutcome::Passed => continue,
            CheckOutcome::Failed => Verdict::Failed,
            CheckOutcome::Unproven => Verdict::Unproven,
        };
        let code = (check.outcome == CheckOutcome::Failed).then_some(Code::CheckFailed);
        let message = check.message.as_deref().unwrap_or(check.outcome.as_str());
        reasons.add(verdict, code, format!("check `{}`: {message}", check.name));
    }
    for (name, objective, code) in [
        ("RPO", facts.rpo, Code::ObjectiveMissedRpo),
        ("RTO", facts.rto, Code::ObjectiveMissedRto),
    ] {
        match objective.state {
            ObjectiveState::Missed => reasons.add(
                Verdict::Failed,
                Some(code),
                format!(
                    "{name} missed: {} measured, {} allowed",
                    words::measured(objective.actual_milliseconds.unwrap_or_default()),
                    words::measured(objective.limit_milliseconds.unwrap_or_default())
                ),
            ),
            // A drill that stopped before has said why already.
            ObjectiveState::NotMeasured if facts.stop.is_none() => reasons.add(
                Verdict::Unproven,
                None,
                format!("{name} could not be measured: {}", objective.method),
            ),
            _ => {}
        }
    }
    // Who interrupts a drill knows why the copies were not asked again.
    if !matches!(facts.stop, Some(Stop::Interrupted)) || facts.alone.holds == Some(false) {
        for reason in facts.alone.reasons() {
            reasons.add(Verdict::Unproven, None, reason);
        }
    }
    let mut reasons = reasons.0;
    let verdict = reasons.iter().fold(Verdict::Proven, |verdict, reason| {
        verdict.and(reason.verdict)
    });
    reasons.sort_by_key(|reason| u8::from(reason.verdict != Verdict::Failed));
    Judgement { verdict, reasons }
}

/// The end of recovery and the confinement. What was not asked only because the drill
/// stopped before is covered by the reason for that; it can never be `proven`.
fn judge_end(facts: &Facts<'_>, reasons: &mut Reasons) {
    let violations = facts.safety.violations();
    match facts.safety.holds {
        Some(true) => {}
        Some(false) => reasons.add(
            Verdict::Failed,
            Some(Code::SafetyViolated),
            format!(
                "the restored server was not confined: {}",
                violations.join("; ")
            ),
        ),
        None if facts.stop.is_some() => {}
        None => reasons.add(
            Verdict::Unproven,
            None,
            "the restored server was never asked whether it is confined",
        ),
    }
    match facts.proof.state {
        ProofState::Held => {}
        ProofState::Differs => reasons.add(
            Verdict::Failed,
            Some(Code::RecoveryEndedEarly),
            format!(
                "recovery did not end where the archive's bytes say: {}",
                facts.proof.differences().join("; ")
            ),
        ),
        ProofState::Unknown if facts.stop.is_some() => {}
        ProofState::Unknown => reasons.add(
            Verdict::Unproven,
            Some(Code::RecoveryEndUnproven),
            "the server did not say where recovery ended",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::proof::ProofItem;
    use super::*;
    use crate::repository::AloneAsked;

    struct Case {
        stop: Option<Stop>,
        holes: Vec<Finding>,
        proof: EndProof,
        safety: SafetyReport,
        checks: Vec<CheckResult>,
        rpo: Objective,
        rto: Objective,
        alone: Alone,
    }

    fn item(holds: Option<bool>) -> ProofItem {
        ProofItem {
            name: "replay-end".into(),
            expected: "0/3000148".into(),
            observed: Some("0/2000148".into()),
            holds,
        }
    }

    /// A drill that went well.
    fn good() -> Case {
        Case {
            stop: None,
            holes: Vec::new(),
            proof: EndProof {
                state: ProofState::Held,
                items: vec![item(Some(true))],
                ..EndProof::default()
            },
            safety: SafetyReport {
                items: vec![item(Some(true))],
                holds: Some(true),
                ..SafetyReport::default()
            },
            checks: vec![check(CheckOutcome::Passed, true)],
            rpo: Objective::judge(Some(1000), Some(900), true, "x"),
            rto: Objective::judge(Some(1000), Some(1000), true, "x"),
            alone: Alone {
                asked: AloneAsked::Required,
                holds: Some(true),
                ..Alone::default()
            },
        }
    }

    fn check(outcome: CheckOutcome, required: bool) -> CheckResult {
        CheckResult {
            name: "orders".into(),
            kind: "sql".into(),
            required,
            outcome,
            expected: None,
            observed: None,
            message: None,
            milliseconds: 1,
        }
    }

    fn verdict(change: impl FnOnce(&mut Case)) -> (Verdict, usize) {
        let mut case = good();
        change(&mut case);
        let judged = judge(&Facts {
            stop: case.stop.as_ref(),
            holes: &case.holes,
            proof: &case.proof,
            safety: &case.safety,
            checks: &case.checks,
            rpo: &case.rpo,
            rto: &case.rto,
            alone: &case.alone,
        });
        (judged.verdict, judged.reasons.len())
    }

    fn gap() -> Finding {
        Finding::new(
            Code::WalGap,
            "000000010000000000000007",
            "one segment is missing",
        )
    }

    #[test]
    fn everything_right_is_proven_and_needs_no_reason() {
        assert_eq!(verdict(|_| {}), (Verdict::Proven, 0));
        assert_eq!(verdict(|case| case.checks.clear()), (Verdict::Proven, 0));
        assert_eq!(
            verdict(|case| {
                case.rpo = Objective::judge(None, None, true, "x");
                case.rto = Objective::judge(Some(1), None, false, "x");
            }),
            (Verdict::Proven, 0)
        );
    }

    #[test]
    fn each_wrong_thing_fails() {
        use Verdict::Failed;
        assert_eq!(verdict(|case| case.holes.push(gap())), (Failed, 1));
        assert_eq!(
            verdict(|case| case.stop = Some(Stop::failed(gap()))),
            (Failed, 1)
        );
        assert_eq!(
            verdict(|case| case.proof.state = ProofState::Differs),
            (Failed, 1)
        );
        assert_eq!(verdict(|case| case.safety.holds = Some(false)), (Failed, 1));
        assert_eq!(
            verdict(|case| case.checks[0].outcome = CheckOutcome::Failed),
            (Failed, 1)
        );
        assert_eq!(
            verdict(|case| case.rpo = Objective::judge(Some(1000), Some(1001), true, "x")),
            (Failed, 1)
        );
        assert_eq!(
            verdict(|case| case.rto = Objective::judge(Some(1000), Some(1001), true, "x")),
            (Failed, 1)
        );
    }

    #[test]
    fn each_open_thing_is_unproven() {
        use Verdict::Unproven;
        assert_eq!(
            verdict(|case| case.stop = Some(Stop::Unproven("no room".into()))),
            (Unproven, 1)
        );
        assert_eq!(
            verdict(|case| case.stop = Some(Stop::Interrupted)),
            (Unproven, 1)
        );
        assert_eq!(
            verdict(|case| case.stop = Some(Stop::Refused {
                reason: "tablespace".into(),
                findings: vec![gap()]
            })),
            (Unproven, 1)
        );
        assert_eq!(
            verdict(|case| case.proof.state = ProofState::Unknown),
            (Unproven, 1)
        );
        assert_eq!(verdict(|case| case.safety.holds = None), (Unproven, 1));
        assert_eq!(
            verdict(|case| case.checks[0].outcome = CheckOutcome::Unproven),
            (Unproven, 1)
        );
        assert_eq!(
            verdict(|case| case.rpo = Objective::judge(Some(1000), None, true, "x")),
            (Unproven, 1)
        );
    }

    #[test]
    fn where_it_was_not_alone_it_is_unproven_and_never_hides_what_failed() {
        for holds in [Some(false), None] {
            assert_eq!(
                verdict(|case| case.alone.holds = holds),
                (Verdict::Unproven, 1)
            );
            let failed = |case: &mut Case| {
                case.alone.holds = holds;
                case.holes.push(gap());
            };
            assert_eq!(verdict(failed), (Verdict::Failed, 2));
        }
        for asked in [AloneAsked::No, AloneAsked::Report] {
            let told = |case: &mut Case| {
                case.alone.asked = asked;
                case.alone.holds = Some(false);
            };
            assert_eq!(verdict(told), (Verdict::Proven, 0));
        }
    }

    #[test]
    fn optional_checks_do_not_count() {
        for outcome in [CheckOutcome::Failed, CheckOutcome::Unproven] {
            assert_eq!(
                verdict(|case| case.checks.push(check(outcome, false))),
                (Verdict::Proven, 0)
            );
        }
    }

    #[test]
    fn what_is_wrong_stays_wrong_though_the_drill_was_interrupted() {
        let (judged, _) = verdict(|case| {
            case.stop = Some(Stop::Interrupted);
            case.checks[0].outcome = CheckOutcome::Failed;
        });
        assert_eq!(judged, Verdict::Failed);
        let (judged, reasons) = verdict(|case| {
            case.stop = Some(Stop::Unproven("storage".into()));
            case.holes.push(gap());
            case.proof = EndProof::default();
            case.safety = SafetyReport::default();
            case.checks.clear();
        });
        assert_eq!((judged, reasons), (Verdict::Failed, 2));
    }

    #[test]
    fn a_stop_without_a_finding_is_never_proven() {
        let stopped = |case: &mut Case| {
            case.stop = Some(Stop::Failed(Vec::new()));
            case.rto = Objective::default();
        };
        assert_eq!(verdict(stopped), (Verdict::Failed, 1));
        // One that was let loose is told once.
        let loose = |case: &mut Case| {
            stopped(case);
            case.safety.holds = Some(false);
        };
        assert_eq!(verdict(loose), (Verdict::Failed, 1));
    }

    #[test]
    fn nothing_known_is_never_proven() {
        let (judged, _) = verdict(|case| {
            case.proof = EndProof::default();
            case.safety = SafetyReport::default();
            case.checks.clear();
        });
        assert_eq!(judged, Verdict::Unproven);
    }
}
