//! What is wrong with a copy, in words.

use chrono::{DateTime, Utc};

use super::Tally;
use crate::codec::Sha256;
use crate::finding::{Code, Finding, Severity};
use crate::state::{CopyAlarm, CopySide, RememberedCopy};
use crate::verify::words;

/// How many findings of one code are told one by one.
pub(super) const SHOWN: usize = 100;

/// How many objects one finding names.
const NAMED: usize = 3;

/// What an alarm says. `annotation`: whether people may change the object at will.
pub(super) fn alarm(copy: &RememberedCopy, alarm: &CopyAlarm, annotation: bool) -> Finding {
    let size = copy.source.size;
    let known = copy
        .sha256
        .map_or_else(|| "not known".to_owned(), |sha256| sha256.to_string());
    let other = alarm.sha256;
    let noticed = words::utc(alarm.noticed);
    let when = copy.copied_at.or(copy.read_back_at);
    let when = when.map_or_else(|| "earlier".to_owned(), words::utc);
    let finding = match alarm.side {
        CopySide::Source => Finding::new(
            Code::CopySourceChanged,
            &copy.key,
            format!(
                "its SHA-256 was {known} ({size} bytes) when it was copied, {when}; the source holds {other} ({} bytes) now; noticed {noticed}",
                alarm.size
            ),
        ),
        CopySide::Target => Finding::new(
            Code::CopyDamaged,
            &copy.key,
            format!(
                "what was written has SHA-256 {known} ({size} bytes), {when}; the target holds {other} ({} bytes); noticed {noticed}",
                alarm.size
            ),
        ),
        CopySide::Both => Finding::new(
            Code::CopyDiffers,
            &copy.key,
            format!(
                "the source's SHA-256 is {known} ({size} bytes), the target's {other} ({} bytes); nothing was written; noticed {noticed}",
                alarm.size
            ),
        ),
    };
    if annotation {
        finding
            .with_severity(Severity::Info)
            .with_consequence(
                "A mark for the tools says one thing here and another there; no data is concerned.",
            )
            .with_action("Set it at the target as you want it there; walproof never overwrites.")
    } else {
        finding
    }
}

/// What was copied once and has gone from the target.
pub(super) fn vanished(keys: &[String]) -> Option<Finding> {
    let first = keys.first()?;
    let total = keys.len();
    let message = if total == 1 {
        "it was copied before, and somebody removed it from the target; it is copied again"
            .to_owned()
    } else {
        format!(
            "{total} objects were copied before, and somebody removed them from the target; they are copied again. The first: {}",
            keys.get(..NAMED).unwrap_or(keys).join(", ")
        )
    };
    Some(Finding::new(Code::CopyMissing, first, message))
}

/// What lies at the source and not at the target, and should by now.
pub(super) fn missing(key: &str, since: DateTime<Utc>, size: u64) -> Finding {
    Finding::new(
        Code::CopyMissing,
        key,
        format!(
            "it lies at the source since {} ({size} bytes) and not at the target",
            words::utc(since)
        ),
    )
}

/// What lies at the target alone.
pub(super) fn only(keys: &[String], tally: Tally, emptied: bool) -> Option<Finding> {
    let first = keys.first()?;
    let objects = words::count(tally.objects, "object");
    let bytes = words::bytes(tally.bytes);
    let shown = keys.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    let finding = Finding::new(
        Code::CopyOnly,
        first,
        format!(
            "the target holds {objects} ({bytes}) that the source does not hold any more: {shown}{}",
            if tally.objects > 3 { ", …" } else { "" }
        ),
    );
    Some(if emptied {
        finding
            .with_severity(Severity::Critical)
            .with_consequence("The source holds nothing any more: this copy is all there is.")
            .with_action("Stop what deletes at the source, and keep this copy: no `replicate expire`, no lifecycle rule. Then find out who emptied the source.")
    } else {
        finding
    })
}

/// An object that was read back and is not what was written.
pub(super) fn not_what_was_written(key: &str, written: Sha256, found: Sha256) -> Finding {
    Finding::new(
        Code::CopyDamaged,
        key,
        format!("what was written has SHA-256 {written}; read back it has {found}"),
    )
}

/// Tells the first of many and counts the rest.
pub(super) fn bounded(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|one, other| {
        other
            .severity
            .cmp(&one.severity)
            .then(one.code.cmp(&other.code))
            .then_with(|| one.object.cmp(&other.object))
    });
    let mut told: Vec<Finding> = Vec::new();
    let mut count = 0;
    let mut rest: u64 = 0;
    for finding in findings {
        if told
            .last()
            .is_some_and(|last| last.code != finding.code || last.severity != finding.severity)
        {
            close(&mut told, &mut rest);
            count = 0;
        }
        if count < SHOWN {
            told.push(finding);
            count += 1;
        } else {
            rest += 1;
        }
    }
    close(&mut told, &mut rest);
    told
}

fn close(told: &mut [Finding], rest: &mut u64) {
    if let Some(last) = told.last_mut()
        && *rest > 0
    {
        last.message = format!("{} (and {rest} more objects like it)", last.message);
    }
    *rest = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_told_as_a_hundred() {
        let mut findings: Vec<Finding> = (0..250)
            .map(|n| Finding::new(Code::CopyDiffers, format!("wals/{n:03}"), "differs"))
            .collect();
        findings.push(Finding::new(Code::CopyOnly, "a", "only"));
        let told = bounded(findings);
        assert_eq!(told.len(), SHOWN + 1);
        assert!(
            told[SHOWN - 1]
                .message
                .ends_with("(and 150 more objects like it)")
        );
        assert_eq!(told[SHOWN].code, Code::CopyOnly);
        assert_eq!(told[SHOWN].message, "only");
    }
}
