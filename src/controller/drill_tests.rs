use serde_json::json;

use super::*;
use crate::controller::resources::{CLEANUP, holds};
use crate::daemon::Origin;
use crate::state::{Report, Run};

const RUN: &str = "0199c1f2-0000-7000-8000-000000000001";

fn resource(schedule: bool, change: impl FnOnce(&mut Value)) -> RecoveryDrill {
    let mut value = json!({
        "apiVersion": "walproof.dev/v1alpha1", "kind": "RecoveryDrill",
        "metadata": {"namespace": "shop", "name": "d", "uid": "u", "generation": 3,
            "finalizers": [CLEANUP]},
        "spec": {"clusterRef": {"name": "orders"}},
    });
    if schedule {
        value["spec"]["schedule"] = json!({"cron": "@daily"});
    }
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn job(key: &str, status: &str, run: Option<&str>) -> Job {
    let over = !matches!(status, "waiting" | "running");
    serde_json::from_value(json!({
        "id": "0199c1f2-0000-7000-8000-0000000000aa", "key": key, "kind": "drill",
        "schedule": "shop.d", "cluster": "shop.orders", "copy": "primary", "bucket": "",
        "tier": null, "due_at": "2026-11-22T03:00:00Z", "run_after": "2026-11-22T03:00:00Z",
        "deadline": null, "priority": 4, "late": false, "scratch_bytes": 0, "max_attempts": 4,
        "spec": {}, "status": status, "attempts": u32::from(status != "waiting"), "token": 1,
        "holder": null, "lease_until": null,
        "progress": (status == "running").then(|| json!({"phase": "replay", "done": 1,
            "total": null, "unit": "bytes", "at": "2026-11-22T03:01:00Z"})),
        "cancel_asked_at": null, "error": (status == "failed").then_some("no room"),
        "run_id": run, "created_at": "2026-11-22T03:00:00Z", "started_at": null,
        "finished_at": over.then_some("2026-11-22T03:05:00.5Z"),
    }))
    .unwrap()
}

fn stored(verdict: &str) -> BTreeMap<Uuid, StoredDrill> {
    let run: Run = serde_json::from_value(json!({
        "id": RUN, "kind": "drill", "cluster": "shop.orders", "copy": "primary", "location": "s3://x",
        "started_at": "2026-11-22T03:00:00Z", "finished_at": "2026-11-22T03:05:00Z",
        "status": "finished", "verdict": verdict, "exit_code": 0, "summary": "so it ended",
        "findings": 0, "version": "1",
    }))
    .unwrap();
    let body = json!({
        "measurements": {"time_to_service": 61_000, "time_to_verified": 3_700_000,
            "recovery_point_achieved": 850, "recovery_point": {"time": "2026-11-22T02:59:59.9Z"}},
        "reasons": [{"verdict": verdict, "text": "a row is missing"}],
        "phases": [{"phase": "admit", "milliseconds": 120}],
        "environment": {"removed": true, "kubernetes": {"namespace": "walproof-drill-x"}},
    });
    let stored = StoredDrill {
        run,
        findings: Vec::new(),
        report: Some(Report {
            schema: "walproof.drill/v1".to_owned(),
            body,
        }),
        record: None,
        record_sha256: None,
    };
    [(RUN.parse().unwrap(), stored)].into()
}

struct World {
    resource: RecoveryDrill,
    refusal: Option<Refusal>,
    jobs: Vec<Job>,
    runs: BTreeMap<Uuid, StoredDrill>,
    verdicts: BTreeMap<Uuid, Verdict>,
    clusters: Vec<String>,
    in_force: bool,
}

impl World {
    fn new(resource: RecoveryDrill, jobs: Vec<Job>) -> Self {
        Self {
            resource,
            refusal: None,
            jobs,
            runs: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            clusters: vec!["shop.orders".to_owned()],
            in_force: true,
        }
    }

    fn with<T>(&self, look: impl FnOnce(Known<'_>) -> T) -> T {
        look(Known {
            resource: &self.resource,
            refusal: self.refusal.as_ref(),
            clusters: &self.clusters,
            in_force: self.in_force,
            jobs: &self.jobs,
            verdicts: &self.verdicts,
            runs: &self.runs,
            next: DateTime::from_timestamp(1_800_000_000, 0),
            now: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
        })
    }

    fn status(&self) -> (RecoveryDrillStatus, Vec<&'static str>) {
        let (status, told) = self.with(|known| known.status());
        (status, told.iter().map(|one| one.reason).collect())
    }

    fn phase(&self) -> DrillPhase {
        self.status().0.phase.unwrap()
    }

    fn wanted(&self) -> Vec<String> {
        let wanted = self.with(|known| known.wanted());
        wanted.into_iter().map(|(_, key)| key).collect()
    }
}

const KEY: &str = "recoverydrill/u/3/shop.orders";

#[test]
fn a_one_off_drill_is_wanted_once_for_each_generation() {
    let fresh = World::new(resource(false, |_| {}), Vec::new());
    assert_eq!(fresh.wanted(), [KEY]);
    assert_eq!(fresh.phase(), DrillPhase::Pending);
    let done = |value: &mut Value| value["status"] = json!({"completedGeneration": 3});
    let before = |value: &mut Value| value["status"] = json!({"completedGeneration": 2});
    let rests = |value: &mut Value| value["spec"]["suspend"] = json!(true);
    let loose = |value: &mut Value| value["metadata"]["finalizers"] = json!([]);
    for (world, wanted) in [
        (World::new(resource(false, before), Vec::new()), true),
        (World::new(resource(false, done), Vec::new()), false),
        (World::new(resource(false, rests), Vec::new()), false),
        // Nothing is begun that nobody would clean up.
        (World::new(resource(false, loose), Vec::new()), false),
        (World::new(resource(true, |_| {}), Vec::new()), false),
        (
            World::new(resource(false, |_| {}), vec![job(KEY, "waiting", None)]),
            false,
        ),
        (
            World::new(resource(false, |_| {}), vec![job(KEY, "done", None)]),
            false,
        ),
        (
            World::new(
                resource(false, |_| {}),
                vec![job("recoverydrill/u/2/shop.orders", "done", None)],
            ),
            true,
        ),
    ] {
        assert_eq!(
            world.wanted().len(),
            usize::from(wanted),
            "{:?}",
            world.jobs
        );
    }
    let mut away = World::new(resource(false, |_| {}), Vec::new());
    away.in_force = false;
    assert!(away.wanted().is_empty());
}

#[test]
fn the_phase_follows_the_job() {
    for (status, phase, told) in [
        ("waiting", DrillPhase::Queued, vec!["Queued"]),
        (
            "running",
            DrillPhase::Running,
            vec!["Queued", "Started", "Step"],
        ),
        (
            "failed",
            DrillPhase::Unproven,
            vec!["Queued", "Started", "Unproven"],
        ),
        (
            "cancelled",
            DrillPhase::Unproven,
            vec!["Queued", "Started", "Unproven"],
        ),
    ] {
        let world = World::new(resource(false, |_| {}), vec![job(KEY, status, None)]);
        let (seen, reasons) = world.status();
        assert_eq!((seen.phase, reasons), (Some(phase), told), "{status}");
        assert_eq!(seen.step.is_some(), status == "running");
        let over = status == "failed" || status == "cancelled";
        assert_eq!(seen.completed_generation, over.then_some(3));
    }
    // A failed job says why.
    let world = World::new(resource(false, |_| {}), vec![job(KEY, "failed", None)]);
    assert_eq!(world.status().0.reason.as_deref(), Some("no room"));
}

#[test]
fn the_end_is_told_with_its_numbers_and_once() {
    for (verdict, phase, reason) in [
        ("proven", DrillPhase::Proven, "Proven"),
        ("failed", DrillPhase::Failed, "Failed"),
        ("unproven", DrillPhase::Unproven, "Unproven"),
    ] {
        for schedule in [false, true] {
            let key = if schedule { "shop.d/x@y" } else { KEY };
            let jobs = vec![job(key, "done", Some(RUN))];
            let mut world = World::new(resource(schedule, |_| {}), jobs);
            world.runs = stored(verdict);
            world.verdicts = [(RUN.parse().unwrap(), verdict.parse().unwrap())].into();
            let (status, told) = world.status();
            assert_eq!(status.phase, Some(phase));
            assert!(
                told.contains(&reason) && told.contains(&"CleanedUp"),
                "{told:?}"
            );
            let run = status.last_run.clone().unwrap();
            assert_eq!(run.verdict.as_deref(), Some(verdict));
            assert_eq!(run.time_to_service.as_deref(), Some("1m1s"));
            assert_eq!(run.time_to_verified.as_deref(), Some("1h1m"));
            assert_eq!(run.exposure.as_deref(), Some("850ms"));
            assert_eq!(run.reasons, ["a row is missing"]);
            assert_eq!(holds(&status.conditions, "Proven"), verdict == "proven");
            assert!(holds(&status.conditions, "Ready"));
            assert_eq!(status.next_run_at.is_some(), schedule);
            // Once it is written it is neither told nor read again, and stays as it is.
            let written = serde_json::to_value(&status).unwrap();
            world.resource = resource(schedule, |value| value["status"] = written);
            world.runs.clear();
            let (again, told) = world.status();
            assert_eq!(again, status);
            assert_eq!(told, Vec::<&str>::new());
            // The queue forgets its jobs; the verdict stays.
            world.jobs.clear();
            let (later, told) = world.status();
            assert_eq!((&later.runs, told), (&status.runs, Vec::new()));
            if !schedule {
                assert_eq!(later.phase, Some(phase));
                assert!(world.wanted().is_empty());
            }
        }
    }
}

fn not_guarded() -> Refusal {
    Refusal {
        by: Origin {
            kind: "RecoveryDrill".into(),
            namespace: "shop".to_owned(),
            name: "d".to_owned(),
        },
        what: "shop.d".to_owned(),
        reason: "ClusterNotGuarded",
        message: "no ProtectedCluster guards shop.orders".to_owned(),
    }
}

#[test]
fn what_is_refused_says_why() {
    let mut world = World::new(resource(true, |_| {}), Vec::new());
    assert_eq!(world.phase(), DrillPhase::Scheduled);
    assert_eq!(world.status().1, ["Scheduled"]);
    world.in_force = false;
    assert_eq!(world.phase(), DrillPhase::Pending);
    world.refusal = Some(not_guarded());
    let (status, told) = world.status();
    assert_eq!(status.phase, Some(DrillPhase::Refused));
    assert_eq!(status.reason.as_deref(), Some("ClusterNotGuarded"));
    assert!(holds(&status.conditions, "Refused") && !holds(&status.conditions, "Ready"));
    assert_eq!(told, ["Refused"]);
    // What runs already goes on, and is told.
    world.jobs = vec![job("x", "running", None)];
    assert_eq!(world.phase(), DrillPhase::Running);
}

/// Nothing is left to be run of one that was run once: what it proved stays, whatever becomes of
/// its Cluster.
#[test]
fn what_was_done_is_not_refused_afterwards() {
    let jobs = vec![job(KEY, "done", Some(RUN))];
    let mut world = World::new(resource(false, |_| {}), jobs);
    world.runs = stored("proven");
    world.verdicts = [(RUN.parse().unwrap(), Verdict::Proven)].into();
    let (status, _) = world.status();
    assert_eq!(status.completed_generation, Some(3));
    world.resource.status = Some(status);
    world.jobs.clear();
    world.in_force = false;
    world.refusal = Some(not_guarded());
    let (later, told) = world.status();
    assert_eq!(later.phase, Some(DrillPhase::Proven));
    assert!(holds(&later.conditions, "Ready") && !holds(&later.conditions, "Refused"));
    assert!(told.is_empty(), "{told:?}");
    // An edit asks for another run, which cannot be.
    world.resource.metadata.generation = Some(4);
    assert_eq!(world.phase(), DrillPhase::Refused);
}

#[test]
fn a_drill_of_many_clusters_is_what_all_of_them_came_to() {
    for (failed, phase) in [(None, DrillPhase::Proven), (Some(11), DrillPhase::Failed)] {
        let mut world = World::new(resource(false, |_| {}), Vec::new());
        world.clusters.clear();
        for number in 0..12_u8 {
            let cluster = format!("shop.c{number}");
            let id = Uuid::from_u128(u128::from(number) + 1);
            let key = key("u", 3, &cluster);
            let mut job = job(&key, "done", Some(&id.to_string()));
            job.id = id;
            job.cluster.clone_from(&cluster);
            world.jobs.push(job);
            world.clusters.push(cluster);
            let verdict = if failed == Some(number) {
                Verdict::Failed
            } else {
                Verdict::Proven
            };
            world.verdicts.insert(id, verdict);
            // As many reports are read as are shown.
            if number < 5 {
                let mut report = stored(verdict.as_str()).into_values().next().unwrap();
                report.run.id = id;
                world.runs.insert(id, report);
            }
        }
        let (status, told) = world.status();
        assert_eq!(status.phase, Some(phase));
        assert_eq!(status.completed_generation, Some(3));
        assert_eq!(holds(&status.conditions, "Proven"), failed.is_none());
        assert_eq!(status.reason.is_some(), failed.is_some());
        // Nothing is said of a run whose report was not read.
        assert_eq!(status.runs.len(), 5);
        let proven = status.runs.iter();
        assert!(
            proven
                .clone()
                .all(|run| run.verdict.as_deref() == Some("proven"))
        );
        assert!(!told.contains(&"Unproven"), "{told:?}");
        // A run of which nothing is known proves nothing.
        world.verdicts.pop_first();
        world.runs.clear();
        let expected = if failed.is_some() {
            phase
        } else {
            DrillPhase::Unproven
        };
        assert_eq!(world.phase(), expected);
    }
}
