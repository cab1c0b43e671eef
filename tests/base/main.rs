//! Base backups of the real tools, read to their last byte: healthy ones give no finding and
//! the page counts of `pg_checksums`; each damage gives its code and object.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "this is test code; clippy knows only functions marked #[test] as such"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../drill/tape.rs"]
#[allow(dead_code, reason = "what it does to WAL is for drills")]
mod tape;

mod damaged;
mod healthy;
mod torn;

use std::ops::ControlFlow;

use walproof::finding::{Code, Finding};
use walproof::repository::{Catalog, Repository, open};
use walproof::storage::{StorageOptions, Store};
use walproof::verify::base::{self, BaseReadOptions, BaseReport, PageCounts, TouchedBlocks};
use walproof::verify::wal_range::{RangeRequest, Until, scan};

use common::damage::Tree;

/// What came of a base backup, its WAL included.
struct Read {
    report: BaseReport,
    /// Findings of the reading alone.
    at_once: Vec<Finding>,
    /// Findings that WAL left.
    settled: Vec<Finding>,
    /// Pages, settled.
    pages: PageCounts,
    /// Suspects were there to settle.
    had_suspects: bool,
}

impl Read {
    fn findings(&self) -> Vec<&Finding> {
        self.at_once.iter().chain(&self.settled).collect()
    }

    fn codes(&self) -> Vec<Code> {
        self.findings().iter().map(|finding| finding.code).collect()
    }

    /// The only finding.
    #[track_caller]
    fn only(&self) -> &Finding {
        let findings = self.findings();
        assert_eq!(findings.len(), 1, "{findings:#?}");
        findings[0]
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Reads the backup of that place in the catalog, with what WAL says before and after its
/// begin.
fn read(tree: &Tree, index: usize) -> Read {
    let store = Store::open(&tree.url().parse().unwrap(), &StorageOptions::default()).unwrap();
    let repository = open(store);
    runtime().block_on(async {
        let catalog = repository.catalog().await.unwrap();
        let backup = &catalog.backups[index];
        let begin = backup.begin_lsn.unwrap();
        let mut touched = TouchedBlocks::new(1_000_000);
        let first = catalog.backups[0].begin_lsn.unwrap();
        visit(&repository, &catalog, first, &mut |record| {
            if record.start >= begin {
                return ControlFlow::Break(());
            }
            touched.take(record);
            ControlFlow::Continue(())
        })
        .await;
        let options = BaseReadOptions {
            touched: Some(&touched),
            ..BaseReadOptions::default()
        };
        let reading = base::read(&repository, backup, &options, &|_| {})
            .await
            .unwrap();
        let mut suspects = reading.suspects;
        let had_suspects = !suspects.is_empty();
        if had_suspects {
            let (_, end) = suspects.range();
            visit(&repository, &catalog, begin, &mut |record| {
                suspects.take(record);
                if record.end < end {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })
            .await;
        }
        let (pages, settled) = suspects.settle();
        Read {
            report: reading.report,
            at_once: reading.findings,
            settled,
            pages,
            had_suspects,
        }
    })
}

async fn visit(
    repository: &Repository,
    catalog: &Catalog,
    start: walproof::postgres::Lsn,
    take: &mut (dyn FnMut(&walproof::postgres::wal::WalRecord<'_>) -> ControlFlow<()> + Send),
) {
    let request = RangeRequest {
        history: walproof::verify::Timelines::of(catalog).current,
        start,
        until: Until::End,
        system_id: None,
    };
    let report = scan(repository, catalog, &request, &|_| {}, take)
        .await
        .unwrap();
    assert_eq!(report.findings, [], "the WAL itself is in order");
}
