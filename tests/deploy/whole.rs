//! The chart is whole in itself, and says so when it is not; what it tells people and keeps for
//! them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::deploy::{documents, helm};
use crate::common::{process, scratch};
use crate::{chart, chart_of, example, name_of, root};

const POSTGRES: &str =
    "state.kind=postgres,state.postgres.url=postgres://w@db/w,state.postgres.passwordSecret.name=s";

/// Helm reads no file outside of a chart, and a link is lost in archives and in checkouts that know
/// none: what the chart shares with others it has as a copy.
#[test]
fn what_the_chart_shares_it_has_as_a_copy() {
    let read = |path: &Path| {
        let link = std::fs::symlink_metadata(path).unwrap().is_symlink();
        assert!(!link, "{} is a link", path.display());
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let files = root("deploy/chart/walproof/files");
    for (copy, original) in [
        ("walproof.json", "deploy/grafana/walproof.json"),
        (
            "walproof.rules.yaml",
            "deploy/prometheus/walproof.rules.yaml",
        ),
    ] {
        let (copy, original) = (files.join(copy), root(original));
        assert!(
            read(&copy) == read(&original),
            "cp {} {}",
            original.display(),
            copy.display()
        );
    }
    // That there are as many as there should be is asked where they are generated.
    for entry in std::fs::read_dir(root("deploy/crds")).unwrap() {
        let original = entry.unwrap().path();
        let copy = files.join("crds").join(original.file_name().unwrap());
        assert_eq!(read(&copy), read(&original), "{}", copy.display());
    }
    for place in ["deploy", "drills", "evidence", "runbooks"] {
        no_links(&root(place));
    }
}

fn no_links(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        assert!(!kind.is_symlink(), "{} is a link", entry.path().display());
        if kind.is_dir() {
            no_links(&entry.path());
        }
    }
}

/// A copy of the chart, to be changed.
fn copied(directory: &Path) -> PathBuf {
    let to = directory.join("walproof");
    process::run(
        Command::new("cp")
            .arg("-r")
            .arg(root("deploy/chart/walproof"))
            .arg(&to),
    );
    to
}

/// What a changed chart gives, or why not.
fn rendered(chart: &Path, arguments: &[&str]) -> Result<String, String> {
    process::try_run(
        helm()
            .args(["template", "walproof"])
            .arg(chart)
            .args(["--namespace", "walproof", "--kube-version", "1.34.0"])
            .args(arguments),
    )
}

#[test]
fn a_chart_without_its_definitions_is_refused() {
    if crate::common::deploy::missing() {
        return;
    }
    let directory = scratch::directory();
    let chart = copied(directory.path());
    let crds = chart.join("files/crds");
    std::fs::remove_dir_all(&crds).unwrap();
    // What a link becomes where there are none.
    std::fs::write(&crds, "../../../crds").unwrap();
    let refused = rendered(&chart, &["--set", "controller.enabled=true"]).unwrap_err();
    assert!(refused.contains("holds no definitions"), "{refused}");
    rendered(&chart, &[]).unwrap();
}

/// What is told after an installation.
#[track_caller]
fn notes(arguments: &[&str]) -> String {
    let directory = scratch::directory();
    let chart = copied(directory.path());
    // Notes are no manifest, so nothing renders them without a cluster.
    let template =
        "kind: Notes\nnotes: {{ include (print $.Template.BasePath \"/NOTES.txt\") . | toJson }}\n";
    std::fs::write(chart.join("templates/told.yaml"), template).unwrap();
    let text = rendered(&chart, arguments).unwrap();
    let told = documents(&text);
    let told = told.iter().find(|object| object["kind"] == "Notes");
    told.unwrap()["notes"].as_str().unwrap().to_owned()
}

/// With Jobs, a daemon that is gone ends nothing.
#[test]
fn removal_ends_what_goes_on_without_a_daemon() {
    if crate::common::deploy::missing() {
        return;
    }
    let jobs = "kubectl -n walproof delete jobs -l app.kubernetes.io/managed-by=walproof --cascade=foreground --wait";
    let alone = notes(&[]);
    assert!(!alone.contains("delete jobs"), "{alone}");
    let executor = format!("{POSTGRES},executor.kind=kubernetes");
    let told = notes(&["--set", &executor]);
    let order = [
        "request end ID",
        "scale deployment walproof --replicas 0",
        jobs,
        "wait --for=delete namespace -l walproof.dev/drill",
        "helm uninstall walproof",
    ];
    let at: Vec<Option<usize>> = order.iter().map(|words| told.find(words)).collect();
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{told}");
    let readme = std::fs::read_to_string(root("deploy/README.md")).unwrap();
    assert!(readme.contains(jobs));
}

fn of_kind<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && name_of(object) == name)
}

/// Files beside a state in PostgreSQL lie on a claim where one is wanted, and reports nowhere else.
#[test]
fn reports_outlive_the_pod_or_are_not_scheduled() {
    if crate::common::deploy::missing() {
        return;
    }
    let claimed = |objects: &[Value]| -> Value {
        let deployment = of_kind(objects, "Deployment", "walproof").unwrap();
        let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array();
        let state = volumes.unwrap().iter().find(|one| one["name"] == "state");
        state.unwrap()["persistentVolumeClaim"]["claimName"].clone()
    };
    let with =
        "config.schedules[0].name=week,config.schedules[0].job=report,state.files.enabled=true";
    let set = format!("{POSTGRES},{with}");
    let objects = chart(&["--set", &set]);
    assert_eq!(claimed(&objects), "walproof-files");
    let claim = of_kind(&objects, "PersistentVolumeClaim", "walproof-files").unwrap();
    assert_eq!(claim["spec"]["accessModes"][0], "ReadWriteOnce");
    assert_eq!(
        claim["metadata"]["annotations"]["helm.sh/resource-policy"],
        "keep"
    );
    let strategy = &of_kind(&objects, "Deployment", "walproof").unwrap()["spec"]["strategy"];
    assert_eq!(strategy["type"], "Recreate");

    let set = format!(
        "{set},replicas=2,state.files.accessMode=ReadWriteMany,state.files.existingClaim=shared"
    );
    let objects = chart(&["--set", &set]);
    assert_eq!(claimed(&objects), "shared");
    assert!(
        objects
            .iter()
            .all(|object| object["kind"] != "PersistentVolumeClaim")
    );
    let strategy = &of_kind(&objects, "Deployment", "walproof").unwrap()["spec"]["strategy"];
    assert_eq!(strategy["type"], "RollingUpdate");

    assert_eq!(claimed(&chart_of("prod")), Value::Null);
    assert_eq!(claimed(&chart_of("stage")), "walproof-state");
    let prod = std::fs::read_to_string(example("prod")).unwrap();
    assert!(prod.contains("state.files"), "how to have reports is said");
}
