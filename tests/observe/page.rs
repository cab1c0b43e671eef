//! Probes and pages over HTTP, in both formats, within limits.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use flate2::read::GzDecoder;
use tokio::runtime::Runtime;
use walproof::config::Config;
use walproof::evidence::{EntryKind, NewEntry, Verdict};
use walproof::finding::Code;
use walproof::server::Limits;

use crate::common::prometheus::{get, tool};
use crate::common::require;
use crate::fleet::{configured, drilled, replicated, well};
use crate::{Place, Serving};

/// Facts and probes are asked anew at every scrape.
fn fresh() -> Limits {
    Limits {
        fresh: Duration::ZERO,
        ..Limits::default()
    }
}

#[test]
fn probes_tell_what_is_missing_and_recover() {
    let runtime = Runtime::new().unwrap();
    let place = Place::new(&runtime);
    let serving = Serving::start(&runtime, &place.state, &Arc::default(), 0, fresh());
    let ask = |path| get(serving.port, path, &[]).unwrap();

    // It has just started: it lives, and is not ready.
    assert_eq!(ask("/healthz").status, 200);
    let unready = ask("/readyz");
    assert_eq!(unready.status, 503);
    assert!(unready.text().contains("no configuration was loaded yet"));
    serving.well();
    assert_eq!(ask("/readyz").status, 200);
    assert!(ask("/metrics").text().contains("\nwalproof_state_up 1\n"));

    // The state goes away and comes back.
    place.tamper(&runtime, "ALTER TABLE runs RENAME TO away");
    place.tamper(&runtime, "ALTER TABLE standings RENAME TO gone");
    crate::common::process::wait_until(Duration::from_secs(30), "not ready", || {
        let answer = ask("/readyz");
        answer.status == 503 && answer.text().contains("the state does not answer")
    });
    let page = ask("/metrics");
    assert_eq!(page.status, 200);
    assert!(
        page.text().contains("\nwalproof_state_up 0\n"),
        "{}",
        page.text()
    );
    assert!(page.text().contains("\nprocess_resident_memory_bytes "));
    assert!(
        page.text()
            .contains("walproof_scrape_collections_total{result=\"failed\"} 1\n")
    );
    assert!(
        page.text().contains("\nwalproof_records_head "),
        "the last that was known"
    );
    assert_eq!(
        ask("/healthz").status,
        200,
        "the process lives all the same"
    );
    place.tamper(&runtime, "ALTER TABLE gone RENAME TO standings");
    place.tamper(&runtime, "ALTER TABLE away RENAME TO runs");
    crate::common::process::wait_until(Duration::from_secs(30), "ready again", || {
        ask("/readyz").status == 200
    });
    assert!(ask("/metrics").text().contains("\nwalproof_state_up 1\n"));

    // The loop stands still.
    serving
        .health
        .ticked(chrono::Utc::now() - TimeDelta::minutes(10));
    let stuck = ask("/healthz");
    assert_eq!(stuck.status, 503);
    assert!(
        stuck
            .text()
            .contains("the daemon's loop went round not for 600 s"),
        "{}",
        stuck.text()
    );
    serving.stop(&runtime);
}

#[test]
fn what_was_proven_of_another_place_is_not_shown() {
    let runtime = Runtime::new().unwrap();
    let place = Place::new(&runtime);
    well(&runtime, &place.state, "orders");
    let here = configured(place.directory.path(), &["orders"]);
    let file = place.directory.path().join("walproof.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("file:///nowhere/", "file:///moved/")).unwrap();
    let moved = Arc::new(walproof::config::load(&file).unwrap());
    let shown = |config: &Arc<Config>| {
        let serving = Serving::start(&runtime, &place.state, config, 0, fresh());
        let page = get(serving.port, "/metrics", &[]).unwrap().text();
        serving.stop(&runtime);
        ["primary", "far"].map(|copy| {
            let of =
                format!("walproof_proof_timestamp_seconds{{cluster=\"orders\",copy=\"{copy}\"");
            page.lines().filter(|line| line.starts_with(&of)).count()
        })
    };
    assert_eq!(shown(&here), [2, 2]);
    // The replica did not move.
    assert_eq!(shown(&moved), [0, 2]);
}

/// The newest answer stays what it was when the runs after it could not check.
#[test]
fn what_could_not_be_checked_hides_nothing() {
    let runtime = Runtime::new().unwrap();
    let place = Place::new(&runtime);
    well(&runtime, &place.state, "orders");
    let config = configured(place.directory.path(), &["orders"]);
    let tell = |said: crate::fleet::Said| said.tell(&runtime, &place.state, "orders");
    let shown = |series: &[&str]| -> Vec<Option<String>> {
        let serving = Serving::start(&runtime, &place.state, &config, 0, fresh());
        let page = get(serving.port, "/metrics", &[]).unwrap().text();
        serving.stop(&runtime);
        let value = |series: &&str| {
            let line = page.lines().find_map(|line| line.strip_prefix(*series))?;
            Some(line.trim().to_owned())
        };
        series.iter().map(value).collect()
    };
    let replicated_at =
        "walproof_proof_timestamp_seconds{cluster=\"orders\",copy=\"far\",kind=\"replicate\"}";
    let exit = "walproof_proof_exit_code{cluster=\"orders\",copy=\"far\",kind=\"replicate\"}";
    let lag = "walproof_replica_lag_seconds{cluster=\"orders\",copy=\"far\"}";
    let before = shown(&[replicated_at, lag, exit]);
    assert!(before.iter().all(Option::is_some), "{before:?}");
    assert_eq!(before[2].as_deref(), Some("0"));
    let complete_at = Utc::now();
    let mut partial = replicated()
        .with("complete", false)
        .with("lag_ms", serde_json::Value::Null)
        .with("ended", "limited")
        .with("complete_at", complete_at);
    partial.exit_code = 3;
    tell(partial);
    let after = shown(&[replicated_at, lag, exit]);
    assert_eq!(after[0], before[0], "when it was proven last");
    assert!(after[1].is_some(), "how far it is behind at most");
    assert_eq!(after[2].as_deref(), Some("3"));
    tell(replicated());
    assert_ne!(shown(&[replicated_at])[0], before[0]);

    let verdict = "walproof_proof_verdict{cluster=\"orders\",copy=\"primary\",kind=\"drill\"}";
    let met = "walproof_drill_objective_met{cluster=\"orders\",copy=\"primary\",objective=\"rpo\"}";
    let told = || {
        let shown = shown(&[verdict, met]);
        shown.into_iter().map(Option::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(told(), ["1", "1"]);
    tell(
        drilled()
            .verdict(Verdict::Failed, 1)
            .finding(Code::ObjectiveMissedRpo)
            .with("rpo", serde_json::json!({"state": "missed"})),
    );
    assert_eq!(told(), ["-1", "0"]);
    tell(
        drilled()
            .verdict(Verdict::Unproven, 3)
            .with("rpo", serde_json::json!({})),
    );
    assert_eq!(told(), ["-1", "0"], "nothing was mended by it");
    tell(drilled());
    assert_eq!(told(), ["1", "1"]);
}

/// What was due and did not happen: in moments, without proofs that are overdue.
#[test]
fn missed_moments_are_counted_and_overdue_proofs_are_not() {
    let runtime = Runtime::new().unwrap();
    let place = Place::new(&runtime);
    well(&runtime, &place.state, "orders");
    let config = configured(place.directory.path(), &["orders"]);
    let entry = |kind, body| NewEntry {
        kind,
        at: Utc::now(),
        cluster: Some("orders".to_owned()),
        copy: Some("primary".to_owned()),
        run_id: None,
        body,
    };
    let missed = || {
        let serving = Serving::start(&runtime, &place.state, &config, 0, fresh());
        let page = get(serving.port, "/metrics", &[]).unwrap().text();
        serving.stop(&runtime);
        let of = "walproof_runs_missed_total{cluster=\"orders\"} ";
        let value = page.lines().find_map(|line| line.strip_prefix(of));
        value.unwrap().parse::<u64>().unwrap()
    };
    for (kind, body, expected) in [
        (
            EntryKind::Missed,
            serde_json::json!({"reason": "overdue", "moments": 1}),
            0,
        ),
        (
            EntryKind::Missed,
            serde_json::json!({"reason": "deadline", "moments": 4}),
            4,
        ),
        (EntryKind::Late, serde_json::json!({"reason": "down"}), 4),
        (
            EntryKind::Late,
            serde_json::json!({"reason": "down", "passed_over": 3}),
            7,
        ),
    ] {
        let entry = entry(kind, body);
        runtime.block_on(place.state.append(&[entry])).unwrap();
        assert_eq!(missed(), expected, "{kind:?}");
    }
}

#[test]
fn a_state_that_never_answered_leaves_the_metrics_of_the_process() {
    let runtime = Runtime::new().unwrap();
    let place = Place::new(&runtime);
    place.tamper(&runtime, "ALTER TABLE standings RENAME TO gone");
    let serving = Serving::start(&runtime, &place.state, &Arc::default(), 0, fresh());
    let page = get(serving.port, "/metrics", &[]).unwrap();
    assert_eq!(page.status, 200);
    assert!(page.text().contains("\nwalproof_state_up 0\n"));
    assert!(page.text().contains("\nprocess_open_fds "));
    assert!(!page.text().contains("walproof_records_head"));
    serving.stop(&runtime);
}

#[test]
fn there_are_four_pages_and_they_are_only_read() {
    let runtime = Runtime::new().unwrap();
    let place = Place::new(&runtime);
    let serving = Serving::start(
        &runtime,
        &place.state,
        &Arc::default(),
        0,
        Limits::default(),
    );
    let index = get(serving.port, "/", &[]).unwrap();
    assert_eq!(index.status, 200);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert!(index.text().contains(&format!("href=\"{path}\"")));
        assert_ne!(get(serving.port, path, &[]).unwrap().status, 404);
    }
    let missing = get(serving.port, "/state.sqlite", &[]).unwrap();
    assert_eq!(missing.status, 404);
    assert_eq!(
        missing.head.header("x-content-type-options").unwrap(),
        "nosniff"
    );
    let mut stream = TcpStream::connect(("127.0.0.1", serving.port)).unwrap();
    stream
        .write_all(
            b"POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    serving.stop(&runtime);
}

#[test]
fn both_formats_say_the_same_and_promtool_accepts_the_older() {
    require!(Prometheus);
    let runtime = Runtime::new().unwrap();
    let place = Place::new(&runtime);
    let config = configured(place.directory.path(), &["orders"]);
    well(&runtime, &place.state, "orders");
    let serving = Serving::start(&runtime, &place.state, &config, 0, Limits::default());
    serving.well();
    let plain = get(serving.port, "/metrics", &[]).unwrap();
    assert!(
        plain
            .head
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let accept = (
        "Accept",
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
    );
    let open = get(serving.port, "/metrics", &[accept]).unwrap();
    let kind = open.head.header("content-type").unwrap();
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    assert!(open.text().ends_with("# EOF\n"));
    let series = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let names = lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(series(&plain.text()), series(&open.text()));
    assert!(series(&plain.text()).len() > 100);

    let packed = get(
        serving.port,
        "/metrics",
        &[accept, ("Accept-Encoding", "gzip")],
    )
    .unwrap();
    assert_eq!(packed.head.header("content-encoding").unwrap(), "gzip");
    let mut unpacked = String::new();
    GzDecoder::new(packed.body.as_slice())
        .read_to_string(&mut unpacked)
        .unwrap();
    assert_eq!(series(&unpacked), series(&open.text()));

    let mut promtool = tool("promtool");
    promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&plain.body).unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    assert_eq!(
        String::from_utf8_lossy(&said.stderr),
        "",
        "it would have them otherwise"
    );
    serving.stop(&runtime);
}

#[test]
fn connections_and_requests_are_limited() {
    let runtime = Runtime::new().unwrap();
    let place = Place::new(&runtime);
    let limits = Limits {
        connections: 2,
        request: Duration::from_millis(700),
        idle: Duration::from_millis(700),
        ..Limits::default()
    };
    let serving = Serving::start(&runtime, &place.state, &Arc::<Config>::default(), 0, limits);
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", serving.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_mins(1)))
            .unwrap();
        stream
    };
    // One that says nothing, and one that never ends its request: both are closed, and the
    // next is served although they held every place.
    let mut silent = connect();
    let mut slow = connect();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        .unwrap();
    assert_eq!(get(serving.port, "/healthz", &[]).unwrap().status, 200);
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest);
    let _ = slow.read_to_end(&mut rest);
    assert_eq!(rest, b"", "neither was answered");

    // One that is too large ends without an answer from a page.
    let mut large = connect();
    let _ = large.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Much: ");
    let _ = large.write_all(&vec![b'a'; 1 << 20]);
    let mut answer = Vec::new();
    let _ = large.read_to_end(&mut answer);
    assert!(
        !answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(get(serving.port, "/healthz", &[]).unwrap().status, 200);

    // A stop does not wait for whoever holds a connection open.
    let _held = connect();
    serving.stop(&runtime);
}

/// Many scrapes at once cost one computation.
#[test]
fn scrapes_that_come_together_share_one_answer() {
    let runtime = Runtime::new().unwrap();
    let place = Place::new(&runtime);
    let serving = Serving::start(
        &runtime,
        &place.state,
        &Arc::default(),
        0,
        Limits {
            fresh: Duration::from_hours(1),
            ..Limits::default()
        },
    );
    let port = serving.port;
    let scrapes: Vec<_> = (0..20)
        .map(|_| std::thread::spawn(move || get(port, "/metrics", &[]).unwrap()))
        .collect();
    for scrape in scrapes {
        let page = scrape.join().unwrap();
        let once = "walproof_scrape_collections_total{result=\"ok\"} 1\n";
        assert!(page.text().contains(once), "{}", page.text());
    }
    serving.stop(&runtime);
}

/// A thousand clusters with two copies each, from the state to the wire.
#[test]
fn a_thousand_clusters_are_scraped() {
    let runtime = Runtime::new().unwrap();
    let place = Place::new(&runtime);
    let names: Vec<String> = (0..1000)
        .map(|number| format!("cluster-{number:04}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let config = configured(place.directory.path(), &names);
    let begun = Instant::now();
    for name in &names {
        well(&runtime, &place.state, name);
    }
    println!("told in {:?}", begun.elapsed());
    let serving = Serving::start(&runtime, &place.state, &config, 0, fresh());
    let accept = [
        ("Accept", "application/openmetrics-text"),
        ("Accept-Encoding", "gzip"),
    ];
    for _ in 0..3 {
        let begun = Instant::now();
        let page = get(serving.port, "/metrics", &accept).unwrap();
        let took = begun.elapsed();
        let mut text = String::new();
        GzDecoder::new(page.body.as_slice())
            .read_to_string(&mut text)
            .unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#')).count();
        println!(
            "{lines} series, {} bytes, {} packed, {took:?}",
            text.len(),
            page.body.len()
        );
        assert!(text.contains("\nwalproof_state_up 1\n"));
        assert!(text.contains("walproof_exposure_seconds{cluster=\"cluster-0999\",copy=\"far\"}"));
        assert!(lines < 126_000 && page.body.len() < 4 << 20);
    }
    serving.stop(&runtime);
}
