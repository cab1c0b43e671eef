//! Incidents: opened by what a run finds, closed by a run that looks as deep and does not
//! find it.

use serde_json::json;

use super::super::{
    Completion, DepthRank, IncidentChange, IncidentChanges, IncidentFilter, IncidentKey,
    IncidentKind, NewIncident, Outcome, RunKind, STANDING_LIMIT, Standing, StandingFilter, State,
    StateErrorKind,
};
use super::{Place, begin, moment, on_both, outcome};
use crate::evidence::{EntryKind, NewEntry, Verdict};
use crate::finding::{Code, Finding, Severity};

on_both!(
    a_run_as_deep_closes_what_it_no_longer_finds,
    a_run_that_could_not_check_closes_nothing,
    a_run_that_did_not_look_at_everything_closes_nothing,
    only_the_same_kind_and_scope_closes,
    a_depth_that_is_not_known_is_careful,
    what_becomes_worse_is_told_and_what_stays_is_counted,
    the_daemon_opens_and_closes_its_own,
    an_entry_says_what_it_opens_and_an_answer_ends_what_was_overdue,
    a_standing_is_kept_unless_a_newer_one_is,
    what_could_not_be_checked_hides_no_answer,
);

#[derive(Clone, Copy)]
struct Looked<'a> {
    kind: RunKind,
    depth: Option<DepthRank>,
    exit_code: u8,
    scope: &'a str,
    partial: bool,
}

const VERIFY: Looked<'static> = Looked {
    kind: RunKind::Verify,
    depth: Some(DepthRank::LISTED),
    exit_code: 0,
    scope: "",
    partial: false,
};

fn at(depth: DepthRank) -> Looked<'static> {
    Looked {
        depth: Some(depth),
        ..VERIFY
    }
}

async fn look(state: &State, looked: &Looked<'_>, findings: &[Finding]) -> u64 {
    let run = begin(state, looked.kind, "orders").await;
    let mut ended = outcome();
    ended.exit_code = looked.exit_code;
    ended.findings = findings.to_vec();
    let completion = Completion {
        depth: looked.depth,
        scope: looked.scope.to_owned(),
        partial: looked.partial,
        ..Completion::default()
    };
    let entry = state.finish_run(run, &ended, &completion).await.unwrap();
    entry.sequence
}

async fn open(state: &State) -> Vec<String> {
    let mut codes: Vec<_> = state
        .incidents(true, &IncidentFilter::default())
        .await
        .unwrap()
        .into_iter()
        .map(|incident| incident.code)
        .collect();
    codes.sort();
    codes
}

fn gap() -> Finding {
    Finding::new(Code::WalGap, "wals/0001", "three segments")
}

fn page() -> Finding {
    Finding::new(Code::PageCorrupt, "base/1/2", "block 7")
}

async fn a_run_as_deep_closes_what_it_no_longer_finds(place: &Place) {
    let state = place.open().await;
    let opened_by = look(&state, &at(DepthRank::READ), &[page(), page(), gap()]).await;
    assert_eq!(open(&state).await, ["page-corrupt", "wal-gap"]);
    let incident = &state
        .incidents(
            true,
            &IncidentFilter {
                code: Some("page-corrupt".to_owned()),
                cluster: Some("orders".to_owned()),
                copy: Some("primary".to_owned()),
                ..IncidentFilter::default()
            },
        )
        .await
        .unwrap()[0];
    assert_eq!(incident.opened_by, Some(opened_by));
    assert_eq!((incident.count, incident.depth), (2, DepthRank::READ));
    assert_eq!(incident.severity, Severity::Critical);
    assert_eq!(incident.object, "base/1/2");
    assert_eq!(incident.kind, IncidentKind::Verify);
    // A shallow run sees the gap too, and cannot see the page.
    look(&state, &at(DepthRank::LISTED), &[gap()]).await;
    look(&state, &at(DepthRank::SAMPLED), &[gap()]).await;
    assert_eq!(open(&state).await, ["page-corrupt", "wal-gap"]);
    // From now on a shallow run closes the gap.
    let closed_by = look(&state, &at(DepthRank::LISTED), &[]).await;
    assert_eq!(open(&state).await, ["page-corrupt"]);
    look(&state, &at(DepthRank::READ), &[]).await;
    assert_eq!(open(&state).await, [""; 0]);
    let all = state
        .incidents(false, &IncidentFilter::default())
        .await
        .unwrap();
    assert_eq!(all.len(), 2);
    let gap_was = all
        .iter()
        .find(|incident| incident.code == "wal-gap")
        .unwrap();
    assert_eq!(gap_was.closed_by, Some(closed_by));
    assert!(gap_was.closed_at.unwrap() >= gap_was.opened_at);
    // It comes back as another one.
    look(&state, &VERIFY, &[gap()]).await;
    let all = state
        .incidents(false, &IncidentFilter::default())
        .await
        .unwrap();
    assert_eq!(all.len(), 3);
    let events = state.incident_events(0, 100).await.unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.number, event.change, event.incident.code.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (1, IncidentChange::Opened, "page-corrupt"),
            (2, IncidentChange::Opened, "wal-gap"),
            (3, IncidentChange::Closed, "wal-gap"),
            (4, IncidentChange::Closed, "page-corrupt"),
            (5, IncidentChange::Opened, "wal-gap"),
        ]
    );
    assert_eq!(state.incident_events(4, 100).await.unwrap().len(), 1);
}

async fn a_run_that_did_not_look_at_everything_closes_nothing(place: &Place) {
    let state = place.open().await;
    for kind in [RunKind::Drill, RunKind::Replicate] {
        let whole = Looked {
            kind,
            depth: None,
            ..VERIFY
        };
        let partial = Looked {
            partial: true,
            ..whole
        };
        look(&state, &whole, &[gap()]).await;
        // It ended early, with something of its own.
        look(
            &state,
            &Looked {
                exit_code: 1,
                ..partial
            },
            &[page()],
        )
        .await;
        look(&state, &partial, &[]).await;
        assert_eq!(open(&state).await, ["page-corrupt", "wal-gap"], "{kind:?}");
        look(&state, &whole, &[]).await;
        assert_eq!(open(&state).await, [""; 0], "{kind:?}");
    }
}

async fn a_run_that_could_not_check_closes_nothing(place: &Place) {
    let state = place.open().await;
    look(&state, &VERIFY, &[gap()]).await;
    for exit_code in [2, 3, 4, 130] {
        let unchecked = Looked {
            exit_code,
            ..VERIFY
        };
        look(&state, &unchecked, &[]).await;
        assert_eq!(open(&state).await, ["wal-gap"]);
    }
    // What it did find is raised.
    let unchecked = Looked {
        exit_code: 3,
        ..VERIFY
    };
    look(&state, &unchecked, &[page()]).await;
    assert_eq!(open(&state).await, ["page-corrupt", "wal-gap"]);
    // Findings below the threshold make no exit code 1, and a run with one closes as well.
    let found = Looked {
        exit_code: 1,
        ..VERIFY
    };
    look(&state, &found, &[page()]).await;
    assert_eq!(open(&state).await, ["page-corrupt"]);
}

async fn only_the_same_kind_and_scope_closes(place: &Place) {
    let state = place.open().await;
    let failed = || Finding::new(Code::CheckFailed, "rows", "none");
    let drill = |scope| Looked {
        kind: RunKind::Drill,
        scope,
        depth: None,
        exit_code: 1,
        partial: false,
    };
    look(&state, &drill("nightly"), &[failed()]).await;
    look(&state, &drill("weekly"), &[failed()]).await;
    look(&state, &at(DepthRank::READ), &[]).await;
    assert_eq!(open(&state).await.len(), 2);
    look(&state, &drill("weekly"), &[]).await;
    assert_eq!(open(&state).await.len(), 1);
    look(&state, &drill("nightly"), &[]).await;
    assert_eq!(open(&state).await.len(), 0);
    // Another cluster's run closes nothing here.
    look(&state, &VERIFY, &[gap()]).await;
    let run = begin(&state, RunKind::Verify, "billing").await;
    state
        .finish_run(run, &outcome(), &Completion::default())
        .await
        .unwrap();
    assert_eq!(open(&state).await, ["wal-gap"]);
}

async fn a_depth_that_is_not_known_is_careful(place: &Place) {
    let state = place.open().await;
    let unknown = Looked {
        depth: None,
        ..VERIFY
    };
    look(&state, &unknown, &[page()]).await;
    look(&state, &unknown, &[]).await;
    look(&state, &at(DepthRank::SAMPLED), &[]).await;
    assert_eq!(open(&state).await, ["page-corrupt"]);
    look(&state, &at(DepthRank::READ), &[]).await;
    assert_eq!(open(&state).await, [""; 0]);
    look(&state, &at(DepthRank::LISTED), &[gap()]).await;
    look(&state, &at(DepthRank::SAMPLED), &[gap(), page()]).await;
    look(&state, &unknown, &[]).await;
    assert_eq!(open(&state).await, ["page-corrupt"]);
}

async fn what_becomes_worse_is_told_and_what_stays_is_counted(place: &Place) {
    let state = place.open().await;
    look(&state, &VERIFY, &[gap().with_severity(Severity::Info)]).await;
    let mut other = gap();
    other.object = "wals/0002".to_owned();
    look(
        &state,
        &VERIFY,
        &[gap().with_severity(Severity::Info), other],
    )
    .await;
    look(&state, &VERIFY, &[gap().with_severity(Severity::Warning)]).await;
    let incidents = state
        .incidents(false, &IncidentFilter::default())
        .await
        .unwrap();
    assert_eq!(incidents.len(), 1);
    assert_eq!(incidents[0].count, 1);
    assert_eq!(incidents[0].severity, Severity::Warning);
    assert!(incidents[0].last_seen_at > incidents[0].opened_at);
    let events = state.incident_events(0, 100).await.unwrap();
    let told: Vec<_> = events.iter().map(|event| event.change).collect();
    assert_eq!(told, [IncidentChange::Opened, IncidentChange::Worsened]);
}

async fn the_daemon_opens_and_closes_its_own(place: &Place) {
    let state = place.open().await;
    let new = NewIncident {
        cluster: "orders".to_owned(),
        copy: String::new(),
        kind: IncidentKind::Schedule,
        scope: String::new(),
        code: "drill-overdue".to_owned(),
        severity: Severity::Critical,
        object: "orders".to_owned(),
        message: "no drill for two days".to_owned(),
        by: None,
    };
    assert!(state.open_incident(&new, moment(0)).await.unwrap());
    assert!(!state.open_incident(&new, moment(5)).await.unwrap());
    let incident = state
        .incidents(true, &IncidentFilter::default())
        .await
        .unwrap()
        .remove(0);
    assert_eq!(
        (incident.opened_at, incident.last_seen_at),
        (moment(0), moment(5))
    );
    assert_eq!(
        state.incident(incident.id).await.unwrap(),
        Some(incident.clone())
    );
    let key = IncidentKey {
        cluster: "orders".to_owned(),
        copy: String::new(),
        scope: String::new(),
        code: "drill-overdue".to_owned(),
    };
    assert!(state.close_incident(&key, None, moment(9)).await.unwrap());
    assert!(!state.close_incident(&key, None, moment(9)).await.unwrap());
    let closed = state.incident(incident.id).await.unwrap().unwrap();
    assert_eq!(closed.closed_at, Some(moment(9)));
    let since = |seconds| IncidentFilter {
        since: Some(moment(seconds)),
        ..Default::default()
    };
    assert_eq!(state.incidents(false, &since(9)).await.unwrap().len(), 1);
    assert_eq!(state.incidents(false, &since(10)).await.unwrap().len(), 0);
    // Two daemons at once open one.
    let other = place.open().await;
    let (left, right) = tokio::join!(
        state.open_incident(&new, moment(20)),
        other.open_incident(&new, moment(20))
    );
    assert_ne!(left.unwrap(), right.unwrap());
}

async fn an_entry_says_what_it_opens_and_an_answer_ends_what_was_overdue(place: &Place) {
    let state = place.open().await;
    let note = async |code: Code, copy: &str, closes: Vec<IncidentKey>| {
        let entry = NewEntry {
            kind: EntryKind::Missed,
            at: moment(0),
            cluster: Some("orders".to_owned()),
            copy: None,
            run_id: None,
            body: json!({}),
        };
        let new = NewIncident {
            cluster: "orders".to_owned(),
            copy: copy.to_owned(),
            kind: IncidentKind::Schedule,
            scope: String::new(),
            code: code.as_str().to_owned(),
            severity: code.severity(),
            object: "orders".to_owned(),
            message: "late".to_owned(),
            by: None,
        };
        let changes = IncidentChanges {
            opens: vec![new],
            closes,
        };
        let entry = state.note(&entry, &changes, moment(0)).await.unwrap();
        (entry.sequence, entry.content().unwrap().body)
    };
    let (by, body) = note(Code::DrillOverdue, "", Vec::new()).await;
    assert_eq!(body["opened"][0]["code"], "drill-overdue");
    let filter = IncidentFilter::default();
    let incident = state.incidents(true, &filter).await.unwrap().remove(0);
    assert_eq!(incident.opened_by, Some(by));
    // It is open already, and the other was never.
    let never = IncidentKey {
        code: "records-broken".to_owned(),
        ..IncidentKey::from(&incident)
    };
    let (_, body) = note(Code::DrillOverdue, "", vec![never]).await;
    assert_eq!(body, json!({}));
    note(Code::VerificationOverdue, "primary", Vec::new()).await;
    let (_, body) = note(
        Code::VerificationOverdue,
        "far",
        vec![IncidentKey {
            copy: "far".to_owned(),
            code: "verification-overdue".to_owned(),
            ..IncidentKey::from(&incident)
        }],
    )
    .await;
    // Opened and closed by one entry.
    assert_eq!(body["opened"][0]["id"], body["closed"][0]["id"]);

    // What changes nothing needs no word; what does has one.
    let head = async || state.entry_head().await.unwrap().unwrap().0;
    let before = head().await;
    let over = IncidentChanges {
        closes: vec![IncidentKey {
            code: "records-broken".to_owned(),
            ..IncidentKey::from(&incident)
        }],
        ..IncidentChanges::default()
    };
    let word = NewEntry {
        kind: EntryKind::Noticed,
        at: moment(0),
        cluster: None,
        copy: None,
        run_id: None,
        body: json!({"message": "seen"}),
    };
    let none = state.notice(&word, &over, moment(0)).await.unwrap();
    assert_eq!((none, head().await), (None, before));
    let broken = NewIncident {
        cluster: "orders".to_owned(),
        copy: String::new(),
        kind: IncidentKind::Schedule,
        scope: String::new(),
        code: "records-broken".to_owned(),
        severity: Severity::Critical,
        object: "entry 3".to_owned(),
        message: "broken".to_owned(),
        by: None,
    };
    let breaks = IncidentChanges {
        opens: vec![broken],
        ..IncidentChanges::default()
    };
    for (changes, word_of) in [
        (&breaks, Some("opened")),
        (&breaks, None),
        (&over, Some("closed")),
    ] {
        let noticed = state.notice(&word, changes, moment(0)).await.unwrap();
        let noticed = noticed.map(|entry| entry.content().unwrap().body);
        assert_eq!(noticed.is_some(), word_of.is_some());
        if let (Some(body), Some(name)) = (noticed, word_of) {
            assert_eq!(body[name][0]["code"], "records-broken");
        }
    }
    assert_eq!(head().await, before + 2);

    let finish = async |kind, exit_code, guarded: bool| {
        let run = begin(&state, kind, "orders").await;
        let standing = Standing {
            cluster: "orders".to_owned(),
            copy: "primary".to_owned(),
            location: "s3://backups/orders".to_owned(),
            kind,
            at: moment(1),
            run_id: run.id,
            exit_code,
            verdict: None,
            body: json!({}),
        };
        let completion = Completion {
            standing: guarded.then_some(standing),
            ..Completion::default()
        };
        let mut ended = outcome();
        ended.exit_code = exit_code;
        let entry = state.finish_run(run, &ended, &completion).await.unwrap();
        entry.content().unwrap().body["closed"][0]["code"].clone()
    };
    let none = serde_json::Value::Null;
    // It could not check; it is no copy of the configuration; it is of another kind.
    assert_eq!(finish(RunKind::Drill, 3, true).await, none);
    assert_eq!(finish(RunKind::Drill, 0, false).await, none);
    assert_eq!(finish(RunKind::Compare, 0, true).await, none);
    assert_eq!(
        open(&state).await,
        ["drill-overdue", "verification-overdue"]
    );
    assert_eq!(finish(RunKind::Drill, 1, true).await, "drill-overdue");
    assert_eq!(
        finish(RunKind::Verify, 0, true).await,
        "verification-overdue"
    );
    assert_eq!(open(&state).await, [""; 0]);
}

async fn a_standing_is_kept_unless_a_newer_one_is(place: &Place) {
    let state = place.open().await;
    let finish = async |seconds, body| {
        let run = begin(&state, RunKind::Verify, "orders").await;
        let standing = Standing {
            cluster: "orders".to_owned(),
            copy: "primary".to_owned(),
            location: "s3://backups/orders".to_owned(),
            kind: RunKind::Verify,
            at: moment(seconds),
            run_id: run.id,
            exit_code: 0,
            verdict: None,
            body,
        };
        let completion = Completion {
            standing: Some(standing.clone()),
            ..Completion::default()
        };
        let finished = state.finish_run(run, &outcome(), &completion).await;
        finished.map(|_| standing)
    };
    let first = finish(10, json!({"gaps": 1})).await.unwrap();
    let all = StandingFilter::default;
    assert_eq!(state.standings(&all()).await.unwrap(), [first]);
    let second = finish(20, json!({"gaps": 0})).await.unwrap();
    finish(15, json!({"gaps": 2})).await.unwrap();
    assert_eq!(state.standings(&all()).await.unwrap(), [second]);
    let other = StandingFilter {
        copy: Some("second".to_owned()),
        ..all()
    };
    assert_eq!(state.standings(&other).await.unwrap(), []);
    let kind = StandingFilter {
        kind: Some(RunKind::Verify),
        cluster: Some("orders".to_owned()),
        ..all()
    };
    assert_eq!(state.standings(&kind).await.unwrap().len(), 1);
    // Past its limit the whole end of the run is refused.
    let head = state.entry_head().await.unwrap();
    let error = finish(30, json!("x".repeat(STANDING_LIMIT)))
        .await
        .unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Refused, "{error}");
    assert_eq!(state.entry_head().await.unwrap(), head);
}

async fn what_could_not_be_checked_hides_no_answer(place: &Place) {
    let state = place.open().await;
    let finish = async |seconds, kind, location: &str, exit_code, verdict| {
        let run = begin(&state, kind, "orders").await;
        let standing = Standing {
            cluster: "orders".to_owned(),
            copy: "primary".to_owned(),
            location: location.to_owned(),
            kind,
            at: moment(seconds),
            run_id: run.id,
            exit_code,
            verdict,
            body: json!({}),
        };
        let completion = Completion {
            standing: Some(standing),
            ..Completion::default()
        };
        let ended = Outcome {
            verdict,
            exit_code,
            ..outcome()
        };
        state.finish_run(run, &ended, &completion).await.unwrap();
    };
    let answers = async || -> Vec<(RunKind, i64, Option<Verdict>, String)> {
        let proofs = state.proofs().await.unwrap();
        let mut answers: Vec<_> = proofs
            .into_iter()
            .map(|it| {
                (
                    it.kind,
                    (it.at - moment(0)).num_seconds(),
                    it.verdict,
                    it.location,
                )
            })
            .collect();
        answers.sort_by_key(|(kind, ..)| kind.as_str());
        answers
    };
    let (here, there) = ("s3://a/orders", "s3://b/orders");
    finish(1, RunKind::Replicate, here, 3, None).await;
    finish(1, RunKind::Drill, here, 3, Some(Verdict::Unproven)).await;
    assert_eq!(answers().await, [], "nothing ever answered");
    finish(2, RunKind::Replicate, here, 0, None).await;
    finish(2, RunKind::Drill, here, 1, Some(Verdict::Failed)).await;
    let known = [
        (RunKind::Drill, 2, Some(Verdict::Failed), here.to_owned()),
        (RunKind::Replicate, 2, None, here.to_owned()),
    ];
    assert_eq!(answers().await, known);
    for exit_code in [3, 4, 130] {
        let seconds = 2 + i64::from(exit_code);
        finish(seconds, RunKind::Replicate, here, exit_code, None).await;
    }
    finish(9, RunKind::Drill, here, 3, Some(Verdict::Unproven)).await;
    assert_eq!(answers().await, known, "what did not answer hides nothing");
    let newest = state.standings(&StandingFilter::default()).await.unwrap();
    assert!(
        newest.iter().all(|it| it.exit_code > 1),
        "and is the newest"
    );
    finish(200, RunKind::Drill, here, 0, Some(Verdict::Proven)).await;
    // Of another place nothing was answered yet.
    finish(200, RunKind::Replicate, there, 3, None).await;
    let proven = (RunKind::Drill, 200, Some(Verdict::Proven), here.to_owned());
    assert_eq!(answers().await, [proven]);
}
