//! `verify` on repositories made by the real tools: healthy ones give no finding and the
//! exact end; each fault gives its code and object.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "this is test code; clippy knows only functions marked #[test] as such"
)]

#[path = "../common/mod.rs"]
mod common;

mod faults;
mod healthy;
mod range;
mod read;
mod records;
mod rendering;

use chrono::{DateTime, Utc};
use walproof::finding::{Code, Finding};
use walproof::repository::{Repository, open};
use walproof::storage::{StorageOptions, Store};
use walproof::verify::{RequestedDepth, VerifyOptions, VerifyReport};

use common::damage::Tree;
use common::repository::{Fixture, RepositoryOptions, TimelineSwitch};

/// Opens the repository of a tree.
fn repository(tree: &Tree) -> Repository {
    let store = Store::open(&tree.url().parse().unwrap(), &StorageOptions::default()).unwrap();
    open(store)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn verify(tree: &Tree) -> VerifyReport {
    verify_at(tree, Utc::now())
}

fn verify_at(tree: &Tree, now: DateTime<Utc>) -> VerifyReport {
    let options = VerifyOptions {
        now,
        ..VerifyOptions::default()
    };
    verify_with(tree, &options)
}

/// Every byte is read.
fn verify_read(tree: &Tree) -> VerifyReport {
    verify_with(
        tree,
        &VerifyOptions {
            depth: RequestedDepth::Read,
            by_segment: true,
            ..VerifyOptions::default()
        },
    )
}

fn verify_with(tree: &Tree, options: &VerifyOptions) -> VerifyReport {
    runtime()
        .block_on(walproof::verify::verify(&repository(tree), options))
        .unwrap()
}

fn fixture(switch: TimelineSwitch) -> Fixture {
    Fixture::get(&RepositoryOptions {
        switch,
        ..RepositoryOptions::default()
    })
}

fn codes(report: &VerifyReport) -> Vec<Code> {
    report.findings.iter().map(|finding| finding.code).collect()
}

/// The only finding.
#[track_caller]
fn only(report: &VerifyReport) -> &Finding {
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    &report.findings[0]
}

/// The segment `steps` after the one named, on the same timeline, with 1-MiB segments.
fn later(name: &str, steps: i64) -> String {
    let log = i64::from_str_radix(&name[8..16], 16).unwrap();
    let segment = i64::from_str_radix(&name[16..24], 16).unwrap();
    let number = log * 4096 + segment + steps;
    format!("{}{:08X}{:08X}", &name[..8], number / 4096, number % 4096)
}
