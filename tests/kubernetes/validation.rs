//! Every manifest that walproof ships, shows or writes, held by the real API server against
//! the real kinds, with webhooks and strict fields, and never stored.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::kubernetes::source::Source;
use crate::common::kubernetes::{Lab, cluster};
use crate::kit::Place;
use walproof::kubernetes::cnpg::{BackupMethod, request};
use walproof::kubernetes::scratch::{Form, manifests};

/// Gives objects to the API server to be refused or taken, without keeping them. Objects
/// that have a namespace get `namespace`, which exists.
pub(crate) fn refusals(lab: &Lab, namespace: &str, objects: &[Value]) -> Vec<String> {
    let mut refusals = Vec::new();
    for object in objects {
        let mut object = object.clone();
        let kind = object["kind"].as_str().unwrap_or("no kind").to_owned();
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or("no name")
            .to_owned();
        if !object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let file = std::env::temp_dir().join(format!("{}-{kind}-{name}.json", lab.prefix));
        std::fs::write(&file, object.to_string()).unwrap();
        let path = file.to_str().unwrap();
        let command = [
            "-n",
            namespace,
            "apply",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            path,
        ];
        if let Err(words) = lab.try_ask(&command) {
            refusals.push(format!("{kind}/{name}: {words}"));
        }
        let _ = std::fs::remove_file(file);
    }
    refusals
}

/// The objects of a YAML stream that are meant for Kubernetes.
fn objects(text: &str) -> Vec<Value> {
    text.split("\n---")
        .map(|document| document.trim_start_matches("---"))
        .filter(|document| document.contains("apiVersion:") && document.contains("kind:"))
        .map(|document| {
            serde_saphyr::from_str::<Value>(document)
                .unwrap_or_else(|error| panic!("{error}\n{document}"))
        })
        .filter(|object| object["apiVersion"].is_string() && object["kind"].is_string())
        .flat_map(|object| match object["items"].as_array() {
            Some(items) if object["kind"] == "List" => items.clone(),
            _ => vec![object],
        })
        .collect()
}

fn files(directory: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        let extension = path.extension().and_then(|end| end.to_str()).unwrap_or("");
        if path.is_dir() {
            files(&path, extensions, found);
        } else if extensions.contains(&extension) {
            found.push(path);
        }
    }
}

/// `deploy/`, and the examples in the documents.
#[test]
fn what_is_shipped_is_valid() {
    let lab = cluster!();
    let namespace = lab.namespace("validation");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for (folder, extensions) in [
        ("deploy", &["yaml", "yml", "md"][..]),
        ("docs", &["md"]),
        ("runbooks", &["md"]),
    ] {
        files(&root.join(folder), extensions, &mut paths);
    }
    paths.push(root.join("README.md"));
    let mut refused = Vec::new();
    let mut count = 0;
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let found: Vec<Value> = if path.extension().is_some_and(|end| end == "md") {
            text.split("```yaml\n")
                .skip(1)
                .filter_map(|rest| rest.split_once("```"))
                .flat_map(|(block, _)| objects(block))
                .collect()
        } else {
            objects(&text)
        };
        count += found.len();
        for words in refusals(lab, &namespace.name, &found) {
            refused.push(format!("{}: {words}", path.display()));
        }
    }
    println!("{count} objects in deploy and the documents");
    assert_eq!(refused, Vec::<String>::new());
}

/// The roles that `walproof kubernetes check` prints.
#[test]
fn the_roles_to_grant_are_valid() {
    let lab = cluster!();
    let namespace = lab.namespace("roles");
    let place = Place::new(lab);
    place.configure_with(" []\n");
    for work in ["drill", "scan", "backup"] {
        let run = place.run(&["kubernetes", "check", "--for", work, "--print-role"]);
        let found = objects(&run.stdout);
        assert!(!found.is_empty(), "{work}: {}\n{}", run.stdout, run.stderr);
        let refused = refusals(lab, &namespace.name, &found);
        assert_eq!(refused, Vec::<String>::new(), "{work}");
    }
}

/// The `Backup` that is asked for, by every method, and that a wrong one would be refused.
#[test]
fn backups_are_valid() {
    let lab = cluster!();
    let namespace = lab.namespace("backups");
    let mut all: Vec<Value> = [BackupMethod::Plugin, BackupMethod::VolumeSnapshot]
        .into_iter()
        .map(|method| request::manifest(&namespace.name, "b", Source::CLUSTER, method))
        .collect();
    if lab.in_tree {
        all.push(request::manifest(
            &namespace.name,
            "b",
            Source::CLUSTER,
            BackupMethod::InTree,
        ));
    }
    assert_eq!(refusals(lab, &namespace.name, &all), Vec::<String>::new());
    for (pointer, value) in [("method", json!("tape")), ("metod", json!("plugin"))] {
        let mut wrong = all[0].clone();
        wrong["spec"][pointer] = value;
        assert_eq!(
            refusals(lab, &namespace.name, &[wrong]).len(),
            1,
            "{pointer}"
        );
    }
}

/// What a drill makes, taken after a real Cluster: every object by itself, with strict
/// fields. (Volume snapshots are in `scratch.rs`: they need ones that exist.)
#[test]
fn what_a_drill_makes_is_valid() {
    let lab = cluster!();
    let _peace = lab.beside();
    let namespace = lab.namespace("drill");
    let mut sources = vec![(Source::plugin(lab), Form::Plugin)];
    sources.extend(Source::in_tree(lab).map(|source| (source, Form::InTree)));
    for (source, form) in sources {
        let cluster = format!("cluster/{}", Source::CLUSTER);
        let live = lab.get(source.name(), &cluster).unwrap();
        let plan = crate::scratch::plan(lab, live, form);
        let objects = manifests(&plan).unwrap();
        let kinds: Vec<&str> = objects
            .iter()
            .map(|one| one["kind"].as_str().unwrap())
            .collect();
        println!("{kinds:?}");
        assert!(kinds.contains(&"Cluster") && kinds.contains(&"NetworkPolicy"));
        let refused = refusals(lab, &namespace.name, &objects);
        assert_eq!(refused, Vec::<String>::new());
    }
}
