use super::*;

fn postgres(severity: &str, backend: &str, message: &str) -> Said {
    Said::Postgres {
        line: PostgresLine {
            severity: severity.into(),
            message: message.into(),
            detail: None,
            hint: None,
            sql_state: Some("XX000".into()),
            time: None,
            in_job: true,
        },
        backend: backend.into(),
    }
}

fn ended() -> Said {
    postgres(
        "FATAL",
        "startup",
        "recovery ended before configured recovery target was reached",
    )
}

fn segment(number: u32) -> String {
    format!("{:024X}", (1u128 << 64) + u128::from(number))
}

fn verdict(said: &[Said], newest: Option<&str>) -> Trouble {
    let mut attempt = Attempt::default();
    attempt.take(&postgres(
        "LOG",
        "startup",
        "consistent recovery state reached at 0/4000138",
    ));
    for said in said {
        attempt.take(said);
    }
    attempt.verdict("p", &End::default(), newest)
}

#[test]
fn the_same_last_words_are_blamed_by_what_the_last_segment_met() {
    let restored = Said::WalRestored(segment(6));
    let missing = Said::WalMissing(segment(7));
    let away = Said::WalFailed {
        name: Some(segment(7)),
        words: "connectivity failure while executing barman-cloud-wal-restore".into(),
    };
    let refused = Said::WalFailed {
        name: None,
        words: "Barman cloud WAL restore exception: An error occurred (403)".into(),
    };
    let damaged = Said::WalFailed {
        name: Some(segment(7)),
        words: "Expected checksum 9jCFfQ== did not match calculated checksum: TZdXtw==".into(),
    };
    let newest = segment(9);
    for (what, known, class, backup) in [
        (
            &missing,
            Some(newest.as_str()),
            TroubleClass::WalMissing,
            true,
        ),
        (&missing, None, TroubleClass::TargetNotReached, true),
        (
            &missing,
            Some(segment(6).as_str()),
            TroubleClass::TargetNotReached,
            true,
        ),
        (
            &away,
            Some(newest.as_str()),
            TroubleClass::StoreUnreachable,
            false,
        ),
        (&refused, None, TroubleClass::Credentials, false),
        (&damaged, None, TroubleClass::RecoveryFailed, true),
    ] {
        let trouble = verdict(&[restored.clone(), what.clone(), ended()], known);
        assert_eq!(trouble.class, class, "{what:?}");
        assert_eq!(trouble.backup(), backup, "{what:?}");
    }
}

#[test]
fn before_it_is_consistent_it_is_the_base_backup_that_lacks_wal() {
    let mut attempt = Attempt::default();
    for said in [Said::WalMissing(segment(7)), ended()] {
        attempt.take(&said);
    }
    let trouble = attempt.verdict("p", &End::default(), None);
    assert_eq!(trouble.class, TroubleClass::WalMissing);
}

#[test]
fn the_order_of_the_two_containers_does_not_matter() {
    let missing = Said::WalMissing(segment(7));
    let restored = postgres(
        "LOG",
        "startup",
        &format!("restored log file \"{}\" from archive", segment(6)),
    );
    for said in [
        [missing.clone(), restored.clone(), ended()],
        [restored.clone(), ended(), missing.clone()],
        [restored, missing, ended()],
    ] {
        let trouble = verdict(&said, None);
        assert_eq!(trouble.class, TroubleClass::TargetNotReached);
        assert_eq!(trouble.missing_wal, Some(segment(7)));
    }
}

#[test]
fn a_store_that_came_back_is_not_remembered_against_the_archive() {
    let away = Said::WalFailed {
        name: Some(segment(6)),
        words: "connectivity failure".into(),
    };
    let trouble = verdict(
        &[
            away,
            Said::WalRestored(segment(6)),
            Said::WalMissing(segment(7)),
            ended(),
        ],
        None,
    );
    assert_eq!(trouble.class, TroubleClass::TargetNotReached);
}

#[test]
fn the_machine_is_not_the_backup() {
    for (message, class) in [
        (
            "could not write to file \"pg_wal/xlogtemp.35\": No space left on device",
            TroubleClass::OutOfDisk,
        ),
        (
            "could not map anonymous shared memory: Cannot allocate memory",
            TroubleClass::OutOfMemory,
        ),
        (
            "could not access file \"pg_stat_statements\": No such file or directory",
            TroubleClass::Unfit,
        ),
        (
            "recovery aborted because of insufficient parameter settings",
            TroubleClass::Unfit,
        ),
    ] {
        let said = [Said::BaseRestored, postgres("FATAL", "startup", message)];
        let trouble = verdict(&said, None);
        assert_eq!(trouble.class, class, "{message}");
        assert!(!trouble.backup(), "{message}");
    }
    let said = [
        Said::BaseRestored,
        postgres(
            "PANIC",
            "startup",
            "could not locate a valid checkpoint record",
        ),
    ];
    assert_eq!(verdict(&said, None).class, TroubleClass::RecoveryFailed);
}

#[test]
fn early_clients_are_no_failure() {
    let mut early = postgres("FATAL", "", "the database system is starting up");
    if let Said::Postgres { line, .. } = &mut early {
        line.sql_state = Some("57P03".into());
    }
    let mut attempt = Attempt::default();
    attempt.take(&early);
    attempt.take(&postgres(
        "FATAL",
        "client backend",
        "terminating connection",
    ));
    assert!(!attempt.explains());
}

#[test]
fn how_a_pod_ends_can_say_it_all() {
    let end = |reason: &str, pod_reason: &str, pod_message: &str| End {
        code: Some(137),
        reason: reason.into(),
        pod_reason: pod_reason.into(),
        pod_message: pod_message.into(),
    };
    for (end, class) in [
        (end("OOMKilled", "", ""), TroubleClass::OutOfMemory),
        (
            end("Error", "Evicted", "The node was low on resource: memory."),
            TroubleClass::OutOfMemory,
        ),
        (
            end(
                "Error",
                "Evicted",
                "Pod ephemeral local storage usage exceeds",
            ),
            TroubleClass::OutOfDisk,
        ),
        (
            end("Error", "Preempting", "for critical"),
            TroubleClass::PodLost,
        ),
        (end("Error", "", ""), TroubleClass::Unexplained),
    ] {
        assert_eq!(
            Attempt::default().verdict("p", &end, None).class,
            class,
            "{end:?}"
        );
    }
}
