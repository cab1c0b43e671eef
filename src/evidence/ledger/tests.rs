//! Chains as they were appended, and every way of changing them.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::evidence::{RecordFile, sample, schema_text, sha256_hex};
use crate::finding::Severity;

fn begin() -> DateTime<Utc> {
    "2026-11-21T02:00:00Z".parse().unwrap()
}

fn sealed(entries: &[NewEntry]) -> Vec<LedgerEntry> {
    let mut chain: Vec<LedgerEntry> = Vec::new();
    for new in entries {
        let previous = chain.last().map_or(FIRST_PREVIOUS, |last| &last.sha256);
        chain.push(seal(new, chain.len() as u64 + 1, previous).unwrap());
    }
    chain
}

/// One entry of each kind, with something in every field that can be there.
fn one_of_each() -> Vec<NewEntry> {
    let id = Uuid::from_u128;
    let at = begin();
    let asked = Asked {
        trigger: crate::evidence::Trigger::Schedule,
        initiator: "walproof daemon".to_owned(),
        schedule: Some("nightly".to_owned()),
        job: Some(id(0x0199_f0a1_0000_7000_8000_0000_0000_0101)),
        due_at: Some(at),
        late: false,
    };
    let run = |exit_code| RunBody {
        asked: asked.clone(),
        started_at: at,
        finished_at: at + TimeDelta::seconds(95),
        verdict: (exit_code == 1).then_some(crate::evidence::Verdict::Failed),
        exit_code,
        summary: "recoverable from 2026-11-14 02:00:11 to 2026-11-21 01:59:52".to_owned(),
        findings: tally(&[]),
    };
    let opened = OpenedIncident::new(
        id(0x0199_f0a1_0000_7000_8000_0000_0000_0201),
        "wal-gap",
        Severity::Critical,
        "0000000100000012000000A4",
    );
    let closed = ClosedIncident {
        id: opened.id,
        code: opened.code.clone(),
        severity: opened.severity,
        opened_at: at,
        opened_by: Some(2),
    };
    let record = sample();
    let file = RecordFile::new(&record).unwrap();
    let drill_run = RunBody::new(
        asked.clone(),
        (record.started_at, record.finished_at),
        Some(record.verdict),
        0,
        "tip: proven",
        &record.findings,
    );
    let other = || OtherBody {
        run: run(0),
        location: "s3://backups/pg/orders".to_owned(),
        opened: vec![],
        closed: vec![],
    };
    let daemon = |reason: Option<&str>| DaemonBody {
        daemon: id(0x0199_f0a1_0000_7000_8000_0000_0000_0001),
        host: "backup-1".to_owned(),
        version: "0.1.0".to_owned(),
        build_sha256: Some("5f".repeat(32)),
        configuration_sha256: Some("c0".repeat(32)),
        reason: reason.map(str::to_owned),
    };
    let bodies = [
        Body::Started(Box::new(daemon(None))),
        Body::Verify(Box::new(VerifyBody {
            window_begin: Some(at - TimeDelta::days(7)),
            window_end: Some(at - TimeDelta::seconds(8)),
            gaps: Some(1),
            exposure_ms: Some(8_000),
            rpo_ms: Some(300_000),
            usable_backups: Some(7),
            newest_backup_at: Some(at - TimeDelta::hours(3)),
            segments: Some(1_412),
            bytes_read: Some(9_812_344_012),
            opened: vec![opened],
            ..VerifyBody::new(
                run(1),
                "s3://backups/pg/orders".to_owned(),
                "sampled".to_owned(),
            )
        })),
        Body::Verify(Box::new(VerifyBody {
            closed: vec![closed],
            ..VerifyBody::new(
                run(0),
                "s3://backups/pg/orders".to_owned(),
                "sampled".to_owned(),
            )
        })),
        Body::Replicate(Box::new(ReplicateBody {
            ended: Some("complete".to_owned()),
            copied_objects: Some(42),
            copied_bytes: Some(37_751_489),
            missing_objects: Some(0),
            lag_ms: Some(4_000),
            lag_objective_ms: Some(900_000),
            different_objects: Some(0),
            ..ReplicateBody::new(
                run(0),
                "s3://backups/pg/orders".to_owned(),
                "s3://far/orders".to_owned(),
            )
        })),
        Body::Compare(Box::new(other())),
        Body::Drill(Box::new(DrillBody::of_record(drill_run, &record, &file))),
        Body::Restore(Box::new(other())),
        Body::Backup(Box::new(other())),
        Body::Expire(Box::new(other())),
        Body::Capture(Box::new(other())),
        Body::Request(Box::new(RequestBody {
            request: Uuid::nil(),
            event: RequestEvent::Ready,
            by: "jane".to_owned(),
            reason: "the orders of last night".to_owned(),
            target: "time:2026-11-21T02:40:00Z".to_owned(),
            run: Some(run(0)),
            location: Some("s3://backups/pg/orders".to_owned()),
            backup: Some("20261121T000000".to_owned()),
            recovered_to: Some(at),
            namespace: Some("walproof-request-orders-456789ab".to_owned()),
            access: vec!["shop".to_owned()],
            lease_ms: Some(14_400_000),
            expires_at: Some(at),
            opened: vec![],
            closed: vec![],
        })),
        Body::Missed(Box::new(MissedBody {
            job: EntryKind::Drill,
            schedule: Some("nightly".to_owned()),
            key: Some("nightly/orders/primary@2026-11-21T02:00:00Z".to_owned()),
            due_at: at,
            first_due_at: Some(at - TimeDelta::days(2)),
            moments: 3,
            reason: MissedReason::Down,
            newest_at: None,
            opened: vec![],
            closed: vec![],
        })),
        Body::Skipped(Box::new(SkippedBody {
            job: EntryKind::Verify,
            schedule: Some("verify-often".to_owned()),
            key: None,
            due_at: at,
            moments: 1,
            reason: SkippedReason::Overlap,
            earlier: Some("verify-often/orders/primary@2026-11-21T01:45:00Z".to_owned()),
        })),
        Body::Late(Box::new(LateBody {
            job: EntryKind::Drill,
            schedule: Some("nightly".to_owned()),
            key: None,
            due_at: at,
            run_after: at + TimeDelta::hours(5),
            reason: LateReason::Down,
            passed_over: 1,
        })),
        Body::Configuration(Box::new(ConfigurationBody::accepted(
            "c1".repeat(32),
            Some("c0".repeat(32)),
            &["tier gold: rpo 10m → 5m".to_owned()],
        ))),
        Body::Interrupted(Box::new(InterruptedBody {
            job: EntryKind::Drill,
            asked: asked.clone(),
            started_at: at,
            noticed_at: at + TimeDelta::minutes(3),
            again: true,
        })),
        Body::Report(Box::new(ReportBody {
            asked: asked.clone(),
            from: at - TimeDelta::days(30),
            to: at,
            cluster: None,
            directory: Some("/srv/audit/2026-11".to_owned()),
            error: None,
            first: Some(1),
            last: Some(14),
            files: vec![crate::evidence::Digest::of("manifest.json", b"{}\n")],
            opened: Vec::new(),
            closed: Vec::new(),
        })),
        Body::Stopped(Box::new(daemon(Some("SIGTERM")))),
        Body::Noticed(Box::new(NoticedBody::new("the records hold again"))),
    ];
    bodies
        .into_iter()
        .zip(0..)
        .map(|(body, minute)| {
            let entry = NewEntry::new(at + TimeDelta::minutes(minute), &body).unwrap();
            match body.kind() {
                EntryKind::Started
                | EntryKind::Stopped
                | EntryKind::Configuration
                | EntryKind::Noticed
                | EntryKind::Report => entry,
                EntryKind::Replicate => entry.about("orders", "second-region").of_run(id(7)),
                _ => entry.about("orders", "primary").of_run(id(7)),
            }
        })
        .collect()
}

fn committed(name: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("evidence")
        .join(name);
    if std::env::var_os("WALPROOF_WRITE_SCHEMAS").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "evidence/{name} is not what the types give; run this test with WALPROOF_WRITE_SCHEMAS=1"
    );
}

#[test]
fn the_committed_schema_is_that_of_the_types() {
    committed(
        "ledger-entry.v1.schema.json",
        &schema_text(&ledger_entry_schema()),
    );
}

#[test]
fn the_committed_sample_is_a_chain_of_every_kind() {
    let new = one_of_each();
    for kind in EntryKind::ALL {
        assert!(new.iter().any(|entry| entry.kind == *kind), "{kind}");
    }
    let chain = sealed(&new);
    let lines: Vec<&str> = chain.iter().map(|entry| entry.text.as_str()).collect();
    let text = lines.join("\n") + "\n";
    committed("sample-ledger-entries.jsonl", &text);
    let mut walk = Walk::new();
    for entry in &chain {
        let content = walk.step_labelled(entry, &labels(entry)).unwrap();
        // Reading and writing change nothing: no field is lost, renamed or added.
        let body = Body::read(content.kind, content.body.clone()).unwrap();
        assert_eq!(body.kind(), content.kind);
        assert_eq!(body.to_value().unwrap(), content.body);
    }
    assert_eq!(walk.head().unwrap().sequence, chain.len() as u64);
}

#[test]
fn bodies_of_which_little_is_said_can_be_read() {
    let run = json!({"started_at": begin(), "finished_at": begin(), "exit_code": 0});
    for kind in [
        EntryKind::Verify,
        EntryKind::Drill,
        EntryKind::Replicate,
        EntryKind::Backup,
    ] {
        let body = json!({"run": run, "field of a later version": [1]});
        Body::read(kind, body).unwrap();
        Body::read(kind, json!({"run": {}})).unwrap_err();
    }
}

#[test]
fn incidents_are_noted_in_any_body() {
    let opened = OpenedIncident::new(Uuid::nil(), "wal-gap", Severity::Critical, "x");
    let mut body = json!({"run": 1});
    note_incidents(&mut body, std::slice::from_ref(&opened), &[]);
    assert_eq!(body["opened"][0]["code"], "wal-gap");
    assert!(body.get("closed").is_none());
    let mut text = json!("no object");
    note_incidents(&mut text, &[opened], &[]);
    assert_eq!(text, "no object");
}

#[test]
fn heads_are_read_as_they_are_printed() {
    let head = Head {
        sequence: 12,
        sha256: "ab".repeat(32),
    };
    assert_eq!(head.to_string().parse(), Ok(head.clone()));
    assert_eq!(
        format!(" {}\n", head.to_string().to_uppercase()).parse(),
        Ok(head)
    );
    for wrong in [
        "",
        "12",
        "12:ab",
        "0:",
        &format!("0:{}", "ab".repeat(32)),
        &format!("x:{}", "ab".repeat(32)),
        &format!("1:{}", "xy".repeat(32)),
    ] {
        assert!(wrong.parse::<Head>().is_err(), "{wrong}");
    }
}

fn labels(entry: &LedgerEntry) -> Labels {
    let content = entry.content().unwrap();
    Labels {
        at: content.at,
        kind: content.kind.as_str().to_owned(),
        cluster: content.cluster,
        copy: content.copy,
        run_id: content.run_id,
    }
}

type Row = (LedgerEntry, Labels);

fn rows(chain: &[LedgerEntry]) -> Vec<Row> {
    chain
        .iter()
        .map(|entry| (entry.clone(), labels(entry)))
        .collect()
}

/// As `walproof evidence verify` does.
fn followed(rows: &[Row], noted: Option<Head>) -> Result<u64, Break> {
    let mut walk = Walk::new().against(noted);
    for (entry, labels) in rows {
        walk.step_labelled(entry, labels)?;
    }
    walk.finish()?;
    Ok(walk.count())
}

fn any_chain() -> impl Strategy<Value = Vec<LedgerEntry>> {
    let entry = (
        0..EntryKind::ALL.len(),
        0..1_000_000_000_000_i64,
        proptest::option::of("[a-zäß\u{1f600}\"\\\\]{0,12}"),
        any::<bool>(),
        "\\PC{0,40}",
        any::<u32>(),
    );
    prop::collection::vec(entry, 1..12).prop_map(|entries| {
        let new: Vec<NewEntry> = entries
            .into_iter()
            .map(|(kind, micros, cluster, copy, words, number)| NewEntry {
                kind: EntryKind::ALL[kind],
                at: begin() + TimeDelta::microseconds(micros),
                cluster,
                copy: copy.then(|| "primary".to_owned()),
                run_id: copy.then(|| Uuid::from_u128(u128::from(number))),
                body: json!({"words": words, "number": number, "list": [null, true]}),
            })
            .collect();
        sealed(&new)
    })
}

fn head_of(chain: &[LedgerEntry]) -> Head {
    let last = chain.last().unwrap();
    Head {
        sequence: last.sequence,
        sha256: last.sha256.clone(),
    }
}

/// An entry's text with another body, with the digest taken anew.
fn forged(entry: &LedgerEntry, previous: &str, sequence: u64) -> LedgerEntry {
    let mut value: Value = serde_json::from_str(&entry.text).unwrap();
    value["body"] = json!({"words": "nothing ever failed"});
    value["previous"] = previous.into();
    value["sequence"] = sequence.into();
    LedgerEntry::of_text(canonical_json(&value).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn an_untouched_chain_holds(chain in any_chain()) {
        let head = head_of(&chain);
        prop_assert_eq!(followed(&rows(&chain), None), Ok(chain.len() as u64));
        prop_assert_eq!(followed(&rows(&chain), Some(head.clone())), Ok(chain.len() as u64));
        // A head noted earlier holds as well.
        prop_assert!(followed(&rows(&chain), Some(head_of(&chain[..1]))).is_ok());
    }

    #[test]
    fn any_changed_byte_of_a_text_is_found(chain in any_chain(), at in any::<prop::sample::Index>(), position in any::<prop::sample::Index>(), change in 1..=255_u8) {
        let at = at.index(chain.len());
        let mut touched = rows(&chain);
        let mut bytes = touched[at].0.text.clone().into_bytes();
        let position = position.index(bytes.len());
        bytes[position] ^= change;
        // A database gives text; bytes that are none are refused before.
        let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
        touched[at].0.text = text.clone();
        let broken = followed(&touched, None).unwrap_err();
        prop_assert_eq!((broken.kind, broken.sequence), (BreakKind::Altered, at as u64 + 1));
        // With the digest taken anew it is no longer what was linked, or no entry at all.
        touched[at].0.sha256 = sha256_hex(text.as_bytes());
        let broken = followed(&touched, Some(head_of(&chain))).unwrap_err();
        let own = broken.sequence == at as u64 + 1
            && matches!(broken.kind, BreakKind::NotCanonical | BreakKind::Mislabelled | BreakKind::HeadDiffers);
        let next = broken.sequence == at as u64 + 2 && broken.kind == BreakKind::WrongPrevious;
        prop_assert!(own || next, "{:?}", broken);
    }

    #[test]
    fn a_forged_entry_is_found_at_the_next_one(chain in any_chain(), at in any::<prop::sample::Index>()) {
        let at = at.index(chain.len());
        let mut touched = rows(&chain);
        let entry = forged(&chain[at], &chain[at].previous, at as u64 + 1);
        touched[at] = (entry.clone(), labels(&entry));
        let noted = followed(&touched, Some(head_of(&chain))).unwrap_err();
        if at + 1 < chain.len() {
            prop_assert_eq!((noted.kind, noted.sequence), (BreakKind::WrongPrevious, at as u64 + 2));
        } else {
            // The last one has nobody behind it: only a head kept elsewhere shows it.
            prop_assert_eq!((noted.kind, noted.sequence), (BreakKind::HeadDiffers, at as u64 + 1));
            prop_assert!(followed(&touched, None).is_ok());
        }
    }

    #[test]
    fn a_chain_written_anew_shows_against_a_noted_head(chain in any_chain(), at in any::<prop::sample::Index>()) {
        let at = at.index(chain.len());
        let mut anew = chain[..at].to_vec();
        for entry in &chain[at..] {
            let previous = anew.last().map_or(FIRST_PREVIOUS, |last: &LedgerEntry| &last.sha256).to_owned();
            anew.push(forged(entry, &previous, anew.len() as u64 + 1));
        }
        prop_assert!(followed(&rows(&anew), None).is_ok());
        let broken = followed(&rows(&anew), Some(head_of(&chain))).unwrap_err();
        prop_assert_eq!((broken.kind, broken.sequence), (BreakKind::HeadDiffers, chain.len() as u64));
    }

    #[test]
    fn a_removed_entry_is_a_gap(chain in any_chain(), at in any::<prop::sample::Index>()) {
        let at = at.index(chain.len());
        let mut touched = rows(&chain);
        touched.remove(at);
        let result = followed(&touched, Some(head_of(&chain)));
        let broken = result.unwrap_err();
        if at + 1 < chain.len() {
            prop_assert_eq!((broken.kind, broken.sequence), (BreakKind::Gap, at as u64 + 2));
            prop_assert_eq!(broken.message, format!("entry {} is missing", at + 1));
        } else {
            prop_assert_eq!((broken.kind, broken.sequence), (BreakKind::HeadMissing, at as u64 + 1));
            prop_assert!(followed(&touched, None).is_ok());
        }
    }

    #[test]
    fn a_truncated_end_shows_against_a_noted_head_alone(chain in any_chain(), keep in any::<prop::sample::Index>()) {
        let keep = keep.index(chain.len());
        let touched = &rows(&chain)[..keep];
        prop_assert_eq!(followed(touched, None), Ok(keep as u64));
        let broken = followed(touched, Some(head_of(&chain))).unwrap_err();
        prop_assert_eq!((broken.kind, broken.sequence), (BreakKind::HeadMissing, chain.len() as u64));
    }

    #[test]
    fn swapped_rows_and_swapped_texts_are_found(chain in any_chain(), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let (a, b) = (a.index(chain.len()), b.index(chain.len()));
        prop_assume!(a != b);
        let first = a.min(b);
        let mut touched = rows(&chain);
        touched.swap(a, b);
        let broken = followed(&touched, None).unwrap_err();
        prop_assert_eq!(broken.kind, BreakKind::Gap);
        prop_assert_eq!(broken.sequence, a.max(b) as u64 + 1);
        // The rows stay in their places and hold each other's text.
        for row in [a, b] {
            touched[row].0.sequence = row as u64 + 1;
        }
        let broken = followed(&touched, None).unwrap_err();
        prop_assert_eq!((broken.kind, broken.sequence), (BreakKind::Mislabelled, first as u64 + 1));
    }

    #[test]
    fn an_inserted_entry_is_found(chain in any_chain(), at in any::<prop::sample::Index>(), renumbered in any::<bool>()) {
        let at = at.index(chain.len());
        let entry = forged(&chain[at], &chain[at].sha256, at as u64 + 2);
        let mut touched = rows(&chain);
        touched.insert(at + 1, (entry.clone(), labels(&entry)));
        if renumbered {
            // The rest moved up by one in its rows, as a clumsy hand would do.
            for (place, row) in touched.iter_mut().enumerate().skip(at + 2) {
                row.0.sequence = place as u64 + 1;
            }
        }
        let noted = followed(&touched, Some(head_of(&chain)));
        if at + 1 == chain.len() {
            // Appended by another hand, well-formed: it is a new head, and the old one holds.
            prop_assert!(noted.is_ok());
        } else {
            let broken = noted.unwrap_err();
            let kind = if at + 2 == chain.len() {
                // The last entry's number is the noted head's, and the forged one has it.
                BreakKind::HeadDiffers
            } else if renumbered {
                BreakKind::Mislabelled
            } else {
                BreakKind::OutOfOrder
            };
            let sequence = match kind {
                BreakKind::Mislabelled => at as u64 + 3,
                _ => at as u64 + 2,
            };
            prop_assert_eq!((broken.kind, broken.sequence), (kind, sequence));
        }
    }

    #[test]
    fn changed_labels_are_found(chain in any_chain(), at in any::<prop::sample::Index>(), which in 0..7) {
        let at = at.index(chain.len());
        let mut touched = rows(&chain);
        let (entry, labels) = &mut touched[at];
        let mut kind = BreakKind::Mislabelled;
        match which {
            0 => labels.at += TimeDelta::microseconds(1),
            1 => labels.kind.push('x'),
            2 => labels.cluster = Some(format!("{}x", labels.cluster.clone().unwrap_or_default())),
            3 => labels.copy = Some("other".to_owned()),
            4 => labels.run_id = Some(Uuid::max()),
            5 => entry.previous = "f".repeat(64),
            _ => {
                entry.sha256 = "f".repeat(64);
                kind = BreakKind::Altered;
            }
        }
        let broken = followed(&touched, None).unwrap_err();
        prop_assert_eq!((broken.kind, broken.sequence), (kind, at as u64 + 1));
    }
}

#[test]
fn texts_of_another_spelling_are_no_entries() {
    let entry = sealed(&one_of_each()).remove(0);
    for (from, to) in [
        (r#""sequence":1"#, r#""sequence": 1"#),
        (r#""sequence":1"#, r#""sequence":1.0"#),
        (r#""sequence":1"#, r#""sequence":1,"sequence":1"#),
        (LEDGER_ENTRY_SCHEMA, "walproof.dev/ledger-entry/v2"),
        ("backup-1", "backup\\u002d1"),
    ] {
        let text = entry.text.replace(from, to);
        assert_ne!(text, entry.text);
        let other = LedgerEntry {
            sha256: sha256_hex(text.as_bytes()),
            text,
            ..entry.clone()
        };
        let broken = Walk::new().step(&other).unwrap_err();
        assert_eq!(broken.kind, BreakKind::NotCanonical, "{to}");
    }
}

#[test]
fn an_extract_is_followed_where_neighbours_are_there() {
    let chain = sealed(&one_of_each());
    let mut walk = Walk::from(2, &chain[1].previous).with_gaps();
    for at in [1, 2, 5, 6, 9] {
        walk.step(&chain[at]).unwrap();
    }
    assert_eq!(walk.count(), 5);
    // Neighbours must fit; what is out of order is found even here.
    let mut forged_next = Walk::from(2, &chain[1].previous).with_gaps();
    forged_next.step(&chain[1]).unwrap();
    let wrong = forged(&chain[2], &"a".repeat(64), 3);
    assert_eq!(
        forged_next.step(&wrong).unwrap_err().kind,
        BreakKind::WrongPrevious
    );
    assert_eq!(
        walk.step(&chain[3]).unwrap_err().kind,
        BreakKind::OutOfOrder
    );
}
