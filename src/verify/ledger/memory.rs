//! How a listing and a reading change what is remembered of one object. Pure.

use chrono::{DateTime, Utc};

use super::ObjectReading;
use crate::state::{ChangeKind, ObjectChange, RememberedObject};
use crate::storage::{IdentityChange, ObjectEntry, ObjectIdentity};

/// Whether an object may become another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Constancy {
    /// Once stored it stays as it is: WAL above all.
    Fixed,
    /// It changes until it has been read as finished: the description of a base backup.
    FixedOnceRead,
}

/// What to remember of an object that a listing shows; `None` when that is what is
/// remembered already.
pub(super) fn seen(
    known: Option<&RememberedObject>,
    entry: &ObjectEntry,
    constancy: Constancy,
    now: DateTime<Utc>,
) -> Option<RememberedObject> {
    let identity = entry.identity();
    let Some(known) = known else {
        return Some(new(entry, now));
    };
    let Some(how) = identity.change_since(&known.identity) else {
        return known.absent_since.is_some().then(|| RememberedObject {
            absent_since: None,
            ..known.clone()
        });
    };
    let mut seen = RememberedObject {
        identity,
        absent_since: None,
        ..known.clone()
    };
    let fixed =
        known.first_read.is_some() || (constancy == Constancy::Fixed && how > IdentityChange::Time);
    if fixed {
        seen.change = Some(grown(known, kind(how), now));
    }
    Some(seen)
}

/// What to remember of an object that was read.
pub(super) fn read(
    known: Option<&RememberedObject>,
    reading: &ObjectReading,
    now: DateTime<Utc>,
) -> RememberedObject {
    let mut after = known.map_or_else(|| new(&reading.entry, now), Clone::clone);
    let identity = reading.entry.identity();
    let version = identity.version.clone().or(after.identity.version);
    after.identity = ObjectIdentity {
        version,
        ..identity
    };
    after.absent_since = None;
    match (after.first_read, known) {
        (Some((first, _)), Some(known)) if first != reading.sha256 => {
            after.change = Some(ObjectChange {
                sha256_after: Some(reading.sha256),
                ..grown(known, ChangeKind::Bytes, now)
            });
        }
        (Some(_), _) => after.change = None,
        // What it was before it was read for the first time nobody knows.
        (None, _) => {
            after.first_read = Some((reading.sha256, now));
            after.change = None;
        }
    }
    if reading.judged {
        after.last_read = Some(now);
        after.findings.clone_from(&reading.findings);
    }
    after
}

/// What counts from now on is what the object holds now; it is read anew to know that.
pub(super) fn accepted(known: &RememberedObject) -> RememberedObject {
    let digest = known.change.as_ref().and_then(|change| change.sha256_after);
    let first_read = match (digest, known.change.as_ref()) {
        (Some(sha256), Some(change)) => Some((sha256, change.noticed)),
        _ => None,
    };
    RememberedObject {
        first_read,
        last_read: None,
        change: None,
        ..known.clone()
    }
}

fn new(entry: &ObjectEntry, now: DateTime<Utc>) -> RememberedObject {
    RememberedObject {
        key: entry.key.clone(),
        identity: entry.identity(),
        first_seen: now,
        first_read: None,
        last_read: None,
        findings: Vec::new(),
        change: None,
        absent_since: None,
    }
}

/// A change, or one more on top of that which is known: the first state and the first
/// moment stay, the gravest sign counts, and what it holds must be read again.
fn grown(known: &RememberedObject, kind: ChangeKind, now: DateTime<Utc>) -> ObjectChange {
    match &known.change {
        Some(change) => ObjectChange {
            kind: change.kind.max(kind),
            sha256_after: None,
            ..change.clone()
        },
        None => ObjectChange {
            kind,
            noticed: now,
            size_before: known.identity.size,
            etag_before: known.identity.etag.clone(),
            sha256_after: None,
        },
    }
}

const fn kind(how: IdentityChange) -> ChangeKind {
    match how {
        IdentityChange::Time => ChangeKind::Time,
        IdentityChange::Tag => ChangeKind::Tag,
        IdentityChange::Size => ChangeKind::Size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Sha256;
    use crate::finding::{Code, Finding};

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn entry(size: u64, etag: &str, written: i64) -> ObjectEntry {
        ObjectEntry {
            key: "wals/a".to_owned(),
            size,
            last_modified: at(written),
            etag: Some(etag.to_owned()),
            version: None,
        }
    }

    fn reading(entry: ObjectEntry, bytes: &[u8]) -> ObjectReading {
        ObjectReading {
            entry,
            sha256: Sha256::of(bytes),
            judged: true,
            findings: Vec::new(),
        }
    }

    fn listed(known: &RememberedObject, entry: &ObjectEntry, now: i64) -> Option<RememberedObject> {
        seen(Some(known), entry, Constancy::Fixed, at(now))
    }

    fn first() -> RememberedObject {
        let seen = seen(None, &entry(5, "a", 1), Constancy::Fixed, at(10)).unwrap();
        assert_eq!((seen.first_seen, seen.last_read), (at(10), None));
        read(Some(&seen), &reading(entry(5, "a", 1), b"bytes"), at(20))
    }

    #[test]
    fn what_stays_as_it_is_is_not_written_again() {
        let known = first();
        assert_eq!(known.first_read, Some((Sha256::of(b"bytes"), at(20))));
        assert_eq!(known.last_read, Some(at(20)));
        assert_eq!(listed(&known, &entry(5, "a", 1), 30), None);
        let gone = RememberedObject {
            absent_since: Some(at(25)),
            ..known.clone()
        };
        assert_eq!(
            listed(&gone, &entry(5, "a", 1), 30).as_ref(),
            Some(&known),
            "back, and as it was"
        );
        let again = read(Some(&known), &reading(entry(5, "a", 1), b"bytes"), at(40));
        assert_eq!(
            again,
            RememberedObject {
                last_read: Some(at(40)),
                ..known
            }
        );
    }

    #[test]
    fn a_sign_is_settled_by_the_digest() {
        let known = first();
        for (shown, kind) in [
            (entry(5, "a", 9), ChangeKind::Time),
            (entry(5, "b", 9), ChangeKind::Tag),
            (entry(6, "b", 9), ChangeKind::Size),
        ] {
            let doubtful = listed(&known, &shown, 30).unwrap();
            let change = doubtful.change.clone().unwrap();
            assert_eq!((change.kind, change.noticed), (kind, at(30)));
            assert_eq!(change.size_before, 5);
            assert_eq!(change.etag_before.as_deref(), Some("a"));
            assert_eq!(change.sha256_after, None);
            // It is told once, not at every listing.
            assert_eq!(listed(&doubtful, &shown, 31), None);

            let same = read(Some(&doubtful), &reading(shown.clone(), b"bytes"), at(40));
            assert_eq!(same.change, None);
            assert_eq!(same.identity, shown.identity());

            let other = read(Some(&doubtful), &reading(shown.clone(), b"other"), at(40));
            let change = other.change.clone().unwrap();
            assert_eq!((change.kind, change.noticed), (ChangeKind::Bytes, at(30)));
            assert_eq!(change.sha256_after, Some(Sha256::of(b"other")));
            assert_eq!(
                other.first_read, known.first_read,
                "what was first read counts"
            );
            let still = read(Some(&other), &reading(shown.clone(), b"other"), at(50));
            assert_eq!(still.change.as_ref().unwrap().noticed, at(30));
            let mended = read(Some(&other), &reading(shown.clone(), b"bytes"), at(60));
            assert_eq!(mended.change, None);
            // Written once more, it must be read once more.
            let once_more = listed(&other, &entry(5, "c", 70), 70).unwrap();
            let change = once_more.change.unwrap();
            assert_eq!(change.kind, ChangeKind::Bytes);
            assert_eq!(change.sha256_after, None);

            let accepted = accepted(&other);
            assert_eq!(accepted.first_read.unwrap().0, Sha256::of(b"other"));
            assert_eq!(accepted.change, None);
        }
    }

    #[test]
    fn bytes_that_rot_in_place_are_found_by_reading() {
        let known = first();
        let rotten = read(Some(&known), &reading(entry(5, "a", 1), b"bites"), at(40));
        let change = rotten.change.unwrap();
        assert_eq!((change.kind, change.noticed), (ChangeKind::Bytes, at(40)));
    }

    #[test]
    fn what_was_never_read_is_only_doubtful_until_it_is() {
        let seen = seen(None, &entry(5, "a", 1), Constancy::Fixed, at(10)).unwrap();
        assert_eq!(
            listed(&seen, &entry(5, "a", 2), 20).unwrap().change,
            None,
            "a time alone says nothing"
        );
        let doubtful = listed(&seen, &entry(5, "b", 2), 20).unwrap();
        assert_eq!(doubtful.change.as_ref().unwrap().kind, ChangeKind::Tag);
        let known = read(
            Some(&doubtful),
            &reading(entry(5, "b", 2), b"bytes"),
            at(30),
        );
        assert_eq!(known.change, None);
    }

    #[test]
    fn a_description_changes_until_it_was_read_as_finished() {
        let once = Constancy::FixedOnceRead;
        let started = seen(None, &entry(900, "a", 1), once, at(10)).unwrap();
        let updated = seen(Some(&started), &entry(950, "b", 2), once, at(20)).unwrap();
        assert_eq!(updated.change, None);
        let done = read(
            Some(&updated),
            &reading(entry(980, "c", 3), b"status=DONE"),
            at(30),
        );
        assert_eq!(done.change, None);
        let forged = seen(Some(&done), &entry(980, "d", 4), once, at(40)).unwrap();
        assert_eq!(forged.change.unwrap().kind, ChangeKind::Tag);
    }

    #[test]
    fn damage_is_remembered_until_it_is_judged_again() {
        let known = first();
        let damage = vec![Finding::new(Code::WalCorrupt, "wals/a", "bad record")];
        let mut bad = reading(entry(5, "a", 1), b"bytes");
        bad.findings.clone_from(&damage);
        let damaged = read(Some(&known), &bad, at(40));
        assert_eq!(damaged.findings, damage);
        let mut digest = reading(entry(5, "a", 1), b"bytes");
        digest.judged = false;
        let digested = read(Some(&damaged), &digest, at(50));
        assert_eq!(digested.findings, damage);
        assert_eq!(digested.last_read, Some(at(40)));
        let sound = read(Some(&damaged), &reading(entry(5, "a", 1), b"bytes"), at(60));
        assert!(sound.findings.is_empty());
    }
}
