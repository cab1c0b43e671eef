//! Objects that lie on both sides and look different than when they were copied: their
//! bytes decide.

use chrono::{DateTime, Utc};
use futures::StreamExt;

use super::diff::Suspect;
use super::digest::digest;
use super::ledger::Ledger;
use super::limit::Limit;
use super::{Failure, Pair, ReplicateError, findings};
use crate::codec::Sha256;
use crate::finding::Finding;
use crate::repository::{CopyClass, Repository};
use crate::state::{CopyAlarm, CopySide, RememberedCopy, source_mark, target_mark};
use crate::storage::{ObjectEntry, StorageError};

/// What came of looking at suspects.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) findings: Vec<Finding>,
    /// Objects that were read, on whichever side.
    pub(super) read: u64,
    /// Those that hold on both sides what they should.
    pub(super) sound: u64,
    /// Commit markers at the target that the tool has finished since.
    pub(super) unfinished: Vec<Unfinished>,
    pub(super) failures: Vec<Failure>,
}

/// A commit marker at the target that is not final, and may be replaced.
#[derive(Clone, Debug)]
pub(super) struct Unfinished {
    pub(super) backup: String,
    pub(super) source: ObjectEntry,
    /// The tag of what may be replaced.
    pub(super) etag: Option<String>,
}

enum Verdict {
    Sound(RememberedCopy),
    Alarm(RememberedCopy),
    Unfinished(Unfinished),
    /// One of them went away meanwhile.
    Gone,
}

/// Looks at all suspects, so many at once.
pub(super) async fn judge(
    pair: &Pair,
    ledger: &Ledger,
    limit: &Limit,
    suspects: Vec<Suspect>,
    parallel: usize,
) -> Result<Judged, ReplicateError> {
    let now = Utc::now();
    let mut judged = Judged::default();
    let mut verdicts = futures::stream::iter(suspects)
        .map(|suspect| async move {
            let key = suspect.source.key.clone();
            (key, one(pair, ledger, limit, suspect, now).await)
        })
        .buffer_unordered(parallel.max(1));
    while let Some((key, verdict)) = verdicts.next().await {
        match verdict {
            Ok((verdict, read)) => {
                judged.read += read;
                judged.take(&pair.source, ledger, verdict).await;
            }
            Err(ReplicateError::Storage(error)) if super::concerns_object(&error) => {
                judged.failures.push(Failure::new(&key, &error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(judged)
}

impl Judged {
    async fn take(&mut self, source: &Repository, ledger: &Ledger, verdict: Verdict) {
        match verdict {
            Verdict::Sound(copy) => {
                self.sound += 1;
                ledger.note(copy).await;
            }
            Verdict::Alarm(copy) => {
                let annotation =
                    matches!(source.copy_class(&copy.key), CopyClass::Annotation { .. });
                if let Some(alarm) = &copy.alarm {
                    self.findings
                        .push(findings::alarm(&copy, alarm, annotation));
                }
                ledger.note(copy).await;
            }
            Verdict::Unfinished(unfinished) => self.unfinished.push(unfinished),
            Verdict::Gone => {}
        }
    }
}

/// Reads what must be read of one, and says how many objects that were.
async fn one(
    pair: &Pair,
    ledger: &Ledger,
    limit: &Limit,
    suspect: Suspect,
    now: DateTime<Utc>,
) -> Result<(Verdict, u64), ReplicateError> {
    let known = ledger.one(&suspect.source.key).await?;
    if let CopyClass::Marker { backup } = pair.source.copy_class(&suspect.source.key)
        && let Some(unfinished) = unfinished(pair, &backup, &suspect).await?
    {
        return Ok((Verdict::Unfinished(unfinished), 2));
    }
    let mut readings = Readings {
        pair,
        limit,
        key: suspect.source.key.clone(),
        read: 0,
    };
    let verdict = readings.compare(&suspect, known, now).await;
    match verdict {
        Ok(verdict) => Ok((verdict, readings.read)),
        Err(error) if error.is_not_found() => Ok((Verdict::Gone, readings.read)),
        Err(error) => Err(error.into()),
    }
}

/// Whether the target holds a marker that the tool has not finished yet.
async fn unfinished(
    pair: &Pair,
    backup: &str,
    suspect: &Suspect,
) -> Result<Option<Unfinished>, StorageError> {
    let key = &suspect.target.key;
    let read = pair
        .target
        .store()
        .read_small_entry(key, Repository::MARKER_LIMIT)
        .await;
    let (entry, bytes) = match read {
        Err(error) if error.is_not_found() => return Ok(None),
        read => read?,
    };
    let open = pair
        .target
        .read_marker(&bytes)
        .is_ok_and(|marker| !marker.is_final);
    Ok(open.then(|| Unfinished {
        backup: backup.to_owned(),
        source: suspect.source.clone(),
        etag: entry.etag,
    }))
}

struct Readings<'a> {
    pair: &'a Pair,
    limit: &'a Limit,
    key: String,
    read: u64,
}

impl Readings<'_> {
    async fn source(&mut self) -> Result<(ObjectEntry, Sha256), StorageError> {
        self.read += 1;
        digest(self.pair.source.store(), &self.key, Some(self.limit)).await
    }

    async fn target(&mut self) -> Result<(ObjectEntry, Sha256), StorageError> {
        self.read += 1;
        digest(self.pair.target.store(), &self.key, None).await
    }

    async fn compare(
        &mut self,
        suspect: &Suspect,
        known: Option<RememberedCopy>,
        now: DateTime<Utc>,
    ) -> Result<Verdict, StorageError> {
        let here = source_mark(&suspect.source.identity());
        let there = target_mark(suspect.target.size, suspect.target.etag.as_deref());
        let noticed = known
            .as_ref()
            .and_then(|copy| copy.alarm.as_ref())
            .map_or(now, |alarm| alarm.noticed);
        if let Some(copy) = &known
            && let Some(alarm) = &copy.alarm
            && alarm.mark == combined(here, there)
        {
            // Nothing was written since it was read last.
            return Ok(Verdict::Alarm(copy.clone()));
        }
        let Some((copy, sha256)) = known.and_then(|copy| copy.sha256.map(|sha256| (copy, sha256)))
        else {
            return self.both(suspect, noticed, now).await;
        };
        let mut copy = RememberedCopy {
            alarm: None,
            ..copy
        };
        if here != copy.source_mark() {
            let (entry, found) = self.source().await?;
            if found == sha256 {
                copy.source = entry.identity();
            } else {
                copy.alarm = Some(CopyAlarm {
                    side: CopySide::Source,
                    sha256: found,
                    size: entry.size,
                    mark: combined(source_mark(&entry.identity()), there),
                    noticed,
                });
            }
        }
        if there != copy.target_mark() {
            let (entry, found) = self.target().await?;
            if found == sha256 {
                copy.target_etag = entry.etag;
                copy.target_version = entry.version;
                copy.read_back_at = Some(now);
            } else {
                // Graver than what happened to the source.
                let there = target_mark(entry.size, entry.etag.as_deref());
                copy.alarm = Some(CopyAlarm {
                    side: CopySide::Target,
                    sha256: found,
                    size: entry.size,
                    mark: combined(here, there),
                    noticed,
                });
            }
        }
        Ok(if copy.alarm.is_some() {
            Verdict::Alarm(copy)
        } else {
            Verdict::Sound(copy)
        })
    }

    /// Nobody knows what it should be: both are read.
    async fn both(
        &mut self,
        suspect: &Suspect,
        noticed: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Verdict, StorageError> {
        let source = self.source().await?;
        let target = self.target().await?;
        let copy = by_bytes(None, &suspect.source.key, source, target, noticed, now);
        Ok(if copy.alarm.is_some() {
            Verdict::Alarm(copy)
        } else {
            Verdict::Sound(copy)
        })
    }
}

/// What is to be remembered once both sides were read.
pub(super) fn by_bytes(
    known: Option<RememberedCopy>,
    key: &str,
    (source, here): (ObjectEntry, Sha256),
    (target, there): (ObjectEntry, Sha256),
    noticed: DateTime<Utc>,
    now: DateTime<Utc>,
) -> RememberedCopy {
    let mark = combined(
        source_mark(&source.identity()),
        target_mark(target.size, target.etag.as_deref()),
    );
    let sent = known.as_ref().and_then(|copy| copy.sha256);
    let mut copy = match (known, sent) {
        (Some(known), Some(_)) => RememberedCopy {
            alarm: None,
            ..known
        },
        _ => RememberedCopy {
            key: key.to_owned(),
            sha256: Some(here),
            ..RememberedCopy::adopted(&source, &target)
        },
    };
    let sent_or_here = sent.unwrap_or(here);
    let alarm = |side, sha256, size| CopyAlarm {
        side,
        sha256,
        size,
        mark,
        noticed,
    };
    if there == sent_or_here {
        copy.target_etag = target.etag;
        copy.target_version = target.version;
        copy.read_back_at = Some(now);
    }
    if here == sent_or_here {
        copy.source = source.identity();
    } else {
        copy.alarm = Some(alarm(CopySide::Source, here, source.size));
    }
    // Graver than what happened to the source.
    if there != sent_or_here {
        let side = if sent.is_some() {
            CopySide::Target
        } else {
            CopySide::Both
        };
        copy.alarm = Some(alarm(side, there, target.size));
    }
    copy
}

/// One mark of both sides.
pub(super) const fn combined(here: i64, there: i64) -> i64 {
    here ^ there.rotate_left(17)
}
