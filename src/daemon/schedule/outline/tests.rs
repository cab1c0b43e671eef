//! What due moments come to: in time, late, passed over, held back, left out.

use serde_json::{Value, json};

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn config(schedules: &str) -> Config {
    let text = format!(
        "version: 1
tiers: {{gold: }}
daemon: {{scratch: 200GiB, drills: 2}}
clusters:
- name: orders
  tier: gold
  primary: {{url: 's3://b/orders'}}
  replicas: [{{name: far, url: 'gs://far/orders'}}, {{url: 'file:///srv/orders'}}]
- name: billing
  primary: {{url: 's3://b/billing', endpoint: 'https://minio.example'}}
schedules:
{schedules}
"
    );
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("drills")).unwrap();
    for (name, more) in [("one", "copy: far"), ("two", ""), ("other", "")] {
        let clusters = if name == "other" { "[]" } else { "[orders]" };
        std::fs::write(
            directory.path().join(format!("drills/{name}.yaml")),
            format!("version: 1\nname: {name}\nclusters: {clusters}\n{more}\n"),
        )
        .unwrap();
    }
    let file = directory.path().join("walproof.yaml");
    std::fs::write(&file, text).unwrap();
    crate::config::load(&file).unwrap()
}

fn one(schedule: &str) -> Outline {
    let outlines = outline(&config(schedule));
    outlines.into_iter().next().unwrap()
}

fn targets(schedule: &str) -> Vec<(String, String, String, Value)> {
    outline(&config(schedule))
        .into_iter()
        .flat_map(|outline| {
            let cluster = outline.cluster.clone();
            outline.targets.into_iter().map(move |target| {
                let spec = serde_json::to_value(target.spec).unwrap();
                (cluster.clone(), target.copy, target.bucket, spec)
            })
        })
        .collect()
}

fn target(cluster: &str, copy: &str, bucket: &str, spec: Value) -> (String, String, String, Value) {
    (cluster.into(), copy.into(), bucket.into(), spec)
}

fn come(outline: &Outline, due: &str, now: &str, busy: bool) -> Due {
    let under_way = if busy {
        [format!("{}/billing/primary", outline.schedule)].into()
    } else {
        BTreeSet::new()
    };
    let situation = Situation {
        now: at(now),
        grace: TimeDelta::minutes(1),
        under_way: &under_way,
    };
    outline.due(at(due), &situation).unwrap().unwrap()
}

fn said(due: &Due) -> Vec<(&'static str, Value)> {
    due.entries
        .iter()
        .map(|entry| (entry.kind.as_str(), entry.body.clone()))
        .collect()
}

#[test]
fn each_kind_has_its_copies() {
    let verify = json!({"job": "verify"});
    assert_eq!(
        targets("- {name: v, job: verify, cron: '@daily'}"),
        [
            target("orders", "primary", "s3://b", verify.clone()),
            target("orders", "far", "gs://far", verify.clone()),
            target("orders", "replica-2", "", verify),
            target(
                "billing",
                "primary",
                "s3://b at https://minio.example",
                json!({"job": "verify"})
            ),
        ]
    );
    assert_eq!(
        targets("- {name: v, job: verify, cron: '@daily', copies: [far], depth: read}"),
        [target(
            "orders",
            "far",
            "gs://far",
            json!({"job": "verify", "depth": "read"})
        )]
    );
    // What is read is the primary; a cluster without replicas has nothing to do.
    assert_eq!(
        targets("- {name: r, job: replicate, cron: '@daily'}"),
        [
            target("orders", "far", "s3://b", json!({"job": "replicate"})),
            target("orders", "replica-2", "s3://b", json!({"job": "replicate"})),
        ]
    );
    assert_eq!(
        targets("- {name: d, job: drill, cron: '@daily'}"),
        [
            target(
                "orders",
                "far",
                "gs://far",
                json!({"job": "drill", "definition": "one"})
            ),
            target(
                "orders",
                "primary",
                "s3://b",
                json!({"job": "drill", "definition": "two"})
            ),
            target(
                "billing",
                "primary",
                "s3://b at https://minio.example",
                json!({"job": "drill"})
            ),
        ]
    );
    assert_eq!(
        targets(
            "- {name: d, job: drill, cron: '@daily', drill: other, tiers: [gold], copies: [replica-2]}"
        ),
        [target(
            "orders",
            "replica-2",
            "",
            json!({"job": "drill", "definition": "other"})
        )]
    );
    assert_eq!(
        targets("- {name: p, job: report, cron: '@weekly'}"),
        [target("", "", "", json!({"job": "report", "period": "1d"}))]
    );
}

#[test]
fn what_is_due_becomes_a_job() {
    let nightly = one("- {name: n, job: drill, cron: '0 3 * * *', clusters: [billing]}");
    let row = nightly.row(at("2026-11-22T04:00:00Z")).unwrap();
    assert_eq!(row.next_due, at("2026-11-23T03:00:00Z"));
    assert_eq!(
        (row.schedule.as_str(), row.cluster.as_str()),
        ("n", "billing")
    );
    let due = come(
        &nightly,
        "2026-11-23T03:00:00Z",
        "2026-11-23T03:00:04Z",
        false,
    );
    assert_eq!(due.next_due, at("2026-11-24T03:00:00Z"));
    assert!(due.entries.is_empty());
    let [job] = due.jobs.as_slice() else {
        panic!("{due:?}");
    };
    assert_eq!(job.key, "n/billing/primary@2026-11-23T03:00:00Z");
    assert_eq!(job.deadline, Some(at("2026-11-24T03:00:04Z")));
    assert_eq!((job.priority, job.late), (4, false));
    assert_eq!(job.scratch_bytes, 100 << 30);
    // Nothing is due before its moment.
    let nobody = BTreeSet::new();
    let early = Situation {
        now: at("2026-11-23T02:59:59Z"),
        grace: TimeDelta::minutes(1),
        under_way: &nobody,
    };
    assert_eq!(nightly.due(at("2026-11-23T03:00:00Z"), &early), Ok(None));
}

#[test]
fn what_was_due_while_down_is_made_up_for_once() {
    let nightly = one("- {name: n, job: verify, cron: '0 3 * * *', clusters: [billing]}");
    let due = come(
        &nightly,
        "2026-11-20T03:00:00Z",
        "2026-11-22T04:00:00Z",
        false,
    );
    assert_eq!(due.jobs.len(), 1);
    assert!(due.jobs[0].late);
    assert_eq!(due.jobs[0].key, "n/billing/primary@2026-11-22T03:00:00Z");
    assert_eq!(due.jobs[0].run_after, at("2026-11-22T04:00:00Z"));
    let entries = said(&due);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].0, "late");
    assert_eq!(entries[0].1["passed_over"], 2);
    assert_eq!(entries[0].1["reason"], "down");

    // A moment on time after others that were not.
    let due = come(
        &nightly,
        "2026-11-20T03:00:00Z",
        "2026-11-22T03:00:05Z",
        false,
    );
    assert!(!due.jobs[0].late);
    let entries = said(&due);
    assert_eq!((entries.len(), entries[0].0), (1, "missed"));
    assert_eq!(entries[0].1["moments"], 2);
    assert_eq!(entries[0].1["due_at"], "2026-11-21T03:00:00Z");
    assert_eq!(entries[0].1["first_due_at"], "2026-11-20T03:00:00Z");
    assert_eq!(due.entries[0].cluster.as_deref(), Some("billing"));

    let never =
        one("- {name: n, job: verify, cron: '0 3 * * *', clusters: [billing], catch_up: none}");
    let due = come(
        &never,
        "2026-11-20T03:00:00Z",
        "2026-11-22T04:00:00Z",
        false,
    );
    assert!(due.jobs.is_empty());
    let entries = said(&due);
    assert_eq!((entries.len(), entries[0].0), (1, "missed"));
    assert_eq!(entries[0].1["moments"], 3);
    // In time it runs all the same.
    let due = come(
        &never,
        "2026-11-22T03:00:00Z",
        "2026-11-22T03:00:05Z",
        false,
    );
    assert_eq!((due.jobs.len(), due.entries.len()), (1, 0));

    // A deadline that has passed is not made up for.
    let strict =
        one("- {name: n, job: verify, cron: '0 3 * * *', clusters: [billing], deadline: 30m}");
    let due = come(
        &strict,
        "2026-11-22T03:00:00Z",
        "2026-11-22T03:31:00Z",
        false,
    );
    assert!(due.jobs.is_empty());
    assert_eq!(said(&due)[0].1["moments"], 1);
    let due = come(
        &strict,
        "2026-11-22T03:00:00Z",
        "2026-11-22T03:29:00Z",
        false,
    );
    assert_eq!(due.jobs[0].deadline, Some(at("2026-11-22T03:30:00Z")));
}

#[test]
fn jitter_is_no_lateness() {
    let spread =
        one("- {name: n, job: verify, cron: '0 3 * * *', clusters: [billing], jitter: 2h}");
    let due = come(
        &spread,
        "2026-11-22T03:00:00Z",
        "2026-11-22T03:00:01Z",
        false,
    );
    let start = due.jobs[0].run_after;
    let own = share("n", "billing", Duration::from_hours(2));
    assert_eq!(start, at("2026-11-22T03:00:00Z") + own);
    assert!(own > Duration::ZERO);
    // Still before its own moment.
    let now = (start - TimeDelta::seconds(1)).to_rfc3339();
    let due = come(&spread, "2026-11-22T03:00:00Z", &now, false);
    assert_eq!(
        (due.jobs[0].late, due.jobs[0].run_after, due.entries.len()),
        (false, start, 0)
    );
}

#[test]
fn an_earlier_one_that_is_not_over_keeps_the_next_out() {
    let often = one("- {name: n, job: verify, cron: '*/15 * * * *', clusters: [billing]}");
    let due = come(&often, "2026-11-22T03:15:00Z", "2026-11-22T03:15:01Z", true);
    assert!(due.jobs.is_empty());
    let entries = said(&due);
    assert_eq!((entries.len(), entries[0].0), (1, "skipped"));
    assert_eq!(
        entries[0].1["key"],
        "n/billing/primary@2026-11-22T03:15:00Z"
    );
    // After a while without a daemon, with a job of it still in the queue.
    let due = come(&often, "2026-11-22T03:15:00Z", "2026-11-22T04:20:00Z", true);
    let entries: Vec<_> = said(&due)
        .into_iter()
        .map(|(kind, body)| (kind, body["moments"].clone()))
        .collect();
    assert_eq!(entries, [("missed", json!(4)), ("skipped", json!(1))]);
}

#[test]
fn a_blackout_holds_back_and_beyond_the_next_moment_it_is_late() {
    let office = one(
        "- {name: n, job: verify, cron: '0 7,17 * * *', clusters: [billing], blackout: ['Mon-Fri 06:00-08:00', 'Mon-Fri 16:00-20:00', '2026-11-27 00:00 - 2026-11-30 00:00']}",
    );
    // 2026-11-23 is a Monday.
    let due = come(
        &office,
        "2026-11-23T07:00:00Z",
        "2026-11-23T07:00:01Z",
        false,
    );
    assert_eq!(due.jobs[0].run_after, at("2026-11-23T08:00:00Z"));
    assert_eq!((due.jobs[0].late, due.entries.len()), (false, 0));
    assert_eq!(due.jobs[0].deadline, Some(at("2026-11-23T18:00:00Z")));
    // From Friday to Monday.
    let due = come(
        &office,
        "2026-11-27T07:00:00Z",
        "2026-11-27T07:00:01Z",
        false,
    );
    assert_eq!(due.jobs[0].run_after, at("2026-11-30T00:00:00Z"));
    assert!(due.jobs[0].late);
    let entries = said(&due);
    assert_eq!((entries.len(), entries[0].0), (1, "late"));
    assert_eq!(entries[0].1["reason"], "blackout");
    // Down at 07:00, back at 07:30, which is black: at 08:00 nothing was lost.
    let due = come(
        &office,
        "2026-11-23T07:00:00Z",
        "2026-11-23T07:30:00Z",
        false,
    );
    assert_eq!(
        (due.jobs[0].late, due.jobs[0].run_after),
        (false, at("2026-11-23T08:00:00Z"))
    );
}

#[test]
fn one_definition_is_not_in_the_way_of_another() {
    let both = one("- {name: d, job: drill, cron: '0 3 * * *', clusters: [orders], copies: [far]}");
    let due = |under_way: &[&str]| {
        let under_way = under_way.iter().map(|&about| about.to_owned()).collect();
        let situation = Situation {
            now: at("2026-11-22T03:00:05Z"),
            grace: TimeDelta::minutes(1),
            under_way: &under_way,
        };
        let due = both.due(at("2026-11-22T03:00:00Z"), &situation);
        let due = due.unwrap().unwrap();
        let keys: Vec<String> = due.jobs.iter().map(|job| job.key.clone()).collect();
        let said: Vec<_> = said(&due).iter().map(|(kind, _)| *kind).collect();
        (keys, said)
    };
    let key = |name: &str| format!("d/orders/far/{name}@2026-11-22T03:00:00Z");
    assert_eq!(due(&[]), (vec![key("one"), key("two")], vec![]));
    assert_eq!(
        due(&["d/orders/far/one"]),
        (vec![key("two")], vec!["skipped"])
    );
    assert_eq!(
        due(&["d/orders/far/two", "d/orders/far/one"]),
        (vec![], vec!["skipped", "skipped"])
    );
}

#[test]
fn a_moment_that_another_definition_stored_was_due_all_the_same() {
    let nightly = one("- {name: n, job: verify, cron: '0 3 * * *', clusters: [billing]}");
    // None of its own has come since.
    let due = come(
        &nightly,
        "2026-11-22T04:15:00Z",
        "2026-11-22T09:00:00Z",
        false,
    );
    assert_eq!(due.jobs.len(), 1);
    assert!(due.jobs[0].late);
    assert_eq!(due.last_due, at("2026-11-22T04:15:00Z"));
    assert_eq!(due.next_due, at("2026-11-23T03:00:00Z"));
    let entries = said(&due);
    assert_eq!((entries.len(), entries[0].0), (1, "late"));
    assert_eq!(entries[0].1["passed_over"], 0);
    // At once, as when the file was changed in that very second.
    let due = come(
        &nightly,
        "2026-11-22T04:15:00Z",
        "2026-11-22T04:15:01Z",
        false,
    );
    assert_eq!((due.jobs.len(), due.entries.len()), (1, 0));
    // Some of its own have: it is one of those that were passed over.
    let due = come(
        &nightly,
        "2026-11-20T04:15:00Z",
        "2026-11-22T04:00:00Z",
        false,
    );
    assert_eq!(due.last_due, at("2026-11-22T03:00:00Z"));
    assert_eq!(said(&due)[0].1["passed_over"], 2);
}
