//! Traces, decoded by OpenTelemetry's own types.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::Place;
use crate::common::receiver::Receiver;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::common::walproof::run;

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes
        .iter()
        .find(|it| it.key == name)?
        .value
        .as_ref()?;
    Some(match value.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

/// The spans that came, and what they share.
fn spans(collector: &Receiver) -> (Vec<Span>, Vec<KeyValue>) {
    let (mut spans, mut shared) = (Vec::new(), Vec::new());
    for request in collector.received() {
        assert_eq!(request.head.first, "POST /v1/traces HTTP/1.1");
        assert_eq!(request.header("content-type"), "application/x-protobuf");
        let request = ExportTraceServiceRequest::decode(request.body.as_slice()).unwrap();
        for resource in request.resource_spans {
            shared = resource.resource.unwrap().attributes;
            spans.extend(
                resource
                    .scope_spans
                    .into_iter()
                    .flat_map(|scope| scope.spans),
            );
        }
    }
    (spans, shared)
}

/// One trace: a root of this name with these phases below it, in order of their beginning.
fn phases_of(spans: &[Span], root: &str) -> (Span, Vec<String>) {
    let traces: BTreeSet<&Vec<u8>> = spans.iter().map(|span| &span.trace_id).collect();
    assert_eq!(traces.len(), 1, "one trace per job");
    let job = spans.iter().find(|span| span.name == root).unwrap();
    assert!(job.parent_span_id.is_empty());
    let mut phases: Vec<&Span> = spans
        .iter()
        .filter(|span| span.parent_span_id == job.span_id)
        .collect();
    phases.sort_by_key(|span| span.start_time_unix_nano);
    for span in &phases {
        assert!(span.start_time_unix_nano >= job.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= job.end_time_unix_nano);
    }
    let names = phases.iter().map(|span| span.name.clone()).collect();
    (job.clone(), names)
}

#[test]
fn a_verification_is_one_trace_with_its_phases() {
    let collector = Receiver::start();
    let place = Place::new(&format!(
        "  people: {{on-call: [], head: [], team: [], support: []}}\ntelemetry:\n  otlp: {{endpoint: '{}', headers: {{authorization: {{file: token}}}}, service_name: walproof-test, attributes: {{deployment.environment.name: test}}}}\n",
        collector.url()
    ));
    place.secret("token", "Bearer hush-hush");
    let file = place.file().display().to_string();
    // There is nothing in the repository, which is a finding.
    run(&["verify", "orders", "--config", &file], &[]).expect_code(1);
    let (spans, shared) = spans(&collector);
    assert_eq!(
        collector.received()[0].header("authorization"),
        "Bearer hush-hush"
    );
    assert_eq!(text(&shared, "service.name").unwrap(), "walproof-test");
    assert_eq!(
        text(&shared, "deployment.environment.name").unwrap(),
        "test"
    );
    let (job, phases) = phases_of(&spans, "job verify");
    assert_eq!(phases, ["list", "read"]);
    for (name, value) in [
        ("walproof.cluster", "orders"),
        ("walproof.copy", "primary"),
        ("walproof.exit_code", "1"),
        ("walproof.verdict", "failed"),
    ] {
        assert_eq!(
            text(&job.attributes, name).as_deref(),
            Some(value),
            "{name}"
        );
    }
    assert!(!format!("{spans:?}{shared:?}").contains("hush"));
}

#[test]
fn a_drill_is_one_trace_with_its_phases() {
    require!(Postgres, Barman, S3);
    let collector = Receiver::start();
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (s3, url) = fixture.s3();
    let mut environment = s3.environment();
    environment.push(("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), collector.url()));
    let state = tempfile::tempdir().unwrap();
    environment.push((
        "WALPROOF_STATE".to_owned(),
        format!("sqlite://{}/state.sqlite", state.path().display()),
    ));
    run(&["drill", "run", &url], &environment).expect_code(0);
    let (spans, shared) = spans(&collector);
    assert_eq!(text(&shared, "service.name").unwrap(), "walproof");
    let (job, phases) = phases_of(&spans, "job drill");
    assert_eq!(
        text(&job.attributes, "walproof.verdict").as_deref(),
        Some("proven")
    );
    let drill: Vec<&str> = phases
        .iter()
        .map(String::as_str)
        .filter(|name| !["list", "read"].contains(name))
        .collect();
    assert_eq!(
        drill,
        [
            "admit",
            "provision",
            "fetch-base",
            "reach-consistency",
            "replay",
            "promote",
            "first-query",
            "checks",
            "tear-down"
        ]
    );
    let all = format!("{spans:?}{shared:?}");
    for (name, value) in &environment {
        let secret = ["SECRET", "TOKEN", "KEY"]
            .iter()
            .any(|word| name.contains(word));
        assert!(!secret || !all.contains(value.as_str()), "{name}");
    }
}

#[test]
fn a_collector_that_is_away_changes_nothing() {
    let place = Place::new("  people: {on-call: [], head: [], team: [], support: []}\n");
    let file = place.file().display().to_string();
    let plain = run(&["verify", "orders", "--config", &file], &[]).expect_code(1);
    let without_times =
        |text: &str| -> Vec<String> { text.lines().take(3).map(str::to_owned).collect() };
    let silent = Receiver::start();
    silent.be_silent(true);
    for endpoint in ["http://127.0.0.1:9".to_owned(), silent.url()] {
        let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint)];
        let away = run(&["verify", "orders", "--config", &file], &environment).expect_code(1);
        assert_eq!(without_times(&away.stdout), without_times(&plain.stdout));
    }
    // Switched off, nobody is asked.
    let off = Receiver::start();
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), off.url()),
        ("OTEL_SDK_DISABLED".to_owned(), "true".to_owned()),
    ];
    run(&["verify", "orders", "--config", &file], &environment).expect_code(1);
    assert!(off.received().is_empty());
}
