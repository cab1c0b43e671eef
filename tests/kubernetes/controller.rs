//! The daemon as the controller of the custom resources, outside of the cluster and with its
//! real API: Clusters that are found, drills by schedule and once, resources that go in
//! mid-drill, a controller that is killed, two at once.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::kubernetes::source::Source;
use crate::common::kubernetes::{Lab, cluster};
use crate::common::postgres::TestServer;
use crate::common::process::{self, wait_until};
use crate::kit::{Place, Running};

/// A drill on a busy machine.
const LIMIT: Duration = Duration::from_mins(8);
const SOON: Duration = Duration::from_mins(2);

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The kinds, as they are committed.
pub(crate) fn install(lab: &Lab) {
    let folder = folder("deploy/crds");
    let folder = folder.to_str().unwrap();
    lab.ask(&["apply", "--server-side", "--force-conflicts", "-f", folder]);
    for kind in ["protectedclusters", "recoverydrills", "recoveryrequests"] {
        let crd = format!("crd/{kind}.walproof.dev");
        lab.wait("", &crd, "condition=Established", SOON);
    }
}

/// Controllers with states of their own would work on each other's resources in the source's
/// namespace, which all tests share: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

/// For a test with a controller of its own, in a shared namespace.
pub(crate) fn only_one() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A controller for the namespace of a source.
pub(crate) struct Ground {
    lab: &'static Lab,
    pub(crate) place: Place,
    namespace: String,
    _one: MutexGuard<'static, ()>,
}

/// What a test leaves that fails is not for the next.
impl Drop for Ground {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let kinds = "recoveryrequests,recoverydrills,protectedclusters";
        let place = ["-n", &self.namespace];
        let left = self
            .lab
            .try_ask(&[&place[..], &["get", kinds, "-o", "name"]].concat());
        for object in left.unwrap_or_default().lines() {
            let free = "{\"metadata\":{\"finalizers\":null}}";
            let delete = ["delete", object, "--wait=false"];
            let patch = ["patch", object, "--type", "merge", "-p", free];
            let _ = self.lab.try_ask(&[&place[..], &delete].concat());
            let _ = self.lab.try_ask(&[&place[..], &patch].concat());
        }
    }
}

impl Ground {
    pub(crate) fn new(lab: &'static Lab, namespace: &str, state: Option<&str>) -> Self {
        Self::by(lab, namespace, state, &lab.kubeconfig)
    }

    /// The same, whose controller reaches the API by another way.
    pub(crate) fn by(
        lab: &'static Lab,
        namespace: &str,
        state: Option<&str>,
        kubeconfig: &Path,
    ) -> Self {
        let one = only_one();
        install(lab);
        let ground = Self {
            lab,
            place: Place::new(lab),
            namespace: namespace.to_owned(),
            _one: one,
        };
        let state = state.map_or_else(
            || format!("sqlite://{}/state.sqlite", ground.place.path().display()),
            str::to_owned,
        );
        let kubernetes = json!({
            "kubeconfig": kubeconfig,
            "controller": {"namespaces": [namespace], "namespace": format!("{}-control", lab.prefix)},
        });
        let text = format!(
            "version: 1\nstate: {}\nkubernetes: {kubernetes}\n\
             daemon: {{listen: '127.0.0.1:0', lease: 5s, reload: 1s, stop_within: 60s, drills: 2}}\n",
            json!(state),
        );
        std::fs::write(ground.place.config(), text).unwrap();
        ground
    }

    pub(crate) fn daemon(&self) -> Running {
        self.place.start_daemon()
    }

    pub(crate) fn apply(&self, kind: &str, name: &str, spec: &Value) {
        self.lab
            .apply(&[resource(kind, &self.namespace, name, spec)]);
    }

    /// Guards the source's Cluster.
    pub(crate) fn guard(&self, name: &str) {
        let by = |key: &str| json!({"kubernetes": {"name": Source::READER, "key": key}});
        self.apply("ProtectedCluster", name, &json!({
            "name": Source::CLUSTER,
            "owner": "team shop",
            "credentials": {"accessKeyId": by("ACCESS_KEY_ID"), "secretAccessKey": by("SECRET_ACCESS_KEY")},
            "verify": {"cron": "*/20 * * * * *"},
            "tier": {"rto": "30m"},
        }));
    }

    /// A drill of it, in scratch namespaces that are known by their names.
    pub(crate) fn drill(&self, schedule: Option<&str>) -> Value {
        let mut spec = json!({
            "clusterRef": {"name": Source::CLUSTER},
            "cnpg": {"namespacePrefix": self.place.prefix()},
            "checks": [{"name": "rows", "database": Source::DATABASE,
                "sql": "select count(*) from history", "expect": "> 40"}],
        });
        if let Some(cron) = schedule {
            spec["schedule"] = json!({"cron": cron, "catchUp": "none"});
        }
        spec
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.lab
            .get(&self.namespace, &format!("{kind}.walproof.dev/{name}"))
    }

    #[track_caller]
    pub(crate) fn until(
        &self,
        limit: Duration,
        kind: &str,
        name: &str,
        what: &str,
        mut holds: impl FnMut(&Value) -> bool,
    ) -> Value {
        let mut last = Value::Null;
        let begun = std::time::Instant::now();
        loop {
            if let Some(resource) = self.get(kind, name) {
                if holds(&resource) {
                    return resource;
                }
                last = resource;
            }
            assert!(begun.elapsed() < limit, "{what}: {last:#}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    pub(crate) fn phase(&self, limit: Duration, name: &str, phase: &str) -> Value {
        self.until(limit, "recoverydrill", name, phase, |one| {
            one["status"]["phase"] == phase
        })
    }

    /// The reasons of a resource's Events.
    pub(crate) fn told(&self, name: &str) -> Vec<String> {
        let selector = format!("regarding.name={name}");
        let words = [
            "-n",
            &self.namespace,
            "get",
            "events.events.k8s.io",
            "--field-selector",
            &selector,
            "-o",
            "json",
        ];
        let list: Value = serde_json::from_str(&self.lab.ask(&words)).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|one| one["reason"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) fn delete(&self, kind: &str, name: &str) {
        let object = format!("{kind}.walproof.dev/{name}");
        self.lab.ask(&[
            "-n",
            &self.namespace,
            "delete",
            &object,
            "--wait",
            "--timeout",
            "180s",
        ]);
    }

    pub(crate) fn jobs(&self) -> Vec<Value> {
        let run = self
            .place
            .run(&["job", "list", "--all", "--output", "json"])
            .expect_code(0);
        run.json()["jobs"].as_array().unwrap().clone()
    }

    pub(crate) fn jobs_of(&self, schedule: &str) -> Vec<Value> {
        let mut jobs = self.jobs();
        jobs.retain(|job| job["schedule"] == schedule);
        jobs
    }
}

pub(crate) fn resource(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "walproof.dev/v1alpha1", "kind": kind,
        "metadata": {"namespace": namespace, "name": name}, "spec": spec,
    })
}

/// The one state of several controllers.
pub(crate) fn state() -> (TestServer, String) {
    let server = TestServer::options().create();
    server.psql("CREATE DATABASE walproof ENCODING 'UTF8' TEMPLATE template0");
    let socket = server.socket_directory().display().to_string();
    let url = format!(
        "postgres://postgres@{}:{}/walproof",
        socket.replace('/', "%2F"),
        TestServer::PORT
    );
    (server, url)
}

/// The whole way, as a user sees it.
#[test]
fn what_is_declared_is_found_drilled_and_told() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let ground = Ground::new(lab, source.name(), None);
    let daemon = ground.daemon();
    ground.guard("told");
    let guarded = ground.until(
        SOON,
        "protectedcluster",
        "told",
        "guarded and verified",
        |one| {
            one["status"]["counts"]["clusters"] == 1
                && one["status"]["clusters"][0]["lastVerified"].is_string()
        },
    );
    let config_name = format!("{}.{}", source.name(), Source::CLUSTER);
    assert_eq!(
        guarded["status"]["clusters"][0]["configName"],
        json!(config_name)
    );
    // Commands beside the daemon know it by that name.
    let status = ground
        .place
        .run(&["status", &config_name, "--output", "json"]);
    let status = status.expect_code(0).json();
    assert_eq!(status["clusters"][0]["name"], json!(config_name));
    let verified = ground
        .place
        .run(&["verify", &config_name, "--output", "json"]);
    verified.expect_code(0);
    ground.apply("RecoveryDrill", "told-once", &ground.drill(None));
    let once = ground.phase(LIMIT, "told-once", "Proven");
    assert_eq!(once["status"]["verdict"], "proven");
    assert_eq!(
        once["status"]["completedGeneration"],
        once["metadata"]["generation"]
    );
    assert_eq!(
        once["status"]["observedGeneration"],
        once["metadata"]["generation"]
    );
    let run = &once["status"]["lastRun"];
    for field in [
        "id",
        "startedAt",
        "endedAt",
        "recoveredTo",
        "timeToService",
        "timeToVerified",
    ] {
        assert!(run[field].is_string(), "{field}: {run:#}");
    }
    // By schedule.
    ground.apply(
        "RecoveryDrill",
        "told-nightly",
        &ground.drill(Some("0 * * * * *")),
    );
    let nightly = ground.phase(LIMIT, "told-nightly", "Proven");
    assert!(nightly["status"]["nextRunAt"].is_string(), "{nightly:#}");
    let suspend = json!({"spec": {"suspend": true}}).to_string();
    lab.ask(&[
        "-n",
        source.name(),
        "patch",
        "recoverydrill/told-nightly",
        "--type",
        "merge",
        "-p",
        &suspend,
    ]);
    // As people look at it.
    let words = lab.ask(&[
        "-n",
        source.name(),
        "get",
        "protectedclusters,recoverydrills",
        "-o",
        "wide",
    ]);
    println!("{words}");
    assert!(
        words.contains("VERIFIED-IN") && words.contains("Guarding"),
        "{words}"
    );
    let words = lab.ask(&[
        "-n",
        source.name(),
        "describe",
        "recoverydrill",
        "told-once",
    ]);
    println!("{words}");
    for reason in ["Queued", "Started", "Proven", "CleanedUp"] {
        assert!(words.contains(reason), "{reason}: {words}");
        assert_eq!(
            ground
                .told("told-once")
                .iter()
                .filter(|one| *one == reason)
                .count(),
            1
        );
    }
    // Once is once: nothing was done again meanwhile.
    let schedule = format!("{}.told-once", source.name());
    assert_eq!(ground.jobs_of(&schedule).len(), 1);
    ground.phase(LIMIT, "told-nightly", "Suspended");
    for name in ["told-once", "told-nightly"] {
        ground.delete("recoverydrill", name);
    }
    ground.delete("protectedcluster", "told");
    assert_eq!(ground.place.scratch_namespaces(), Vec::<String>::new());
    daemon.stop();
}

#[test]
fn a_drill_that_goes_in_the_middle_leaves_nothing() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let ground = Ground::new(lab, source.name(), None);
    let daemon = ground.daemon();
    ground.guard("gone");
    ground.apply("RecoveryDrill", "gone", &ground.drill(None));
    ground.phase(LIMIT, "gone", "Running");
    wait_until(LIMIT, "the scratch namespace", || {
        !ground.place.scratch_namespaces().is_empty()
    });
    // Waits for the finalizer.
    ground.delete("recoverydrill", "gone");
    assert_eq!(ground.place.scratch_namespaces(), Vec::<String>::new());
    let jobs = ground.jobs_of(&format!("{}.gone", source.name()));
    assert_eq!(jobs.len(), 1, "{jobs:#?}");
    assert_eq!(jobs[0]["status"], "cancelled");
    ground.delete("protectedcluster", "gone");
    daemon.stop();
}

#[test]
fn a_controller_that_is_killed_in_the_middle_is_made_up_for() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let ground = Ground::new(lab, source.name(), None);
    let daemon = ground.daemon();
    ground.guard("killed");
    ground.apply("RecoveryDrill", "killed", &ground.drill(None));
    ground.phase(LIMIT, "killed", "Running");
    wait_until(LIMIT, "the scratch namespace", || {
        !ground.place.scratch_namespaces().is_empty()
    });
    daemon.kill();
    let daemon = ground.daemon();
    let proven = ground.phase(LIMIT, "killed", "Proven");
    assert_eq!(
        proven["status"]["runs"].as_array().unwrap().len(),
        1,
        "{proven:#}"
    );
    let jobs = ground.jobs_of(&format!("{}.killed", source.name()));
    assert_eq!(jobs.len(), 1, "not lost, not doubled: {jobs:#?}");
    assert_eq!(jobs[0]["status"], "done");
    assert!(jobs[0]["attempts"].as_u64().unwrap() >= 2, "{jobs:#?}");
    for reason in ["Queued", "Proven"] {
        assert_eq!(
            ground
                .told("killed")
                .iter()
                .filter(|one| *one == reason)
                .count(),
            1
        );
    }
    ground.delete("recoverydrill", "killed");
    ground.delete("protectedcluster", "killed");
    wait_until(SOON, "nothing left", || {
        ground.place.scratch_namespaces().is_empty()
    });
    daemon.stop();
}

#[test]
fn two_controllers_double_nothing() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let (server, url) = state();
    let ground = Ground::new(lab, source.name(), Some(&url));
    let (one, two) = (ground.daemon(), ground.daemon());
    ground.guard("two");
    for name in ["two-a", "two-b"] {
        ground.apply("RecoveryDrill", name, &ground.drill(None));
    }
    ground.phase(LIMIT, "two-a", "Running");
    // Whoever writes is killed with it or not: the other goes on.
    one.kill();
    for name in ["two-a", "two-b"] {
        let proven = ground.phase(LIMIT, name, "Proven");
        assert_eq!(proven["status"]["runs"].as_array().unwrap().len(), 1);
        let jobs = ground.jobs_of(&format!("{}.{name}", source.name()));
        assert_eq!(jobs.len(), 1, "{jobs:#?}");
        assert_eq!(jobs[0]["status"], "done");
    }
    let sql = "SELECT count(*) FROM runs WHERE kind = 'drill' AND verdict = 'proven'";
    let proven = server.try_psql_in("walproof", sql).unwrap();
    assert_eq!(proven.trim(), "2");
    for name in ["two-a", "two-b"] {
        ground.delete("recoverydrill", name);
    }
    ground.delete("protectedcluster", "two");
    wait_until(SOON, "nothing left", || {
        ground.place.scratch_namespaces().is_empty()
    });
    two.stop();
}

/// Two hundred are as one: one watch for each kind, and silence when nothing changes.
#[test]
fn two_hundred_cost_one_watch() {
    let lab = cluster!();
    let namespace = lab.namespace("many");
    let ground = Ground::new(lab, &namespace.name, None);
    let calls = ground.place.path().join("calls");
    let many = |from: u32, to: u32| {
        let all: Vec<Value> = (from..to)
            .map(|number| {
                let spec = json!({"name": format!("c{number}"), "verify": {"cron": "0 * * * *"}});
                resource(
                    "ProtectedCluster",
                    &namespace.name,
                    &format!("p{number}"),
                    &spec,
                )
            })
            .collect();
        lab.apply(&all);
    };
    let written = |number: usize| {
        wait_until(LIMIT, "every status", || {
            let all = lab.list(&namespace.name, "protectedclusters", "");
            all.iter()
                .filter(|one| one["status"]["phase"] == "Waiting")
                .count()
                == number
        });
    };
    let count = || {
        let text = std::fs::read_to_string(&calls).unwrap_or_default();
        text.lines().count()
    };
    // What is asked within a while in which nothing happens.
    let at_rest = || {
        let mut before = count();
        wait_until(LIMIT, "silence", || {
            std::thread::sleep(Duration::from_secs(4));
            count() == std::mem::replace(&mut before, count())
        });
        let begin = count();
        std::thread::sleep(Duration::from_secs(20));
        count() - begin
    };
    many(0, 10);
    let daemon = ground.place.start_daemon_counted(&calls);
    written(10);
    let (few, small) = (at_rest(), daemon.memory());
    many(10, 200);
    written(200);
    let total = count();
    let (more, large) = (at_rest(), daemon.memory());
    println!(
        "10: {few} calls at rest, {small} bytes; 200: {more} calls at rest, {large} bytes; {total} in all"
    );
    assert!(
        few <= 2 && more <= 2,
        "{few} and {more} calls while nothing happened"
    );
    // A status each, and the events of none.
    assert!(total < 3 * 200, "{total} calls");
    assert!(large < small + (64 << 20), "{small} and {large} bytes");
    daemon.stop();
}

/// What the API server takes, and what it refuses, by the words that it says.
#[test]
fn the_api_server_checks_resources() {
    let lab = cluster!();
    install(lab);
    let namespace = lab.namespace("resources");
    let try_one = |kind: &str, spec: &Value| {
        let object = resource(kind, &namespace.name, "one", spec);
        process::try_run_with_input(
            &mut lab.kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", "-"]),
            &object.to_string(),
        )
    };
    let drill = |more: Value| {
        let mut spec = json!({"clusterRef": {"name": "orders"}});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        spec
    };
    for (kind, spec) in [
        ("ProtectedCluster", json!({"selector": {}})),
        (
            "ProtectedCluster",
            json!({"name": "orders", "tier": {"name": "gold"}}),
        ),
        ("RecoveryDrill", drill(json!({}))),
        (
            "RecoveryDrill",
            drill(json!({"settings": {"max_connections": 5, "fsync": false},
            "checks": [{"name": "a", "database": "b", "sql": "c", "rows": [[1, null, true, 1.5, "x"]]}]})),
        ),
        (
            "RecoveryDrill",
            json!({"protectedCluster": "all", "schedule": {"cron": "@daily"}}),
        ),
    ] {
        try_one(kind, &spec).unwrap_or_else(|words| panic!("{kind} {spec}: {words}"));
    }
    for (kind, spec, words) in [
        (
            "ProtectedCluster",
            json!({}),
            "name a Cluster (`name`), or select some",
        ),
        (
            "ProtectedCluster",
            json!({"name": "x", "tier": {"name": "gold", "rpo": "5m"}}),
            "either `name` of a tier, or objectives",
        ),
        (
            "ProtectedCluster",
            json!({"name": "x", "tier": {"rpo": "soon"}}),
            "spec.tier.rpo",
        ),
        (
            "ProtectedCluster",
            json!({"name": "x", "replicate": {"cron": "@daily"}}),
            "`replicate` needs `replicas`",
        ),
        (
            "ProtectedCluster",
            json!({"name": "x", "verify": {}}),
            "spec.verify.cron",
        ),
        (
            "ProtectedCluster",
            json!({"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
            "In and NotIn need `values`",
        ),
        (
            "ProtectedCluster",
            json!({"name": "x", "ownre": "me"}),
            "ownre",
        ),
        (
            "RecoveryDrill",
            json!({}),
            "name either `clusterRef` or `protectedCluster`",
        ),
        (
            "RecoveryDrill",
            drill(json!({"protectedCluster": "x"})),
            "name either `clusterRef` or `protectedCluster`",
        ),
        (
            "RecoveryDrill",
            drill(json!({"environment": "local", "cnpg": {}})),
            "`cnpg` belongs to `environment: cnpg`",
        ),
        (
            "RecoveryDrill",
            drill(json!({"target": "yesterday"})),
            "spec.target",
        ),
        (
            "RecoveryDrill",
            drill(json!({"schedule": {"cron": "@daily", "depth": "read"}})),
            "`depth` belongs to",
        ),
        (
            "RecoveryDrill",
            drill(json!({"schedule": {"cron": "@daily", "priority": 10}})),
            "spec.schedule.priority",
        ),
        (
            "RecoveryDrill",
            drill(json!({"checks": [{"name": "a", "sql": "b"}]})),
            "database",
        ),
    ] {
        let refused = try_one(kind, &spec).expect_err(&format!("{kind} {spec} was taken"));
        assert!(refused.contains(words), "{kind} {spec}: {refused}");
    }
    // What a one-off drill is about cannot be changed; what a schedule is about can.
    for (schedule, taken) in [(None, false), (Some(json!({"cron": "@daily"})), true)] {
        let mut spec = drill(json!({"suspend": true}));
        if let Some(schedule) = schedule {
            spec["schedule"] = schedule;
        }
        let name = format!("change-{taken}");
        lab.apply(&[resource("RecoveryDrill", &namespace.name, &name, &spec)]);
        let patch = json!({"spec": {"clusterRef": {"name": "other"}}}).to_string();
        let words = [
            "-n",
            &namespace.name,
            "patch",
            &format!("recoverydrill/{name}"),
            "--type",
            "merge",
            "-p",
            &patch,
        ];
        match (lab.try_ask(&words), taken) {
            (Ok(_), true) => {}
            (Err(words), false) => assert!(words.contains("make another RecoveryDrill"), "{words}"),
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
    let dotted = resource("RecoveryDrill", &namespace.name, "a.b", &drill(json!({})));
    let refused = process::try_run_with_input(
        &mut lab.kubectl(&["apply", "--dry-run=server", "-f", "-"]),
        &dotted.to_string(),
    );
    assert!(refused.unwrap_err().contains("has no dots"));
}

/// The examples are taken as they are.
#[test]
fn the_examples_are_taken() {
    let lab = cluster!();
    install(lab);
    let namespace = lab.namespace("examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder("deploy/examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // Those for other operators have tests of their own.
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        if !text.contains("walproof.dev/v1alpha1") {
            continue;
        }
        seen += 1;
        let words = [
            "apply",
            "-n",
            &namespace.name,
            "--dry-run=server",
            "--validate=strict",
            "-f",
            path.to_str().unwrap(),
        ];
        lab.ask(&words);
    }
    assert!(seen >= 4);
}
