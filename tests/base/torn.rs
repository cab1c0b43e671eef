//! Pages half old and half new: healed where WAL of the backup has them whole, else corrupt.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use walproof::postgres::wal::RelationLocator;
use walproof::postgres::{Lsn, RelationFile};

use super::*;
use crate::common::barman::{BarmanCloud, BaseCodec, WalCodec};
use crate::common::postgres::TestServer;
use crate::common::s3::S3Server;
use crate::common::{codec, require, workload};

const BLOCK: usize = 8192;

/// The blocks of main forks of which WAL between a backup's begin and end has an image.
fn imaged(tree: &Tree, index: usize) -> BTreeSet<(RelationLocator, u32)> {
    let store = Store::open(&tree.url().parse().unwrap(), &StorageOptions::default()).unwrap();
    let repository = open(store);
    runtime().block_on(async {
        let catalog = repository.catalog().await.unwrap();
        let (begin, end): (Lsn, Lsn) = (
            catalog.backups[index].begin_lsn.unwrap(),
            catalog.backups[index].end_lsn.unwrap(),
        );
        let mut blocks = BTreeSet::new();
        visit(&repository, &catalog, begin, &mut |record| {
            if record.end > end {
                return ControlFlow::Break(());
            }
            blocks.extend(
                record
                    .blocks()
                    .filter(|block| block.fork == 0 && block.image.is_some_and(|of| of.apply))
                    .map(|block| (block.relation, block.block)),
            );
            ControlFlow::Continue(())
        })
        .await;
        blocks
    })
}

fn data_key(tree: &Tree, backup: &str) -> String {
    let keys = tree.archives(backup);
    keys.into_iter()
        .find(|key| key.contains("/data.tar"))
        .unwrap()
}

/// Two base backups, the second of a server that is written to all the while.
fn under_load() -> Tree {
    let s3 = S3Server::start();
    let barman = BarmanCloud::new(&s3, "", "orders");
    let server = TestServer::options()
        .setting("archive_command", "true")
        .create();
    workload::create(&server, None);
    server.pgbench_init();
    workload::write(&server, "before", 500, 2);
    let archiver = barman.archive(&server, WalCodec::Lz4);
    barman.backup(&server, BaseCodec::None, &["--jobs", "1"]);
    server.pgbench(300);
    workload::write(&server, "between", 500, 2);
    server.psql("update ledger set label = label where id % 7 = 0");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                server.pgbench(50);
            }
        });
        barman.backup(&server, BaseCodec::None, &["--jobs", "1"]);
        stop.store(true, Ordering::Relaxed);
    });
    server.archive_all();
    drop(archiver);
    Tree::copy_of(&s3.object("orders"), "orders")
}

#[test]
fn a_torn_page_is_healed_by_its_image_and_by_nothing_else() {
    require!(Postgres, S3, Barman);
    let tree = under_load();
    let images = imaged(&tree, 1);
    let [first, second] = [0, 1].map(|at: usize| data_key(&tree, &tree.backups()[at]));
    let older = codec::decode(
        codec::extension(std::path::Path::new(&first)),
        &tree.read(&first),
    );
    let old_members = tape::members(&older);
    let (mut healed, mut lost) = (0_u64, BTreeSet::new());
    tree.change_inside(&second, |newer| {
        for member in tape::members(newer) {
            let Some(file) = RelationFile::parse(&member.name) else {
                continue;
            };
            let Some(old) = old_members.iter().find(|of| of.name == member.name) else {
                continue;
            };
            if file.fork.number() != 0 {
                continue;
            }
            for (block, at) in (0_u32..).zip(member.contents.step_by(BLOCK)) {
                let from = old.contents.start + block as usize * BLOCK;
                if from + BLOCK > old.contents.end {
                    break;
                }
                let (new_page, old_page) = (&mut newer[at..at + BLOCK], &older[from..from + BLOCK]);
                // Only what was caught in the middle of being written differs in both halves.
                if new_page[..16] == old_page[..16] || new_page[4096..] == old_page[4096..] {
                    continue;
                }
                let has_image = images.contains(&(file.locator, block));
                if !has_image && lost.len() >= 3 {
                    continue;
                }
                new_page[4096..].copy_from_slice(&old_page[4096..]);
                if has_image {
                    healed += 1;
                } else {
                    lost.insert((member.name.clone(), block));
                }
            }
        }
    });
    assert!(healed >= 3 && !lost.is_empty(), "{healed} {lost:?}");
    let read = read(&tree, 1);
    assert_eq!(
        (read.pages.healed, read.pages.corrupt),
        (healed, lost.len() as u64)
    );
    assert!(read.had_suspects && read.at_once.is_empty());
    for finding in read.findings() {
        assert_eq!(
            (finding.code, &finding.object),
            (Code::PageCorrupt, &second)
        );
        assert!(
            lost.iter().any(|(name, block)| {
                finding.message.starts_with(&format!("{name}: block"))
                    && finding.message.contains(&block.to_string())
            }),
            "{finding:#?} {lost:?}"
        );
    }
}
