//! Jobs in pods: `daemon: {executor: kubernetes}` with a state in PostgreSQL.

use std::fs::File;
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use ::walproof::config::{SecretSource, StateUrl};
use ::walproof::state::{Job, JobKind, JobStatus, NewJob, State};
use chrono::Utc;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::access::{Roles, grant};
use crate::common::kubernetes::source::{Form, Source};
use crate::common::kubernetes::{Lab, Namespace, cluster};
use crate::common::process::wait_until;
use crate::common::scratch;
use crate::common::walproof;

/// How long one job may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(12);

/// A namespace whose pods can run walproof: a volume with the program, a state in PostgreSQL,
/// an account with the role that walproof prints.
struct Ground {
    lab: &'static Lab,
    namespace: Namespace,
    source: Source,
    address: String,
    password: String,
    _roles: Roles<'static>,
}

impl Ground {
    const ACCOUNT: &'static str = "walproof-jobs";
    const STATE: &'static str = "state";

    /// Made once for all tests of this file.
    fn of(lab: &'static Lab) -> &'static Self {
        static GROUND: OnceLock<Ground> = OnceLock::new();
        GROUND.get_or_init(|| Self::new(lab))
    }

    fn new(lab: &'static Lab) -> Self {
        let namespace = lab.namespace("pods");
        let name = namespace.name.clone();
        let metadata = |of: &str| json!({"name": of, "namespace": name});
        lab.apply(&[
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(Self::ACCOUNT)}),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata("program"),
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata("carrier"), "spec": {
                "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "carrier", "image": lab.postgres_image,
                    "command": ["sleep", "86400"],
                    "volumeMounts": [{"name": "program", "mountPath": "/program"}]}],
                "securityContext": {"runAsUser": 26, "fsGroup": 26},
                "volumes": [{"name": "program", "persistentVolumeClaim": {"claimName": "program"}}],
            }}),
            json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": metadata(Self::STATE),
                "spec": {"instances": 1, "imageName": lab.postgres_image, "storage": {"size": "1Gi"},
                    "bootstrap": {"initdb": {"database": "walproof", "owner": "walproof"}}}}),
        ]);
        let limit = Duration::from_mins(5);
        lab.wait(&name, "pod/carrier", "condition=Ready", limit);
        let carry = [
            "-n",
            &name,
            "exec",
            "-i",
            "carrier",
            "--",
            "sh",
            "-c",
            "cat > /program/walproof && chmod 755 /program/walproof",
        ];
        let copied = lab
            .kubectl(&carry)
            .stdin(Stdio::from(File::open(walproof::program()).unwrap()))
            .status()
            .unwrap();
        assert!(copied.success());
        let source = Source::under_load(lab, Form::Plugin);
        source.stop_load();
        source.archive();
        lab.wait(&name, "cluster/state", "condition=Ready", limit);
        let (url, forward) = lab.reach(&name, "state-rw", 5432);
        assert!(
            forward.is_none(),
            "pods and this machine need one address of the state"
        );
        let secret = lab.get(&name, "secret/state-app").unwrap();
        let password = decoded(secret["data"]["password"].as_str().unwrap());

        let user = format!("system:serviceaccount:{name}:{}", Self::ACCOUNT);
        let role = format!("{name}-jobs");
        let kubeconfig = lab.kubeconfig.display().to_string();
        grant(
            lab,
            &[
                "kubernetes",
                "check",
                "--namespace",
                source.name(),
                "--secret",
                Source::READER,
                "--as",
                &user,
                "--print-role",
                "--role-name",
                &role,
            ],
            &[("KUBECONFIG".to_owned(), kubeconfig)],
        );
        Self {
            lab,
            source,
            address: url.strip_prefix("http://").unwrap().to_owned(),
            password,
            _roles: Roles(lab, role),
            namespace,
        }
    }

    fn name(&self) -> &str {
        &self.namespace.name
    }

    /// The pods' template, as a file of a chart would hold it.
    fn template(&self) -> Value {
        json!({"metadata": {"labels": {"team": "dba"}}, "spec": {
            "serviceAccountName": Self::ACCOUNT,
            "securityContext": {"runAsUser": 26, "runAsNonRoot": true, "fsGroup": 26},
            "containers": [{
                "name": "walproof", "image": self.lab.postgres_image,
                "command": ["/program/walproof"],
                "env": [
                    {"name": "HOME", "value": "/work"}, {"name": "TMPDIR", "value": "/work"},
                    {"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": {"name": "state-app", "key": "password"}}},
                ],
                "volumeMounts": [
                    {"name": "program", "mountPath": "/program", "readOnly": true},
                    {"name": "work", "mountPath": "/work"},
                ],
            }],
            "volumes": [
                {"name": "program", "persistentVolumeClaim": {"claimName": "program", "readOnly": true}},
                {"name": "work", "emptyDir": {}},
            ],
        }})
    }
}

fn decoded(base64: &str) -> String {
    let secret = format!("echo '{base64}' | base64 -d");
    let output = std::process::Command::new("sh")
        .args(["-c", &secret])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A configuration with a state of its own, and the daemons that go by it.
struct Place<'a> {
    ground: &'a Ground,
    keep: TempDir,
    runtime: Runtime,
    state: State,
    database: String,
    prefix: String,
}

impl<'a> Place<'a> {
    fn new(ground: &'a Ground, name: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let keep = scratch::directory();
        // One schema is one state; pods and daemon name it by the same URL.
        let database = format!("walproof_{name}");
        let sql = format!("create database {database} owner walproof");
        ground.lab.ask(&[
            "-n",
            ground.name(),
            "exec",
            "state-1",
            "-c",
            "postgres",
            "--",
            "psql",
            "-U",
            "postgres",
            "-c",
            &sql,
        ]);
        let password = keep.path().join("password");
        std::fs::write(&password, &ground.password).unwrap();
        let url: StateUrl = Self::url(ground, &database).parse().unwrap();
        let url = url.with_directory(keep.path()).with_password(SecretSource {
            file: Some(password),
            ..SecretSource::default()
        });
        let state = runtime.block_on(State::open(&url)).unwrap();
        Self {
            prefix: format!("{}-{name}", ground.lab.prefix),
            ground,
            keep,
            runtime,
            state,
            database,
        }
    }

    fn url(ground: &Ground, database: &str) -> String {
        format!(
            "postgres://walproof@{}/{database}?sslmode=require",
            ground.address
        )
    }

    /// Writes the configuration; `daemon` are further settings of the daemon.
    fn configure(&self, executor: &str, image: Option<&str>, tier: &Value) {
        let ground = self.ground;
        let source = &ground.source;
        let credential = |key: &str| json!({"kubernetes": {"namespace": source.name(), "name": Source::READER, "key": key}});
        let mut pods = json!({"template": "pod.yaml", "namespace": ground.name(), "ttl": "10m", "start_within": "2m"});
        if let Some(image) = image {
            pods["image"] = json!(image);
        }
        let config = json!({
            "version": 1,
            "state": Self::url(ground, &self.database),
            "kubernetes": {"kubeconfig": ground.lab.kubeconfig},
            "tiers": {"gold": tier},
            "clusters": [{
                "name": "orders", "tier": "gold",
                "kubernetes": {"namespace": source.name(), "name": Source::CLUSTER},
                "primary": {
                    "url": source.url(), "endpoint": source.store.endpoint(),
                    "region": "us-east-1", "path_style": true,
                    "credentials": {"access_key_id": credential("ACCESS_KEY_ID"),
                        "secret_access_key": credential("SECRET_ACCESS_KEY")},
                },
            }],
            "daemon": {"executor": executor, "kubernetes": pods, "lease": "15s", "listen": "127.0.0.1:0", "per_cluster": 4},
        });
        let path = self.keep.path();
        std::fs::write(path.join("pod.yaml"), ground.template().to_string()).unwrap();
        std::fs::create_dir_all(path.join("drills")).unwrap();
        let drill = json!({
            "version": 1, "name": "nightly", "clusters": ["orders"], "environment": "cnpg",
            "cnpg": {"namespace_prefix": self.prefix},
            "checks": [{"name": "rows", "database": Source::DATABASE,
                "sql": "select count(*) from history", "expect": "> 0"}],
        });
        std::fs::write(path.join("drills/nightly.yaml"), drill.to_string()).unwrap();
        let here = json!({"version": 1, "name": "here", "clusters": ["orders"]});
        std::fs::write(path.join("drills/here.yaml"), here.to_string()).unwrap();
        std::fs::write(path.join("walproof.yaml"), config.to_string()).unwrap();
    }

    fn daemon(&self) -> Daemon {
        let log = self.keep.path().join("daemon.log");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let config = self.keep.path().join("walproof.yaml");
        let mut command = walproof::command(
            &[
                "--config",
                config.to_str().unwrap(),
                "daemon",
                "--log-format",
                "json",
            ],
            &[("PGPASSWORD".to_owned(), self.ground.password.clone())],
        );
        command
            .env_remove("KUBECONFIG")
            .current_dir(self.keep.path());
        let child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Daemon(child)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.keep.path().join("daemon.log")).unwrap_or_default()
    }

    fn enqueue(&self, key: &str, kind: JobKind, spec: Value) {
        let now = Utc::now();
        let job = NewJob {
            key: key.to_owned(),
            kind,
            schedule: None,
            cluster: "orders".to_owned(),
            copy: "primary".to_owned(),
            bucket: String::new(),
            tier: None,
            due_at: now,
            run_after: now,
            deadline: None,
            priority: 5,
            late: false,
            scratch_bytes: 0,
            max_attempts: 4,
            spec,
        };
        let new = self.runtime.block_on(self.state.enqueue(&[job])).unwrap();
        assert_eq!(new, [true]);
    }

    fn jobs(&self) -> Vec<Job> {
        let filter = ::walproof::state::JobFilter::default();
        self.runtime.block_on(self.state.jobs(&filter)).unwrap()
    }

    fn job(&self, key: &str) -> Job {
        self.jobs().into_iter().find(|job| job.key == key).unwrap()
    }

    /// Waits for what a job becomes.
    #[track_caller]
    fn until(&self, key: &str, what: &str, condition: impl Fn(&Job) -> bool) -> Job {
        let begin = std::time::Instant::now();
        loop {
            let job = self.job(key);
            if condition(&job) {
                return job;
            }
            assert!(
                begin.elapsed() < LIMIT,
                "waited in vain for {key} {what}: {job:#?}\n{}\n{}",
                self.log(),
                self.pods_log()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// What the pods of this state's jobs said, for a test that failed.
    fn pods_log(&self) -> String {
        let mut text = String::new();
        for job in self.jobs() {
            let selector = format!("walproof.dev/job={}", job.id);
            let asked = [
                "-n",
                self.ground.name(),
                "logs",
                "--tail",
                "50",
                "-l",
                &selector,
            ];
            text.push_str(
                &self
                    .ground
                    .lab
                    .try_ask(&asked)
                    .unwrap_or_else(|error| error),
            );
        }
        text
    }

    /// The Jobs of Kubernetes of a job.
    fn kubernetes_jobs(&self, job: &Job) -> Vec<Value> {
        let selector = format!("walproof.dev/job={}", job.id);
        self.ground
            .lab
            .list(self.ground.name(), "jobs.batch", &selector)
    }

    fn reports(&self, kind: &str) -> Vec<Value> {
        use sqlx::Row as _;
        let sql = format!(
            "select p.body::text from reports p join runs r on r.id = p.run_id \
             where r.kind = '{kind}' order by r.started_at"
        );
        let ground = self.ground;
        self.runtime.block_on(async {
            let options = Self::url(ground, &self.database)
                .parse::<sqlx::postgres::PgConnectOptions>()
                .unwrap()
                .password(&ground.password);
            let pool = sqlx::PgPool::connect_with(options).await.unwrap();
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
                .fetch_all(&pool)
                .await
                .unwrap();
            rows.iter()
                .map(|row| serde_json::from_str(&row.get::<String, _>(0)).unwrap())
                .collect()
        })
    }

    fn scratch_namespaces(&self) -> Vec<String> {
        self.ground.lab.namespaces(&format!("{}-", self.prefix))
    }

    fn nothing_is_left(&self) {
        wait_until(
            Duration::from_mins(5),
            "the end of scratch namespaces",
            || self.scratch_namespaces().is_empty(),
        );
    }
}

/// A daemon that runs.
struct Daemon(Child);

impl Daemon {
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Stops it as a rollout does.
    fn stop(mut self) {
        let id = i32::try_from(self.0.id()).unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(id),
            nix::sys::signal::Signal::SIGTERM,
        )
        .unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Leaves out what differs between any two runs: times, identities, how long it took.
fn lasting(report: &Value) -> Value {
    const VOLATILE: [&str; 21] = [
        "everything_read_by",
        "id",
        "checked_at",
        "started_at",
        "ended_at",
        "at",
        "milliseconds",
        "exposure",
        "now",
        "namespace",
        "trigger",
        "initiator",
        "host",
        "due_at",
        "drill",
        "age",
        "exposure_seconds",
        "last_read",
        "oldest_read",
        "endpoint",
        "seconds",
    ];
    match report {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| {
                !VOLATILE.contains(&key.as_str())
                    && !key.ends_with("_seconds")
                    && !key.ends_with("_per_second")
            })
            .map(|(key, value)| (key.clone(), lasting(value)))
            .collect(),
        Value::Array(items) => items.iter().map(lasting).collect(),
        other => other.clone(),
    }
}

fn gold() -> Value {
    json!({"rpo": "1d", "verification": {"depth": "read"}})
}

#[test]
fn jobs_run_in_pods_and_leave_the_same_records() {
    let lab = cluster!();
    let _peace = lab.beside();
    let ground = Ground::of(lab);
    let pods = Place::new(ground, "same");
    let here = Place::new(ground, "here");
    // Both look at once: the archive grows by itself now and then.
    let both = [(&pods, "kubernetes"), (&here, "in-process")].map(|(place, executor)| {
        place.configure(executor, None, &gold());
        (place, executor, place.daemon())
    });
    for (place, _, _) in &both {
        place.enqueue("verify", JobKind::Verify, json!({"job": "verify"}));
    }
    for (place, _, _) in &both {
        place.until("verify", "to be done", |job| job.status.is_over());
    }
    for (place, executor, daemon) in both {
        place.enqueue(
            "drill",
            JobKind::Drill,
            json!({"job": "drill", "definition": "nightly"}),
        );
        place.until("drill", "to be done", |job| job.status.is_over());
        daemon.stop();
        for key in ["verify", "drill"] {
            let job = place.job(key);
            assert_eq!(job.status, JobStatus::Done, "{job:#?}\n{}", place.log());
            assert_eq!((job.attempts, job.token), (1, 1));
            let made = place.kubernetes_jobs(&job);
            assert_eq!(made.len(), usize::from(executor == "kubernetes"));
            for made in made {
                assert_eq!(made["spec"]["backoffLimit"], 0);
                assert_eq!(
                    made["spec"]["template"]["metadata"]["labels"]["team"],
                    "dba"
                );
                let name = made["metadata"]["name"].as_str().unwrap();
                let map = lab
                    .get(ground.name(), &format!("configmap/{name}"))
                    .unwrap();
                assert_eq!(
                    map["metadata"]["ownerReferences"][0]["uid"],
                    made["metadata"]["uid"]
                );
                let text = map["data"].to_string();
                assert!(text.contains("orders") && !text.contains("reader-secret"));
                assert!(!text.contains(&ground.password));
            }
        }
    }
    for kind in ["verify", "drill"] {
        let (one, other) = (pods.reports(kind), here.reports(kind));
        assert_eq!((one.len(), other.len()), (1, 1));
        let (one, other) = (lasting(&one[0]), lasting(&other[0]));
        if kind == "verify" {
            assert_eq!(one, other);
        } else {
            for key in ["verdict", "checks", "target", "findings", "cluster", "copy"] {
                assert_eq!(one[key], other[key], "{key}");
            }
        }
    }
    pods.nothing_is_left();
    here.nothing_is_left();
}

/// A drill whose pod is killed is done again, once, and nothing of the first one is left.
#[test]
fn a_pod_that_dies_loses_its_claim_and_the_work_is_done_again() {
    let lab = cluster!();
    let _peace = lab.beside();
    let ground = Ground::of(lab);
    let place = Place::new(ground, "dies");
    place.configure("kubernetes", None, &gold());
    let _daemon = place.daemon();
    place.enqueue(
        "drill",
        JobKind::Drill,
        json!({"job": "drill", "definition": "nightly"}),
    );
    wait_until(LIMIT, "a scratch namespace", || {
        !place.scratch_namespaces().is_empty()
    });
    let job = place.job("drill");
    let selector = format!("walproof.dev/job={}", job.id);
    lab.ask(&[
        "-n",
        ground.name(),
        "delete",
        "pod",
        "-l",
        &selector,
        "--grace-period=0",
        "--force",
    ]);
    let done = place.until("drill", "to be done", |job| job.status.is_over());
    assert_eq!(done.status, JobStatus::Done, "{done:#?}");
    assert_eq!(done.token, 2);
    place.nothing_is_left();
    let reports = place.reports("drill");
    let proven = reports
        .iter()
        .filter(|report| report["verdict"] == "proven")
        .count();
    assert_eq!(proven, 1, "{reports:#?}");
}

/// A daemon that is killed, and one that is stopped, leave a running pod alone.
#[test]
fn a_daemon_that_dies_loses_nothing() {
    let lab = cluster!();
    let _peace = lab.beside();
    let ground = Ground::of(lab);
    let place = Place::new(ground, "daemon");
    place.configure("kubernetes", None, &gold());
    let daemon = place.daemon();
    place.enqueue(
        "drill",
        JobKind::Drill,
        json!({"job": "drill", "definition": "nightly"}),
    );
    wait_until(LIMIT, "a scratch namespace", || {
        !place.scratch_namespaces().is_empty()
    });
    daemon.kill();
    let heard = place.log().len();
    let second = place.daemon();
    wait_until(LIMIT, "the second daemon", || {
        place.log()[heard..].contains("the daemon began")
    });
    place.until("drill", "to be under way", |job| {
        job.status == JobStatus::Running
    });
    second.stop();
    // Nobody but the pod is there now.
    let done = place.until("drill", "to be done", |job| job.status.is_over());
    assert_eq!(done.status, JobStatus::Done, "{done:#?}");
    assert_eq!((done.token, done.attempts), (1, 1));
    assert_eq!(place.reports("drill").len(), 1);
    place.nothing_is_left();
}

#[test]
fn what_cannot_start_is_released_with_the_reason_and_cancelling_goes_through_the_state() {
    let lab = cluster!();
    let _peace = lab.beside();
    let ground = Ground::of(lab);
    let place = Place::new(ground, "start");
    place.configure("kubernetes", Some("lab.local/none:0"), &gold());
    let daemon = place.daemon();
    place.enqueue("verify", JobKind::Verify, json!({"job": "verify"}));
    let released = place.until("verify", "to be released", |job| job.error.is_some());
    let error = released.error.clone().unwrap();
    assert!(
        error.contains("could not start") && error.contains("lab.local/none:0"),
        "{error}"
    );
    assert_eq!(
        (released.status, released.attempts),
        (JobStatus::Waiting, 1)
    );
    wait_until(Duration::from_mins(1), "the Job's end", || {
        place.kubernetes_jobs(&released).is_empty()
    });
    daemon.stop();

    place.configure("kubernetes", None, &gold());
    let _daemon = place.daemon();
    place.enqueue(
        "here",
        JobKind::Drill,
        json!({"job": "drill", "definition": "here"}),
    );
    // The image that the lab's pods run has PostgreSQL, so that a local drill is let in; that
    // it cannot run as it would on a machine is its own affair.
    place.enqueue(
        "drill",
        JobKind::Drill,
        json!({"job": "drill", "definition": "nightly"}),
    );
    wait_until(LIMIT, "a scratch namespace", || {
        !place.scratch_namespaces().is_empty()
    });
    let id = place.job("drill").id;
    place
        .runtime
        .block_on(place.state.cancel(id, Utc::now()))
        .unwrap();
    let cancelled = place.until("drill", "to be cancelled", |job| job.status.is_over());
    assert_eq!(cancelled.status, JobStatus::Cancelled, "{cancelled:#?}");
    place.nothing_is_left();
}

/// Budgets are the queue's: with `drills: 1` five drills run one behind the other.
#[test]
fn budgets_hold_over_pods() {
    let lab = cluster!();
    let _peace = lab.beside();
    let ground = Ground::of(lab);
    let place = Place::new(ground, "budget");
    place.configure("kubernetes", None, &gold());
    for number in 0..5 {
        place.enqueue(
            &format!("drill-{number}"),
            JobKind::Drill,
            json!({"job": "drill", "definition": "nightly"}),
        );
    }
    let _daemon = place.daemon();
    let mut most = 0;
    wait_until(LIMIT * 2, "all drills", || {
        let jobs = place.jobs();
        let running = jobs
            .iter()
            .filter(|job| job.status == JobStatus::Running)
            .count();
        most = most.max(running);
        jobs.iter().all(|job| job.status.is_over())
    });
    assert_eq!(most, 1);
    assert!(
        place
            .jobs()
            .iter()
            .all(|job| job.status == JobStatus::Done && job.token == 1)
    );
    assert_eq!(place.reports("drill").len(), 5);
    place.nothing_is_left();
}

/// A repository read by an indexed Job of four shards, one of whose pods is killed, and
/// concluded by one pod: what one process finds.
#[test]
fn a_repository_is_read_by_an_indexed_job_and_concluded_by_one_pod() {
    let lab = cluster!();
    let _peace = lab.beside();
    let ground = Ground::of(lab);
    let place = Place::new(ground, "shards");
    let here = Place::new(ground, "whole");
    let tier = json!({"rpo": "1d", "verification": {"depth": "read", "shards": 4}});
    place.configure("kubernetes", None, &tier);
    place.enqueue("verify", JobKind::Verify, json!({"job": "verify"}));
    let daemon = place.daemon();
    // The pod of one index is killed as soon as there is one; Kubernetes makes another.
    let claimed = place.until("verify", "to be claimed", |job| {
        job.status == JobStatus::Running
    });
    let selector = format!(
        "walproof.dev/job={},batch.kubernetes.io/job-completion-index=1",
        claimed.id
    );
    wait_until(LIMIT, "the pod of a shard", || {
        !lab.list(ground.name(), "pods", &selector).is_empty()
    });
    lab.ask(&[
        "-n",
        ground.name(),
        "delete",
        "pod",
        "-l",
        &selector,
        "--grace-period=0",
        "--force",
    ]);
    let done = place.until("verify", "to be done", |job| job.status.is_over());
    assert_eq!(done.status, JobStatus::Done, "{done:#?}\n{}", place.log());
    assert_eq!((done.token, done.attempts), (1, 1));
    daemon.stop();
    let made = place.kubernetes_jobs(&done);
    assert_eq!(made.len(), 2);
    let shards = made
        .iter()
        .find(|made| made["spec"]["completionMode"] == "Indexed")
        .unwrap();
    assert_eq!(shards["spec"]["completions"], 4);
    assert_eq!(shards["status"]["succeeded"], 4, "{shards:#}");

    here.configure("in-process", None, &gold());
    here.enqueue("verify", JobKind::Verify, json!({"job": "verify"}));
    let daemon = here.daemon();
    here.until("verify", "to be done", |job| job.status.is_over());
    daemon.stop();
    let (one, other) = (place.reports("verify"), here.reports("verify"));
    assert_eq!((one.len(), other.len()), (1, 1));
    let without_reads = |report: &Value| {
        let mut report = lasting(report);
        // How often the store was asked differs, and so does what was read by whom.
        report.as_object_mut().unwrap().remove("alone");
        report
    };
    assert_eq!(without_reads(&one[0]), without_reads(&other[0]));
}
