//! One daemon that tells of a gap and of its end, and writes reports that can be checked.

use std::path::PathBuf;

use crate::common::damage::Tree;
use crate::common::receiver::Receiver;
use crate::common::require;
use crate::kit::{Ground, repository};

/// What was told of a gap, in order.
fn told(receiver: &Receiver) -> Vec<(String, bool)> {
    receiver
        .received()
        .iter()
        .map(crate::common::receiver::Received::json)
        .filter(|notice| notice["code"] == "wal-gap")
        .map(|notice| {
            let status = notice["status"].as_str().unwrap().to_owned();
            (status, !notice["resolved_at"].is_null())
        })
        .collect()
}

fn reports(ground: &Ground) -> Vec<PathBuf> {
    std::fs::read_dir(ground.path().join("reports"))
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default()
}

#[test]
fn a_gap_is_told_once_and_so_is_its_end_and_reports_hold() {
    require!(Postgres);
    let receiver = Receiver::start();
    let tree = Tree::copy_of(repository().root(), "orders");
    let ground = Ground::new();
    std::fs::write(ground.path().join("url"), receiver.url()).unwrap();
    ground.write(&format!(
        "version: 1\nstate: {}\nclusters:\n- {{name: orders, raci: {{responsible: [on-call], accountable: on-call}}, primary: {{url: '{}'}}}}\n\
         notifications:\n  receivers: {{pager: {{webhook: {{url: {{file: url}}}}}}}}\n  people: {{on-call: [pager]}}\n  otherwise: [pager]\n\
         schedules:\n- {{name: often, job: verify, cron: '*/2 * * * * *', depth: read}}\n- {{name: report, job: report, cron: '*/5 * * * * *', period: 1h}}\n\
         daemon: {{listen: '127.0.0.1:0', lease: 3s}}\n",
        ground.state,
        tree.url()
    ));
    let mut daemon = ground.daemon();
    daemon.until("a verification", || !ground.entries_of("verify").is_empty());
    assert_eq!(told(&receiver), []);
    // One out of the middle.
    let segments = tree.segments();
    assert!(segments.len() >= 3, "{segments:?}");
    let key = tree.wal_key(&segments[segments.len() - 2]);
    let bytes = tree.read(&key);
    tree.delete(&key);
    daemon.until("the gap to be told", || !told(&receiver).is_empty());
    let runs = ground.entries_of("verify").len();
    daemon.until("it to be seen again", || {
        ground.entries_of("verify").len() >= runs + 2
    });
    assert_eq!(told(&receiver), [("firing".to_owned(), false)]);
    tree.write(&key, &bytes);
    daemon.until("the end to be told", || told(&receiver).len() >= 2);
    let before = ground.entries_of("report").len();
    daemon.until("a report", || ground.entries_of("report").len() > before);
    assert_eq!(daemon.stop(), 0);
    assert_eq!(
        told(&receiver),
        [("firing".to_owned(), false), ("resolved".to_owned(), true)]
    );
    let reports = reports(&ground);
    assert_eq!(reports.len(), ground.entries_of("report").len());
    let mut changed = 0;
    for report in reports {
        let files: Vec<PathBuf> = std::fs::read_dir(&report)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|it| it == "jsonl"))
            .collect();
        assert_eq!(files.len(), 1, "{}", report.display());
        let file = files[0].to_str().unwrap();
        ground
            .walproof(&["evidence", "verify", "--file", file])
            .expect_code(0);
        // Changed, it does not hold any more.
        let text = std::fs::read_to_string(file).unwrap();
        if !text.contains("verify") {
            continue;
        }
        changed += 1;
        std::fs::write(file, text.replacen("verify", "verifx", 1)).unwrap();
        let run = ground.walproof(&["evidence", "verify", "--file", file]);
        assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    }
    assert!(changed > 0);
    ground.walproof(&["evidence", "verify"]).expect_code(0);
}
