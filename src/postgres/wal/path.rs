//! The path through timelines that reading follows.

use std::sync::Arc;

use super::event::WalEvent;
use super::fault::WalFault;
use super::record::WalRecord;
use super::resource_manager::{INFO_MASK, XLOG, xlog};
use crate::postgres::{Lsn, TimelineHistory, TimelineId};

/// Checks that pages and records belong to the timelines of a history, and that a child
/// timeline begins where the history says.
///
/// The first segment of a child timeline repeats its parent's bytes up to the switch
/// point, page headers included; the page that holds the switch point still names the
/// parent. So a page is legal when it names the timeline that holds its first byte.
#[derive(Clone, Debug)]
pub(super) struct TimelinePath {
    history: Arc<TimelineHistory>,
    /// The timeline of the last record.
    timeline: TimelineId,
    /// Where that timeline is left; [`Lsn::MAX`] for the last one.
    left_at: Lsn,
    /// Whether a record must still announce the timeline.
    announced: bool,
}

impl TimelinePath {
    pub(super) fn new(history: Arc<TimelineHistory>, start: Lsn) -> Self {
        let mut path = Self {
            timeline: history.timeline,
            left_at: Lsn::MAX,
            announced: true,
            history,
        };
        path.enter(start);
        // Reading may begin behind the announcement, but not before a switch unseen.
        path.announced = !path
            .history
            .ancestors
            .iter()
            .any(|ancestor| ancestor.switch_lsn == start);
        path
    }

    /// Where it stands, to be written down: the timeline, where it is left, whether it was
    /// announced.
    pub(super) const fn stand(&self) -> (TimelineId, Lsn, bool) {
        (self.timeline, self.left_at, self.announced)
    }

    /// The path at a stand that was written down.
    pub(super) const fn at(
        history: Arc<TimelineHistory>,
        (timeline, left_at, announced): (TimelineId, Lsn, bool),
    ) -> Self {
        Self {
            history,
            timeline,
            left_at,
            announced,
        }
    }

    /// The path itself.
    pub(super) const fn history(&self) -> &Arc<TimelineHistory> {
        &self.history
    }

    fn enter(&mut self, lsn: Lsn) {
        self.timeline = self.history.timeline_at(lsn);
        self.left_at = self.history.switch_from(self.timeline).unwrap_or(Lsn::MAX);
        self.announced = false;
    }

    pub(super) fn check_page(&self, lsn: Lsn, found: TimelineId) -> Result<(), WalFault> {
        let expected = self.history.timeline_at(lsn);
        if found == expected {
            Ok(())
        } else {
            Err(WalFault::WrongTimeline {
                lsn,
                found,
                expected,
            })
        }
    }

    /// Judges a record; `end` is where its own bytes end.
    pub(super) fn check_record(
        &mut self,
        record: &WalRecord<'_>,
        end: Lsn,
        event: Option<&WalEvent>,
    ) -> Result<(), WalFault> {
        let lsn = record.start;
        if lsn >= self.left_at {
            self.enter(lsn);
        }
        if end > self.left_at {
            return Err(WalFault::BadSwitchPoint {
                lsn: self.left_at,
                record: lsn,
                end,
            });
        }
        if self.announced && record.resource_manager != XLOG {
            return Ok(());
        }
        let named = match event {
            Some(
                WalEvent::Checkpoint { timeline, .. } | WalEvent::EndOfRecovery { timeline, .. },
            ) => Some(*timeline),
            _ => None,
        };
        match named {
            Some(found) if found != self.timeline => Err(WalFault::WrongTimeline {
                lsn,
                found,
                expected: self.timeline,
            }),
            Some(_) => {
                self.announced = true;
                Ok(())
            }
            None if self.announced || may_precede_announcement(record) => Ok(()),
            None => Err(WalFault::TimelineNotBegun {
                lsn,
                timeline: self.timeline,
            }),
        }
    }
}

/// What a promoted server may write before it announces its timeline (`StartupXLOG` in
/// `src/backend/access/transam/xlog.c`).
pub(super) fn may_precede_announcement(record: &WalRecord<'_>) -> bool {
    record.resource_manager == XLOG
        && matches!(
            record.info & INFO_MASK,
            xlog::OVERWRITE_CONTRECORD | xlog::FPW_CHANGE
        )
}
