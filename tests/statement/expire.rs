//! Removing what a copy's policy no longer keeps.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use walproof::cli::contract;
use walproof::storage::{StorageOptions, Store};
use walproof::verify::{VerifyOptions, VerifyReport, verify};

use crate::Ground;
use crate::common::barman::BarmanCloud;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::s3::S3Server;
use crate::common::{json_schema, require, scratch};

/// A primary and a copy as files.
fn files(replication: &str) -> (Fixture, Ground, std::path::PathBuf) {
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let place = scratch::directory().keep();
    let copy = place.join("copy");
    scratch::copy_tree(tree.root(), &copy);
    let primary = place.join("primary");
    scratch::copy_tree(tree.root(), &primary);
    let cluster = format!(
        "  primary: {{url: 'file://{}'}}\n  replicas:\n  - name: second\n    url: 'file://{}'\n    replication: {{{replication}}}\n",
        primary.display(),
        copy.display()
    );
    let ground = Ground::new(&cluster, "", Vec::new());
    (fixture, ground, copy)
}

fn keys(root: &Path) -> BTreeSet<String> {
    fn walk(root: &Path, below: &Path, keys: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(below).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, keys);
            } else {
                let key = path.strip_prefix(root).unwrap();
                keys.insert(key.to_str().unwrap().to_owned());
            }
        }
    }
    let mut keys = BTreeSet::new();
    walk(root, root, &mut keys);
    keys
}

fn planned(plan: &Value) -> Vec<String> {
    plan["plan"]["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| object["key"].as_str().unwrap().to_owned())
        .collect()
}

fn look(root: &Path) -> VerifyReport {
    let location = format!("file://{}", root.display()).parse().unwrap();
    let store = Store::open(&location, &StorageOptions::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let repository = walproof::repository::open(store);
    runtime
        .block_on(verify(&repository, &VerifyOptions::default()))
        .unwrap()
}

#[test]
fn what_goes_is_shown_confirmed_and_removed_and_the_rest_restores() {
    require!(Postgres, S3, Barman);
    let (fixture, ground, copy) = files("keep: 1s");
    let [first, second] = &fixture.facts.backups[..] else {
        panic!("two backups")
    };
    let before = keys(&copy);
    let dry = ground
        .run(&["replicate", "expire", "orders"])
        .expect_code(0);
    let plan = dry.json();
    assert_eq!(plan["schema"], "walproof.replicate-expire/v1");
    json_schema::assert_valid(&contract::replicate_expire(), &plan);
    assert_eq!(plan["outcome"], Value::Null);
    assert_eq!(keys(&copy), before, "a dry run removed something");
    let backups = plan["plan"]["backups"].as_array().unwrap();
    assert_eq!(backups[0]["id"], first.id.as_str());
    assert_eq!(backups[0]["reason"], "obsolete");
    assert_eq!(backups[1]["reason"], "gives-window");
    assert!(plan["plan"]["wal"]["objects"].as_u64().unwrap() > 2);

    // Marker first, then its data, then WAL oldest first.
    let going = planned(&plan);
    assert_eq!(going[0], format!("base/{}/backup.info", first.id));
    let wal: Vec<&String> = going
        .iter()
        .filter(|key| key.starts_with("wals/"))
        .collect();
    assert!(wal.is_sorted());
    assert!(wal.iter().all(|key| !key.contains(&second.begin_wal)));
    assert!(going.iter().position(|key| key.starts_with("wals/")) > Some(1));

    let digest = plan["plan"]["digest"].as_str().unwrap();
    let text = ground
        .text(&["replicate", "expire", "orders"])
        .expect_code(0);
    assert!(
        text.stdout
            .contains(&format!("--confirm {}", &digest[..16]))
    );
    let longest = text.stdout.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(100), "{}", text.stdout);

    let done = ground
        .run(&["replicate", "expire", "orders", "--confirm", &digest[..12]])
        .expect_code(0);
    assert_eq!(done.json()["outcome"]["removed"], going.len() as u64);
    json_schema::assert_valid(&contract::replicate_expire(), &done.json());
    let gone: BTreeSet<String> = going.iter().cloned().collect();
    let expected: BTreeSet<String> = before.difference(&gone).cloned().collect();
    assert_eq!(keys(&copy), expected);

    let report = look(&copy);
    assert_eq!(report.findings, []);
    assert_eq!(report.counts.usable_backups, 1);
    assert_eq!(report.tip.unwrap().lsn.to_string(), fixture_tip(&fixture));
    // Nothing is left to do, and what was removed by policy is not copied again.
    let again = ground
        .run(&["replicate", "expire", "orders"])
        .expect_code(0);
    assert_eq!(planned(&again.json()), Vec::<String>::new());
    let run = ground.run(&["replicate", "run", "orders"]).expect_code(0);
    assert_eq!(keys(&copy), expected, "{}", run.stdout);
    assert!(
        ground
            .run(&["history", "orders"])
            .stdout
            .contains("\"expire\"")
    );
}

/// Where the whole repository's archive ends.
fn fixture_tip(fixture: &Fixture) -> String {
    look(fixture.tree().root()).tip.unwrap().lsn.to_string()
}

#[test]
fn wherever_it_is_cut_what_has_its_marker_restores() {
    require!(Postgres, S3, Barman);
    let (fixture, ground, copy) = files("keep: 1s");
    let plan = ground
        .run(&["replicate", "expire", "orders"])
        .expect_code(0);
    let second = &fixture.facts.backups[1].id;
    let tip = look(&copy).tip.unwrap().lsn;
    for key in planned(&plan.json()) {
        std::fs::remove_file(copy.join(&key)).unwrap();
        let report = look(&copy);
        for backup in &report.backups {
            let whole = copy
                .join(format!("base/{}/backup.info", backup.id))
                .exists();
            assert_eq!(backup.usable, whole, "after {key}: {backup:?}");
        }
        assert!(report.backups.iter().any(|backup| backup.id == *second));
        assert_eq!(report.tip.unwrap().lsn, tip, "after {key}");
    }
    // The rest of a plan that was cut goes by the next one.
    let rest = ground
        .run(&["replicate", "expire", "orders"])
        .expect_code(0);
    assert_eq!(planned(&rest.json()), Vec::<String>::new());
}

#[test]
fn an_expiry_that_was_cut_is_gone_on_with() {
    require!(Postgres, S3, Barman);
    let (fixture, ground, copy) = files("keep: 1s");
    let plan = ground
        .run(&["replicate", "expire", "orders"])
        .expect_code(0)
        .json();
    let first = &fixture.facts.backups[0].id;
    let digest = plan["plan"]["digest"].as_str().unwrap().to_owned();
    // Its data cannot be removed now; its description can.
    let folder = copy.join(format!("base/{first}"));
    let data = folder.join("data.tar.lz4");
    assert!(data.exists());
    let kept = std::fs::read(&data).unwrap();
    ground
        .run(&["replicate", "expire", "orders", "--confirm", &digest])
        .expect_code(0);
    // As after a kill between the description and the data.
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(&data, kept).unwrap();
    // Without memory it may be a backup on its way here: it is young, and stays.
    let stranger = crate::common::walproof::run(
        &[
            "replicate",
            "expire",
            &format!("file://{}", copy.display()),
            "--this-is-a-copy",
            "--keep",
            "1h",
            "--output",
            "json",
            "--state",
            &format!("sqlite://{}/other.sqlite", ground.path().display()),
        ],
        &[],
    )
    .expect_code(0);
    assert_eq!(planned(&stranger.json()), Vec::<String>::new());
    // With it, it goes.
    let rest = ground
        .run(&["replicate", "expire", "orders", "--keep", "1h"])
        .expect_code(0)
        .json();
    assert_eq!(planned(&rest), [format!("base/{first}/data.tar.lz4")]);
    let backups = rest["plan"]["backups"].as_array().unwrap();
    let found = backups.iter().find(|backup| backup["id"] == first.as_str());
    assert_eq!(found.unwrap()["reason"], "begun");
}

#[test]
fn another_plan_or_a_word_confirms_nothing() {
    require!(Postgres, S3, Barman);
    let (fixture, ground, copy) = files("keep: 1s");
    let plan = ground
        .run(&["replicate", "expire", "orders"])
        .expect_code(0)
        .json();
    let digest = plan["plan"]["digest"].as_str().unwrap();
    let before = keys(&copy);
    for word in ["yes", &digest[..11], ""] {
        ground
            .run(&["replicate", "expire", "orders", "--confirm", word])
            .expect_code(2);
    }
    // Another object of the same name and size.
    let info = copy.join(format!("base/{}/backup.info", fixture.facts.backups[0].id));
    let bytes = std::fs::read(&info).unwrap();
    std::fs::remove_file(&info).unwrap();
    std::fs::write(&info, bytes).unwrap();
    let refused = ground
        .text(&["replicate", "expire", "orders", "--confirm", digest])
        .expect_code(4);
    assert!(refused.stderr.contains("has changed"), "{}", refused.stderr);
    assert_eq!(keys(&copy), before);
}

#[test]
fn a_primary_is_never_expired() {
    require!(Postgres, S3, Barman);
    let (_, ground, copy) = files("keep: 1s");
    let primary = copy.with_file_name("primary");
    let before = keys(&primary);
    let url = format!("file://{}", primary.display());
    let above = format!("file://{}", primary.parent().unwrap().display());
    for arguments in [
        &["orders", "--copy", "primary"][..],
        &[&url, "--keep", "1s"],
        &[&url, "--keep", "1s", "--this-is-a-copy"],
        &[&above, "--keep", "1s", "--this-is-a-copy"],
    ] {
        let mut all = vec!["replicate", "expire"];
        all.extend(arguments);
        let refused = ground.text(&all).expect_code(4);
        assert!(refused.stderr.contains("primary") || refused.stderr.contains("copy"));
    }
    assert_eq!(keys(&primary), before);
    // A URL that nobody knows, unless one says so.
    let other = copy.with_file_name("other");
    scratch::copy_tree(&copy, &other);
    let url = format!("file://{}", other.display());
    ground
        .text(&["replicate", "expire", &url, "--keep", "1s"])
        .expect_code(4);
    ground
        .text(&[
            "replicate",
            "expire",
            &url,
            "--keep",
            "1s",
            "--this-is-a-copy",
        ])
        .expect_code(0);
    // And the replica by its URL.
    let url = format!("file://{}", copy.display());
    ground.text(&["replicate", "expire", &url]).expect_code(0);
}

#[test]
fn nothing_goes_when_nothing_usable_would_remain() {
    require!(Postgres, S3, Barman);
    let (fixture, ground, copy) = files("keep: 1s");
    for backup in &fixture.facts.backups {
        std::fs::remove_file(copy.join(format!("base/{}/data.tar.lz4", backup.id))).unwrap();
    }
    let before = keys(&copy);
    let dry = ground
        .run(&["replicate", "expire", "orders"])
        .expect_code(4);
    let plan = dry.json();
    assert!(
        plan["plan"]["objection"]
            .as_str()
            .unwrap()
            .contains("no usable base backup")
    );
    let digest = plan["plan"]["digest"].as_str().unwrap();
    ground
        .run(&["replicate", "expire", "orders", "--confirm", digest])
        .expect_code(4);
    assert_eq!(keys(&copy), before);
}

#[test]
fn damage_that_was_found_before_keeps_the_older_backup() {
    require!(Postgres, S3, Barman);
    let (fixture, ground, copy) = files("keep: 1s");
    let [first, second] = &fixture.facts.backups[..] else {
        panic!("two backups")
    };
    let data = copy.join(format!("base/{}/data.tar.lz4", second.id));
    let mut bytes = std::fs::read(&data).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&data, bytes).unwrap();
    // By names and sizes all is well.
    let dry = ground
        .run(&["replicate", "expire", "orders"])
        .expect_code(0)
        .json();
    assert_eq!(dry["plan"]["backups"][0]["reason"], "obsolete");
    ground
        .run(&["verify", "orders", "--copy", "second", "--depth", "read"])
        .expect_code(1);
    let dry = ground
        .run(&["replicate", "expire", "orders"])
        .expect_code(0)
        .json();
    assert_eq!(dry["plan"]["backups"][0]["id"], first.id.as_str());
    assert_eq!(dry["plan"]["backups"][0]["reason"], "gives-window");
    assert_eq!(dry["plan"]["backups"][1]["usable"], false);
    assert_eq!(dry["plan"]["backups"][1]["reason"], "not-replaced");
    assert!(
        planned(&dry)
            .iter()
            .all(|key| key.starts_with("wals/") && !key.contains(&first.begin_wal))
    );
}

#[test]
fn keep_annotations_and_minimum_redundancy_are_respected() {
    require!(Postgres, S3, Barman);
    let (fixture, ground, copy) = files("keep: 1s, minimum_redundancy: 2");
    let first = &fixture.facts.backups[0];
    let plan = ground
        .run(&["replicate", "expire", "orders"])
        .expect_code(0)
        .json();
    assert_eq!(plan["plan"]["backups"][0]["reason"], "minimum-redundancy");
    let annotate = |word: &str| {
        let file = copy.join(format!("base/{}/annotations/keep", first.id));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, word).unwrap();
    };
    let expire = || {
        let options = ["replicate", "expire", "orders", "--minimum-redundancy", "1"];
        ground.run(&options).expect_code(0).json()
    };
    for (word, reason) in [
        ("full", "kept-full"),
        ("standalone", "kept-standalone"),
        ("forever", "annotation-unknown"),
    ] {
        annotate(word);
        let plan = expire();
        assert_eq!(plan["plan"]["backups"][0]["reason"], reason);
        let wal: Vec<String> = planned(&plan);
        assert!(
            wal.iter().all(|key| !key.contains(&first.begin_wal)),
            "{word}"
        );
        assert!(wal.iter().all(|key| key.starts_with("wals/")), "{word}");
    }
    annotate("standalone");
    let plan = expire();
    // What lies between the two backups goes; what makes the first consistent stays.
    assert!(!planned(&plan).is_empty());
    let digest = plan["plan"]["digest"].as_str().unwrap();
    let options = [
        "replicate",
        "expire",
        "orders",
        "--minimum-redundancy",
        "1",
        "--confirm",
        digest,
    ];
    ground.run(&options).expect_code(0);
    let report = look(&copy);
    assert_eq!(report.counts.usable_backups, 2);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn barman_agrees_with_what_is_left() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (s3, url) = fixture.s3();
    let cluster = format!(
        "  primary: {{url: 's3://elsewhere/orders', endpoint: '{0}'}}\n  replicas: [{{url: '{url}', endpoint: '{0}', replication: {{keep: 1s}}}}]\n",
        s3.endpoint()
    );
    let ground = Ground::new(&cluster, "", s3.environment());
    let plan = ground
        .run(&["replicate", "expire", "orders"])
        .expect_code(0)
        .json();
    let digest = plan["plan"]["digest"].as_str().unwrap();
    ground
        .run(&["replicate", "expire", "orders", "--confirm", digest])
        .expect_code(0);
    let barman = BarmanCloud::new(
        &s3,
        crate::common::repository::PREFIX,
        crate::common::repository::SERVER,
    );
    let left: Vec<String> = barman
        .list()
        .iter()
        .map(|backup| backup["backup_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(left, [fixture.facts.backups[1].id.clone()]);
    let place = scratch::directory();
    let wal = place.path().join("wal");
    barman
        .wal_restore(&fixture.facts.backups[1].begin_wal, &wal)
        .unwrap();
    assert!(
        barman
            .wal_restore(&fixture.facts.backups[0].begin_wal, &wal)
            .is_err()
    );
    drop::<S3Server>(s3);
}

/// Nothing but the storage room itself and the one type of expiry can remove an object. The
/// room for Kubernetes removes what a drill made in a cluster; it knows no store.
#[test]
fn only_expiry_can_delete() {
    fn sources(below: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(below).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if std::fs::read_to_string(&path).unwrap().contains(".delete(") {
                let source = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
                found.push(source.to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    found.retain(|source| !source.starts_with("src/storage/"));
    found.retain(|source| !source.starts_with("src/kubernetes/"));
    assert_eq!(found, ["src/replicate/expire/deleting.rs"]);
}
