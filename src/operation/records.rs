//! The ledger followed from its first entry to its newest, as a daemon does it every day.

use chrono::{DateTime, Utc};

use super::evidence::{LedgerError, broken_finding, check_ledger};
use super::report::changes;
use crate::evidence::NewEntry;
use crate::evidence::ledger::{Body, Break, NoticedBody};
use crate::state::State;

/// Follows the whole ledger and gives the first break. Whether it holds is an incident like
/// any other: an entry says so when it opens or closes here, and no other look has one. That
/// it was followed is kept. Memory: 1,000 entries.
pub async fn follow(state: &State, now: DateTime<Utc>) -> Result<Option<Break>, LedgerError> {
    let broken = check_ledger(state, None, |_| {}).await?.first_break;
    let message = match &broken {
        Some(broken) => broken_finding(broken).message,
        None => "the records hold again".to_owned(),
    };
    let body = Body::Noticed(Box::new(NoticedBody::new(&message)));
    let entry = NewEntry::new(now, &body)?;
    state.notice(&entry, &changes(broken.as_ref()), now).await?;
    state.ledger_followed(now).await?;
    Ok(broken)
}
