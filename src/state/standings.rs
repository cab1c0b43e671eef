//! Standings in the database: one small row per cluster, copy and kind of run, so that a
//! fleet is shown without reading reports.

use super::database::{Row, Transaction, values};
use super::{RunKind, STANDING_LIMIT, Standing, StandingFilter, State, StateError, StateErrorKind};
use crate::evidence::Verdict;

impl State {
    /// Standings, by cluster, copy and kind. At most one per cluster, copy and kind, each
    /// less than [`STANDING_LIMIT`].
    pub async fn standings(&self, filter: &StandingFilter) -> Result<Vec<Standing>, StateError> {
        let rows = self
            .rows(
                "SELECT * FROM standings WHERE ($1 IS NULL OR cluster = $1) \
                 AND ($2 IS NULL OR copy = $2) AND ($3 IS NULL OR kind = $3) \
                 ORDER BY cluster, copy, kind",
                values![
                    &filter.cluster,
                    &filter.copy,
                    filter.kind.map(RunKind::as_str)
                ],
            )
            .await?;
        rows.iter().map(standing).collect()
    }
}

/// Keeps where a copy stands, unless something newer is known.
pub(super) async fn stand_in(
    transaction: &mut Transaction,
    standing: &Standing,
) -> Result<(), StateError> {
    let body = transaction.json(&standing.body)?;
    if body.len() > STANDING_LIMIT {
        return Err(transaction.trouble(
            StateErrorKind::Refused,
            format!(
                "the standing of {} {} has {} bytes",
                standing.cluster,
                standing.copy,
                body.len()
            ),
        ));
    }
    let answered = standing.has_answered();
    let answered_verdict = standing.verdict.filter(|_| answered);
    // What the newest did not answer holds as it was answered last, of the same place.
    transaction
        .execute(
            "INSERT INTO standings (cluster, copy, kind, location, at, run_id, exit_code, verdict, \
             body, answered_at, answered_verdict) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (cluster, copy, kind) DO UPDATE SET location = excluded.location, \
             at = excluded.at, run_id = excluded.run_id, exit_code = excluded.exit_code, \
             verdict = excluded.verdict, body = excluded.body, \
             answered_at = CASE WHEN excluded.answered_at IS NULL \
             AND standings.location = excluded.location \
             THEN standings.answered_at ELSE excluded.answered_at END, \
             answered_verdict = CASE WHEN excluded.answered_at IS NULL \
             AND standings.location = excluded.location \
             THEN standings.answered_verdict ELSE excluded.answered_verdict END \
             WHERE standings.at <= excluded.at",
            values![
                &standing.cluster,
                &standing.copy,
                standing.kind.as_str(),
                &standing.location,
                standing.at,
                standing.run_id,
                standing.exit_code,
                standing.verdict.map(Verdict::as_str),
                body,
                answered.then_some(standing.at),
                answered_verdict.map(Verdict::as_str),
            ],
        )
        .await
        .map(|_| ())
}

fn standing(row: &Row) -> Result<Standing, StateError> {
    Ok(Standing {
        cluster: row.text("cluster")?,
        copy: row.text("copy")?,
        location: row.text("location")?,
        kind: row.word("kind", RunKind::from_word)?,
        at: row.moment("at")?,
        run_id: row.id("run_id")?,
        exit_code: row.small("exit_code")?,
        verdict: row
            .optional_text("verdict")?
            .map(|word| word.parse().map_err(|_| row.strange(&word)))
            .transpose()?,
        body: row.json("body")?,
    })
}
