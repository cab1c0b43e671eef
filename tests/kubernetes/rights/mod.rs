//! The chart's rights, held against the real API server: every one that is given is used by
//! something that walproof does, and every other call is refused. `target/kubernetes-rights.md`
//! is the table of both.

mod refused;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use self::refused::{ask_for_everything, tempt};
use self::work::{Catalogs, Retaining, declare, in_pods, work};
use crate::common::deploy::{CLUSTER_WIDE, documents, helm_template, missing, rules_of};
use crate::common::kubernetes::source::Source;
use crate::common::kubernetes::{Lab, cluster};
use crate::common::scratch;
use crate::inside::Inside;
use crate::kit::kubeconfig_of;

/// The chart's objects, applied; what belongs to no namespace goes with the value.
struct Applied {
    lab: &'static Lab,
    release: String,
    objects: Vec<Value>,
}

impl Applied {
    fn new(lab: &'static Lab, namespace: &str, values: &Value, directory: &Path) -> Self {
        let release = format!("{}-walproof", lab.prefix);
        let file = directory.join("values.json");
        std::fs::write(&file, values.to_string()).unwrap();
        let text = helm_template(&release, namespace, &["--values", file.to_str().unwrap()]);
        let objects = documents(&text.unwrap());
        let applied = Self {
            lab,
            release,
            objects,
        };
        lab.apply(&applied.objects);
        applied
    }
}

impl Drop for Applied {
    fn drop(&mut self) {
        let label = format!("app.kubernetes.io/instance={}", self.release);
        let _ = self.lab.try_ask(&["delete", CLUSTER_WIDE, "-l", &label]);
    }
}

/// One right, as the chart's roles spell it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    role: String,
    verb: String,
    /// `pods/exec`, `clusters.postgresql.cnpg.io`
    object: String,
    name: Option<String>,
    namespace: Option<String>,
}

impl Right {
    /// `ROLE: VERB OBJECT[ NAME][ in NAMESPACE]`
    fn read(text: &str) -> Self {
        let (role, rest) = text.split_once(": ").unwrap();
        let (rest, namespace) = match rest.split_once(" in ") {
            Some((rest, namespace)) => (rest, Some(namespace.to_owned())),
            None => (rest, None),
        };
        let mut words = rest.split(' ');
        let mut word = || words.next().map(str::to_owned);
        Self {
            role: role.to_owned(),
            verb: word().unwrap(),
            object: word().unwrap(),
            name: word(),
            namespace,
        }
    }

    /// Whether a call needed it. `scratch`: how the names of scratch namespaces begin.
    fn is_used_by(&self, call: &Value, scratch: &str) -> bool {
        let text = |key: &str| call[key].as_str().unwrap_or_default();
        let object = object_of(call);
        let namespace = call["namespace"].as_str();
        let there = namespace.is_some_and(|name| name.starts_with(scratch));
        let place = if self.role.ends_with("-scratch") {
            there
        } else {
            match &self.namespace {
                Some(own) => namespace == Some(own),
                // Bindings are made in scratch namespaces, by a right that holds outside of them.
                None => !there || self.object.starts_with("rolebindings"),
            }
        };
        let named = match &self.name {
            // The name of an object that is made is not in its path.
            Some(name) => text("name") == name,
            None => true,
        };
        place && named && self.verb == text("verb") && self.object == object
    }
}

fn object_of(call: &Value) -> String {
    let text = |key: &str| call[key].as_str().unwrap_or_default();
    let mut object = text("resource").to_owned();
    if let Some(subresource) = call["subresource"].as_str() {
        object = format!("{object}/{subresource}");
    }
    if !text("group").is_empty() {
        object = format!("{object}.{}", text("group"));
    }
    object
}

/// Why a right is given that no request shows.
fn silent(right: &Right, calls: &[Value]) -> Option<&'static str> {
    match (right.verb.as_str(), right.object.as_str()) {
        // The authorizer asks for it when a binding is made.
        ("bind", "clusterroles.rbac.authorization.k8s.io") => calls
            .iter()
            .any(|call| {
                call["verb"] == "create"
                    && call["resource"] == "rolebindings"
                    && call["code"] == 201
            })
            .then_some("asked for by the API server when a binding is made"),
        ("create", "pods/exec" | "pods/portforward") => {
            Some("asked for by the API server beside `get`, from Kubernetes 1.35 on")
        }
        _ => None,
    }
}

/// What walproof did, and the calls that it made for it.
struct Done {
    what: &'static str,
    calls: Vec<Value>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_right_of_the_chart_is_used_and_every_other_call_refused() {
    let lab = cluster!();
    if missing() {
        return;
    }
    let _peace = lab.beside();
    let sources: Vec<&Source> = [
        Some(Source::plugin(lab)),
        Source::in_tree(lab),
        Source::snapshot(lab),
    ]
    .into_iter()
    .flatten()
    .collect();
    let forms: Vec<&str> = sources.iter().map(|source| form(source)).collect();
    let directory = scratch::directory();
    let namespace = lab.namespace("rights");
    let name = namespace.name.clone();
    let prefix = format!("{}-rights", lab.prefix);
    let secrets: Vec<Value> = sources
        .iter()
        .map(|source| json!({"namespace": source.name(), "names": [Source::READER]}))
        .collect();
    let (repository, tag) = lab.walproof_image().rsplit_once(':').unwrap();
    let values = json!({
        "replicas": 0,
        "serviceAccount": {"name": Inside::ACCOUNT},
        "scratch": {"namespacePrefixes": [prefix]},
        "state": {"kind": "postgres", "postgres": {
            "url": state_url(&name), "passwordSecret": {"name": "state-app", "key": "password"},
        }},
        // The policy of Jobs lets in pods of this image only.
        "image": {"repository": repository, "tag": tag},
        "executor": {"kind": "kubernetes"},
        "env": [{"name": "PGPASSWORD",
            "valueFrom": {"secretKeyRef": {"name": "state-app", "key": "password"}}}],
        "controller": {"enabled": true, "namespaces": [sources[0].name()]},
        "rbac": {"forms": forms, "backups": [sources[0].name()], "secrets": secrets,
            "requests": [name], "definitions": [sources[0].name()]},
        "networkPolicy": {"enabled": false},
        "crds": {"install": false},
    });
    let applied = Applied::new(lab, &name, &values, directory.path());
    let role = format!("{}-scratch", applied.release);
    let retaining = Retaining::new(lab);
    let catalogs = Catalogs::new(lab, sources[0]);
    lab.apply(&[
        json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
        "metadata": {"name": "state", "namespace": name},
        "spec": {"instances": 1, "imageName": lab.postgres_image, "storage": {"size": "1Gi"},
            "bootstrap": {"initdb": {"database": "walproof", "owner": "walproof"}}}}),
    ]);
    let inside = Inside::with_account(lab, namespace);

    let mut done = work(lab, &inside, &sources, &prefix, &role, &retaining.1);
    drop(catalogs);
    let mut seen = done.iter().map(|done| done.calls.len()).sum();
    let mut note = |what: &'static str| {
        let calls = inside.calls();
        let new = calls[seen..].to_vec();
        seen = calls.len();
        done.push(Done { what, calls: new });
    };
    declare(lab, &inside, sources[0], &prefix, &role);
    note("the controller of custom resources");
    in_pods(lab, &inside, sources[0], &applied.objects);
    note("jobs in pods");
    let rights: Vec<Right> = rules_of(&applied.objects)
        .iter()
        .map(|text| Right::read(text))
        .collect();
    let mut table = String::from("# The rights of the chart, and what uses them\n\n");
    let unused = used(&rights, &done, (&name, &prefix), &mut table);
    let kubeconfig = kubeconfig_of(lab, &name, Inside::ACCOUNT, directory.path());
    let wrong = tempt(
        lab,
        &kubeconfig,
        &name,
        &sources,
        &applied.release,
        &mut table,
    );
    let more = ask_for_everything(&kubeconfig, &name, sources[0].name(), &rights, &mut table).await;

    println!("{table}");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .join("kubernetes-rights.md");
    std::fs::write(&file, &table).unwrap();
    assert_eq!(unused, Vec::<String>::new(), "granted, and used by nothing");
    assert_eq!(wrong, Vec::<String>::new(), "not refused");
    assert_eq!(
        more,
        Vec::<String>::new(),
        "allowed, and not granted by the chart"
    );
}

fn form(source: &Source) -> &'static str {
    use crate::common::kubernetes::source::Form;
    match source.form {
        Form::Plugin => "plugin",
        Form::InTree => "in-tree",
        Form::Snapshot => "snapshot",
    }
}

/// The database of the chart's state, in the chart's own namespace.
fn state_url(namespace: &str) -> String {
    format!("postgres://walproof@state-rw.{namespace}.svc:5432/walproof?sslmode=require")
}

/// Which rights are used by what; returns those that nothing uses.
fn used(
    rights: &[Right],
    done: &[Done],
    (own, scratch): (&str, &str),
    table: &mut String,
) -> Vec<String> {
    let calls: Vec<Value> = done.iter().flat_map(|done| done.calls.clone()).collect();
    let mut unused = Vec::new();
    table.push_str("| Role | Right | Calls | Used by |\n|---|---|---|---|\n");
    for right in rights {
        let mut number = 0;
        let mut by = BTreeSet::new();
        for done in done {
            let found = done
                .calls
                .iter()
                .filter(|call| right.is_used_by(call, scratch))
                .count();
            if found > 0 {
                by.insert(done.what);
                number += found;
            }
        }
        let mut by = by.into_iter().collect::<Vec<_>>().join("; ");
        if number == 0 {
            if let Some(why) = silent(right, &calls) {
                why.clone_into(&mut by);
            } else {
                unused.push(format!("{right:?}"));
                "**nothing**".clone_into(&mut by);
            }
        }
        let role = right.role.rsplit('-').next().unwrap();
        let _ = writeln!(
            table,
            "| {} | {} {}{}{} | {number} | {by} |",
            if matches!(role, "discovery" | "scratch") {
                role
            } else {
                "namespace"
            },
            right.verb,
            right.object,
            right
                .name
                .as_ref()
                .map(|name| format!(" `{}`", shorn(name)))
                .unwrap_or_default(),
            match right.namespace.as_deref() {
                Some(namespace) if namespace == own => " in its own namespace",
                Some(_) => " in the source's namespace",
                None => "",
            },
        );
    }
    let refused: BTreeMap<String, usize> = calls
        .iter()
        .filter(|call| call["code"] == 403)
        .map(|call| format!("{} {}", call["verb"].as_str().unwrap(), object_of(call)))
        .fold(BTreeMap::new(), |mut all, call| {
            *all.entry(call).or_default() += 1;
            all
        });
    table.push_str("\nTried by walproof and refused, which it does without:\n\n");
    for (call, number) in refused {
        let _ = writeln!(table, "- {call}: {number}");
    }
    unused
}

/// A name without what is this run's own.
fn shorn(name: &str) -> &str {
    name.rsplit_once("-walproof-")
        .map_or(name, |(_, tail)| tail)
}
