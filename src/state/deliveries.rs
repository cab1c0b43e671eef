//! The outbox: what is to be told is written down before it is sent, and claimed by whoever
//! sends it, so that nothing is lost and nothing is sent by two.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::database::{Row, Transaction, transact, values};
use super::delivery::{Delivery, DeliveryCount, DeliveryEvent, DeliveryOutcome, Recipient};
use super::incidents::incident;
use super::{Incident, State, StateError};
use crate::finding::Severity;

/// So many incidents are looked at in one transaction.
const PAGE: u32 = 500;

/// Who is told of an incident.
type Told<'a> = &'a (dyn Fn(&Incident) -> Vec<Recipient> + Send + Sync);

/// What is known of the notices of one incident to one receiver.
#[derive(Debug, Default)]
struct Past {
    /// The newest that told that it is wrong.
    newest: Option<(DateTime<Utc>, Severity)>,
    /// The highest number of a repeat.
    number: i64,
    waiting: bool,
}

impl State {
    /// The number of the newest event of an incident: as long as it stays, only time can
    /// make further deliveries due.
    pub async fn incident_head(&self) -> Result<u64, StateError> {
        let row = self
            .row(
                "SELECT events FROM ledger_head WHERE only_row = 1",
                values![],
            )
            .await?;
        row.map_or(Ok(0), |row| row.count("events"))
    }

    /// Writes down who is to be told now: of incidents that are new, worse, still open after
    /// `least_repeat` or a receiver's own time, and of those that are over. Tells how many
    /// deliveries are new. Doing it twice changes nothing.
    pub async fn plan_deliveries(
        &self,
        now: DateTime<Utc>,
        least_repeat: Duration,
        told: Told<'_>,
    ) -> Result<u64, StateError> {
        let cutoff = now - delta(least_repeat);
        let mut planned = 0;
        let mut after = String::new();
        loop {
            let rows = self
                .rows(
                    "SELECT * FROM incidents i WHERE i.closed_at IS NULL AND i.id > $1 \
                     AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.incident_id = i.id \
                     AND d.event <> 'resolved' AND d.severity = i.severity \
                     AND d.created_at > $2) ORDER BY i.id LIMIT $3",
                    values![&after, cutoff, PAGE],
                )
                .await?;
            let Some(last) = rows.last() else { break };
            after = last.text("id")?;
            let open = rows.iter().map(incident).collect::<Result<Vec<_>, _>>()?;
            planned += self.plan_open(&open, now, told).await?;
        }
        let mut after = String::new();
        loop {
            let rows = self
                .rows(
                    "SELECT * FROM incidents i WHERE i.closed_at IS NOT NULL AND i.id > $1 \
                     AND EXISTS (SELECT 1 FROM deliveries d WHERE d.incident_id = i.id \
                     AND NOT EXISTS (SELECT 1 FROM deliveries r WHERE r.incident_id = i.id \
                     AND r.receiver = d.receiver AND r.event = 'resolved')) \
                     ORDER BY i.id LIMIT $2",
                    values![&after, PAGE],
                )
                .await?;
            let Some(last) = rows.last() else { break };
            after = last.text("id")?;
            let closed = rows.iter().map(incident).collect::<Result<Vec<_>, _>>()?;
            planned += self.plan_closed(&closed, now).await?;
        }
        Ok(planned)
    }

    async fn plan_open(
        &self,
        open: &[Incident],
        now: DateTime<Utc>,
        told: Told<'_>,
    ) -> Result<u64, StateError> {
        let wanted: Vec<(&Incident, Vec<Recipient>)> = open
            .iter()
            .map(|incident| (incident, told(incident)))
            .filter(|(_, recipients)| !recipients.is_empty())
            .collect();
        if wanted.is_empty() {
            return Ok(0);
        }
        transact!(self, transaction => async {
            let mut planned = 0;
            for (incident, recipients) in &wanted {
                let past = past_of(&mut transaction, incident.id).await?;
                for recipient in recipients {
                    planned += tell(
                        &mut transaction,
                        incident,
                        recipient,
                        past.get(recipient.receiver.as_str()),
                        now,
                    )
                    .await?;
                }
            }
            Ok::<u64, StateError>(planned)
        })
    }

    /// Whoever was to hear that it is wrong hears that it is over.
    async fn plan_closed(
        &self,
        closed: &[Incident],
        now: DateTime<Utc>,
    ) -> Result<u64, StateError> {
        transact!(self, transaction => async {
            let mut planned = 0;
            for incident in closed {
                for receiver in past_of(&mut transaction, incident.id).await?.keys() {
                    planned += insert(
                        &mut transaction,
                        incident,
                        receiver,
                        DeliveryEvent::Resolved,
                        0,
                        now,
                    )
                    .await?;
                }
            }
            Ok::<u64, StateError>(planned)
        })
    }

    /// Takes up to `limit` deliveries that are due, the oldest first, for `lease`. What told
    /// that something is wrong is always over before it is told that it is right again.
    pub async fn claim_deliveries(
        &self,
        holder: Uuid,
        now: DateTime<Utc>,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<Delivery>, StateError> {
        // What tells that something is wrong which is over is looked at without a pause, as
        // the end waits for it.
        const DUE: &str = "SELECT d.id AS delivery_id FROM deliveries d WHERE d.done_at IS NULL \
             AND (d.next_at <= $1 OR (d.event <> 'resolved' AND EXISTS (SELECT 1 \
             FROM incidents i WHERE i.id = d.incident_id AND i.closed_at IS NOT NULL))) \
             AND (d.lease_until IS NULL OR d.lease_until <= $1) \
             AND (d.event <> 'resolved' OR NOT EXISTS (SELECT 1 FROM deliveries e \
             WHERE e.incident_id = d.incident_id AND e.receiver = d.receiver \
             AND e.event <> 'resolved' AND e.done_at IS NULL)) \
             ORDER BY d.created_at, d.id LIMIT $2";
        loop {
            // Most of the time nothing is due, and nobody needs the right to write.
            if self.rows(DUE, values![now, 1_u32]).await?.is_empty() {
                return Ok(Vec::new());
            }
            let (claimed, superseded) = self.claim_some(DUE, holder, now, lease, limit).await?;
            // Behind what is over before it was told, its end may have become due.
            if !claimed.is_empty() || superseded == 0 {
                return Ok(claimed);
            }
        }
    }

    async fn claim_some(
        &self,
        due: &str,
        holder: Uuid,
        now: DateTime<Utc>,
        lease: Duration,
        limit: u32,
    ) -> Result<(Vec<Delivery>, u64), StateError> {
        transact!(self, transaction => async {
            let (mut claimed, mut superseded) = (Vec::new(), 0);
            for row in transaction.rows(due, values![now, limit]).await? {
                let id = row.id("delivery_id")?;
                // Two that want the same row come one after the other, and the second finds
                // it taken.
                let taken = transaction
                    .execute(
                        "UPDATE deliveries SET lease_holder = $2, lease_until = $3, \
                         attempts = attempts + 1 WHERE id = $1 AND done_at IS NULL \
                         AND (lease_until IS NULL OR lease_until <= $4)",
                        values![id, holder, now + delta(lease), now],
                    )
                    .await?;
                if taken == 0 {
                    continue;
                }
                let delivery = read(&mut transaction, id).await?;
                let over = delivery.incident.closed_at.is_some();
                if over && delivery.event != DeliveryEvent::Resolved {
                    let outcome = DeliveryOutcome::Superseded;
                    settle(&mut transaction, &delivery, outcome, None, now).await?;
                    superseded += 1;
                } else {
                    claimed.push(delivery);
                }
            }
            Ok::<(Vec<Delivery>, u64), StateError>((claimed, superseded))
        })
    }

    /// Notes what came of a delivery for good. Tells whether the claim still held; if not,
    /// somebody else has it.
    pub async fn finish_delivery(
        &self,
        delivery: &Delivery,
        outcome: DeliveryOutcome,
        error: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<bool, StateError> {
        transact!(self, transaction => async {
            settle(&mut transaction, delivery, outcome, error, now).await
        })
    }

    /// Notes that a delivery failed and is tried again at `next_at`. Tells whether the claim
    /// still held.
    pub async fn retry_delivery(
        &self,
        delivery: &Delivery,
        next_at: DateTime<Utc>,
        error: &str,
    ) -> Result<bool, StateError> {
        transact!(self, transaction => async {
            let changed = transaction
                .execute(
                    "UPDATE deliveries SET next_at = $3, error = $4, lease_holder = NULL, \
                     lease_until = NULL WHERE id = $1 AND attempts = $2 AND done_at IS NULL",
                    values![delivery.id, delivery.attempts, next_at, error],
                )
                .await?;
            Ok::<bool, StateError>(changed > 0)
        })
    }

    /// How many deliveries wait, and how many ever came to what, by receiver.
    pub async fn delivery_counts(&self) -> Result<Vec<DeliveryCount>, StateError> {
        let rows = self
            .rows(
                "SELECT receiver, NULL AS outcome, COUNT(*) AS deliveries FROM deliveries \
                 WHERE done_at IS NULL GROUP BY receiver \
                 UNION ALL SELECT receiver, outcome, deliveries FROM delivery_outcomes \
                 ORDER BY receiver, outcome",
                values![],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let word = row.optional_text("outcome")?;
                Ok(DeliveryCount {
                    receiver: row.text("receiver")?,
                    outcome: word.as_deref().and_then(DeliveryOutcome::from_word),
                    count: row.count("deliveries")?,
                })
            })
            .collect()
    }
}

fn delta(length: Duration) -> TimeDelta {
    TimeDelta::from_std(length).unwrap_or(TimeDelta::days(36_525))
}

fn severity(word: &str) -> Option<Severity> {
    [Severity::Info, Severity::Warning, Severity::Critical]
        .into_iter()
        .find(|severity| severity.as_str() == word)
}

/// What each receiver was told of an incident so far.
async fn past_of(
    transaction: &mut Transaction,
    id: Uuid,
) -> Result<BTreeMap<String, Past>, StateError> {
    let rows = transaction
        .rows(
            "SELECT receiver, event, number, severity, created_at, done_at FROM deliveries \
             WHERE incident_id = $1 ORDER BY created_at, number",
            values![id],
        )
        .await?;
    let mut all: BTreeMap<String, Past> = BTreeMap::new();
    for row in &rows {
        let past = all.entry(row.text("receiver")?).or_default();
        if row.word("event", DeliveryEvent::from_word)? == DeliveryEvent::Resolved {
            continue;
        }
        past.newest = Some((row.moment("created_at")?, row.word("severity", severity)?));
        past.number = past.number.max(row.number("number")?);
        past.waiting |= row.optional_moment("done_at")?.is_none();
    }
    Ok(all)
}

/// Plans what a recipient is to be told of an open incident, if anything.
async fn tell(
    transaction: &mut Transaction,
    incident: &Incident,
    recipient: &Recipient,
    past: Option<&Past>,
    now: DateTime<Utc>,
) -> Result<u64, StateError> {
    let receiver = recipient.receiver.as_str();
    let Some((past, (at, severity))) = past.and_then(|past| Some((past, past.newest?))) else {
        return insert(
            transaction,
            incident,
            receiver,
            DeliveryEvent::Firing,
            0,
            now,
        )
        .await;
    };
    let due = at + delta(recipient.repeat) <= now || incident.severity > severity;
    if past.waiting || !due {
        return Ok(0);
    }
    // Of repeats only the newest is kept.
    transaction
        .execute(
            "DELETE FROM deliveries WHERE incident_id = $1 AND receiver = $2 \
             AND event = 'repeat' AND done_at IS NOT NULL",
            values![incident.id, receiver],
        )
        .await?;
    let number = past.number + 1;
    insert(
        transaction,
        incident,
        receiver,
        DeliveryEvent::Repeat,
        number,
        now,
    )
    .await
}

async fn insert(
    transaction: &mut Transaction,
    incident: &Incident,
    receiver: &str,
    event: DeliveryEvent,
    number: i64,
    now: DateTime<Utc>,
) -> Result<u64, StateError> {
    transaction
        .execute(
            "INSERT INTO deliveries (id, incident_id, receiver, event, number, severity, \
             created_at, next_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7) \
             ON CONFLICT (incident_id, receiver, event, number) DO NOTHING",
            values![
                Uuid::now_v7(),
                incident.id,
                receiver,
                event.as_str(),
                number,
                incident.severity.as_str(),
                now,
            ],
        )
        .await
}

async fn settle(
    transaction: &mut Transaction,
    delivery: &Delivery,
    outcome: DeliveryOutcome,
    error: Option<&str>,
    now: DateTime<Utc>,
) -> Result<bool, StateError> {
    let changed = transaction
        .execute(
            "UPDATE deliveries SET done_at = $3, outcome = $4, error = $5, lease_holder = NULL, \
             lease_until = NULL WHERE id = $1 AND attempts = $2 AND done_at IS NULL",
            values![delivery.id, delivery.attempts, now, outcome.as_str(), error],
        )
        .await?;
    if changed == 0 {
        return Ok(false);
    }
    transaction
        .execute(
            "INSERT INTO delivery_outcomes (receiver, outcome, deliveries) VALUES ($1, $2, 1) \
             ON CONFLICT (receiver, outcome) \
             DO UPDATE SET deliveries = delivery_outcomes.deliveries + 1",
            values![&delivery.receiver, outcome.as_str()],
        )
        .await?;
    Ok(true)
}

async fn read(transaction: &mut Transaction, id: Uuid) -> Result<Delivery, StateError> {
    let row = transaction
        .row(
            "SELECT d.id AS delivery_id, d.receiver, d.event, d.created_at, d.attempts, i.* \
             FROM deliveries d JOIN incidents i ON i.id = d.incident_id WHERE d.id = $1",
            values![id],
        )
        .await?
        .ok_or_else(|| {
            transaction.trouble(
                super::StateErrorKind::Other,
                "a delivery without an incident",
            )
        })?;
    delivery(&row)
}

fn delivery(row: &Row) -> Result<Delivery, StateError> {
    Ok(Delivery {
        id: row.id("delivery_id")?,
        incident: incident(row)?,
        receiver: row.text("receiver")?,
        event: row.word("event", DeliveryEvent::from_word)?,
        created_at: row.moment("created_at")?,
        attempts: row.small("attempts")?,
    })
}
