//! Fairness: a giant does not make the others wait, and a long queue does not make claims
//! slow.

use std::collections::BTreeMap;

use super::super::Release;
use super::{Place, claim, moment, new_job, on_both};

on_both!(a_giant_takes_no_more_than_its_share);

const SMALL: usize = 40;
const GIANT: usize = 10_000;

async fn a_giant_takes_no_more_than_its_share(place: &Place) {
    let state = place.open().await;
    // The giant came first, and all of its jobs are due before those of the others.
    let giant: Vec<_> = (0..GIANT)
        .map(|n| new_job(&format!("giant/{n}"), "giant"))
        .collect();
    state.enqueue(&giant).await.unwrap();
    let mut small = Vec::new();
    for n in 0..SMALL {
        for job in 0..3 {
            let mut new = new_job(&format!("small{n}/{job}"), &format!("small{n}"));
            new.due_at = moment(100);
            new.run_after = moment(100);
            small.push(new);
        }
    }
    state.enqueue(&small).await.unwrap();
    let mut turns: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for turn in 0..SMALL * 3 + 10 {
        let job = claim(&state, 100).await.unwrap();
        turns.entry(job.cluster.clone()).or_default().push(turn);
        state
            .release(&job.fence(), moment(100), &Release::Cancelled)
            .await
            .unwrap();
    }
    // Each round has one of each: the n-th of a small one comes in the n-th round.
    for n in 0..SMALL {
        let turns = &turns[&format!("small{n}")];
        assert_eq!(turns.len(), 3);
        for (round, turn) in turns.iter().enumerate() {
            assert!(*turn < (round + 1) * (SMALL + 1), "{turn} in round {round}");
        }
    }
    // What the others leave is the giant's.
    assert_eq!(turns["giant"].len(), 10);
}

/// What the claim reads does not grow with the queue: each step finds its rows by an index.
#[tokio::test]
async fn a_claim_finds_its_rows_by_indexes() {
    let place = Place::sqlite();
    let state = place.open().await;
    for statement in super::super::claim::STATEMENTS {
        let rows = state
            .rows(
                &format!("EXPLAIN QUERY PLAN {statement}"),
                super::super::database::values![
                    5_i64, 0_i64, "orders", "", "", "", "", "", 0_i64, 0_i64, 0_i64, 0_i64, "", ""
                ],
            )
            .await
            .unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.text("detail").unwrap()).collect();
        let jobs = plan
            .iter()
            .filter(|line| line.contains(" w"))
            .collect::<Vec<_>>();
        assert!(!jobs.is_empty(), "{plan:?}");
        assert!(
            jobs.iter().all(|line| line.contains("SEARCH w")
                && line.contains("jobs_waiting (priority=? AND cluster=?)")),
            "{plan:?}"
        );
        // Only the jobs under way are looked through, and the clusters in the order of their
        // turns.
        for line in plan.iter().filter(|line| line.contains("SCAN")) {
            assert!(
                line.contains("jobs_running") || line.contains("queue_clusters_by_turn"),
                "{plan:?}"
            );
        }
    }
}
