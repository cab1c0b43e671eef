//! helm and kustomize, and what they give.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::process;
use super::require::{self, Need, all_present};

/// How the tests go on without helm or kustomize: `required` makes that a failure.
const WISH: &str = "WALPROOF_DEPLOY";

/// A program from the PATH, else from where `scripts/install` puts it.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([require::cache().join("bin")])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// Whether helm or kustomize is not here: a failure under `CI=true` and where it is wished, else
/// said past the test runner's capture.
pub fn missing() -> bool {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    if all_present(&[Need::Helm, Need::Kustomize], &test) {
        return false;
    }
    assert!(
        std::env::var(WISH).as_deref() != Ok("required"),
        "{test}: NOT RUN; {WISH}=required makes that a failure"
    );
    true
}

/// helm.
pub fn helm() -> Command {
    Command::new(program("helm").expect("helm"))
}

/// kustomize.
pub fn kustomize() -> Command {
    Command::new(program("kustomize").expect("kustomize"))
}

/// The chart.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart/walproof")
}

/// What the chart gives as a release in a namespace, or why not.
pub fn helm_template(release: &str, namespace: &str, arguments: &[&str]) -> Result<String, String> {
    process::try_run(
        helm()
            .args(["template", release])
            .arg(chart())
            // One that was built by hand takes itself for a very old Kubernetes.
            .args(["--namespace", namespace, "--kube-version", "1.34.0"])
            .args(arguments),
    )
    // Without the command line, which holds what was asked.
    .map_err(|words| {
        words
            .split_once('\n')
            .map_or(String::new(), |(_, said)| said.to_owned())
    })
}

/// The objects of a text in YAML.
#[track_caller]
pub fn documents(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    all.into_iter().filter(|one| !one.is_null()).collect()
}

/// What roles grant, one by one: `ROLE: VERB RESOURCE[.GROUP][ NAME][ in NAMESPACE]`.
pub fn rules_of(objects: &[Value]) -> BTreeSet<String> {
    let strings = |value: &Value| -> Vec<String> {
        serde_json::from_value(value.clone()).unwrap_or_default()
    };
    let mut all = BTreeSet::new();
    for role in objects {
        if !matches!(role["kind"].as_str(), Some("Role" | "ClusterRole")) {
            continue;
        }
        let name = role["metadata"]["name"].as_str().unwrap();
        let place = match role["metadata"]["namespace"].as_str() {
            Some(namespace) => format!(" in {namespace}"),
            None => String::new(),
        };
        for rule in role["rules"].as_array().into_iter().flatten() {
            let mut names: Vec<String> = strings(&rule["resourceNames"])
                .into_iter()
                .map(|name| format!(" {name}"))
                .collect();
            if names.is_empty() {
                names.push(String::new());
            }
            for group in strings(&rule["apiGroups"]) {
                let group = if group.is_empty() {
                    group
                } else {
                    format!(".{group}")
                };
                for resource in strings(&rule["resources"]) {
                    for verb in strings(&rule["verbs"]) {
                        for object in &names {
                            all.insert(format!("{name}: {verb} {resource}{group}{object}{place}"));
                        }
                    }
                }
            }
        }
    }
    all
}

/// Kinds without a namespace that the chart makes.
pub const CLUSTER_WIDE: &str = "clusterroles,clusterrolebindings,\
    validatingadmissionpolicies,validatingadmissionpolicybindings";
