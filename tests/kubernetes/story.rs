//! What a platform team does, from the chart to the end of a lease: everything declared, nothing
//! run by hand.

use std::time::Duration;

use serde_json::{Value, json};

use crate::chart_install::{Ground, values};
use crate::common::deploy::{chart, missing};
use crate::common::kubernetes::source::{Form, Source};
use crate::common::kubernetes::{Lab, cluster};
use crate::common::process::{run, wait_until};
use crate::common::scratch;
use crate::controller::{install, resource};

const LIMIT: Duration = Duration::from_mins(10);

/// Waits for what a resource becomes.
#[track_caller]
fn until(
    lab: &Lab,
    namespace: &str,
    object: &str,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let last = lab.get(namespace, object).unwrap_or_default();
        if holds(&last) {
            return last;
        }
        assert!(begun.elapsed() < LIMIT, "{object} is not {what}: {last:#}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// How often each reason was told of a resource, in the order in which it was first.
fn events(lab: &Lab, namespace: &str, name: &str) -> Vec<String> {
    let selector = format!("regarding.name={name}");
    let text = lab.ask(&[
        "-n",
        namespace,
        "get",
        "events.events.k8s.io",
        "--field-selector",
        &selector,
        "-o",
        "json",
    ]);
    let list: Value = serde_json::from_str(&text).unwrap();
    let mut items = list["items"].as_array().unwrap().clone();
    items.sort_by_key(|one| one["eventTime"].as_str().unwrap_or_default().to_owned());
    items
        .iter()
        .map(|one| one["reason"].as_str().unwrap().to_owned())
        .collect()
}

/// The chart with two daemons under its own rights; a ProtectedCluster that finds the Cluster, a
/// nightly drill, a moment that is lent; and nothing left of it all in the end.
#[test]
fn from_the_chart_to_the_end_of_a_lease() {
    let lab = cluster!();
    if missing() {
        return;
    }
    let _peace = lab.beside();
    install(lab);
    let source = Source::under_load(lab, Form::Plugin);
    let moment = source.moment(0.5);
    let shop = source.name().to_owned();
    let ground = Ground::new(lab);
    let directory = scratch::directory();
    let prefix = format!("{}-s", lab.prefix);
    let mut adapted = ground.adapted(&source, &prefix);
    adapted["config"]["clusters"] = json!([]);
    adapted["config"]["schedules"] = json!([]);
    // Nothing runs the example's drill here; of no cluster in particular it is one of any.
    adapted["drills"]["nightly"]["clusters"] = json!([]);
    adapted["controller"] = json!({"enabled": true, "namespaces": [shop]});
    adapted["rbac"] = json!({
        "secrets": [{"namespace": shop, "names": [Source::READER]}],
        "requests": [shop],
    });
    let adapted = values(directory.path(), "adapted", &adapted);
    let example = chart().join("examples/both.yaml");
    run(&mut ground.helm(&[
        "install",
        &ground.release,
        chart().to_str().unwrap(),
        "--values",
        example.to_str().unwrap(),
        "--values",
        adapted.to_str().unwrap(),
        "--wait",
        "--timeout",
        "5m",
    ]));

    // The Cluster is found, and its archive verified.
    let by = |key: &str| json!({"kubernetes": {"name": Source::READER, "key": key}});
    lab.apply(&[resource("ProtectedCluster", &shop, "shop", &json!({
        "selector": {},
        "owner": "team shop",
        "credentials": {"accessKeyId": by("ACCESS_KEY_ID"), "secretAccessKey": by("SECRET_ACCESS_KEY")},
        "tier": {"name": "prod"},
        "verify": {"cron": "* * * * *"},
    }))]);
    let guarded = until(lab, &shop, "protectedcluster/shop", "verified", |one| {
        one["status"]["clusters"][0]["lastVerified"].is_string()
    });
    assert_eq!(guarded["status"]["counts"]["clusters"], 1, "{guarded:#}");
    assert_eq!(guarded["status"]["clusters"][0]["name"], Source::CLUSTER);

    // The night, compressed.
    lab.apply(&[resource(
        "RecoveryDrill",
        &shop,
        "nightly",
        &json!({
            "clusterRef": {"name": Source::CLUSTER},
            "schedule": {"cron": "*/2 * * * *", "catchUp": "none"},
            "cnpg": {"namespacePrefix": prefix},
            "checks": [{"name": "rows", "database": Source::DATABASE,
                "sql": "select count(*) from history", "expect": "> 20"}],
        }),
    )]);
    let nightly = until(lab, &shop, "recoverydrill/nightly", "proven", |one| {
        one["status"]["phase"] == "Proven"
    });
    assert!(nightly["status"]["nextRunAt"].is_string(), "{nightly:#}");
    let rest = json!({"spec": {"suspend": true}}).to_string();
    let patch = [
        "patch",
        "recoverydrill/nightly",
        "--type",
        "merge",
        "-p",
        &rest,
    ];
    lab.ask(&[&["-n", &shop][..], &patch].concat());

    // A moment, for the pods of this namespace.
    lab.apply(&[
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": shop},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "client",
                "image": lab.postgres_image, "command": ["sleep", "3600"]}]}}),
        resource(
            "RecoveryRequest",
            &shop,
            "inc-4711",
            &json!({
                "clusterRef": {"name": Source::CLUSTER},
                "target": format!("time:{}", moment.at.format("%Y-%m-%dT%H:%M:%S%.6fZ")),
                "lease": "90s", "maxLease": "10m", "reason": "INC-4711",
                "access": {"secretInOwnNamespace": true},
                "cnpg": {"namespacePrefix": prefix},
            }),
        ),
    ]);
    let ready = until(lab, &shop, "recoveryrequest/inc-4711", "ready", |one| {
        let phase = one["status"]["phase"].as_str().unwrap_or_default();
        assert!(
            !["Refused", "Failed", "Unproven"].contains(&phase),
            "{one:#}"
        );
        phase == "Ready"
    });
    let connection = &ready["status"]["connection"];
    assert_eq!(connection["tried"], true, "{ready:#}");
    let lent = connection["namespace"].as_str().unwrap().to_owned();
    let secret = connection["ownSecretName"].as_str().unwrap().to_owned();
    lab.wait(&shop, "pod/client", "condition=Ready", LIMIT);
    let query = "select count(*) || ' ' || max(n) from history";
    let script = format!("psql -X -qAt -v ON_ERROR_STOP=1 \"$(cat)\" -c \"{query}\"");
    let uri = [
        "-n",
        &shop,
        "get",
        "secret",
        &secret,
        "-o",
        "go-template={{.data.uri | base64decode}}",
    ];
    let uri = lab.ask(&uri);
    let exec = [
        "-n", &shop, "exec", "-i", "client", "--", "bash", "-c", &script,
    ];
    let rows = crate::common::process::run_with_input(&mut lab.kubectl(&exec), &uri);
    assert_eq!(rows.trim(), format!("{0} {0}", moment.rows));

    // As people look at it.
    let wide = ["get", "protectedclusters,recoverydrills,recoveryrequests"];
    println!("{}", lab.ask(&[&["-n", &shop][..], &wide].concat()));
    println!(
        "{}",
        lab.ask(&["-n", &shop, "get", "walproof", "-o", "wide"])
    );
    let expiring = ready["status"]["expiresAt"].as_str().unwrap().to_owned();
    let ended = until(lab, &shop, "recoveryrequest/inc-4711", "expired", |one| {
        one["status"]["phase"] == "Expired"
    });
    let gone = ended["status"]["goneAt"].as_str().unwrap();
    println!("lent until {expiring}, gone at {gone}");
    assert!(gone > expiring.as_str());
    assert_eq!(lab.get("default", &format!("namespace/{lent}")), None);
    assert_eq!(lab.get(&shop, &format!("secret/{secret}")), None);
    for kind in [
        "protectedcluster/shop",
        "recoverydrill/nightly",
        "recoveryrequest/inc-4711",
    ] {
        println!("{}", lab.ask(&["-n", &shop, "describe", kind]));
    }
    for (name, story) in [
        (
            "nightly",
            &["Scheduled", "Queued", "Started", "Proven", "CleanedUp"][..],
        ),
        ("inc-4711", &["Queued", "Restoring", "Ready", "Gone"]),
    ] {
        let told = events(lab, &shop, name);
        println!("{name}: {told:?}");
        for reason in story {
            assert!(
                told.iter().any(|one| one == reason),
                "{name}: {reason}: {told:?}"
            );
        }
    }
    let by_name = format!("{shop}.{}", Source::CLUSTER);
    ground.wait_for_metric(
        &format!("walproof_proof_verdict{{cluster=\"{by_name}\",copy=\"primary\",kind=\"drill\"}}"),
        1.0,
    );

    // The other way round: resources first, as the documents say, then the chart.
    for object in [
        "recoveryrequest/inc-4711",
        "recoverydrill/nightly",
        "protectedcluster/shop",
    ] {
        lab.ask(&["-n", &shop, "delete", object, "--timeout", "180s"]);
    }
    assert_eq!(lab.namespaces(&format!("{prefix}-")), Vec::<String>::new());
    run(&mut ground.helm(&["uninstall", &ground.release, "--wait", "--timeout", "5m"]));
    wait_until(Duration::from_mins(3), "the end of the pods", || {
        ground.left().is_empty()
    });
}
