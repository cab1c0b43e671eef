//! A bad wire before the source or the target: the copy comes to be all the same, or the run
//! says why not; nothing wrong is visible at the target at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::s3::S3Server;
use crate::common::walproof::{Run, run};
use crate::common::wire::{Armed, Fault, Wire};
use crate::common::{require, scratch};
use crate::{Ground, tree};

/// Two S3 servers, a wire before each.
struct Scene {
    _source: S3Server,
    target: S3Server,
    near: Wire,
    far: Wire,
    ground: Ground,
    whole: Arc<BTreeMap<String, Vec<u8>>>,
    copy: PathBuf,
}

impl Scene {
    /// With an object that is sent in parts. The source's objects have tags of their own.
    fn new() -> Self {
        let tree = Fixture::get(&RepositoryOptions::default()).tree();
        let large: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
        tree.write("base/20990101T000000/data.tar", &large);
        let (source, target) = (S3Server::start(), S3Server::start());
        for key in tree.keys() {
            let bytes = tree.read(&key);
            source
                .api()
                .put(S3Server::BUCKET, &format!("pg/orders/{key}"), &bytes);
        }
        let near = Wire::to(&source.endpoint());
        let far = Wire::to(&target.endpoint());
        let ground = Ground {
            state: scratch::directory(),
            source: format!("s3://{}/pg/orders", S3Server::BUCKET),
            target: String::new(),
            options: vec!["--target-endpoint".to_owned(), far.endpoint().to_owned()],
            environment: near.environment(&source.environment()),
        };
        let mut scene = Self {
            whole: Arc::new(crate::tree(tree.root())),
            copy: PathBuf::new(),
            _source: source,
            target,
            near,
            far,
            ground,
        };
        scene.begin("first");
        scene
    }

    /// Copies to another place from now on.
    fn begin(&mut self, name: &str) {
        self.heal();
        self.ground.target = format!("s3://{}/{name}/orders", S3Server::BUCKET);
        self.copy = self.target.object(&format!("{name}/orders"));
    }

    fn heal(&self) {
        self.near.heal();
        self.far.heal();
    }

    /// A run during which the target is looked at all the time.
    fn watched(&self, options: &[&str]) -> Run {
        let ended = Arc::new(AtomicBool::new(false));
        let watching = std::thread::spawn({
            let (ended, whole, copy) = (ended.clone(), self.whole.clone(), self.copy.clone());
            move || {
                let mut seen = BTreeSet::new();
                loop {
                    // Once more after the end.
                    let last = ended.load(Ordering::SeqCst);
                    look(&copy, &whole, &mut seen);
                    if last {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        });
        let run = self.ground.run(options);
        ended.store(true, Ordering::SeqCst);
        watching.join().unwrap();
        run
    }

    /// Without faults nothing differs.
    fn assert_clean(&self) {
        self.heal();
        let objects = self.whole.len() as u64;
        let compared = self.ground.compare(&["--read"]).expect_code(0).json();
        assert_eq!(compared["read"]["equal"]["objects"], objects);
        assert_eq!(compared["findings"], serde_json::json!([]));
        assert!(tree(&self.copy) == *self.whole, "something else is there");
        let again = self.ground.run(&[]).expect_code(0);
        assert_eq!(Ground::copied(&again), 0);
        assert_eq!(again.json()["compared"]["looked_at"], 0, "{}", again.stdout);
    }

    /// One run with faults that are to be overcome.
    fn overcomes(&mut self, name: &str, near: &[Fault], far: &[Fault]) {
        self.begin(name);
        let arm = |wire: &Wire, faults: &[Fault]| -> Vec<Armed> {
            faults.iter().map(|it| wire.add(it.clone())).collect()
        };
        let mut armed = arm(&self.near, near);
        armed.extend(arm(&self.far, far));
        let run = self.watched(&[]);
        assert_eq!(run.code, Some(0), "{name}: {}{}", run.stdout, run.stderr);
        for fault in &armed {
            assert!(fault.hits() > 0, "{name}: {fault:?} never struck");
        }
        assert_eq!(Ground::copied(&run), self.whole.len() as u64, "{name}");
        assert_eq!(run.json()["failures"], serde_json::json!([]), "{name}");
        self.assert_clean();
    }
}

/// What is visible is whole, and a description is there only with all that it claims.
fn look(copy: &Path, whole: &BTreeMap<String, Vec<u8>>, seen: &mut BTreeSet<String>) {
    for key in whole
        .keys()
        .filter(|key| !seen.contains(*key))
        .cloned()
        .collect::<Vec<_>>()
    {
        let Ok(bytes) = std::fs::read(copy.join(&key)) else {
            continue;
        };
        assert!(bytes == whole[&key], "{key} is not what it should be");
        if let Some(folder) = key.strip_suffix("backup.info") {
            for part in whole.keys().filter(|part| part.starts_with(folder)) {
                assert!(copy.join(part).exists(), "{key} without {part}");
            }
        }
        seen.insert(key);
    }
}

#[test]
fn slow_and_broken_wires_are_overcome() {
    require!(Postgres, S3, Barman);
    let mut scene = Scene::new();
    let late = || [Fault::latency(Duration::from_millis(30))];
    scene.overcomes("late", &late(), &late());
    let resets = || [Fault::reset().after(3).every(4).times(30)];
    scene.overcomes("reset", &resets(), &resets());
    scene.overcomes(
        "lost",
        &[],
        &[Fault::lost_answer().after(5).every(3).times(20)],
    );
    let cuts = [
        Fault::truncate(5_000_000).on("GET").at("/base/").times(4),
        Fault::truncate(700)
            .on("GET")
            .at("backups/pg/orders/wals/")
            .every(3),
    ];
    scene.overcomes("truncated", &cuts, &[]);
    let cuts = [Fault::cut_request(300).on("PUT").every(4).times(20)];
    scene.overcomes("cut", &[], &cuts);
}

#[test]
fn a_storm_of_slow_down_is_waited_out() {
    require!(Postgres, S3, Barman);
    let mut scene = Scene::new();
    let storm = || [Fault::slow_down().after(12).times(40)];
    scene.overcomes("storm-near", &storm(), &[]);
    scene.overcomes("storm-far", &[], &storm());
    let drizzle = || [Fault::slow_down().every(3)];
    scene.overcomes("drizzle", &drizzle(), &drizzle());
}

#[test]
fn bytes_that_change_on_their_way_up_are_refused_and_sent_again() {
    require!(Postgres, S3, Barman);
    let mut scene = Scene::new();
    let parts = Fault::corrupt_request(1_000_000)
        .on("PUT")
        .at("partNumber")
        .once();
    let small = Fault::corrupt_request(100)
        .on("PUT")
        .at("/wals/")
        .every(3)
        .times(6);
    scene.overcomes("up", &[], &[parts, small]);

    // A wire that always spoils: told, and nothing of it is there.
    scene.begin("up-always");
    scene.far.add(Fault::corrupt_request(100).on("PUT"));
    let run = scene.watched(&[]).expect_code(3);
    let failures = run.json()["failures"].clone();
    let error = failures[0]["error"].as_str().unwrap();
    assert!(error.contains("on the way"), "{error}");
    scene.heal();
    let rest = scene.whole.len() - tree(&scene.copy).len();
    let next = scene.watched(&[]).expect_code(0);
    assert_eq!(Ground::copied(&next), rest as u64);
    scene.assert_clean();
}

#[test]
fn bytes_that_change_on_their_way_down_never_become_the_copy() {
    require!(Postgres, S3, Barman);
    let mut scene = Scene::new();
    // Thrice in a row would be a failure, and two of them may meet one object.
    let once = [
        Fault::corrupt_answer(100)
            .on("GET")
            .at("backups/pg/orders/wals/")
            .every(3)
            .times(2),
        Fault::corrupt_answer(12_000_000)
            .on("GET")
            .at("data.tar")
            .times(2),
        Fault::corrupt_answer(20).on("GET").at("backup.info").once(),
    ];
    scene.overcomes("down", &once, &[]);

    // A wire that always spoils or shortens: told, and nothing of it is there.
    for (name, fault, words) in [
        ("down-always", Fault::corrupt_answer(100), "the store tells"),
        ("short", Fault::shorten(1), "it was listed with"),
    ] {
        scene.begin(name);
        scene
            .near
            .add(fault.on("GET").at("backups/pg/orders/wals/"));
        let run = scene.watched(&[]).expect_code(3);
        let failures = run.json()["failures"].clone();
        let error = failures[0]["error"].as_str().unwrap();
        assert!(error.contains(words), "{error}");
        scene.heal();
        let rest = scene.whole.len() - tree(&scene.copy).len();
        let next = scene.watched(&[]).expect_code(0);
        assert_eq!(Ground::copied(&next), rest as u64);
        scene.assert_clean();
    }
}

#[test]
fn credentials_that_end_are_told_and_the_next_run_copies_the_rest() {
    require!(Postgres, S3, Barman);
    let mut scene = Scene::new();
    let total = scene.whole.len();
    for (name, is_near, fault, words) in [
        ("expired-far", false, Fault::expired(), "ExpiredToken"),
        ("denied-far", false, Fault::denied(), "AccessDenied"),
        ("expired-near", true, Fault::expired(), "ExpiredToken"),
        ("denied-near", true, Fault::denied(), "AccessDenied"),
    ] {
        scene.begin(name);
        let armed = if is_near {
            scene
                .near
                .add(fault.on("GET").at("backups/pg/orders/wals/").after(6))
        } else {
            scene.far.add(fault.on("PUT").after(6))
        };
        let first = scene.watched(&["--parallel", "2"]).expect_code(3);
        assert!(armed.hits() > 0, "{name}");
        let report = first.json();
        // What is denied may be one object; that credentials are not accepted concerns all.
        let error = if name.starts_with("expired") {
            assert_eq!(report["ended"]["reason"], "failed", "{name}: {report:#}");
            report["ended"]["error"].as_str().unwrap()
        } else {
            report["failures"][0]["error"].as_str().unwrap()
        };
        assert!(error.contains(words), "{name}: {error}");
        // It does not go on asking.
        let most = if name.starts_with("expired") { 12 } else { 24 };
        assert!(armed.hits() <= most, "{name}: {} requests", armed.hits());
        let there = tree(&scene.copy).len();
        assert!(there > 0 && there < total, "{name}: {there}");
        assert_eq!(Ground::copied(&first), there as u64, "{name}");
        // As long as they are bad nothing is lost.
        let state = scene.ground.state();
        let (source, target) = (&scene.ground.source, &scene.ground.target);
        let mut arguments = vec!["replicate", "run", source, target, "--state", &state];
        arguments.extend(scene.ground.options.iter().map(String::as_str));
        let told = run(&arguments, &scene.ground.environment).expect_code(3);
        let text = format!("{}{}", told.stdout, told.stderr);
        assert!(text.contains(words), "{name}: {text}");
        scene.heal();
        let there = tree(&scene.copy).len();
        let next = scene.watched(&[]).expect_code(0);
        assert_eq!(Ground::copied(&next), (total - there) as u64, "{name}");
        scene.assert_clean();
    }
}
