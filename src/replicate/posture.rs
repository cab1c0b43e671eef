//! What a bucket's settings mean for the backups in it.

use chrono::{DateTime, TimeDelta, Utc};

use crate::finding::{Code, Finding, Severity};
use crate::repository::OWN_FOLDER;
use crate::storage::{Encryption, LifecycleRule, Posture, Public};
use crate::verify::words::{length, utc};

/// Classes of storage from which an object must be fetched back before it can be read, which
/// takes hours. Names of S3, Azure and Google Cloud Storage; those of the latter are read at
/// once.
const COLD: [&str; 3] = ["GLACIER", "DEEP_ARCHIVE", "ARCHIVE"];

/// What a copy is held against.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The place within the bucket, without slashes at its ends; empty for all of it.
    pub prefix: &'a str,
    /// The repository's URL.
    pub location: &'a str,
    /// How far back recovery is promised.
    pub retention: Option<TimeDelta>,
    /// How far apart base backups may be: what the promise needs is older by so much.
    pub between_backups: Option<TimeDelta>,
    /// Whether what is copied is to be locked.
    pub locked: bool,
    /// The scheme of its URL, such as `s3`.
    pub scheme: &'a str,
}

impl Expected<'_> {
    /// How old an object may be that the promise still needs.
    fn needed(&self) -> Option<TimeDelta> {
        let between = self.between_backups.unwrap_or_default();
        self.retention.map(|retention| retention + between)
    }

    fn needed_words(&self) -> String {
        match (self.retention, self.between_backups) {
            (Some(retention), Some(between)) => format!(
                "{} of retention, and up to {} until the base backup before it",
                length(retention),
                length(between)
            ),
            (Some(retention), None) => format!("{} of retention", length(retention)),
            (None, _) => "no retention is configured".to_owned(),
        }
    }
}

/// What is wrong with the settings of a bucket. What was not told gives no finding: it is
/// shown as not told.
pub fn findings(posture: &Posture, expected: &Expected<'_>, now: DateTime<Utc>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in posture.lifecycle.told().into_iter().flatten() {
        findings.extend(expiration(rule, expected, now));
        findings.extend(transition(rule, expected));
    }
    if let Some(Public::Yes { how }) = posture.public.told() {
        findings.push(Finding::new(
            Code::BucketPublic,
            expected.location,
            format!("everybody may read it: {how}"),
        ));
    }
    if posture.versioning.told() == Some(&false) {
        findings.push(Finding::new(
            Code::BucketNotVersioned,
            expected.location,
            "the bucket keeps no versions",
        ));
    }
    if let Some(Encryption {
        algorithm: None, ..
    }) = posture.encryption.told()
    {
        findings.push(Finding::new(
            Code::BucketNotEncrypted,
            expected.location,
            "the bucket does not encrypt new objects by itself",
        ));
    }
    if expected.locked && posture.object_lock.told().is_some_and(|lock| !lock.enabled) {
        findings.push(Finding::new(
            Code::CopyNotLocked,
            expected.location,
            "the configuration asks for a retention, but the bucket cannot lock objects",
        ));
    }
    findings
}

/// Whether a rule is about objects of the place: about all of them, or about a part.
fn concerns(rule: &LifecycleRule, expected: &Expected<'_>) -> bool {
    if !rule.enabled {
        return false;
    }
    let place = match expected.prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    if place.starts_with(&rule.prefix) {
        return true;
    }
    rule.prefix
        .strip_prefix(&place)
        .is_some_and(|part| !part.starts_with(OWN_FOLDER))
}

fn name(rule: &LifecycleRule) -> String {
    let id = rule.id.as_ref().map_or_else(
        || "a lifecycle rule".to_owned(),
        |id| format!("lifecycle rule `{id}`"),
    );
    let prefix = match rule.prefix.as_str() {
        "" => "of the whole bucket".to_owned(),
        prefix => format!("for `{prefix}`"),
    };
    match &rule.only {
        Some(only) => format!("{id} {prefix} (only {only})"),
        None => format!("{id} {prefix}"),
    }
}

fn expiration(
    rule: &LifecycleRule,
    expected: &Expected<'_>,
    now: DateTime<Utc>,
) -> Option<Finding> {
    if !concerns(rule, expected) {
        return None;
    }
    let needed = expected.needed();
    let when = match (rule.expire_days, rule.expire_date) {
        (Some(days), _) => {
            let age = TimeDelta::days(i64::from(days));
            if needed.is_some_and(|needed| age >= needed) {
                return None;
            }
            format!("deletes objects {days} days after they were written")
        }
        (None, Some(date)) if date > now => format!("deletes all objects on {}", utc(date)),
        (None, Some(date)) => format!("deletes all objects, since {}", utc(date)),
        (None, None) => return None,
    };
    let finding = Finding::new(
        Code::BucketLifecycleEatsArchive,
        expected.location,
        format!(
            "{} {when}; what is promised needs more: {}",
            name(rule),
            expected.needed_words()
        ),
    );
    Some(if needed.is_none() {
        Finding {
            message: format!(
                "{} {when}, base backups and WAL alike, whatever still needs them; {}",
                name(rule),
                expected.needed_words()
            ),
            ..finding
        }
        .with_severity(Severity::Warning)
    } else if rule.only.is_some() {
        finding.with_severity(Severity::Warning)
    } else {
        finding
    })
}

fn transition(rule: &LifecycleRule, expected: &Expected<'_>) -> Option<Finding> {
    let transition = rule.transition.as_ref()?;
    let cold = COLD
        .iter()
        .any(|cold| transition.class.eq_ignore_ascii_case(cold));
    if !cold || expected.scheme == "gs" || !concerns(rule, expected) {
        return None;
    }
    let age = TimeDelta::days(i64::from(transition.days));
    if expected.needed().is_some_and(|needed| age >= needed) {
        return None;
    }
    let (days, class) = (transition.days, &transition.class);
    Some(
        Finding::new(
            Code::BucketLifecycleEatsArchive,
            expected.location,
            format!(
                "{} moves objects to {class} {days} days after they were written",
                name(rule)
            ),
        )
        .with_severity(Severity::Warning)
        .with_consequence(format!(
            "A restore that needs anything older than {days} days trips over it: it must be fetched back from {class} first, which takes hours to days."
        ))
        .with_action("Move objects to such a class only after the tier's retention, or count the time to fetch them back into the recovery time objective."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Known, ObjectLock, Transition};

    fn posture(rules: Vec<LifecycleRule>) -> Posture {
        Posture {
            versioning: Known::Told(true),
            object_lock: Known::Told(ObjectLock {
                enabled: true,
                default: None,
            }),
            lifecycle: Known::Told(rules),
            public: Known::Told(Public::No),
            encryption: Known::Told(Encryption {
                algorithm: Some("AES256".to_owned()),
                key: None,
            }),
            server: None,
        }
    }

    fn expected() -> Expected<'static> {
        Expected {
            prefix: "pg/orders",
            location: "s3://backups/pg/orders",
            retention: Some(TimeDelta::days(30)),
            between_backups: Some(TimeDelta::days(1)),
            locked: true,
            scheme: "s3",
        }
    }

    fn rule(prefix: &str, days: u32) -> LifecycleRule {
        LifecycleRule {
            id: Some("r".to_owned()),
            prefix: prefix.to_owned(),
            enabled: true,
            expire_days: Some(days),
            ..LifecycleRule::default()
        }
    }

    fn of(rule: LifecycleRule, expected: &Expected<'_>) -> Vec<(Code, Severity)> {
        findings(&posture(vec![rule]), expected, Utc::now())
            .into_iter()
            .map(|finding| (finding.code, finding.severity))
            .collect()
    }

    const EATS: Code = Code::BucketLifecycleEatsArchive;

    #[test]
    fn a_rule_eats_what_its_prefix_covers() {
        for (prefix, eats) in [
            ("", true),
            ("pg/", true),
            ("pg/ord", true),
            ("pg/orders/", true),
            ("pg/orders/wals/", true),
            ("pg/orders/base/2026", true),
            ("pg/orders/.walproof/", false),
            ("pg/orders2/", false),
            ("logs/", false),
        ] {
            let found = of(rule(prefix, 14), &expected());
            assert_eq!(!found.is_empty(), eats, "{prefix}");
            assert!(
                found
                    .iter()
                    .all(|found| *found == (EATS, Severity::Critical))
            );
        }
    }

    #[test]
    fn what_the_promise_needs_is_older_by_the_time_between_backups() {
        assert_eq!(of(rule("", 30), &expected()).len(), 1);
        assert_eq!(of(rule("", 31), &expected()), []);
        let unknown = Expected {
            between_backups: None,
            ..expected()
        };
        assert_eq!(of(rule("", 30), &unknown), []);
        assert_eq!(of(rule("", 29), &unknown), [(EATS, Severity::Critical)]);
        let nothing = Expected {
            retention: None,
            ..expected()
        };
        assert_eq!(of(rule("", 3_650), &nothing), [(EATS, Severity::Warning)]);
    }

    #[test]
    fn rules_that_are_off_or_about_versions_eat_nothing() {
        let off = LifecycleRule {
            enabled: false,
            ..rule("", 1)
        };
        assert_eq!(of(off, &expected()), []);
        let versions = LifecycleRule {
            expire_days: None,
            noncurrent_days: Some(1),
            abort_multipart_days: Some(1),
            ..rule("", 1)
        };
        assert_eq!(of(versions, &expected()), []);
        let tagged = LifecycleRule {
            only: Some("tag k=v".to_owned()),
            ..rule("", 1)
        };
        assert_eq!(of(tagged, &expected()), [(EATS, Severity::Warning)]);
        let dated = LifecycleRule {
            expire_days: None,
            expire_date: Some(Utc::now()),
            ..rule("", 1)
        };
        assert_eq!(of(dated, &expected()), [(EATS, Severity::Critical)]);
    }

    #[test]
    fn a_restore_trips_over_cold_classes() {
        let moved = |class: &str, days: u32| LifecycleRule {
            expire_days: None,
            transition: Some(Transition {
                days,
                class: class.to_owned(),
            }),
            ..rule("pg/", 1)
        };
        assert_eq!(
            of(moved("GLACIER", 7), &expected()),
            [(EATS, Severity::Warning)]
        );
        assert_eq!(of(moved("DEEP_ARCHIVE", 30), &expected()).len(), 1);
        assert_eq!(of(moved("GLACIER", 31), &expected()), []);
        for warm in ["GLACIER_IR", "STANDARD_IA", "ONEZONE_IA"] {
            assert_eq!(of(moved(warm, 7), &expected()), [], "{warm}");
        }
        let google = Expected {
            scheme: "gs",
            ..expected()
        };
        assert_eq!(of(moved("ARCHIVE", 7), &google), []);
        let azure = Expected {
            scheme: "az",
            ..expected()
        };
        assert_eq!(of(moved("Archive", 7), &azure).len(), 1);
    }

    #[test]
    fn good_settings_give_no_finding_and_what_is_not_told_none_either() {
        assert_eq!(findings(&posture(vec![]), &expected(), Utc::now()), []);
        let why = || "403".to_owned();
        let silent = Posture {
            versioning: Known::NotTold { why: why() },
            object_lock: Known::NotTold { why: why() },
            lifecycle: Known::NotTold { why: why() },
            public: Known::NotTold { why: why() },
            encryption: Known::NotTold { why: why() },
            server: None,
        };
        assert_eq!(findings(&silent, &expected(), Utc::now()), []);
    }

    #[test]
    fn each_bad_setting_has_its_finding() {
        let bad = Posture {
            versioning: Known::Told(false),
            object_lock: Known::Told(ObjectLock {
                enabled: false,
                default: None,
            }),
            public: Known::Told(Public::Yes {
                how: "policy".to_owned(),
            }),
            encryption: Known::Told(Encryption {
                algorithm: None,
                key: None,
            }),
            ..posture(vec![])
        };
        let codes: Vec<Code> = findings(&bad, &expected(), Utc::now())
            .into_iter()
            .map(|finding| finding.code)
            .collect();
        assert_eq!(
            codes,
            [
                Code::BucketPublic,
                Code::BucketNotVersioned,
                Code::BucketNotEncrypted,
                Code::CopyNotLocked
            ]
        );
        let free = Expected {
            locked: false,
            ..expected()
        };
        assert_eq!(findings(&bad, &free, Utc::now()).len(), 3);
    }
}
