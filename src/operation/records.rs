//! The ledger followed from its first entry to its newest, as a daemon does it every day.

use chrono::{DateTime, Utc};

use super::evidence::{LedgerError, check_ledger};
use super::report::changes;
use crate::evidence::ledger::Break;
use crate::state::State;

/// Follows the whole ledger and gives the first break. Whether it holds is an incident like
/// any other, opened or closed here, and that it was followed is kept. Memory: 1,000 entries.
///
/// There is no entry of it: an entry for every look would say little, and one that tells of a
/// break would be linked to what is broken.
pub async fn follow(state: &State, now: DateTime<Utc>) -> Result<Option<Break>, LedgerError> {
    let broken = check_ledger(state, None, |_| {}).await?.first_break;
    let changes = changes(broken.as_ref());
    for incident in &changes.opens {
        state.open_incident(incident, now).await?;
    }
    for key in &changes.closes {
        state.close_incident(key, None, now).await?;
    }
    state.ledger_followed(now).await?;
    Ok(broken)
}
