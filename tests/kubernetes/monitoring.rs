//! What the chart brings for a Prometheus operator, and the examples for other operators: taken
//! by their own kinds, and at work with a real Prometheus.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::deploy::{CLUSTER_WIDE, chart, documents, helm, helm_template, missing};
use crate::common::kubernetes::{Lab, cluster};
use crate::common::process::{run, wait_until};
use crate::common::prometheus::{Prometheus, passes, tool};
use crate::common::{require, scratch};

const MONITORING: [&str; 6] = [
    "--set",
    "monitoring.podMonitor.enabled=true",
    "--set",
    "monitoring.prometheusRule.enabled=true",
    "--set",
    "monitoring.dashboards.enabled=true",
];

/// Whether the API server would take an object as it is, with no word that its kind does not
/// know.
fn taken(lab: &Lab, namespace: &str, object: &Value) -> Result<String, String> {
    let directory = scratch::directory();
    let file = directory.path().join("object.json");
    std::fs::write(&file, object.to_string()).unwrap();
    lab.try_ask(&[
        "apply",
        "--namespace",
        namespace,
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        file.to_str().unwrap(),
    ])
}

fn example(name: &str) -> Vec<Value> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/examples")
        .join(name);
    documents(&std::fs::read_to_string(file).unwrap())
}

#[test]
fn other_operators_take_what_is_made_for_them() {
    let lab = cluster!();
    if missing() {
        return;
    }
    for kind in [
        "podmonitors",
        "prometheusrules",
        "externalsecrets",
        "secretstores",
        "applications",
    ] {
        lab.kind(kind);
    }
    let namespace = lab.namespace("kinds");
    let manifests: Vec<Value> =
        documents(&helm_template("walproof", &namespace.name, &MONITORING).unwrap())
            .into_iter()
            .filter(|object| object["apiVersion"] == "monitoring.coreos.com/v1")
            .collect();
    assert_eq!(manifests.len(), 2);
    let secrets = example("external-secrets/secrets.yaml");
    let applications = example("argocd/applications.yaml");
    for object in manifests.iter().chain(&secrets).chain(&applications) {
        taken(lab, &namespace.name, object).unwrap();
    }

    // The other way: a word that is not known, and a value that is not allowed.
    for (object, pointer, word) in [
        (&manifests[0], "/spec", "podMetricEndpoints"),
        (&manifests[1], "/spec/groups/0", "rulez"),
        (&secrets[1], "/spec", "refreshIntervall"),
        (&applications[0], "/spec", "destinations"),
    ] {
        let mut spoiled = object.clone();
        spoiled.pointer_mut(pointer).unwrap()[word] = json!([]);
        let refused = taken(lab, &namespace.name, &spoiled).unwrap_err();
        assert!(refused.contains(word), "{refused}");
    }

    // The Secrets of the example are those that the example values name.
    let values = std::fs::read_to_string(chart().join("examples/prod.yaml")).unwrap();
    for object in secrets.iter().filter(|one| one["kind"] == "ExternalSecret") {
        let name = object["spec"]["target"]["name"].as_str().unwrap();
        assert!(values.contains(&format!("name: {name},")), "{name}");
        for datum in object["spec"]["data"].as_array().unwrap() {
            let key = datum["secretKey"].as_str().unwrap();
            assert!(
                values.contains(&format!("name: {name}, key: {key}}}")),
                "{name} {key}"
            );
        }
    }
}

/// The scrape of a PodMonitor, as the operator would configure it: which pods, which port, what
/// their series are called. Debian's Prometheus cannot ask Kubernetes for pods by itself.
fn scrape(lab: &Lab, monitor: &Value, namespace: &str) -> Value {
    let selector = monitor["spec"]["selector"]["matchLabels"]
        .as_object()
        .unwrap();
    let selector: Vec<String> = selector
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap()))
        .collect();
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    let targets: Vec<Value> = lab
        .list(namespace, "pods", &selector.join(","))
        .iter()
        .map(|pod| {
            let container = &pod["spec"]["containers"][0];
            let port = container["ports"]
                .as_array()
                .unwrap()
                .iter()
                .find(|port| port["name"] == endpoint["port"])
                .unwrap();
            json!({
                "targets": [format!("{}:{}", pod["status"]["podIP"].as_str().unwrap(), port["containerPort"])],
                "labels": {"namespace": namespace, "pod": pod["metadata"]["name"],
                    "container": container["name"]},
            })
        })
        .collect();
    let relabel: Vec<Value> = endpoint["relabelings"]
        .as_array()
        .unwrap()
        .iter()
        .map(
            |rule| json!({"target_label": rule["targetLabel"], "replacement": rule["replacement"]}),
        )
        .collect();
    assert!(!targets.is_empty());
    json!({
        "job_name": format!("podMonitor/{namespace}/{}/0", monitor["metadata"]["name"].as_str().unwrap()),
        "metrics_path": endpoint["path"],
        "static_configs": targets,
        "relabel_configs": relabel,
    })
}

/// The rules as the cluster keeps them, without the time that an alert waits before it fires.
fn hastened(rule: &Value) -> String {
    let mut rules = json!({"groups": rule["spec"]["groups"]});
    for group in rules["groups"].as_array_mut().unwrap() {
        for rule in group["rules"].as_array_mut().unwrap() {
            rule.as_object_mut().unwrap().remove("for");
        }
    }
    // JSON is YAML.
    rules.to_string()
}

/// A release's objects that have no namespace go, however the test ends.
struct Released<'a>(&'a Lab, String);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        let label = format!("app.kubernetes.io/instance={}", self.1);
        let _ = self.0.try_ask(&["delete", CLUSTER_WIDE, "-l", &label]);
    }
}

/// Installed by helm, scraped as its PodMonitor says, judged by its PrometheusRule: an alert of a
/// cluster fires, and one of the daemon when it is gone.
#[test]
fn a_prometheus_scrapes_the_chart_and_its_rules_fire() {
    require!(Prometheus);
    let lab = cluster!();
    if missing() {
        return;
    }
    lab.kind("podmonitors");
    lab.kind("prometheusrules");
    let namespace = lab.namespace("scraped");
    let name = namespace.name.clone();
    let release = format!("{}-scraped-walproof", lab.prefix.replace("wpt-", "wpi-"));
    let _released = Released(lab, release.clone());
    let (image, tag) = lab.walproof_image().rsplit_once(':').unwrap();
    let values = json!({
        "image": {"repository": image, "tag": tag},
        "crds": {"install": false},
        "rbac": {"create": false},
        "admission": {"enabled": false},
        "networkPolicy": {"monitoring": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]},
        "monitoring": {
            "podMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
            "prometheusRule": {"enabled": true, "runbooks": "https://wiki.example/walproof/"},
            "dashboards": {"enabled": true},
        },
        "config": {
            // Nobody listens there: what cannot be checked is told as such.
            "clusters": [{"name": "orders", "owner": "shop", "primary": {
                "url": "s3://backups/orders", "endpoint": "http://127.0.0.1:9", "region": "us-east-1",
                "credentials": {"access_key_id": {"env": "KEY"}, "secret_access_key": {"env": "KEY"}},
            }}],
            "schedules": [{"name": "verify", "job": "verify", "cron": "*/5 * * * * *"}],
        },
        "env": [{"name": "KEY", "value": "anything"}],
    });
    let directory = scratch::directory();
    let file = directory.path().join("values.json");
    std::fs::write(&file, values.to_string()).unwrap();
    run(helm()
        .env("KUBECONFIG", &lab.kubeconfig)
        .env("HELM_CACHE_HOME", std::env::temp_dir())
        .args(["--namespace", &name, "install", &release])
        .arg(chart())
        .arg("--values")
        .arg(&file)
        .args(["--wait", "--timeout", "5m"]));

    let monitor = lab.get(&name, &format!("podmonitor/{release}")).unwrap();
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    let rule = lab
        .get(&name, &format!("prometheusrule/{release}"))
        .unwrap();
    let rules = hastened(&rule);
    assert!(rules.contains("https://wiki.example/walproof/DaemonDown.md"));
    assert!(!rules.contains("https://walproof.dev/runbooks"));
    assert!(rules.contains(&format!("up{{job=\\\"{release}\\\"}}")));
    let written = directory.path().join("rules.json");
    std::fs::write(&written, &rules).unwrap();
    passes(tool("promtool").args(["check", "rules"]).arg(&written));
    let dashboards = lab
        .get(&name, &format!("configmap/{release}-dashboards"))
        .unwrap();
    assert_eq!(dashboards["metadata"]["labels"]["grafana_dashboard"], "1");
    let dashboard: Value =
        serde_json::from_str(dashboards["data"]["walproof.json"].as_str().unwrap()).unwrap();
    assert_eq!(dashboard["uid"], "walproof");

    let configuration = json!({
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s"},
        "rule_files": ["rules.json"],
        "scrape_configs": [scrape(lab, &monitor, &name)],
    });
    let prometheus = Prometheus::start(&configuration.to_string(), &[("rules.json", rules)]);
    let up = format!("up{{job=\"{release}\",namespace=\"{name}\"}} == 1");
    let limit = Duration::from_mins(3);
    wait_until(limit, "the first scrape", || {
        let found = prometheus.query(&up);
        found["data"]["result"]
            .as_array()
            .is_some_and(|all| all.len() == 1)
    });
    let firing = |alert: &str| {
        prometheus
            .firing()
            .into_iter()
            .find(|labels| labels["alertname"] == alert)
    };
    // Without the time that an alert waits, it fires until the first scrape.
    wait_until(limit, "the end of DaemonDown", || {
        firing("DaemonDown").is_none()
    });
    wait_until(limit, "ProofImpossible", || {
        firing("ProofImpossible").is_some()
    });
    let labels = firing("ProofImpossible").unwrap();
    assert_eq!(
        (&labels["cluster"], &labels["owner"], &labels["job"]),
        (&json!("orders"), &json!("shop"), &json!(release))
    );

    // Nobody is there any more: that is told too, and no longer when somebody is again.
    let deployment = format!("deployment/{release}");
    lab.ask(&["-n", &name, "scale", &deployment, "--replicas", "0"]);
    wait_until(limit, "DaemonDown", || firing("DaemonDown").is_some());
    println!("fired: {:#?}", prometheus.firing());
    run(helm().env("KUBECONFIG", &lab.kubeconfig).args([
        "--namespace",
        &name,
        "uninstall",
        &release,
        "--wait",
    ]));
}
