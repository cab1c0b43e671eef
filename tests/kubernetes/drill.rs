//! Drills by the environment `cnpg`, from the command line to a namespace that is gone.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::kubernetes::source::{Form, Moment, Source};
use crate::common::kubernetes::store::Store;
use crate::common::kubernetes::{Lab, cluster};
use crate::common::process::wait_until;
use crate::common::s3::READER;
use crate::common::walproof::Run;
use crate::kit::{Drilled, Place};

/// Checks that hold the restored database against the source's own history.
fn rows(expect: &str) -> String {
    format!(
        "checks:\n\
         - {{name: rows, database: {0}, sql: 'select count(*) from history', expect: '{expect}'}}\n\
         - {{name: newest, database: {0}, sql: 'select max(n) from history', expect: '{expect}'}}\n",
        Source::DATABASE
    )
}

/// To the tip: everything that was committed until the recovery point is there, nothing else.
fn assert_tip(lab: &'static Lab, source: &Source, cnpg: &Value) -> Drilled {
    let place = Place::new(lab);
    place.configure(source, "");
    let definition = place.definition("tip", cnpg, &rows("> 0"));
    let drilled = place.drill(&definition, &[]).expect(0);
    let report = &drilled.report;
    assert_eq!(report["verdict"], "proven", "{report:#}");
    assert_eq!(report["environment"]["network_isolated"], json!(true));
    let point = &report["measurements"]["recovery_point"]["time"];
    let point: chrono::DateTime<chrono::Utc> = point.as_str().unwrap().parse().unwrap();
    let until: Vec<u64> = source
        .history()
        .iter()
        .filter(|row| row.committed <= point)
        .map(|row| row.number)
        .collect();
    let expected = until.len().to_string();
    assert_eq!(drilled.check("rows")["observed"], json!(expected));
    assert_eq!(drilled.check("newest")["observed"], json!(expected));
    drilled.assert_nothing_left(lab);
    drilled
}

/// To a moment between two commits: the earlier is there, the later is not.
fn assert_moment(lab: &'static Lab, source: &Source, cnpg: &Value, moment: Moment) -> Drilled {
    let place = Place::new(lab);
    place.configure(source, "");
    let lines = format!(
        "target: 'time:{}'\n{}",
        moment.at.format("%Y-%m-%dT%H:%M:%S%.6fZ"),
        rows(&format!("= {}", moment.rows))
    );
    let definition = place.definition("moment", cnpg, &lines);
    let drilled = place.drill(&definition, &[]).expect(0);
    let report = &drilled.report;
    assert_eq!(report["verdict"], "proven", "{report:#}");
    assert_eq!(
        drilled.check("rows")["observed"],
        json!(moment.rows.to_string())
    );
    drilled.assert_nothing_left(lab);
    drilled
}

/// A place between 0 and 1 that is another one in every run.
fn chance() -> f64 {
    f64::from(chrono::Utc::now().timestamp_subsec_micros()) / 1e6
}

#[test]
fn the_tip_is_proven_in_the_plugin_form() {
    let lab = cluster!();
    let _peace = lab.beside();
    let drilled = assert_tip(lab, Source::plugin(lab), &json!({}));
    assert_eq!(drilled.kubernetes()["form"], "plugin");
    drilled.print_phases();
}

#[test]
fn the_tip_is_proven_in_the_in_tree_form() {
    let lab = cluster!();
    let _peace = lab.beside();
    let Some(source) = Source::in_tree(lab) else {
        return;
    };
    let drilled = assert_tip(lab, source, &json!({"form": "in-tree"}));
    assert_eq!(drilled.kubernetes()["form"], "in-tree");
    drilled.print_phases();
}

#[test]
fn a_random_moment_is_proven_on_both_sides() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let moment = source.moment(chance());
    println!("moment {} after row {}", moment.at, moment.rows);
    assert_moment(lab, source, &json!({}), moment).print_phases();
}

#[test]
fn a_moment_is_proven_from_a_volume_snapshot() {
    let lab = cluster!();
    let _peace = lab.beside();
    let Some(source) = Source::snapshot(lab) else {
        return;
    };
    let drilled = assert_tip(lab, source, &json!({"form": "snapshot"}));
    assert_eq!(drilled.kubernetes()["form"], "snapshot");
    drilled.print_phases();
}

/// What the restored server could reach was tried from its own pod; what walproof's
/// credentials can do to the bucket, too. By the definition that ships.
#[test]
fn the_restored_server_reaches_nothing_and_the_bucket_is_read_only() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let place = Place::new(lab);
    place.configure(source, "");
    let drilled = place
        .drill(&place.shipped("kubernetes.yaml"), &[])
        .expect(0);
    let report = &drilled.report;
    assert_eq!(report["verdict"], "proven", "{report:#}");
    assert_eq!(report["environment"]["repository_writable"], json!(false));
    assert_eq!(report["environment"]["network_isolated"], json!(true));
    let probes = drilled.kubernetes()["probes"].as_array().unwrap();
    for probe in probes {
        println!(
            "{}: {} ({})",
            probe["name"], probe["observed"], probe["holds"]
        );
    }
    let names: Vec<&str> = probes
        .iter()
        .map(|probe| probe["name"].as_str().unwrap())
        .collect();
    assert!(
        names.iter().any(|name| name.contains("internet")),
        "{names:?}"
    );
    assert!(
        names.iter().any(|name| name.contains("source")),
        "{names:?}"
    );
    assert!(
        probes.iter().all(|probe| probe["holds"] == json!(true)),
        "{probes:#?}"
    );
    drilled.assert_nothing_left(lab);
}

#[test]
fn four_drills_side_by_side_stay_within_their_budgets() {
    let lab = cluster!();
    let _peace = lab.beside();
    let plugin = Source::plugin(lab);
    let other = Source::in_tree(lab).unwrap_or(plugin);
    let form = if other.form == Form::InTree {
        "in-tree"
    } else {
        "plugin"
    };
    let budget = |form: &str| json!({"form": form, "quota": {"cpu": "2", "memory": "2GiB", "storage": "2GiB"}});
    let all = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (source, form) in [
            (plugin, "plugin"),
            (other, form),
            (plugin, "plugin"),
            (other, form),
        ] {
            let all = &all;
            scope.spawn(move || {
                let drilled = assert_tip(lab, source, &budget(form));
                all.lock().unwrap().push(drilled);
            });
        }
    });
    let all = all.into_inner().unwrap();
    assert_eq!(all.len(), 4);
    for drilled in &all {
        let cost = &drilled.kubernetes()["cost"];
        println!("{cost}");
        assert!(cost["memory_bytes"].as_u64().unwrap() <= 2 << 30);
        assert!(cost["cpu_millis"].as_u64().unwrap() <= 2000);
        assert!(cost["volume_bytes"].as_u64().unwrap() <= 2 << 30);
        assert!(cost["held_milliseconds"].as_u64().unwrap() > 0);
        assert!(cost["fetched_bytes"].as_u64().unwrap() > 0);
    }
    let mut namespaces: Vec<&Value> = all
        .iter()
        .map(|drilled| &drilled.kubernetes()["namespace"])
        .collect();
    namespaces.dedup();
    assert_eq!(namespaces.len(), 4);
}

/// The first bucket's server is away: the copy alone must do, and does.
#[test]
fn the_second_bucket_alone_is_enough() {
    let lab = cluster!();
    let first = {
        let _peace = lab.beside();
        Source::plugin(lab)
    };
    let second = Store::second(lab);
    let place = Place::new(lab);
    // Written to by walproof on this machine, read by the pods in the cluster.
    let copy = json!({
        "name": "second",
        "url": first.url(),
        "endpoint": second.endpoint(),
        "region": "us-east-1",
        "path_style": true,
        "credentials": {
            "access_key_id": {"kubernetes": {"namespace": first.name(), "name": Source::WRITER, "key": "ACCESS_KEY_ID"}},
            "secret_access_key": {"kubernetes": {"namespace": first.name(), "name": Source::WRITER, "key": "SECRET_ACCESS_KEY"}},
        },
    });
    place.configure(first, &format!("  replicas: [{copy}]\n"));
    place.run(&["replicate", "run", "orders"]).expect_code(0);

    let quiet = lab.alone();
    first.store.stop();
    let definition = place.definition("second", &json!({}), &rows("> 0"));
    let drilled = place.drill(&definition, &["--copy", "second", "--alone"]);
    first.store.resume();
    drop(quiet);
    let drilled = drilled.expect(0);
    assert_eq!(drilled.report["verdict"], "proven");
    assert_eq!(drilled.report["copy"], "second");
    drilled.assert_nothing_left(lab);
}

/// The live Cluster is deleted while the drill runs: it does not matter any more. And when
/// it is gone, its definition as a file is enough.
#[test]
fn the_source_may_be_deleted_meanwhile() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::under_load(lab, Form::Plugin);
    source.stop_load();
    source.archive();
    let cluster = format!("cluster/{}", Source::CLUSTER);
    let store = format!("objectstore/{}", Source::OBJECT_STORE);
    let get = ["-n", source.name(), "get", &cluster, &store, "-o", "yaml"];
    let captured = lab.ask(&get);
    let place = Place::new(lab);
    place.configure(&source, "");
    std::fs::write(place.path().join("orders.yaml"), captured).unwrap();

    let count = source.rows();
    let definition = place.definition("deleted", &json!({}), &rows(&format!("= {count}")));
    let running = place.start(&definition, &[]);
    wait_until(Duration::from_mins(2), "the scratch namespace", || {
        !place.scratch_namespaces().is_empty()
    });
    lab.ask(&["-n", source.name(), "delete", &cluster, "--wait=false"]);
    let drilled = Drilled::of(running.wait()).expect(0);
    assert_eq!(drilled.report["verdict"], "proven");
    drilled.assert_nothing_left(lab);

    lab.wait(source.name(), &cluster, "delete", Duration::from_mins(3));
    let definition = place.definition("live", &json!({}), &rows("> 0"));
    let gone = place.drill(&definition, &[]).expect(3);
    let words = gone.report["reasons"].to_string();
    assert!(words.contains("there is no Cluster"), "{words}");

    // Then the whole namespace goes, with the ObjectStore and the Secrets.
    lab.remove_namespace(source.name());
    wait_until(Duration::from_mins(2), "the end of the namespace", || {
        lab.namespaces(source.name()).is_empty()
    });
    let text = std::fs::read_to_string(place.config()).unwrap();
    let mut changed = text.clone();
    for key in ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY"] {
        let lost = json!({"kubernetes": {"namespace": source.name(), "name": Source::READER,
            "key": key}});
        let here = json!({"env": format!("KEPT_{key}")});
        changed = changed.replace(&lost.to_string(), &here.to_string());
    }
    assert!(!changed.contains(Source::READER), "{changed}");
    std::fs::write(place.config(), changed).unwrap();
    let file = json!({"definition": "orders.yaml"});
    let definition = place.definition("captured", &file, &rows(&format!("= {count}")));
    let mut command = place.drill_command(&definition, &[]);
    command.env("KEPT_ACCESS_KEY_ID", READER.key);
    command.env("KEPT_SECRET_ACCESS_KEY", READER.secret);
    let drilled = Drilled::of(crate::common::walproof::run_command(command)).expect(0);
    assert_eq!(drilled.report["verdict"], "proven");
    drilled.assert_nothing_left(lab);
}

/// Left to a person: the server that was proven, which runs although a check stopped it, and
/// what there is of a recovery that came to no server.
#[test]
fn what_is_kept_stays() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let place = Place::new(lab);
    place.configure(source, "");
    let kept = |drilled: &Drilled| {
        let report = drilled.kubernetes();
        assert!(report["kept_until"].is_string(), "{report:#}");
        assert_eq!(report["not_kept"], Value::Null);
        let namespace = report["namespace"].as_str().unwrap().to_owned();
        let there = lab.get("default", &format!("namespace/{namespace}"));
        let annotations = there.unwrap()["metadata"]["annotations"].clone();
        assert_eq!(annotations["walproof.dev/kept"], json!("true"));
        namespace
    };
    let lines = format!("checksums: true\n{}", rows("> 0"));
    let definition = place.definition("kept", &json!({"keep": "1h"}), &lines);
    let namespace = kept(&place.drill(&definition, &[]));
    let limit = Duration::from_mins(3);
    wait_until(limit, "the server that is kept", || {
        let pods = lab.list(&namespace, "pods", "cnpg.io/podRole=instance");
        pods.iter().any(|pod| {
            let conditions = pod["status"]["conditions"].as_array();
            conditions.is_some_and(|all| {
                all.iter()
                    .any(|one| one["type"] == "Ready" && one["status"] == "True")
            })
        })
    });
    lab.ask(&["delete", "namespace", &namespace, "--wait=false"]);

    let (name, _) = lab.postgres_image.rsplit_once(':').unwrap();
    let cnpg = json!({"keep": "1h", "image": format!("{name}:15-does-not-exist")});
    let definition = place.definition("failed", &cnpg, &rows("> 0"));
    let namespace = kept(&place.drill(&definition, &[]).expect(3));
    assert!(
        lab.get(&namespace, "resourcequota/walproof-closed")
            .is_some()
    );
    assert_eq!(
        lab.list(&namespace, "pods", "cnpg.io/podRole=instance"),
        Vec::<Value>::new()
    );
    lab.ask(&["delete", "namespace", &namespace, "--wait=false"]);
}

/// Killed in every phase, swept by the next command.
#[test]
fn a_killed_drill_is_swept() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    // The phase that has ended when it is killed, so it is in the one after it.
    let phases = [
        "admit",
        "provision",
        "fetch base",
        "reach consistency",
        "replay",
        "promote",
        "first query",
        "checks",
    ];
    let next = Mutex::new(phases.iter());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(phase) = next.lock().unwrap().next() else {
                        return;
                    };
                    kill_after(lab, source, phase);
                }
            });
        }
    });
}

fn kill_after(lab: &'static Lab, source: &Source, phase: &str) {
    let place = Place::new(lab);
    place.configure(source, "");
    let definition = place.definition("killed", &json!({}), &rows("> 0"));
    let mut running = place.start_for_people(&definition);
    running.wait_for_line(phase);
    running.kill();
    let left = place.scratch_namespaces();
    println!("killed after {phase}: {left:?} left");
    let swept = place
        .run(&["drill", "sweep", "--output", "json"])
        .expect_code(0);
    println!("{}", swept.stdout);
    for namespace in &left {
        let limit = Duration::from_mins(3);
        wait_until(limit, "the end of the scratch namespace", || {
            lab.namespaces(namespace).is_empty()
        });
    }
}

/// What goes wrong in the cluster is not the backup's fault: unproven, with the class and
/// what to do, and nothing is left.
fn assert_unproven(lab: &'static Lab, cnpg: &Value, lines: &str, words: &[&str]) -> Drilled {
    let source = Source::plugin(lab);
    let place = Place::new(lab);
    place.configure(source, "");
    let definition = place.definition("trouble", cnpg, &format!("{lines}{}", rows("> 0")));
    let drilled = place.drill(&definition, &[]).expect(3);
    assert_eq!(drilled.report["verdict"], "unproven");
    let trouble = drilled.kubernetes()["trouble"].clone();
    println!("{cnpg}: {trouble:#}\n{}", drilled.report["reasons"]);
    let said = format!("{trouble} {}", drilled.report["reasons"]);
    for word in words {
        assert!(said.contains(word), "{word} is not in {said}");
    }
    drilled.assert_nothing_left(lab);
    drilled
}

#[test]
fn an_image_that_does_not_exist() {
    let lab = cluster!();
    let _peace = lab.beside();
    let (name, _) = lab.postgres_image.rsplit_once(':').unwrap();
    let cnpg = json!({"image": format!("{name}:15-does-not-exist")});
    assert_unproven(lab, &cnpg, "", &["image-pull", "does-not-exist"]);
}

#[test]
fn a_quota_that_is_too_small() {
    let lab = cluster!();
    let _peace = lab.beside();
    let cnpg = json!({"quota": {"memory": "16MiB"}});
    assert_unproven(lab, &cnpg, "", &["quota"]);
}

#[test]
fn a_volume_that_stays_pending() {
    let lab = cluster!();
    let _peace = lab.beside();
    let cnpg = json!({"storage_class": "no-such-class"});
    assert_unproven(lab, &cnpg, "", &["no-such-class"]);
}

#[test]
fn a_network_that_does_not_let_the_store_through() {
    let lab = cluster!();
    let _peace = lab.beside();
    // A block of addresses for documents (RFC 5737): nobody is there.
    let cnpg = json!({"store_cidrs": ["192.0.2.0/24"]});
    assert_unproven(lab, &cnpg, "", &["hint"]);
}

#[test]
fn credentials_that_are_refused() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let place = Place::new(lab);
    place.configure(source, "");
    let text = std::fs::read_to_string(place.config()).unwrap();
    // The key is known to the server, and its secret is another one.
    let wrong = json!({"env": "WRONG_SECRET"}).to_string();
    let right = json!({"kubernetes": {"namespace": source.name(), "name": Source::READER,
        "key": "SECRET_ACCESS_KEY"}});
    let changed = text.replace(&right.to_string(), &wrong);
    assert_ne!(text, changed);
    std::fs::write(place.config(), changed).unwrap();
    let definition = place.definition("denied", &json!({}), &rows("> 0"));
    let mut command = place.drill_command(&definition, &[]);
    command.env("WRONG_SECRET", "not-the-secret");
    let run: Run = crate::common::walproof::run_command(command);
    assert_eq!(run.code, Some(3), "{}\n{}", run.stdout, run.stderr);
    assert!(!run.stdout.contains("not-the-secret") && !run.stderr.contains("not-the-secret"));
    // By the store's own words, with what to do.
    assert!(
        run.stdout.contains("check the access key and secret"),
        "{}\n{}",
        run.stdout,
        run.stderr
    );
    assert_eq!(place.scratch_namespaces(), Vec::<String>::new());
}

#[test]
fn a_target_past_the_end_makes_nothing() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let place = Place::new(lab);
    place.configure(source, "");
    let definition = place.definition("past", &json!({}), &rows("> 0"));
    let drilled = place.drill(&definition, &["--target-time", "2099-01-01T00:00:00Z"]);
    println!("{}: {}", drilled.code, drilled.report["reasons"]);
    assert!([1, 3].contains(&drilled.code), "{:#}", drilled.report);
    assert_ne!(drilled.report["verdict"], "proven");
    assert!(drilled.report["reasons"].to_string().contains("2099"));
    assert_eq!(place.scratch_namespaces(), Vec::<String>::new());
}

/// A segment in the middle is gone: the drill to the tip fails, by whichever part sees it
/// first, and says which.
#[test]
fn a_missing_segment_in_the_middle_fails() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::under_load(lab, Form::Plugin);
    let first = source.archive();
    source.wait_for_rows(10);
    let middle = source.archive();
    source.wait_for_rows(10);
    source.archive();
    source.stop_load();
    source.archive();
    assert!(first < middle);
    let folder = format!(
        "{}/{}/wals/{}/{middle}",
        source.folder(),
        Source::CLUSTER,
        &middle[..16]
    );
    let keys = source.store.keys(Store::BUCKET, &folder);
    assert_eq!(keys.len(), 1, "{keys:?}");
    let api = source.store.api();
    api.delete(Store::BUCKET, &keys[0], None).expect_success();

    let place = Place::new(lab);
    place.configure(&source, "");
    let definition = place.definition("hole", &json!({}), &rows("> 0"));
    let drilled = place.drill(&definition, &[]).expect(1);
    assert_eq!(drilled.report["verdict"], "failed");
    let all = drilled.report.to_string();
    assert!(all.contains(&middle), "{:#}", drilled.report["reasons"]);
    println!("{}", drilled.report["reasons"]);
    drilled.assert_nothing_left(lab);
}

/// Nobody acts on the Cluster: the operator is scaled to zero for as long as it takes to see
/// that.
#[test]
fn an_operator_that_is_silent() {
    let lab = cluster!();
    {
        let _peace = lab.beside();
        Source::plugin(lab);
    }
    let _quiet = lab.alone();
    let operators = lab.list("", "deployments", "app.kubernetes.io/name=cloudnative-pg");
    let operator = &operators[0]["metadata"];
    let (namespace, name) = (
        operator["namespace"].as_str().unwrap(),
        operator["name"].as_str().unwrap(),
    );
    let scale = |replicas: &str| {
        lab.ask(&["-n", namespace, "scale", "deployment", name, replicas]);
    };
    // The tests after this one need the operator, whatever becomes of this one.
    struct Back<F: Fn()>(F);
    impl<F: Fn()> Drop for Back<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let _back = Back(|| {
        scale("--replicas=1");
        let deployment = format!("deployment/{name}");
        let limit = Duration::from_mins(3);
        lab.wait(namespace, &deployment, "condition=Available", limit);
    });
    scale("--replicas=0");
    wait_until(Duration::from_mins(2), "the operator's end", || {
        lab.list(namespace, "pods", "app.kubernetes.io/name=cloudnative-pg")
            .iter()
            .all(|pod| pod["status"]["phase"] != "Running")
    });
    assert_unproven(lab, &json!({}), "", &["operator"]);
}

/// Something in the scratch namespace does not let go: the drill says what, and that its
/// clean-up failed.
#[test]
#[ignore = "takes as long as walproof's patience with the API, five minutes"]
fn a_namespace_that_does_not_end() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let place = Place::new(lab);
    place.configure(source, "");
    let definition = place.definition("stuck", &json!({}), &rows("> 0"));
    let running = place.start(&definition, &[]);
    wait_until(Duration::from_mins(2), "the scratch namespace", || {
        !place.scratch_namespaces().is_empty()
    });
    let namespace = place.scratch_namespaces().remove(0);
    lab.apply(&[json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "stays", "namespace": namespace,
            "finalizers": ["walproof.dev/test"]}})]);
    let drilled = Drilled::of(running.wait());
    lab.ask(&[
        "-n",
        &namespace,
        "patch",
        "configmap",
        "stays",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":null}}"#,
    ]);
    println!("{}: {}", drilled.code, drilled.report["findings"]);
    assert_eq!(drilled.report["verdict"], "proven");
    assert_eq!(drilled.report["environment"]["removed"], json!(false));
    assert_eq!(drilled.code, 3);
    let findings = drilled.report["findings"].to_string();
    assert!(
        findings.contains("cleanup-failed") && findings.contains("walproof.dev/test"),
        "{findings}"
    );
    wait_until(Duration::from_mins(2), "the namespace's end", || {
        lab.namespaces(&namespace).is_empty()
    });
}
