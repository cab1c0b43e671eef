//! Entries of no run, with the incidents that they open and close: one transaction, so that
//! the ledger says of every incident of the daemon's own when it was opened and closed.

use chrono::{DateTime, Utc};

use super::claim::done_in;
use super::database::{Transaction, transact};
use super::entries::{append_in, head_in};
use super::incidents::{close_in, open_in, raise_in};
use super::{DepthRank, Fence, IncidentChanges, NewIncident, State, StateError, StateErrorKind};
use crate::evidence::ledger::{ClosedIncident, OpenedIncident, note_incidents};
use crate::evidence::{LedgerEntry, NewEntry};

/// So many incidents are closed by one entry, which has a limit of its length; more by
/// further ones that say the same.
const CLOSED: usize = 200;

impl State {
    /// Appends an entry with the incidents that it opens and closes, all of it or nothing.
    /// Which they were is added to it: those that were open already are not opened, and those
    /// that were not open are not closed.
    pub async fn note(
        &self,
        entry: &NewEntry,
        changes: &IncidentChanges,
        now: DateTime<Utc>,
    ) -> Result<LedgerEntry, StateError> {
        let noted = transact!(once self, transaction => {
            note_in(&mut transaction, entry, changes, now, Unchanged::IsSaid)
        })?;
        noted.ok_or_else(|| {
            self.backend
                .trouble("write to", StateErrorKind::Other, NOTHING)
        })
    }

    /// The same, but `None` and no entry when it opens and closes nothing: what stays as it is
    /// needs no word.
    pub async fn notice(
        &self,
        entry: &NewEntry,
        changes: &IncidentChanges,
        now: DateTime<Utc>,
    ) -> Result<Option<LedgerEntry>, StateError> {
        transact!(self, transaction => {
            note_in(&mut transaction, entry, changes, now, Unchanged::IsNot)
        })
    }

    /// Appends an entry as [`Self::note`] does, and marks a job as done that has no run of its
    /// own. Refused
    /// ([`StateErrorKind::Fenced`]) when the attempt is no longer the newest.
    pub async fn finish_job_noting(
        &self,
        fence: &Fence,
        now: DateTime<Utc>,
        entry: &NewEntry,
        changes: &IncidentChanges,
    ) -> Result<LedgerEntry, StateError> {
        let noted = transact!(once self, transaction => async {
            done_in(&mut transaction, fence, now).await?;
            note_in(&mut transaction, entry, changes, now, Unchanged::IsSaid).await
        })?;
        noted.ok_or_else(|| {
            self.backend
                .trouble("write to", StateErrorKind::Other, NOTHING)
        })
    }
}

const NOTHING: &str = "nothing was appended";

/// Whether there is an entry when no incident changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unchanged {
    IsSaid,
    IsNot,
}

/// Gives the first entry.
async fn note_in(
    transaction: &mut Transaction,
    entry: &NewEntry,
    changes: &IncidentChanges,
    now: DateTime<Utc>,
    unchanged: Unchanged,
) -> Result<Option<LedgerEntry>, StateError> {
    let (mut newest, _) = head_in(transaction).await?;
    let mut opened = Vec::new();
    for new in &changes.opens {
        let new = NewIncident {
            by: Some(newest + 1),
            ..new.clone()
        };
        if let Some(id) = raise_in(transaction, &new, 1, DepthRank::LISTED, now).await? {
            opened.push(OpenedIncident::new(
                id,
                &new.code,
                new.severity,
                &new.object,
            ));
        }
    }
    let mut open = Vec::new();
    for key in &changes.closes {
        open.extend(open_in(transaction, key).await?);
    }
    if opened.is_empty() && open.is_empty() && unchanged == Unchanged::IsNot {
        return Ok(None);
    }
    let mut first = None;
    let mut rest = open.as_slice();
    loop {
        let (these, others) = rest.split_at(rest.len().min(CLOSED));
        rest = others;
        let mut closed = Vec::with_capacity(these.len());
        for incident in these {
            close_in(transaction, incident, Some(newest + 1), now).await?;
            closed.push(ClosedIncident::from(incident));
        }
        let mut entry = entry.clone();
        note_incidents(&mut entry.body, &std::mem::take(&mut opened), &closed);
        let appended = append_in(transaction, &[entry]).await?.into_iter().next();
        newest += 1;
        first = first.or(appended);
        if rest.is_empty() {
            break;
        }
    }
    Ok(first)
}
