//! Each kind of target ends where it was predicted, and where PostgreSQL's own target of
//! that kind ends.

use walproof::postgres::{Lsn, TimelineId};
use walproof::restore::configuration::RecoveryAction;
use walproof::restore::{ResolveError, RunError, SET_ASIDE, Target, Watch, choose};

use crate::common::repository::{Fixture, RepositoryOptions, TimelineSwitch};
use crate::common::{require, scratch};
use crate::place::{Place, open, replay_until_paused, wish, wish_from};

fn lsn(text: &str, inclusive: bool) -> Target {
    Target::parse_lsn(text, inclusive).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_target_ends_where_the_bytes_and_postgresql_say() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let facts = &fixture.facts;
    let tree = fixture.tree();
    let url = tree.url();
    let catalog = open(&url).catalog().await.unwrap();
    let first = &facts.backups[0].id;
    let middle = facts.moment("middle");
    let tip = facts.tip();

    // One extraction; each target gets a copy of it.
    let origin = Place::new();
    let report = origin
        .restore(
            &url,
            &catalog,
            wish_from(first, Target::Tip),
            RecoveryAction::Pause,
        )
        .await
        .unwrap();
    assert_eq!(report.plan.backup_id, *first);
    let time = middle.time.to_rfc3339();
    let cases = [
        ("tip", Target::Tip, vec![], Some(tip.rows), Some(tip.beats)),
        (
            "time",
            Target::Time(middle.time),
            vec![("recovery_target_time", time.clone())],
            Some(middle.rows),
            Some(middle.beats),
        ),
        (
            "a moment earlier",
            Target::Time(middle.time - chrono::Duration::microseconds(1)),
            vec![(
                "recovery_target_time",
                (middle.time - chrono::Duration::microseconds(1)).to_rfc3339(),
            )],
            Some(middle.rows),
            Some(middle.beats - 1),
        ),
        (
            "lsn",
            lsn(&middle.lsn, true),
            vec![("recovery_target_lsn", middle.lsn.clone())],
            Some(middle.rows),
            Some(middle.beats),
        ),
        (
            "lsn, exclusive",
            lsn(&middle.lsn, false),
            vec![
                ("recovery_target_lsn", middle.lsn.clone()),
                ("recovery_target_inclusive", "off".to_owned()),
            ],
            Some(middle.rows),
            Some(middle.beats),
        ),
        (
            "xid",
            Target::Xid {
                xid: middle.xid,
                inclusive: true,
            },
            vec![("recovery_target_xid", middle.xid.to_string())],
            Some(middle.rows),
            Some(middle.beats),
        ),
        (
            "xid, exclusive",
            Target::Xid {
                xid: middle.xid,
                inclusive: false,
            },
            vec![
                ("recovery_target_xid", middle.xid.to_string()),
                ("recovery_target_inclusive", "off".to_owned()),
            ],
            Some(middle.rows),
            Some(middle.beats - 1),
        ),
        (
            "name",
            Target::Name("middle".to_owned()),
            vec![("recovery_target_name", "middle".to_owned())],
            Some(middle.rows),
            Some(middle.beats),
        ),
        (
            "immediate",
            Target::Immediate,
            vec![("recovery_target", "immediate".to_owned())],
            None,
            None,
        ),
    ];
    for (what, target, native, rows, beats) in cases {
        let choice = choose(
            &open(&url),
            &catalog,
            &wish_from(first, target),
            &Watch::default(),
        )
        .await
        .unwrap();
        let resolved = &choice.resolved;
        let stop = resolved.stop_record.to_string();
        let ours = vec![("recovery_target_lsn", stop)];
        for (by, settings) in [("walproof", ours), ("postgresql", native)] {
            if settings.is_empty() {
                continue;
            }
            let place = Place::new();
            scratch::copy_tree(&origin.data(), &place.data());
            let conf = place.data().join("postgresql.conf");
            let text = std::fs::read_to_string(&conf).unwrap();
            let kept: Vec<&str> = text
                .lines()
                .filter(|line| !line.starts_with("recovery_target_lsn"))
                .collect();
            std::fs::write(&conf, kept.join("\n") + "\n").unwrap();
            let settings: Vec<(&str, &str)> = settings
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let mut server = place.server(&settings);
            let end = replay_until_paused(&mut server);
            assert_eq!(end, resolved.end, "{what}, by {by}\n{}", server.log());
            if let Some(rows) = rows {
                assert_eq!(
                    server.number("select count(*) from ledger"),
                    rows,
                    "{what}, by {by}"
                );
            }
            if let Some(beats) = beats {
                assert_eq!(
                    server.number("select count(*) from heartbeat"),
                    beats,
                    "{what}, by {by}"
                );
            }
            server.crash();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_whole_and_promotes_at_the_tip() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions {
        max_archive_size: Some("4MB".to_owned()),
        ..RepositoryOptions::default()
    });
    let facts = &fixture.facts;
    let tree = fixture.tree();
    let url = tree.url();
    let catalog = open(&url).catalog().await.unwrap();
    let place = Place::new();
    let report = place
        .restore(&url, &catalog, wish(Target::Tip), RecoveryAction::Promote)
        .await
        .unwrap();

    // The newest backup, its several parts, and the server's facts.
    assert_eq!(report.plan.backup_id, facts.backups[1].id);
    assert!(report.extracted.archives.len() > 2, "several parts");
    assert_eq!(
        report.extracted.stored_bytes(),
        catalog.backups[1].stored_bytes()
    );
    assert_eq!(
        report.extracted.facts.control_file.system_id.0,
        facts.system_id
    );
    assert_eq!(report.required.max_prepared_transactions, 4);
    assert_eq!(
        report.expected_recovery_point.unwrap().time,
        facts.tip().time
    );
    assert_eq!(report.expected_recovery_point.unwrap().xid, facts.tip().xid);
    assert!(
        report
            .settings
            .set_aside
            .iter()
            .any(|setting| setting.name == "archive_command")
    );
    let data = place.data();
    assert!(data.join(SET_ASIDE).join("postgresql.conf").is_file());
    assert!(!data.join("postgresql.auto.conf").exists());
    let conf = std::fs::read_to_string(data.join("postgresql.conf")).unwrap();
    assert!(conf.contains("archive_mode = 'off'"), "{conf}");
    let tablespaces = std::fs::read_dir(data.join("pg_tblspc")).unwrap().count();
    assert_eq!(tablespaces, 1);

    let mut server = place.server(&[]);
    server.start();
    server.wait_for_promotion();
    let tip = facts.tip();
    assert_eq!(server.number("select count(*) from ledger"), tip.rows);
    assert_eq!(server.number("select sum(id) from ledger"), tip.sum);
    assert_eq!(
        server.number("select sum(abalance) from pgbench_accounts"),
        facts.balance
    );
    assert_eq!(
        server.number("select count(*) from ledger_far"),
        facts.far_rows
    );
    assert_eq!(server.psql("show archive_mode"), "off");
    assert_eq!(
        server.number("select count(*) from pg_stat_wal_receiver"),
        0
    );
    let location =
        server.psql("select pg_tablespace_location(oid) from pg_tablespace where spcname = 'far'");
    assert!(
        location.starts_with(place.keep.path().to_str().unwrap()),
        "{location}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_switch_is_followed_and_the_abandoned_branch_is_not() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions {
        switch: TimelineSwitch::AbandonedBranch,
        ..RepositoryOptions::default()
    });
    let facts = &fixture.facts;
    let tree = fixture.tree();
    let url = tree.url();
    let catalog = open(&url).catalog().await.unwrap();

    let place = Place::new();
    let report = place
        .restore(&url, &catalog, wish(Target::Tip), RecoveryAction::Pause)
        .await
        .unwrap();
    assert_eq!(report.timeline, TimelineId(2));
    let mut server = place.server(&[]);
    assert_eq!(replay_until_paused(&mut server), report.expected_end);
    assert_eq!(
        server.number("select count(*) from ledger"),
        facts.tip().rows
    );
    let abandoned = "select count(*) from ledger where label = 'abandoned'";
    assert_eq!(server.number(abandoned), 0);

    // The branch is there for who asks for it.
    let side = Place::new();
    let mut asked = wish(Target::Tip);
    asked.timeline = Some(TimelineId(1));
    let report = side
        .restore(&url, &catalog, asked, RecoveryAction::Pause)
        .await
        .unwrap();
    let mut server = side.server(&[]);
    assert_eq!(replay_until_paused(&mut server), report.expected_end);
    assert_eq!(server.number(abandoned), facts.abandoned_rows);

    // Without the history file nobody is led onto it in silence.
    for key in tree.keys() {
        if key.contains(".history") {
            tree.delete(&key);
        }
    }
    let catalog = open(&url).catalog().await.unwrap();
    let error = choose(&open(&url), &catalog, &wish(Target::Tip), &Watch::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, ResolveError::HistoryMissing { timeline, .. } if timeline == TimelineId(2)),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_out_of_reach_are_explained_before_anything_starts() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let facts = &fixture.facts;
    let tree = fixture.tree();
    let url = tree.url();
    let repository = open(&url);
    let catalog = repository.catalog().await.unwrap();
    let watch = Watch::default();
    let second = &facts.backups[1];
    let refuse = async |wish| {
        choose(&repository, &catalog, &wish, &watch)
            .await
            .unwrap_err()
            .to_string()
    };

    // Exactly the last commit's time: PostgreSQL would find no later one to stop at.
    let words = refuse(wish(Target::Time(facts.tip().time))).await;
    assert!(
        words.contains("tip") && words.contains("last commit"),
        "{words}"
    );
    // The end of the last record.
    let tip = choose(&repository, &catalog, &wish(Target::Tip), &watch)
        .await
        .unwrap();
    let words = refuse(wish(lsn(&tip.resolved.end.to_string(), true))).await;
    assert!(
        words.contains(&tip.resolved.stop_record.to_string()),
        "{words}"
    );
    // The begin of that record is the tip itself.
    let same = choose(
        &repository,
        &catalog,
        &wish(lsn(&tip.resolved.stop_record.to_string(), true)),
        &watch,
    )
    .await
    .unwrap();
    assert_eq!(same.resolved.end, tip.resolved.end);

    let words = refuse(wish(Target::Name("nowhere".to_owned()))).await;
    assert!(words.contains("no restore point"), "{words}");
    let words = refuse(wish(Target::Xid {
        xid: 3_000_000_000,
        inclusive: true,
    }))
    .await;
    assert!(words.contains("subtransaction"), "{words}");
    // Before the chosen backup is consistent.
    let middle = facts.moment("first");
    let words = refuse(wish_from(&second.id, Target::Time(middle.time))).await;
    assert!(words.contains("older backup"), "{words}");
    let words = refuse(wish_from("19990101T000000", Target::Tip)).await;
    assert!(words.contains(&second.id), "{words}");

    // Left to itself, walproof takes the older backup.
    for target in [
        Target::Time(middle.time),
        Target::Name("first".to_owned()),
        Target::Xid {
            xid: middle.xid,
            inclusive: true,
        },
        lsn(&middle.lsn, true),
    ] {
        let choice = choose(&repository, &catalog, &wish(target.clone()), &watch)
            .await
            .unwrap();
        assert_eq!(choice.backup.id, facts.backups[0].id, "{target}");
        assert_eq!(choice.passed_over[0].id, second.id, "{target}");
    }

    // A directory that is in use stays as it is.
    let place = Place::new();
    std::fs::create_dir(place.data()).unwrap();
    std::fs::write(place.data().join("mine"), "precious").unwrap();
    let error = place
        .restore(&url, &catalog, wish(Target::Tip), RecoveryAction::Pause)
        .await
        .unwrap_err();
    assert!(error.is_refusal(), "{error}");
    assert!(matches!(error, RunError::Restore(_)));
    assert_eq!(
        std::fs::read_to_string(place.data().join("mine")).unwrap(),
        "precious"
    );
    assert_eq!(
        tip.resolved.begin,
        second.begin_xlog.parse::<Lsn>().unwrap()
    );
}
