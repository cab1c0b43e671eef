//! The statement about all copies of a cluster: does 3-2-1 hold?
//!
//! Counted are the database itself and every copy that was looked at just now and has a
//! usable base backup; three are asked for. Copies in one bucket count once: who loses the
//! bucket loses both. The database lies on `disk`, a directory too, a bucket is `object
//! storage`, unless the configuration says `media`; two kinds are asked for. Where a copy
//! lies is what the configuration says as `place`, for a vendor's own S3 its region; one copy
//! must lie elsewhere than the primary, whose place is taken for the database's.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::status::{CopyStatus, Role};
use crate::config::RepositoryConfig;
use crate::finding::{Finding, Severity};
use crate::storage::Scheme;

/// The contract of [`StatusReport`] as JSON. Fields are only added within a version.
pub const SCHEMA: &str = "walproof.replicate-status/v1";

/// What the database itself lies on.
const DISK: &str = "disk";

/// Whether 3-2-1 holds, and how it was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Statement {
    /// Whether there are three copies on two kinds of media, one of them elsewhere.
    pub holds: bool,
    /// How many copies there are, with the database itself.
    pub copies: u64,
    /// What was counted: `the database`, and the copies' names.
    pub counted: Vec<String>,
    /// The kinds of media.
    pub media: Vec<String>,
    /// The copies that lie elsewhere than the primary.
    pub elsewhere: Vec<String>,
    /// What is missing, in words.
    pub missing: Vec<String>,
}

/// How all copies of a cluster stand.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct StatusReport {
    /// The contract, `walproof.replicate-status/v1`.
    pub schema: String,
    /// The version of walproof that wrote it.
    pub version: String,
    /// The cluster's name.
    pub cluster: String,
    /// When it was looked at.
    pub checked_at: DateTime<Utc>,
    /// Whether 3-2-1 holds.
    pub statement: Statement,
    /// Every copy, the primary first.
    pub copies: Vec<CopyStatus>,
}

impl StatusReport {
    /// The report of these copies. `buckets` tells for each which of them would be lost
    /// together with it: the same text for those in one bucket.
    pub fn new(
        cluster: String,
        checked_at: DateTime<Utc>,
        copies: Vec<CopyStatus>,
        buckets: &[String],
    ) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster,
            checked_at,
            statement: Statement::of(&copies, buckets),
            copies,
        }
    }

    /// Everything that is wrong with any copy.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.copies.iter().flat_map(|copy| &copy.findings)
    }

    /// The severity of the worst finding of all copies.
    pub fn worst_severity(&self) -> Option<Severity> {
        self.findings().map(|finding| finding.severity).max()
    }

    /// Whether every copy could be looked at.
    pub fn is_whole(&self) -> bool {
        self.copies.iter().all(|copy| copy.error.is_none())
    }
}

/// On what a repository lies.
pub fn media_of(repository: &RepositoryConfig) -> String {
    let usual = match repository.url.scheme() {
        Scheme::File => DISK,
        Scheme::S3 | Scheme::Gcs | Scheme::Azure => "object storage",
    };
    repository.media.clone().unwrap_or_else(|| usual.to_owned())
}

/// Where a repository lies, if that is told.
pub fn place_of(repository: &RepositoryConfig) -> Option<String> {
    let vendors_own = repository.url.scheme() == Scheme::S3 && repository.endpoint.is_none();
    let region = || repository.region.clone().filter(|_| vendors_own);
    repository.place.clone().or_else(region)
}

impl Statement {
    fn of(copies: &[CopyStatus], buckets: &[String]) -> Self {
        let mut counted = vec!["the database".to_owned()];
        let mut media = BTreeSet::from([DISK.to_owned()]);
        let mut seen: BTreeSet<&String> = BTreeSet::new();
        let mut missing = Vec::new();
        let mut separate = Vec::new();
        for (copy, bucket) in copies.iter().zip(buckets) {
            if !copy.restores() {
                missing.push(match &copy.error {
                    Some(_) => format!(
                        "`{}` could not be looked at, so it does not count",
                        copy.copy
                    ),
                    None => format!(
                        "nothing can be restored from `{}`, so it does not count",
                        copy.copy
                    ),
                });
            } else if seen.insert(bucket) {
                counted.push(copy.copy.clone());
                media.insert(copy.media.trim().to_lowercase());
                separate.push(copy);
            } else {
                missing.push(format!(
                    "`{}` lies in a bucket that is counted already",
                    copy.copy
                ));
            }
        }
        let home = copies
            .iter()
            .find(|copy| copy.role == Role::Primary)
            .and_then(|copy| copy.place.as_deref());
        let elsewhere = elsewhere(&separate, home);
        if counted.len() < 3 {
            missing.push(format!(
                "three copies are asked for, there are {}",
                counted.len()
            ));
        }
        if media.len() < 2 {
            missing.push(format!(
                "two kinds of media are asked for, all is on {}",
                media.first().map_or(DISK, String::as_str)
            ));
        }
        if elsewhere.is_empty() {
            missing.push(match home {
                Some(home) => format!("no copy is known to lie elsewhere than in {home}"),
                None => {
                    "nothing tells where the primary lies: say `place` for each copy".to_owned()
                }
            });
        }
        let holds = counted.len() >= 3 && media.len() >= 2 && !elsewhere.is_empty();
        Self {
            holds,
            copies: counted.len() as u64,
            counted,
            media: media.into_iter().collect(),
            elsewhere,
            missing,
        }
    }
}

fn elsewhere(copies: &[&CopyStatus], home: Option<&str>) -> Vec<String> {
    let Some(home) = home.map(|home| home.trim().to_lowercase()) else {
        return Vec::new();
    };
    copies
        .iter()
        .filter(|copy| copy.role == Role::Replica)
        .filter(|copy| {
            copy.place
                .as_ref()
                .is_some_and(|place| place.trim().to_lowercase() != home)
        })
        .map(|copy| copy.copy.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicate::status::{Holdings, Lag, Proofs, late};

    fn copy(name: &str, role: Role, place: Option<&str>, media: &str) -> CopyStatus {
        CopyStatus {
            copy: name.to_owned(),
            role,
            location: format!("s3://{name}/orders"),
            place: place.map(str::to_owned),
            media: media.to_owned(),
            error: None,
            holds: Some(Holdings {
                objects: 10,
                bytes: 10,
                backups: 1,
                usable_backups: 1,
                newest_backup: None,
                newest_backup_end: None,
                recoverable_from: None,
                recoverable_to: None,
                tip_timeline: None,
                tip_lsn: None,
                holes: 0,
            }),
            exposure: None,
            lag: None,
            lag_objective: None,
            proofs: Proofs::default(),
            posture: None,
            posture_error: None,
            locked: None,
            lock_trial: None,
            lock_trial_error: None,
            findings: Vec::new(),
        }
    }

    fn of(copies: &[CopyStatus]) -> Statement {
        let buckets: Vec<String> = copies.iter().map(|copy| copy.location.clone()).collect();
        Statement::of(copies, &buckets)
    }

    fn good() -> [CopyStatus; 2] {
        [
            copy(
                "primary",
                Role::Primary,
                Some("Frankfurt"),
                "object storage",
            ),
            copy("far", Role::Replica, Some("Dublin"), "object storage"),
        ]
    }

    #[test]
    fn three_copies_on_two_media_one_elsewhere() {
        let statement = of(&good());
        assert!(statement.holds, "{statement:?}");
        assert_eq!(statement.counted, ["the database", "primary", "far"]);
        assert_eq!(statement.media, ["disk", "object storage"]);
        assert_eq!(statement.elsewhere, ["far"]);
        assert!(statement.missing.is_empty());
    }

    #[test]
    fn what_is_missing_is_said() {
        type Change = fn(&mut [CopyStatus; 2]);
        let cases: [(Change, &str); 6] = [
            (
                |copies| copies[1].place = Some(" frankfurt".to_owned()),
                "elsewhere than in Frankfurt",
            ),
            (
                |copies| copies[1].place = None,
                "elsewhere than in Frankfurt",
            ),
            (|copies| copies[0].place = None, "where the primary lies"),
            (
                |copies| {
                    for copy in copies {
                        copy.media = "Disk".to_owned();
                    }
                },
                "all is on disk",
            ),
            (
                |copies| {
                    copies[1].holds = None;
                    copies[1].error = Some("refused".to_owned());
                },
                "`far` could not be looked at",
            ),
            (
                |copies| copies[1].holds.as_mut().unwrap().usable_backups = 0,
                "nothing can be restored from `far`",
            ),
        ];
        for (change, words) in cases {
            let mut copies = good();
            change(&mut copies);
            let statement = of(&copies);
            assert!(!statement.holds, "{words}");
            assert!(
                statement.missing.join("; ").contains(words),
                "{statement:?}"
            );
        }
        let alone = of(&good()[..1]);
        assert!(
            alone
                .missing
                .contains(&"three copies are asked for, there are 2".to_owned())
        );
    }

    #[test]
    fn one_bucket_counts_once() {
        let buckets = ["b".to_owned(), "b".to_owned()];
        let statement = Statement::of(&good(), &buckets);
        assert!(!statement.holds);
        assert_eq!(statement.copies, 2);
        assert!(statement.elsewhere.is_empty());
    }

    #[test]
    fn late_is_what_has_waited_for_too_long() {
        let now = Utc::now();
        let since = |seconds| Some(now - chrono::TimeDelta::seconds(seconds));
        let lag = |waiting_since, seconds| Lag {
            seconds,
            segments: 1,
            bytes: 100,
            backups: 0,
            waiting_since,
        };
        let mut status = copy("far", Role::Replica, None, "x");
        status.lag = Some(lag(since(100), Some(5)));
        assert_eq!(late(&status, now), None, "no objective");
        status.lag_objective = Some(60);
        let finding = late(&status, now).unwrap();
        assert_eq!(finding.code, crate::finding::Code::CopyLag);
        assert!(finding.message.contains("1m 40s"), "{}", finding.message);
        // Archived a moment ago, though its first commit is older.
        status.lag = Some(lag(since(2), Some(300)));
        assert_eq!(late(&status, now), None);
        // Where nothing tells since when, the commits count.
        status.lag = Some(lag(None, Some(300)));
        assert!(late(&status, now).is_some());
        status.lag = Some(Lag::default());
        assert_eq!(late(&status, now), None);
    }
}
