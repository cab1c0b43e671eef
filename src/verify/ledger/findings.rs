//! What is told of remembered objects.

use chrono::{DateTime, Utc};

use super::listing::tells;
use crate::finding::{Code, Finding, Severity};
use crate::state::{ChangeKind, ObjectChange, RememberedObject};
use crate::verify::words::utc;

/// How many changed objects are told one by one.
const SHOWN: usize = 100;

/// Findings on the marked objects; `since` is when the run began: what it read itself, it
/// tells itself.
pub(super) fn findings(marked: &[RememberedObject], since: DateTime<Utc>) -> Vec<Finding> {
    let mut changed: Vec<Finding> = marked.iter().filter_map(changed).collect();
    changed.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let rest = changed.split_off(SHOWN.min(changed.len()));
    if let Some(first) = rest.first() {
        changed.push(
            Finding::new(
                Code::ObjectChanged,
                &first.object,
                format!(
                    "{} more objects changed after they were first seen; this is the first of them",
                    rest.len()
                ),
            )
            .with_severity(first.severity),
        );
    }
    let remembered = marked
        .iter()
        .filter(|object| object.last_read.is_none_or(|read| read < since))
        .flat_map(|object| {
            let when = object.last_read.map_or_else(String::new, |read| {
                format!(" (as it was when last read, {})", utc(read))
            });
            object.findings.iter().map(move |finding| Finding {
                message: format!("{}{when}", finding.message),
                ..finding.clone()
            })
        });
    changed.extend(remembered);
    changed
}

/// The finding on one object, if its change is one.
fn changed(object: &RememberedObject) -> Option<Finding> {
    let change = object.change.as_ref().filter(|change| tells(change.kind))?;
    let finding = |message: String| Finding::new(Code::ObjectChanged, &object.key, message);
    let then = state(change.size_before, change.etag_before.as_deref());
    let now = state(object.identity.size, object.identity.etag.as_deref());
    let Some((first, read)) = &object.first_read else {
        return Some(
            finding(format!(
                "it was first seen {} ({then}) and has been another one ({now}) since {}; it was never read, so nobody can tell which of the two is right",
                utc(object.first_seen),
                utc(change.noticed)
            ))
            .with_severity(Severity::Warning),
        );
    };
    Some(match change {
        ObjectChange {
            sha256_after: Some(after),
            ..
        } => finding(format!(
            "its SHA-256 was {first} when it was first read, {} ({then}), and is {after} ({now}); noticed {}",
            utc(*read),
            utc(change.noticed)
        )),
        ObjectChange { kind, .. } => {
            let finding = finding(format!(
                "its SHA-256 was {first} when it was first read, {} ({then}), and the store gives another object ({now}) since {}; not yet read again",
                utc(*read),
                utc(change.noticed)
            ));
            if *kind == ChangeKind::Tag {
                finding
                    .with_severity(Severity::Warning)
                    .with_consequence("It was stored again after it was read, with the same bytes or with others.")
                    .with_action("Read it: `walproof verify --depth sampled` reads such objects first, and their digest decides.")
            } else {
                finding
            }
        }
    })
}

fn state(size: u64, etag: Option<&str>) -> String {
    match etag {
        Some(etag) => format!("{size} bytes, tag {etag}"),
        None => format!("{size} bytes"),
    }
}

/// What is told of an object whose change a person has accepted.
pub(super) fn accepted(object: &RememberedObject) -> Option<Finding> {
    Some(
        changed(object)?
            .with_severity(Severity::Info)
            .with_consequence("Accepted: from now on what it holds now is what counts.")
            .with_action("Nothing to do."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Sha256;
    use crate::storage::ObjectIdentity;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn object(key: String, kind: ChangeKind, after: Option<&[u8]>) -> RememberedObject {
        RememberedObject {
            key,
            identity: ObjectIdentity {
                size: 6,
                etag: Some("b".to_owned()),
                version: None,
                modified: at(30),
            },
            first_seen: at(10),
            first_read: Some((Sha256::of(b"first"), at(20))),
            last_read: Some(at(20)),
            findings: Vec::new(),
            change: Some(ObjectChange {
                kind,
                noticed: at(40),
                size_before: 5,
                etag_before: Some("a".to_owned()),
                sha256_after: after.map(Sha256::of),
            }),
            absent_since: None,
        }
    }

    #[test]
    fn a_changed_object_is_told_with_both_digests_and_dates() {
        let told = findings(
            &[object("wals/a".to_owned(), ChangeKind::Bytes, Some(b"x"))],
            at(50),
        );
        let [finding] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert_eq!(finding.code, Code::ObjectChanged);
        assert_eq!(finding.severity, Severity::Critical);
        assert_eq!(finding.object, "wals/a");
        for part in [
            Sha256::of(b"first").to_string(),
            Sha256::of(b"x").to_string(),
            "1970-01-01 00:00:20 UTC".to_owned(),
            "5 bytes, tag a".to_owned(),
            "6 bytes, tag b".to_owned(),
        ] {
            assert!(finding.message.contains(&part), "{}", finding.message);
        }
    }

    #[test]
    fn what_was_not_read_again_is_said_to_be_so() {
        let severity = |kind| {
            let told = findings(&[object("wals/a".to_owned(), kind, None)], at(50));
            assert!(
                told.iter()
                    .all(|f| f.message.contains("not yet read again"))
            );
            told.first().map(|finding| finding.severity)
        };
        assert_eq!(severity(ChangeKind::Time), None);
        assert_eq!(severity(ChangeKind::Tag), Some(Severity::Warning));
        assert_eq!(severity(ChangeKind::Size), Some(Severity::Critical));
        let unread = RememberedObject {
            first_read: None,
            last_read: None,
            ..object("wals/a".to_owned(), ChangeKind::Size, None)
        };
        let told = findings(&[unread], at(50));
        assert_eq!(told[0].severity, Severity::Warning);
        assert!(
            told[0].message.contains("never read"),
            "{}",
            told[0].message
        );
    }

    #[test]
    fn many_are_told_as_one_and_the_worst_one_by_one() {
        let mut marked: Vec<_> = (0..300)
            .map(|number| object(format!("wals/{number:03}"), ChangeKind::Tag, None))
            .collect();
        marked.push(object("wals/z".to_owned(), ChangeKind::Bytes, Some(b"x")));
        let told = findings(&marked, at(50));
        assert_eq!(told.len(), SHOWN + 1);
        assert_eq!(told[0].object, "wals/z");
        assert!(told[SHOWN].message.starts_with("201 more objects"));
        assert_eq!(told[SHOWN].severity, Severity::Warning);
    }

    #[test]
    fn damage_is_told_from_memory_by_runs_that_did_not_read() {
        let mut damaged = object("wals/a".to_owned(), ChangeKind::Time, None);
        damaged.change = None;
        damaged.findings = vec![Finding::new(Code::WalCorrupt, "wals/a", "a bad record")];
        let told = findings(std::slice::from_ref(&damaged), at(50));
        assert_eq!(told.len(), 1);
        assert!(told[0].message.contains("when last read"), "{told:?}");
        assert!(findings(&[damaged], at(20)).is_empty(), "read by this run");
    }
}
