//! Incidents in the database: opened by the run that finds something, closed by the run that
//! looks as deep and no longer finds it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::database::{Row, Transaction, transact, values};
use super::entries::take_head;
use super::{
    DepthRank, Incident, IncidentChange, IncidentEvent, IncidentFilter, IncidentKey, IncidentKind,
    NewIncident, State, StateError, StateErrorKind,
};
use crate::evidence::ledger::{ClosedIncident, OpenedIncident};
use crate::finding::{Finding, Severity};

const INCIDENTS: u32 = 10_000;

impl State {
    /// Incidents, newest first; only those that are open, or all.
    pub async fn incidents(
        &self,
        open_only: bool,
        filter: &IncidentFilter,
    ) -> Result<Vec<Incident>, StateError> {
        let limit = if filter.limit == 0 {
            INCIDENTS
        } else {
            filter.limit
        };
        let rows = self
            .rows(
                "SELECT * FROM incidents WHERE ($1 = 0 OR closed_at IS NULL) \
                 AND ($2 IS NULL OR cluster = $2) AND ($3 IS NULL OR copy = $3) \
                 AND ($4 IS NULL OR code = $4) \
                 AND ($5 IS NULL OR closed_at IS NULL OR closed_at >= $5 OR opened_at >= $5) \
                 ORDER BY opened_at DESC, id DESC LIMIT $6",
                values![
                    open_only,
                    &filter.cluster,
                    &filter.copy,
                    &filter.code,
                    filter.since,
                    limit,
                ],
            )
            .await?;
        rows.iter().map(incident).collect()
    }

    /// One incident.
    pub async fn incident(&self, id: Uuid) -> Result<Option<Incident>, StateError> {
        self.row("SELECT * FROM incidents WHERE id = $1", values![id])
            .await?
            .as_ref()
            .map(incident)
            .transpose()
    }

    /// What happened to incidents behind a number, in order, at most `limit`.
    pub async fn incident_events(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<Vec<IncidentEvent>, StateError> {
        let rows = self
            .rows(
                "SELECT e.number, e.change, e.at AS event_at, i.* FROM incident_events e \
                 JOIN incidents i ON i.id = e.incident_id WHERE e.number > $1 \
                 ORDER BY e.number LIMIT $2",
                values![after, limit],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(IncidentEvent {
                    number: row.count("number")?,
                    change: row.word("change", IncidentChange::from_word)?,
                    at: row.moment("event_at")?,
                    incident: incident(row)?,
                })
            })
            .collect()
    }

    /// Opens an incident of the daemon's own, or notes that it is seen again, without an entry
    /// that says so; [`Self::note`] writes one. Tells whether it is new.
    pub async fn open_incident(
        &self,
        new: &NewIncident,
        now: DateTime<Utc>,
    ) -> Result<bool, StateError> {
        transact!(self, transaction => async {
            take_head(&mut transaction).await?;
            raise_in(&mut transaction, new, 1, DepthRank::LISTED, now)
                .await
                .map(|id| id.is_some())
        })
    }

    /// Closes an incident without an entry that says so; [`Self::note`] writes one. Tells
    /// whether it was open.
    pub async fn close_incident(
        &self,
        key: &IncidentKey,
        by: Option<u64>,
        now: DateTime<Utc>,
    ) -> Result<bool, StateError> {
        transact!(self, transaction => async {
            take_head(&mut transaction).await?;
            let open = open_in(&mut transaction, key).await?;
            match open {
                Some(open) => close_in(&mut transaction, &open, by, now).await.map(|()| true),
                None => Ok(false),
            }
        })
    }
}

/// What a run is for incidents.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) cluster: &'a str,
    pub(super) copy: &'a str,
    pub(super) scope: &'a str,
    pub(super) kind: IncidentKind,
    pub(super) findings: &'a [Finding],
    /// The depth at which it raises.
    pub(super) raises: DepthRank,
    /// The depth up to which it closes; `None` when it could not check.
    pub(super) closes: Option<DepthRank>,
    pub(super) by: u64,
    pub(super) at: DateTime<Utc>,
}

/// What a run changed.
#[derive(Debug, Default)]
pub(super) struct Evolved {
    pub(super) opened: Vec<OpenedIncident>,
    pub(super) closed: Vec<ClosedIncident>,
}

/// Opens what a run found, and closes what it no longer finds. The head of the ledger is
/// held.
pub(super) async fn evolve_in(
    transaction: &mut Transaction,
    seen: &Seen<'_>,
) -> Result<Evolved, StateError> {
    let mut evolved = Evolved::default();
    // By code: how many, the worst of them, the first one of that severity.
    let mut codes: BTreeMap<&str, (u64, &Finding)> = BTreeMap::new();
    for finding in seen.findings {
        let (count, worst) = codes.entry(finding.code.as_str()).or_insert((0, finding));
        *count += 1;
        if finding.severity > worst.severity {
            *worst = finding;
        }
    }
    if let Some(closes) = seen.closes {
        let open = transaction
            .rows(
                "SELECT * FROM incidents WHERE closed_at IS NULL AND cluster = $1 AND copy = $2 \
                 AND scope = $3 AND kind = $4 AND depth <= $5",
                values![
                    seen.cluster,
                    seen.copy,
                    seen.scope,
                    seen.kind.as_str(),
                    closes.0
                ],
            )
            .await?;
        for row in &open {
            let open = incident(row)?;
            if !codes.contains_key(open.code.as_str()) {
                close_in(transaction, &open, Some(seen.by), seen.at).await?;
                evolved.closed.push(ClosedIncident::from(&open));
            }
        }
    }
    for (code, (count, finding)) in codes {
        let new = NewIncident {
            cluster: seen.cluster.to_owned(),
            copy: seen.copy.to_owned(),
            kind: seen.kind,
            scope: seen.scope.to_owned(),
            code: code.to_owned(),
            severity: finding.severity,
            object: finding.object.clone(),
            message: finding.message.clone(),
            by: Some(seen.by),
        };
        if let Some(id) = raise_in(transaction, &new, count, seen.raises, seen.at).await? {
            let opened = OpenedIncident::new(id, code, new.severity, &new.object);
            evolved.opened.push(opened);
        }
    }
    Ok(evolved)
}

pub(super) async fn open_in(
    transaction: &mut Transaction,
    key: &IncidentKey,
) -> Result<Option<Incident>, StateError> {
    transaction
        .row(
            "SELECT * FROM incidents WHERE closed_at IS NULL AND cluster = $1 AND copy = $2 \
             AND scope = $3 AND code = $4",
            values![&key.cluster, &key.copy, &key.scope, &key.code],
        )
        .await?
        .as_ref()
        .map(incident)
        .transpose()
}

/// Opens an incident and gives it, or notes that one that is open was seen again.
pub(super) async fn raise_in(
    transaction: &mut Transaction,
    new: &NewIncident,
    count: u64,
    depth: DepthRank,
    now: DateTime<Utc>,
) -> Result<Option<Uuid>, StateError> {
    let key = IncidentKey {
        cluster: new.cluster.clone(),
        copy: new.copy.clone(),
        scope: new.scope.clone(),
        code: new.code.clone(),
    };
    if let Some(open) = open_in(transaction, &key).await? {
        // What another kind of run sees as well says nothing of how deep this kind must look.
        let depth = if open.kind == new.kind {
            depth.min(open.depth)
        } else {
            open.depth
        };
        transaction
            .execute(
                "UPDATE incidents SET severity = $2, object = $3, message = $4, count = $5, \
                 depth = $6, last_seen_at = $7 WHERE id = $1",
                values![
                    open.id,
                    new.severity.as_str(),
                    &new.object,
                    &new.message,
                    count,
                    depth.0,
                    now.max(open.last_seen_at),
                ],
            )
            .await?;
        if new.severity > open.severity {
            event_in(transaction, open.id, IncidentChange::Worsened, now).await?;
        }
        return Ok(None);
    }
    let id = Uuid::now_v7();
    transaction
        .execute(
            "INSERT INTO incidents (id, cluster, copy, kind, scope, code, severity, object, \
             message, count, depth, opened_at, last_seen_at, opened_by) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13)",
            values![
                id,
                &new.cluster,
                &new.copy,
                new.kind.as_str(),
                &new.scope,
                &new.code,
                new.severity.as_str(),
                &new.object,
                &new.message,
                count,
                depth.0,
                now,
                new.by.and_then(|sequence| i64::try_from(sequence).ok()),
            ],
        )
        .await?;
    event_in(transaction, id, IncidentChange::Opened, now).await?;
    Ok(Some(id))
}

pub(super) async fn close_in(
    transaction: &mut Transaction,
    open: &Incident,
    by: Option<u64>,
    now: DateTime<Utc>,
) -> Result<(), StateError> {
    transaction
        .execute(
            "UPDATE incidents SET closed_at = $2, closed_by = $3 \
             WHERE id = $1 AND closed_at IS NULL",
            values![
                open.id,
                now.max(open.opened_at),
                by.and_then(|sequence| i64::try_from(sequence).ok())
            ],
        )
        .await?;
    event_in(transaction, open.id, IncidentChange::Closed, now).await
}

/// The head of the ledger is held, so numbers become visible in their order.
async fn event_in(
    transaction: &mut Transaction,
    incident: Uuid,
    change: IncidentChange,
    now: DateTime<Utc>,
) -> Result<(), StateError> {
    let number = transaction
        .row(
            "UPDATE ledger_head SET events = events + 1 WHERE only_row = 1 RETURNING events",
            values![],
        )
        .await?
        .ok_or_else(|| transaction.trouble(StateErrorKind::Other, "the ledger has no head"))?
        .number("events")?;
    transaction
        .execute(
            "INSERT INTO incident_events (number, incident_id, change, at) VALUES ($1, $2, $3, $4)",
            values![number, incident, change.as_str(), now],
        )
        .await
        .map(|_| ())
}

pub(super) fn incident(row: &Row) -> Result<Incident, StateError> {
    let severity = |word: &str| match word {
        "info" => Some(Severity::Info),
        "warning" => Some(Severity::Warning),
        "critical" => Some(Severity::Critical),
        _ => None,
    };
    Ok(Incident {
        id: row.id("id")?,
        cluster: row.text("cluster")?,
        copy: row.text("copy")?,
        kind: row.word("kind", IncidentKind::from_word)?,
        scope: row.text("scope")?,
        code: row.text("code")?,
        severity: row.word("severity", severity)?,
        object: row.text("object")?,
        message: row.text("message")?,
        count: row.count("count")?,
        depth: DepthRank(row.small("depth")?),
        opened_at: row.moment("opened_at")?,
        last_seen_at: row.moment("last_seen_at")?,
        closed_at: row.optional_moment("closed_at")?,
        opened_by: row.optional_count("opened_by")?,
        closed_by: row.optional_count("closed_by")?,
    })
}
