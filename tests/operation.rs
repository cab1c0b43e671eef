//! Jobs as the daemon does them, on real repositories and a real state: what they leave, and
//! what a process that wakes too late does not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code; clippy knows only functions marked #[test] as such"
)]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use common::damage::Tree;
use common::repository::{Fixture, RepositoryOptions};
use common::{require, scratch};
use walproof::config::{self, Config};
use walproof::drill::{Cancellation, Unobserved};
use walproof::evidence::ledger::RunBody;
use walproof::evidence::{EntryKind, Trigger, Verdict};
use walproof::finding::Severity;
use walproof::operation::source::{Reach, Source};
use walproof::operation::standing::{DrillStanding, ReplicateStanding, VerifyStanding};
use walproof::operation::{
    FailureClass, JobSpec, Limits, Observer, Origin, Performed, Progress, Recording, Surroundings,
    drill, perform, replicate,
};
use walproof::state::{
    Budgets, ClaimRequest, Fence, IncidentFilter, Job, JobKind, JobStatus, NewJob, RunKind,
    StandingFilter, State,
};

/// A cluster `orders` with a replica, and a state.
struct Ground {
    keep: TempDir,
    config: Arc<Config>,
    state: State,
}

impl Ground {
    async fn new(tree: &Tree) -> Self {
        Self::with(tree, "").await
    }

    /// With these further lines of the cluster, and of the file.
    async fn with(tree: &Tree, lines: &str) -> Self {
        let keep = scratch::directory();
        let home = keep.path().display();
        std::fs::create_dir(keep.path().join("drills")).unwrap();
        std::fs::write(
            keep.path().join("drills/nightly.yaml"),
            format!("version: 1\nname: nightly\nclusters: [orders]\nscratch: {home}/scratch\n"),
        )
        .unwrap();
        let file = keep.path().join("walproof.yaml");
        std::fs::write(
            &file,
            format!(
                "version: 1\nstate: sqlite://{home}/state.sqlite\ndrills: [drills]\n\
                 tiers: {{gold: {{rto: 1h}}}}\n\
                 clusters:\n- name: orders\n  tier: gold\n  primary: {{url: '{}'}}\n  \
                 replicas: [{{name: far, url: 'file://{home}/far'}}]\n{lines}",
                tree.url()
            ),
        )
        .unwrap();
        let config = config::load(&file).unwrap();
        let state = State::open(&config.state).await.unwrap();
        Self {
            keep,
            config: Arc::new(config),
            state,
        }
    }

    fn path(&self) -> &Path {
        self.keep.path()
    }

    fn around(&self, fence: Option<Fence>) -> Surroundings {
        Surroundings {
            config: Arc::clone(&self.config),
            state: self.state.clone(),
            trigger: Trigger::Schedule,
            initiator: "walproof daemon".into(),
            due_at: Some(Utc::now() - TimeDelta::minutes(1)),
            schedule: Some("nightly".into()),
            fence,
            late: false,
            cancellation: watch::channel(false).1,
            observer: Arc::new(Heard::default()),
            limits: Limits::default(),
        }
    }

    /// A job in the queue, claimed by somebody for a minute.
    async fn claimed(&self, kind: JobKind, copy: &str, spec: &JobSpec) -> Job {
        let now = Utc::now();
        let new = NewJob {
            key: format!("{}/{copy}@{now}", kind.as_str()),
            kind,
            schedule: Some("nightly".into()),
            cluster: "orders".into(),
            copy: copy.into(),
            bucket: String::new(),
            tier: Some("gold".into()),
            due_at: now,
            run_after: now,
            deadline: None,
            priority: 5,
            late: false,
            scratch_bytes: 0,
            max_attempts: 3,
            spec: serde_json::to_value(spec).unwrap(),
        };
        assert_eq!(self.state.enqueue(&[new]).await.unwrap(), [true]);
        self.claim(now).await
    }

    async fn claim(&self, now: chrono::DateTime<Utc>) -> Job {
        let request = ClaimRequest {
            holder: Uuid::now_v7(),
            now,
            lease: Duration::from_mins(1),
            budgets: Budgets::NONE,
            allow: JobKind::ALL.to_vec(),
        };
        self.state.claim(&request).await.unwrap().unwrap()
    }

    async fn status(&self, job: &Job) -> JobStatus {
        self.state.job(job.id).await.unwrap().unwrap().status
    }

    async fn standing(&self, kind: RunKind, copy: &str) -> Option<serde_json::Value> {
        let filter = StandingFilter {
            cluster: Some("orders".into()),
            copy: Some(copy.into()),
            kind: Some(kind),
        };
        let all = self.state.standings(&filter).await.unwrap();
        all.into_iter().next().map(|standing| standing.body)
    }

    /// The bodies of the ledger's entries of a kind.
    async fn entries(&self, kind: EntryKind) -> Vec<serde_json::Value> {
        let all = self.state.entries(0, 1_000).await.unwrap();
        all.iter()
            .map(|entry| serde_json::from_str::<serde_json::Value>(&entry.text).unwrap())
            .filter(|entry| entry["kind"] == kind.as_str())
            .map(|entry| entry["body"].clone())
            .collect()
    }
}

/// Notes what it hears.
#[derive(Default)]
struct Heard {
    phases: Mutex<Vec<&'static str>>,
    progress: Mutex<Vec<Progress>>,
}

impl Observer for Heard {
    fn phase_started(&self, phase: &'static str) {
        self.phases.lock().unwrap().push(phase);
    }

    fn progress(&self, progress: Progress) {
        self.progress.lock().unwrap().push(progress);
    }
}

fn tree() -> Tree {
    Fixture::get(&RepositoryOptions {
        tablespace: false,
        ..RepositoryOptions::default()
    })
    .tree()
}

#[track_caller]
fn only(performed: &Performed) -> &walproof::operation::Ended {
    let [part] = performed.parts.as_slice() else {
        panic!("{performed:?}");
    };
    part.outcome.as_ref().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_leaves_a_run_a_standing_an_entry_and_a_job_that_is_done() {
    require!(Postgres, S3, Barman);
    let tree = tree();
    let ground = Ground::new(&tree).await;
    let spec = JobSpec::Verify {
        depth: Some(config::VerificationDepth::Read),
    };
    let job = ground.claimed(JobKind::Verify, "primary", &spec).await;
    let heard = Arc::new(Heard::default());
    let around = Surroundings {
        observer: Arc::clone(&heard) as Arc<dyn Observer>,
        ..ground.around(Some(job.fence()))
    };
    let performed = perform(&spec, "orders", Some("primary"), &around).await;
    let ended = only(&performed);
    assert_eq!(
        (ended.exit_code, ended.verdict, ended.trouble),
        (0, None, None)
    );
    assert_eq!(ground.status(&job).await, JobStatus::Done);

    let body = ground.standing(RunKind::Verify, "primary").await.unwrap();
    let standing = VerifyStanding::read(body).unwrap();
    assert_eq!(standing.depth.as_str(), "read");
    assert_eq!((standing.usable_backups, standing.gaps), (2, 0));
    assert!(standing.exposure_known && standing.bytes_read > 0);
    assert!(standing.tip_commit_at <= Some(standing.checked_at));
    assert!(standing.base_bytes > 0 && standing.wal_bytes > 0);

    let entries = ground.entries(EntryKind::Verify).await;
    let [entry] = entries.as_slice() else {
        panic!("{entries:?}");
    };
    let run: RunBody = serde_json::from_value(entry["run"].clone()).unwrap();
    assert_eq!(run.asked.trigger, Trigger::Schedule);
    assert_eq!(run.asked.job, Some(job.id));
    assert_eq!(run.asked.schedule.as_deref(), Some("nightly"));
    assert_eq!(entry["depth"], "read");
    assert_eq!(heard.phases.lock().unwrap().as_slice(), ["list", "read"]);
    let progress = heard.progress.lock().unwrap();
    assert!(progress.iter().all(|one| one.total >= Some(one.done)));
    assert!(!progress.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wakes_late_leaves_nothing_that_counts() {
    require!(Postgres, S3, Barman);
    let tree = tree();
    let ground = Ground::new(&tree).await;
    let spec = JobSpec::Verify { depth: None };
    let late = ground.claimed(JobKind::Verify, "primary", &spec).await;
    // Its lease runs out while it sleeps, and another begins anew.
    let then = Utc::now() + TimeDelta::minutes(5);
    assert_eq!(ground.state.expire_leases(then).await.unwrap().len(), 1);
    let newer = ground.claim(then).await;
    assert_eq!(newer.id, late.id);
    let around = ground.around(Some(late.fence()));
    let performed = perform(&spec, "orders", Some("primary"), &around).await;
    assert_eq!(performed.trouble(), Some(FailureClass::Fenced));
    assert_eq!(ground.standing(RunKind::Verify, "primary").await, None);
    assert_eq!(ground.entries(EntryKind::Verify).await.len(), 0);
    assert_eq!(ground.status(&newer).await, JobStatus::Running);
    // The newer one is kept.
    let around = ground.around(Some(newer.fence()));
    let performed = perform(&spec, "orders", Some("primary"), &around).await;
    assert_eq!(performed.trouble(), None);
    assert_eq!(ground.status(&newer).await, JobStatus::Done);
    assert_eq!(ground.entries(EntryKind::Verify).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_done_is_recorded_and_its_job_stays_open() {
    require!(Postgres, S3, Barman);
    let tree = tree();
    let ground = Ground::new(&tree).await;
    let spec = JobSpec::Verify { depth: None };
    perform(&spec, "orders", Some("primary"), &ground.around(None)).await;
    let before = ground.standing(RunKind::Verify, "primary").await.unwrap();
    let away = ground.path().join("away");
    std::fs::rename(tree.root(), &away).unwrap();

    let job = ground.claimed(JobKind::Verify, "primary", &spec).await;
    let around = ground.around(Some(job.fence()));
    let performed = perform(&spec, "orders", Some("primary"), &around).await;
    let Err(failure) = &performed.parts[0].outcome else {
        panic!("{performed:?}");
    };
    assert_eq!(failure.class, FailureClass::Storage { transient: false });
    assert!(failure.hint.is_some());
    // The daemon decides what becomes of the job; what was last known stays.
    assert_eq!(ground.status(&job).await, JobStatus::Running);
    assert_eq!(
        ground.standing(RunKind::Verify, "primary").await,
        Some(before)
    );
    let entries = ground.entries(EntryKind::Verify).await;
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1]["run"]["exit_code"], 3);
    let unknown = perform(&spec, "nobody", None, &ground.around(None)).await;
    assert_eq!(unknown.trouble(), Some(FailureClass::Configuration));
}

/// A Kubernetes whose API nobody serves, and a cluster that lives there.
fn in_kubernetes(directory: &Path, policy: &str) -> String {
    let kubeconfig = directory.join("kubeconfig");
    let text = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
        "clusters": [{"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
        "users": [{"name": "nobody", "user": {}}],
    });
    std::fs::write(&kubeconfig, text.to_string()).unwrap();
    format!(
        "  kubernetes: {{namespace: shop, name: orders{policy}}}\n\
         kubernetes: {{kubeconfig: '{}'}}\n",
        kubeconfig.display()
    )
}

const WISHED: &str = ", fresh_backup: when-none-usable";

/// That a fresh backup could not be asked for is told and recorded, and that is all.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_cannot_be_asked_for_changes_nothing_of_the_verification() {
    require!(Postgres, S3, Barman);
    let tree = tree();
    let keys: Vec<String> = tree.keys();
    for base in keys.iter().filter(|key| key.contains("base/")) {
        tree.delete(base);
    }
    let keep = scratch::directory();
    let spec = JobSpec::Verify { depth: None };
    let mut all = Vec::new();
    for policy in ["", WISHED] {
        let ground = Ground::with(&tree, &in_kubernetes(keep.path(), policy)).await;
        let job = ground.claimed(JobKind::Verify, "primary", &spec).await;
        let around = ground.around(Some(job.fence()));
        let performed = perform(&spec, "orders", Some("primary"), &around).await;
        let ended = only(&performed).clone();
        assert_eq!(
            (ended.exit_code, ended.verdict, ended.trouble),
            (1, Some(Verdict::Failed), None)
        );
        // Done, and not left to come back.
        assert_eq!(ground.status(&job).await, JobStatus::Done);
        let standing = ground.standing(RunKind::Verify, "primary").await.unwrap();
        assert_eq!(standing["usable_backups"], 0);
        let entries = ground.entries(EntryKind::Backup).await;
        all.push((ground, ended, entries));
    }
    let [(_, without, none), (ground, with, asked)] = all.as_slice() else {
        panic!("{all:?}", all = all.len());
    };
    assert_eq!(none.as_slice(), &[] as &[serde_json::Value]);
    assert_eq!(
        (without.findings, without.worst),
        (with.findings, with.worst)
    );
    assert!(
        with.summary.starts_with(&without.summary),
        "{}",
        with.summary
    );
    let words = "no usable backup, and asking for one failed";
    assert!(with.summary.contains(words), "{}", with.summary);
    let [entry] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert_eq!(entry["run"]["exit_code"], 3);
    assert_eq!(entry["run"]["asked"]["schedule"], "nightly");

    // Nothing was asked for, so the next verification tries again. The cluster's other copy
    // has no say in it, and is verified behind it, as the job's last run.
    let job = ground.claimed(JobKind::Verify, "", &spec).await;
    std::fs::create_dir(ground.path().join("far")).unwrap();
    let around = ground.around(Some(job.fence()));
    let performed = perform(&spec, "orders", None, &around).await;
    assert_eq!(performed.parts.len(), 2);
    assert_eq!(performed.trouble(), None);
    let far = performed.parts[1].outcome.as_ref().unwrap();
    assert!(!far.summary.contains("no usable backup"), "{}", far.summary);
    assert_eq!(ground.entries(EntryKind::Backup).await.len(), 2);
    assert_eq!(ground.status(&job).await, JobStatus::Done);

    // Beside one that somebody asks for by hand none is asked for, and that ends the job.
    let source = Source::of_cluster(&ground.config, "orders", None, &Reach::default()).unwrap();
    let by_hand = Recording::begin(&ground.state, RunKind::Backup, &source, Origin::by_hand());
    let by_hand = by_hand.await.unwrap();
    let job = ground.claimed(JobKind::Verify, "primary", &spec).await;
    let around = ground.around(Some(job.fence()));
    let performed = perform(&spec, "orders", Some("primary"), &around).await;
    let ended = only(&performed);
    let words = "no usable backup, and none is asked for: one was asked for at ";
    assert!(ended.summary.contains(words), "{}", ended.summary);
    assert_eq!((ended.exit_code, ended.trouble), (1, None));
    assert_eq!(ground.entries(EntryKind::Backup).await.len(), 2);
    assert_eq!(ground.status(&job).await, JobStatus::Done);
    drop(by_hand);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_usable_backup_none_is_asked_for() {
    require!(Postgres, S3, Barman);
    let tree = tree();
    let keep = scratch::directory();
    let ground = Ground::with(&tree, &in_kubernetes(keep.path(), WISHED)).await;
    let spec = JobSpec::Verify { depth: None };
    let job = ground.claimed(JobKind::Verify, "primary", &spec).await;
    let around = ground.around(Some(job.fence()));
    let performed = perform(&spec, "orders", Some("primary"), &around).await;
    assert!(!only(&performed).summary.contains("usable backup"));
    assert_eq!(ground.entries(EntryKind::Backup).await.len(), 0);
    assert_eq!(ground.status(&job).await, JobStatus::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_opens_an_incident_and_its_repair_closes_it() {
    require!(Postgres, S3, Barman);
    let tree = tree();
    let ground = Ground::new(&tree).await;
    let spec = JobSpec::Verify { depth: None };
    let segments = tree.segments();
    let lost = tree.wal_key(&segments[segments.len() - 2]);
    let bytes = tree.read(&lost);
    tree.delete(&lost);
    let performed = perform(&spec, "orders", None, &ground.around(None)).await;
    // Both copies: the replica's directory is not there yet.
    assert_eq!(performed.parts.len(), 2);
    let primary = performed.parts[0].outcome.as_ref().unwrap();
    assert_eq!(
        (primary.exit_code, primary.verdict),
        (1, Some(Verdict::Failed))
    );
    let open = async || {
        let filter = IncidentFilter::default();
        let open = ground.state.incidents(true, &filter).await.unwrap();
        open.into_iter().map(|one| one.code).collect::<Vec<_>>()
    };
    assert!(open().await.contains(&"wal-gap".to_owned()));
    tree.write(&lost, &bytes);
    perform(&spec, "orders", Some("primary"), &ground.around(None)).await;
    assert_eq!(open().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_replication_closes_nothing_and_keeps_what_was_found() {
    require!(Postgres, S3, Barman);
    let tree = tree();
    let ground = Ground::new(&tree).await;
    let places = replicate::Places::of_cluster(&ground.config, "orders", None, &Reach::default());
    let places = places.unwrap().remove(0);
    let run = async |incremental: bool| {
        let origin = Origin::by_hand();
        let kind = RunKind::Replicate;
        let recording = Recording::begin(&ground.state, kind, &places.target, origin);
        let options = walproof::replicate::ReplicateOptions {
            incremental: incremental.then_some(Duration::from_hours(1)),
            ..places.options()
        };
        let done = replicate::replicate(
            &places,
            &options,
            Severity::Warning,
            Some(recording.await.unwrap()),
            replicate::Way::Once(Arc::new(|_| {})),
            watch::channel(false).1,
        );
        let done = done.await.unwrap();
        let body = ground.standing(RunKind::Replicate, "far").await.unwrap();
        let filter = IncidentFilter::default();
        let open = ground.state.incidents(true, &filter);
        (
            done.report.incremental.is_some(),
            done.outcome.exit_code,
            ReplicateStanding::read(body).unwrap().differs,
            open.await.unwrap().len(),
        )
    };
    assert_eq!(run(false).await, (false, 0, 0, 0));
    assert_eq!(run(true).await, (true, 0, 0, 0));
    let segments = tree.segments();
    let victim = ground.path().join("far").join(tree.wal_key(&segments[0]));
    let right = std::fs::read(&victim).unwrap();
    std::fs::write(&victim, &right[1..]).unwrap();
    // It does not look there; the next comparison as a whole does.
    assert_eq!(run(true).await, (true, 0, 0, 0));
    assert_eq!(run(false).await, (false, 1, 1, 1));
    // Asked to look at what is new alone, it looks whether that is over.
    assert_eq!(run(true).await, (false, 1, 1, 1));
    std::fs::write(&victim, &right).unwrap();
    assert_eq!(run(true).await, (false, 0, 0, 0));
    assert_eq!(run(true).await, (true, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replication_a_report_and_a_sweep() {
    require!(Postgres, S3, Barman);
    let tree = tree();
    let ground = Ground::new(&tree).await;
    let spec = JobSpec::Replicate { copy: None };
    let job = ground.claimed(JobKind::Replicate, "far", &spec).await;
    let around = ground.around(Some(job.fence()));
    let performed = perform(&spec, "orders", Some("far"), &around).await;
    assert_eq!(only(&performed).exit_code, 0, "{performed:?}");
    assert_eq!(ground.status(&job).await, JobStatus::Done);
    let body = ground.standing(RunKind::Replicate, "far").await.unwrap();
    let standing = ReplicateStanding::read(body).unwrap();
    assert!(standing.complete && standing.lag_ms == Some(0));
    assert_eq!(standing.copied_objects, tree.keys().len() as u64);

    let spec = JobSpec::Report {
        period: "1d".parse().unwrap(),
    };
    let job = ground.claimed(JobKind::Report, "", &spec).await;
    let around = Surroundings {
        due_at: Some(Utc::now() + TimeDelta::minutes(1)),
        ..ground.around(Some(job.fence()))
    };
    let performed = perform(&spec, "orders", None, &around).await;
    assert_eq!(only(&performed).exit_code, 0, "{performed:?}");
    assert_eq!(ground.status(&job).await, JobStatus::Done);
    assert_eq!(ground.entries(EntryKind::Report).await.len(), 1);
    let reports = std::fs::read_dir(ground.path().join("reports")).unwrap();
    let written: Vec<_> = reports.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(written.len(), 1);
    assert!(written[0].join("entries.jsonl").exists());

    let spec = JobSpec::Sweep;
    let job = ground.claimed(JobKind::Sweep, "", &spec).await;
    let around = ground.around(Some(job.fence()));
    let performed = perform(&spec, "", None, &around).await;
    assert_eq!(only(&performed).exit_code, 0, "{performed:?}");
    assert_eq!(ground.status(&job).await, JobStatus::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_keeps_what_was_proven_before_and_holds_to_its_budget() {
    require!(Postgres, S3, Barman);
    let tree = tree();
    let ground = Ground::new(&tree).await;
    let spec = JobSpec::Drill {
        definition: None,
        digest: None,
    };
    let job = ground.claimed(JobKind::Drill, "", &spec).await;
    // As `perform` does it, but for the program that the restored server calls: this test is
    // none.
    let reach = Reach::default();
    let source = Source::of_cluster(&ground.config, "orders", None, &reach).unwrap();
    let definition = drill::definition(&ground.config, "orders", None).unwrap();
    let request = drill::DrillRequest {
        program: Some(common::walproof::program().to_owned()),
        ..drill::DrillRequest::of(definition, &source)
    };
    let prepared = drill::prepare(&source, request, &ground.config).unwrap();
    let origin = Origin {
        fence: Some(job.fence()),
        ..Origin::by_hand()
    };
    let recording = Recording::begin(&ground.state, RunKind::Drill, &source, origin)
        .await
        .unwrap();
    let (watcher, never) = (Arc::new(Unobserved), Cancellation::never());
    let ended = Box::pin(prepared.run(None, recording, watcher, never))
        .await
        .unwrap();
    let report = &ended.report;
    assert_eq!(report.verdict, Verdict::Proven, "{:?}", report.reasons);
    assert_eq!(ground.status(&job).await, JobStatus::Done);
    let read = async || {
        let body = ground.standing(RunKind::Drill, "primary").await.unwrap();
        DrillStanding::read(body).unwrap()
    };
    let first = read().await;
    assert_eq!(first.definition.as_deref(), Some("nightly"));
    let total: u64 = first.phases.iter().map(|phase| phase.ms).sum();
    assert_eq!(total, first.total_ms);
    assert!(first.time_to_service_ms <= first.time_to_verified_ms);
    assert_eq!(
        first.last_proven.as_ref().map(|proof| proof.run_id),
        Some(report.id)
    );
    let entries = ground.entries(EntryKind::Drill).await;
    let file = entries[0]["record"]["file"].as_str().unwrap();
    assert_eq!(ended.file, ground.state.records_directory().join(file));
    assert!(ended.file.exists());

    // Too small a budget: unproven before anything is written, and worth another try.
    let job = ground.claimed(JobKind::Drill, "", &spec).await;
    let small = Surroundings {
        limits: Limits {
            scratch_bytes: Some(1 << 20),
            ..Limits::default()
        },
        ..ground.around(Some(job.fence()))
    };
    let performed = perform(&spec, "orders", None, &small).await;
    let ended = only(&performed);
    assert_eq!(ended.verdict, Some(Verdict::Unproven));
    assert_eq!(ended.trouble, Some(FailureClass::Capacity));
    assert_eq!(ground.status(&job).await, JobStatus::Running);
    let second = read().await;
    assert_eq!(second.verdict, Verdict::Unproven);
    assert!(second.reasons[0].contains("budget"), "{:?}", second.reasons);
    assert_eq!(second.last_proven, first.last_proven);

    // The copy is moved: what was proven of the other place is no proof of this one.
    let mut moved = Config::clone(&ground.config);
    moved.clusters[0].primary.url = format!("file://{}/moved", ground.path().display())
        .parse()
        .unwrap();
    let around = Surroundings {
        config: Arc::new(moved),
        ..ground.around(None)
    };
    std::fs::create_dir(ground.path().join("moved")).unwrap();
    let performed = perform(&spec, "orders", None, &around).await;
    assert_ne!(only(&performed).verdict, Some(Verdict::Proven));
    assert_eq!(read().await.last_proven, None);
    // Nor does it come back with the place.
    let performed = perform(&spec, "orders", None, &small).await;
    assert_eq!(only(&performed).verdict, Some(Verdict::Unproven));
    let second = read().await;
    assert_eq!(second.last_proven, None);

    // One that is stopped says nothing of the copy.
    let (stop, stopped) = watch::channel(false);
    stop.send(true).unwrap();
    let around = Surroundings {
        cancellation: stopped,
        ..ground.around(Some(job.fence()))
    };
    let performed = perform(&spec, "orders", None, &around).await;
    assert_eq!(only(&performed).trouble, Some(FailureClass::Interrupted));
    assert_eq!(read().await, second);
}
