//! Timeline history files.

use serde::Serialize;

use super::segment::TimelineId;
use super::{Lsn, ParseLsnError};

/// One ancestor of a timeline: it was left at `switch_lsn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryEntry {
    /// The ancestor.
    pub timeline: TimelineId,
    /// Where the next timeline branched off: the first byte that is no longer the
    /// ancestor's.
    pub switch_lsn: Lsn,
    /// PostgreSQL's own words on why, free text.
    pub reason: String,
}

/// A timeline and its ancestors, oldest first, as its `.history` file lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimelineHistory {
    /// The timeline whose history this is.
    pub timeline: TimelineId,
    /// Its ancestors, oldest first; empty for timeline 1.
    pub ancestors: Vec<HistoryEntry>,
}

/// Why bytes are not a history file that recovery would accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The file is not text.
    #[error("not UTF-8 text")]
    NotText,
    /// A line that is neither blank, a comment, nor an entry.
    #[error("line {line}: expected \"<timeline> <LSN> <reason>\", found {text:?}")]
    BadLine {
        /// Line number, from 1.
        line: usize,
        /// The line, cut to 80 characters.
        text: String,
    },
    /// A switch point that is no LSN.
    #[error("line {line}: {source}")]
    BadLsn {
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        source: ParseLsnError,
    },
    /// Timeline numbers must rise.
    #[error("line {line}: timeline {found} does not follow timeline {previous}")]
    NotRising {
        /// Line number, from 1.
        line: usize,
        /// The number before.
        previous: TimelineId,
        /// The number that should be greater.
        found: TimelineId,
    },
    /// A timeline that lists itself or a later one as its ancestor.
    #[error("timeline {timeline} lists timeline {ancestor} as its ancestor")]
    NotAnAncestor {
        /// The file's timeline.
        timeline: TimelineId,
        /// The impossible ancestor.
        ancestor: TimelineId,
    },
    /// A switch point that lies before the one of an older ancestor.
    #[error("line {line}: switch point {found} lies before the previous one, {previous}")]
    SwitchGoesBack {
        /// Line number, from 1.
        line: usize,
        /// The switch point before.
        previous: Lsn,
        /// The one that should not be smaller.
        found: Lsn,
    },
    /// A file for a timeline above 1 without a single ancestor.
    #[error("no ancestor is listed")]
    Empty,
}

impl TimelineHistory {
    /// The history of timeline 1, which has no file.
    pub fn first() -> Self {
        Self {
            timeline: TimelineId::FIRST,
            ancestors: Vec::new(),
        }
    }

    /// Reads a history file. Blank lines and `#` comments are skipped, as
    /// `readTimeLineHistory` in `src/backend/access/transam/timeline.c` does; unlike it,
    /// switch points that go back are refused, because no server writes them.
    pub fn parse(timeline: TimelineId, bytes: &[u8]) -> Result<Self, HistoryError> {
        let text = std::str::from_utf8(bytes).map_err(|_| HistoryError::NotText)?;
        let mut ancestors: Vec<HistoryEntry> = Vec::new();
        for (index, raw) in text.lines().enumerate() {
            let line = index + 1;
            let content = raw.trim_start();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let bad_line = || HistoryError::BadLine {
                line,
                text: raw.chars().take(80).collect(),
            };
            let mut words = content.splitn(3, char::is_whitespace);
            let number = words.next().unwrap_or_default();
            let ancestor = number.parse().map(TimelineId).map_err(|_| bad_line())?;
            let lsn = words.next().ok_or_else(bad_line)?;
            let switch_lsn: Lsn = lsn
                .parse()
                .map_err(|source| HistoryError::BadLsn { line, source })?;
            if let Some(previous) = ancestors.last() {
                if ancestor <= previous.timeline {
                    return Err(HistoryError::NotRising {
                        line,
                        previous: previous.timeline,
                        found: ancestor,
                    });
                }
                if switch_lsn < previous.switch_lsn {
                    return Err(HistoryError::SwitchGoesBack {
                        line,
                        previous: previous.switch_lsn,
                        found: switch_lsn,
                    });
                }
            }
            if ancestor >= timeline || ancestor.0 == 0 {
                return Err(HistoryError::NotAnAncestor { timeline, ancestor });
            }
            ancestors.push(HistoryEntry {
                timeline: ancestor,
                switch_lsn,
                reason: words.next().unwrap_or_default().trim().to_owned(),
            });
        }
        if ancestors.is_empty() {
            return Err(HistoryError::Empty);
        }
        Ok(Self {
            timeline,
            ancestors,
        })
    }

    /// The immediate parent, or `None` for timeline 1.
    pub fn parent(&self) -> Option<&HistoryEntry> {
        self.ancestors.last()
    }

    /// The timeline whose WAL holds the byte at `lsn` on the way to this timeline.
    pub fn timeline_at(&self, lsn: Lsn) -> TimelineId {
        self.ancestors
            .iter()
            .find(|entry| lsn < entry.switch_lsn)
            .map_or(self.timeline, |entry| entry.timeline)
    }

    /// Where `timeline` was left on the way to this one; `None` when it is this one or
    /// no ancestor of it.
    pub fn switch_from(&self, timeline: TimelineId) -> Option<Lsn> {
        self.ancestors
            .iter()
            .find(|entry| entry.timeline == timeline)
            .map(|entry| entry.switch_lsn)
    }

    /// Whether `timeline` is this one or an ancestor of it.
    pub fn contains(&self, timeline: TimelineId) -> bool {
        timeline == self.timeline || self.switch_from(timeline).is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THREE: &str = "1\t0/5000148\tno recovery target specified\n\n# by hand\n2\t0/7000000\tbefore 2026-11-21\n";

    #[test]
    fn reads_ancestors_in_order() {
        let history = TimelineHistory::parse(TimelineId(3), THREE.as_bytes()).unwrap();
        assert_eq!(history.ancestors.len(), 2);
        assert_eq!(history.parent().unwrap().timeline, TimelineId(2));
        assert_eq!(history.timeline_at(Lsn::new(0x500_0147)), TimelineId(1));
        assert_eq!(history.timeline_at(Lsn::new(0x500_0148)), TimelineId(2));
        assert_eq!(history.timeline_at(Lsn::new(0x700_0000)), TimelineId(3));
        assert_eq!(
            history.switch_from(TimelineId(1)),
            Some(Lsn::new(0x500_0148))
        );
        assert!(history.contains(TimelineId(3)) && !history.contains(TimelineId(4)));
    }

    #[test]
    fn contradictions_are_refused_for_their_own_reason() {
        let parse =
            |text: &str| TimelineHistory::parse(TimelineId(3), text.as_bytes()).unwrap_err();
        assert!(matches!(parse(""), HistoryError::Empty));
        assert!(matches!(
            parse("<html>"),
            HistoryError::BadLine { line: 1, .. }
        ));
        assert!(matches!(parse("1"), HistoryError::BadLine { .. }));
        assert!(matches!(parse("1 zzz"), HistoryError::BadLsn { .. }));
        assert!(matches!(
            parse("2 0/1 a\n1 0/2 b"),
            HistoryError::NotRising { line: 2, .. }
        ));
        assert!(matches!(
            parse("1 0/2 a\n2 0/1 b"),
            HistoryError::SwitchGoesBack { .. }
        ));
        assert!(matches!(
            parse("3 0/1 a"),
            HistoryError::NotAnAncestor { .. }
        ));
        assert!(matches!(
            TimelineHistory::parse(TimelineId(3), &[0xFF]).unwrap_err(),
            HistoryError::NotText
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = TimelineHistory::parse(TimelineId(9), &bytes);
        }
    }
}
