//! The chart in a namespace that enforces `restricted`: installed, upgraded from an older one, and
//! removed, with the example values and what they must be for this cluster.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::deploy::{CLUSTER_WIDE, chart, documents, helm, kustomize, missing};
use crate::common::kubernetes::source::Source;
use crate::common::kubernetes::{Lab, Namespace, cluster};
use crate::common::process::{run, try_run, wait_until};
use crate::common::scratch;
use crate::common::walproof;

const LIMIT: Duration = Duration::from_mins(5);

/// An empty namespace with what a pod of walproof needs that is no matter of the chart: the
/// program that was just built, on a volume, and a database for the state.
pub(crate) struct Ground {
    lab: &'static Lab,
    namespace: Namespace,
    pub(crate) release: String,
}

impl Ground {
    pub(crate) fn new(lab: &'static Lab) -> Self {
        let namespace = lab.namespace("install");
        let name = namespace.name.clone();
        let standard = "pod-security.kubernetes.io/enforce=restricted";
        lab.ask(&["label", "namespace", &name, standard]);
        let metadata = |of: &str| json!({"name": of, "namespace": name});
        lab.apply(&[
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata("program"),
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata("carrier"), "spec": {
                "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": false,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "carrier", "image": lab.postgres_image,
                    "command": ["sleep", "86400"],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "program", "mountPath": "/program"}]}],
                "volumes": [{"name": "program", "persistentVolumeClaim": {"claimName": "program"}}],
            }}),
            json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": metadata("state"),
                "spec": {"instances": 1, "imageName": lab.postgres_image, "storage": {"size": "1Gi"},
                    "bootstrap": {"initdb": {"database": "walproof", "owner": "walproof"}}}}),
        ]);
        lab.wait(&name, "pod/carrier", "condition=Ready", LIMIT);
        let carry = "cat > /program/walproof && chmod 755 /program/walproof";
        let copied = lab
            .kubectl(&[
                "-n", &name, "exec", "-i", "carrier", "--", "sh", "-c", carry,
            ])
            .stdin(Stdio::from(File::open(walproof::program()).unwrap()))
            .status()
            .unwrap();
        assert!(copied.success());
        lab.wait(&name, "cluster/state", "condition=Ready", LIMIT);
        Self {
            lab,
            release: format!("{}-walproof", lab.prefix.replace("wpt-", "wpi-")),
            namespace,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.namespace.name
    }

    pub(crate) fn helm(&self, arguments: &[&str]) -> Command {
        let mut command = helm();
        command
            .env("KUBECONFIG", &self.lab.kubeconfig)
            .env("HELM_CACHE_HOME", std::env::temp_dir())
            .args(["--namespace", self.name()])
            .args(arguments);
        command
    }

    /// Over the example values: what this cluster has in place of the example's.
    pub(crate) fn adapted(&self, source: &Source, prefix: &str) -> Value {
        let credential = |key: &str| json!({"kubernetes": {"namespace": source.name(), "name": Source::READER, "key": key}});
        let (name, tag) = self.lab.postgres_image.rsplit_once(':').unwrap();
        let everywhere = |port: u16| json!([{"ports": [{"port": port, "protocol": "TCP"}]}]);
        let (api, _) = self.api_ports();
        json!({
            "image": {"repository": name, "tag": tag},
            "command": ["/program/walproof"],
            "volumes": [{"name": "program", "persistentVolumeClaim": {"claimName": "program", "readOnly": true}}],
            "volumeMounts": [{"name": "program", "mountPath": "/program", "readOnly": true}],
            "state": {"postgres": {
                "url": format!("postgres://walproof@state-rw.{}.svc:5432/walproof?sslmode=verify-full", self.name()),
                "passwordSecret": {"name": "state-app", "key": "password"},
                "caSecret": {"name": "state-ca", "key": "ca.crt"},
            }},
            "crds": {"install": false},
            "scratch": {"namespacePrefixes": [prefix]},
            "config": {
                "clusters": [{
                    "name": "postgres-prod", "owner": "platform", "tier": "prod",
                    "kubernetes": {"namespace": source.name(), "name": Source::CLUSTER},
                    "primary": {
                        "url": source.url(), "endpoint": source.store.endpoint(),
                        "region": "us-east-1", "path_style": true,
                        "credentials": {
                            "access_key_id": credential("ACCESS_KEY_ID"),
                            "secret_access_key": credential("SECRET_ACCESS_KEY"),
                        },
                    },
                }],
                // The example's night, compressed.
                "schedules": [
                    {"name": "verify", "job": "verify", "cron": "* * * * *"},
                    {"name": "drill", "job": "drill", "drill": "nightly", "cron": "*/2 * * * *"},
                ],
            },
            "drills": {"nightly": {
                "clusters": ["postgres-prod"], "environment": "cnpg", "probe_write": false,
                "cnpg": {"namespace_prefix": prefix},
            }},
            "networkPolicy": {
                "monitoring": [{"podSelector": {"matchLabels": {"scrapes": "walproof"}}}],
                "apiServer": everywhere(api),
                "objectStores": everywhere(7070),
                "state": [{"to": [{"podSelector": {"matchLabels": {"cnpg.io/cluster": "state"}}}],
                    "ports": [{"port": 5432, "protocol": "TCP"}]}],
            },
            "stopWithinSeconds": 20,
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        })
    }

    /// The API server's port, and that of its Service.
    fn api_ports(&self) -> (u16, u16) {
        let slices = self.lab.list(
            "default",
            "endpointslices",
            "kubernetes.io/service-name=kubernetes",
        );
        let port = slices[0]["ports"][0]["port"].as_u64().unwrap();
        (u16::try_from(port).unwrap(), 443)
    }

    /// What the daemons serve, through the API server.
    pub(crate) fn metrics(&self) -> Result<String, String> {
        let path = format!(
            "/api/v1/namespaces/{}/services/{}:http/proxy/metrics",
            self.name(),
            self.release
        );
        self.lab.try_ask(&["get", "--raw", &path])
    }

    /// Waits for a metric of the daemons that is so.
    #[track_caller]
    pub(crate) fn wait_for_metric(&self, begin: &str, value: f64) {
        let until = Instant::now() + Duration::from_mins(12);
        let mut last = Err(String::new());
        while Instant::now() < until {
            last = self.metrics();
            let text = last.clone().unwrap_or_default();
            let found = text.lines().any(|line| {
                let number = line
                    .rsplit(' ')
                    .next()
                    .and_then(|number| number.parse::<f64>().ok());
                line.starts_with(begin) && number.is_some_and(|number| number >= value)
            });
            if found {
                return;
            }
            std::thread::sleep(Duration::from_secs(2));
        }
        let label = format!("app.kubernetes.io/instance={}", self.release);
        let logs = self
            .lab
            .try_ask(&["-n", self.name(), "logs", "-l", &label, "--tail", "60"]);
        panic!("waited in vain for {begin} {value}:\n{last:?}\n{logs:?}");
    }

    /// walproof in a daemon's pod.
    #[track_caller]
    pub(crate) fn walproof(&self, words: &[&str]) -> Value {
        let deployment = format!("deployment/{}", self.release);
        let all = [
            &[
                "-n",
                self.name(),
                "exec",
                &deployment,
                "--",
                "/program/walproof",
                "--config",
                "/etc/walproof/walproof.yaml",
                "--output",
                "json",
            ][..],
            words,
        ]
        .concat();
        serde_json::from_str(&self.lab.ask(&all)).unwrap()
    }

    /// Objects with the release's label, wherever they are.
    pub(crate) fn left(&self) -> Vec<String> {
        let label = format!("app.kubernetes.io/instance={}", self.release);
        let kinds = format!(
            "deployments,replicasets,pods,services,configmaps,serviceaccounts,roles,rolebindings,\
             networkpolicies,poddisruptionbudgets,persistentvolumeclaims,jobs,{CLUSTER_WIDE}"
        );
        let mut left: Vec<String> = self
            .lab
            .list("", &kinds, &label)
            .iter()
            .map(|object| {
                format!(
                    "{} {}",
                    object["kind"].as_str().unwrap(),
                    object["metadata"]["name"].as_str().unwrap()
                )
            })
            .collect();
        left.sort();
        left
    }
}

/// What has no namespace is removed, however the test ends.
impl Drop for Ground {
    fn drop(&mut self) {
        let label = format!("app.kubernetes.io/instance={}", self.release);
        let _ = self.lab.try_ask(&["delete", CLUSTER_WIDE, "-l", &label]);
    }
}

pub(crate) fn values(directory: &Path, name: &str, values: &Value) -> PathBuf {
    let file = directory.join(format!("{name}.json"));
    std::fs::write(&file, values.to_string()).unwrap();
    file
}

#[test]
fn the_chart_is_installed_upgraded_and_removed() {
    let lab = cluster!();
    if missing() {
        return;
    }
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let ground = Ground::new(lab);
    let directory = scratch::directory();
    let prefix = format!("{}-i", lab.prefix);
    let example = chart().join("examples/both.yaml");
    let example = example.to_str().unwrap();
    let adapted = values(
        directory.path(),
        "adapted",
        &ground.adapted(source, &prefix),
    );
    let adapted = adapted.to_str().unwrap();

    // The chart before this one: the same with an older number, and one daemon.
    let package = [
        "package",
        chart().to_str().unwrap(),
        "--version",
        "0.0.9",
        "--destination",
    ]
    .map(str::to_owned);
    run(helm().args(package).arg(directory.path()));
    let older = directory.path().join("walproof-0.0.9.tgz");
    let before = values(
        directory.path(),
        "before",
        &json!({"replicas": 1, "log": {"level": "debug"}}),
    );
    let notes = run(&mut ground.helm(&[
        "install",
        &ground.release,
        older.to_str().unwrap(),
        "--values",
        example,
        "--values",
        adapted,
        "--values",
        before.to_str().unwrap(),
        "--wait",
        "--timeout",
        "5m",
    ]));
    assert!(notes.contains("rollout status"), "{notes}");
    ground.wait_for_metric("walproof_state_up", 1.0);
    ground.wait_for_metric("walproof_clusters", 1.0);
    assert!(
        !ground
            .left()
            .iter()
            .any(|one| one.starts_with("PodDisruptionBudget"))
    );

    // The nightly drill, by the daemon, with the chart's rights.
    let verdict =
        "walproof_proof_verdict{cluster=\"postgres-prod\",copy=\"primary\",kind=\"drill\"}";
    ground.wait_for_metric(verdict, 1.0);
    let asked = "walproof_kubernetes_requests_total{verb=\"create\",group=\"rbac.authorization.k8s.io\",resource=\"rolebindings\",code=\"201\"}";
    ground.wait_for_metric(asked, 1.0);
    let text = ground.metrics().unwrap();
    let refused: Vec<&str> = text
        .lines()
        .filter(|line| {
            line.starts_with("walproof_kubernetes_requests_total") && line.contains("code=\"403\"")
        })
        .collect();
    println!("refused of the daemon: {refused:#?}");
    scraped_only_by_whom_it_was_said(&ground);
    let runs = ground.walproof(&["history"])["runs"]
        .as_array()
        .unwrap()
        .len();
    assert!(runs > 0);

    // The upgrade: two daemons, and nothing of what was known is lost.
    run(&mut ground.helm(&[
        "upgrade",
        &ground.release,
        chart().to_str().unwrap(),
        "--values",
        example,
        "--values",
        adapted,
        "--wait",
        "--timeout",
        "5m",
    ]));
    let pods = lab.list(
        ground.name(),
        "pods",
        &format!("app.kubernetes.io/instance={}", ground.release),
    );
    let ready = pods
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .count();
    assert_eq!(ready, 2, "{pods:#?}");
    assert!(
        ground
            .left()
            .iter()
            .any(|one| one.starts_with("PodDisruptionBudget"))
    );
    let after = ground.walproof(&["history"])["runs"]
        .as_array()
        .unwrap()
        .len();
    assert!(after >= runs, "{after} < {runs}");
    ground.wait_for_metric("walproof_state_up", 1.0);

    // The removal: the daemons end what they do, and nothing of the release is left.
    run(&mut ground.helm(&["uninstall", &ground.release, "--wait", "--timeout", "5m"]));
    wait_until(Duration::from_mins(3), "the end of the pods", || {
        ground.left().is_empty()
    });
    let releases = lab.list(ground.name(), "secrets", "owner=helm");
    assert_eq!(releases, Vec::<Value>::new());
    // What a drill had made goes with the daemon that stops, or when it expires; both is
    // documented. The state is the user's.
    assert!(lab.get(ground.name(), "cluster/state").is_some());
    for namespace in lab.namespaces(&format!("{prefix}-")) {
        println!("a drill under way left {namespace} to its expiry");
        lab.remove_namespace(&namespace);
    }
}

/// The NetworkPolicy lets in whom the values say, and nobody else.
fn scraped_only_by_whom_it_was_said(ground: &Ground) {
    let pods = ground.lab.list(
        ground.name(),
        "pods",
        &format!("app.kubernetes.io/instance={}", ground.release),
    );
    let address = pods[0]["status"]["podIP"].as_str().unwrap();
    let dial = format!("timeout 5 bash -c '</dev/tcp/{address}/9188'");
    let words = [
        "-n",
        ground.name(),
        "exec",
        "carrier",
        "--",
        "bash",
        "-c",
        &dial,
    ];
    assert!(ground.lab.try_ask(&words).is_err(), "anybody may scrape");
    ground.lab.ask(&[
        "-n",
        ground.name(),
        "label",
        "pod",
        "carrier",
        "scrapes=walproof",
    ]);
    wait_until(Duration::from_mins(1), "the way for who scrapes", || {
        ground.lab.try_ask(&words).is_ok()
    });
    ground
        .lab
        .ask(&["-n", ground.name(), "label", "pod", "carrier", "scrapes-"]);
}

/// The API server with all its admission takes what the chart and the overlays give, and a
/// namespace that enforces `restricted` takes their pods.
#[test]
fn the_api_server_takes_the_chart_and_the_overlays() {
    let lab = cluster!();
    if missing() {
        return;
    }
    let namespace = lab.namespace("admission");
    let name = &namespace.name;
    let standards = [
        "pod-security.kubernetes.io/enforce=restricted",
        "pod-security.kubernetes.io/warn=restricted",
    ];
    lab.ask(&[&["label", "namespace", name][..], &standards].concat());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sets: Vec<(String, String)> = Vec::new();
    for overlay in ["stage", "prod"] {
        let directory = root.join("deploy/kustomize/overlays").join(overlay);
        sets.push((
            format!("overlay {overlay}"),
            run(kustomize().arg("build").arg(directory)),
        ));
    }
    for examples in [
        &["stage"][..],
        &["prod"],
        &["both"],
        &["both", "everything"],
    ] {
        let mut arguments: Vec<String> = Vec::new();
        for example in examples {
            arguments.push("--values".to_owned());
            let file = chart().join("examples").join(format!("{example}.yaml"));
            arguments.push(file.display().to_string());
        }
        // Those kinds are Prometheus's, and the definitions are another's to install here.
        for set in [
            "monitoring.podMonitor.enabled=false",
            "monitoring.prometheusRule.enabled=false",
            "crds.install=false",
        ] {
            arguments.extend(["--set".to_owned(), set.to_owned()]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let text = crate::common::deploy::helm_template("walproof", "walproof", &arguments);
        sets.push((format!("chart {examples:?}"), text.unwrap()));
    }
    for (what, text) in sets {
        let mut objects = documents(&text);
        let mut pods = Vec::new();
        for object in &mut objects {
            // Here every namespace of the example is this one.
            if let Some(place) = object.pointer_mut("/metadata/namespace") {
                *place = json!(name);
            }
            if object["kind"] == "Deployment" {
                let template = &object["spec"]["template"];
                pods.push(json!({"apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": "walproof", "namespace": name, "labels": template["metadata"]["labels"]},
                    "spec": template["spec"]}));
            }
            let template = object["data"]["job-pod.yaml"].as_str().map(str::to_owned);
            if let Some(template) = template {
                let template: Value = serde_saphyr::from_str(&template).unwrap();
                let mut spec = template["template"]["spec"].clone();
                spec["restartPolicy"] = json!("Never");
                pods.push(json!({"apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": "job", "namespace": name}, "spec": spec}));
            }
        }
        assert!(!pods.is_empty());
        // The account must be there for its pods; nothing else is made.
        let accounts: Vec<Value> = objects
            .iter()
            .filter(|object| object["kind"] == "ServiceAccount")
            .cloned()
            .collect();
        lab.apply(&accounts);
        for pod in &mut pods {
            // The priority class is the user's.
            pod["spec"]
                .as_object_mut()
                .unwrap()
                .remove("priorityClassName");
        }
        objects.extend(pods);
        for object in objects {
            let file = std::env::temp_dir().join(format!("{name}-{}.json", what.len()));
            std::fs::write(&file, object.to_string()).unwrap();
            let mut command = lab.kubectl(&[
                "apply",
                "--server-side",
                "--dry-run=server",
                "--force-conflicts",
                "--field-manager=walproof-tests",
            ]);
            let said = try_run(command.arg("-f").arg(&file));
            std::fs::remove_file(&file).unwrap();
            let said = said.unwrap_or_else(|words| panic!("{what}: {words}\n{object:#}"));
            assert!(said.contains("serverside-applied"), "{what}: {said}");
        }
    }
}
