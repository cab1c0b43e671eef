//! What we read of PostgreSQL's own files equals what PostgreSQL's own tools read.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod oracle;

use std::ops::ControlFlow;
use std::path::Path;

use oracle::server::{Server, pg_waldump};
use oracle::waldump::{self, Line};
use oracle::{segments, workload};
use walproof::postgres::wal::{
    WalFault, WalPosition, WalStream, WalStreamOptions, first_record, read_first_page,
};
use walproof::postgres::{
    BackupHistory, BackupLabel, ControlFile, Lsn, SegmentNumber, SegmentSize, TimelineHistory,
    TimelineId,
};

/// What our reader makes of a `pg_wal` directory.
struct Reading {
    lines: Vec<Line>,
    /// End, bytes of main data, bytes of page images of each record.
    measures: Vec<(Lsn, usize, usize)>,
    position: WalPosition,
    fault: Option<WalFault>,
}

/// Where the first record of the oldest segment begins.
fn first_lsn(server: &Server) -> Lsn {
    let oldest = segments(&server.pg_wal(), TimelineId::FIRST, server.segment_size);
    let bytes = std::fs::read(&oldest[0].1).unwrap();
    first_record(&bytes).unwrap().unwrap()
}

/// Reads a directory's segments along a timeline path, taking each from the newest
/// timeline that has it, as recovery does.
fn read(pg_wal: &Path, history: &TimelineHistory, size: SegmentSize) -> Reading {
    let first = segments(pg_wal, TimelineId::FIRST, size);
    let bytes = std::fs::read(&first[0].1).unwrap();
    let start = first_record(&bytes).unwrap().unwrap();
    let mut stream = WalStream::new(WalStreamOptions {
        segment_size: size,
        system_id: Some(read_first_page(&bytes).unwrap().system_id),
        history: history.clone(),
        start,
    });
    let mut reading = Reading {
        lines: Vec::new(),
        measures: Vec::new(),
        position: stream.position(),
        fault: None,
    };
    let mut timelines: Vec<TimelineId> = vec![history.timeline];
    timelines.extend(history.ancestors.iter().rev().map(|entry| entry.timeline));
    let per_timeline: Vec<_> = timelines
        .iter()
        .map(|timeline| segments(pg_wal, *timeline, size))
        .collect();
    let find = |number: SegmentNumber| {
        per_timeline
            .iter()
            .flatten()
            .find(|(candidate, _)| *candidate == number)
            .map(|(_, path)| path)
    };
    while let Some(path) = find(stream.next_segment()) {
        let bytes = std::fs::read(path).unwrap();
        let (lines, measures) = (&mut reading.lines, &mut reading.measures);
        let result = stream.push_segment(stream.next_segment(), &bytes, &mut |record| {
            lines.push(waldump::describe(record));
            let images = record.blocks().filter_map(|block| block.image);
            let images = images.map(|image| usize::from(image.length)).sum();
            measures.push((record.end, record.main_data().len(), images));
            ControlFlow::Continue(())
        });
        if let Err(fault) = result {
            reading.fault = Some(fault);
            break;
        }
    }
    reading.position = stream.position();
    reading
}

/// Both lists are equal; the first difference is shown with what stands around it.
fn assert_same(ours: &[Line], theirs: &[Line]) {
    for (index, (our, their)) in ours.iter().zip(theirs).enumerate() {
        let before = ours.get(index.saturating_sub(1));
        assert_eq!(our, their, "record {index}, after {before:?}");
    }
    assert_eq!(ours.len(), theirs.len(), "number of records");
}

/// A whole life: load, switches, a crash, a record that the crash cut off, changed
/// settings, a base backup, and a promotion.
fn lives_alike(mebibytes: u64) {
    let size = SegmentSize::new(mebibytes << 20).unwrap();
    let server = Server::create(size);
    workload::mixed(&server);
    server.stop("immediate");
    server.start();
    workload::transactions(&server);
    server.sql("alter system set max_connections = 120");
    switch_off_full_pages(&server);
    server.stop("fast");
    server.start();
    cut_off_a_record(&server);
    let base = server.pg_basebackup("nightly");
    server.sql("create extension pg_walinspect; create table last (id int)");

    // The server's own view of each record's end and parts, while it still is on timeline 1.
    let inspected = server.sql(&format!(
        "select start_lsn, end_lsn, main_data_length, fpi_length
         from pg_get_wal_records_info_till_end_of_wal('{}')",
        first_lsn(&server)
    ));
    check_base_backup(&server, &base);
    server.stop("fast");

    let pg_wal = server.pg_wal();
    let first = TimelineHistory::first();
    let ours = read(&pg_wal, &first, size);
    let begin = ours.lines[0].start.to_string();
    let (theirs, words) = pg_waldump(&pg_wal, &["-s", &begin]);
    let theirs = waldump::parse(&theirs);
    assert_same(&ours.lines, &theirs);
    assert!(
        words.contains(&format!("at {}", ours.position.end)),
        "{words}"
    );
    assert!(
        matches!(ours.fault, None | Some(WalFault::UnexpectedZeros { .. })),
        "{:?}",
        ours.fault
    );
    for kind in [
        "COMMIT",
        "COMMIT_PREPARED",
        "ABORT",
        "ABORT_PREPARED",
        "PREPARE",
        "CHECKPOINT_ONLINE",
        "CHECKPOINT_SHUTDOWN",
        "SWITCH",
        "RESTORE_POINT",
        "BACKUP_END",
        "PARAMETER_CHANGE",
        "CREATE",
        "DROP",
        "OVERWRITE_CONTRECORD",
        "FPW_CHANGE",
    ] {
        let seen = ours.lines.iter().filter_map(|line| line.event.as_ref());
        let count = seen
            .filter(|event| event.split(' ').next() == Some(kind))
            .count();
        assert!(count > 0, "the workload made no {kind}");
    }

    let inspected: Vec<&str> = inspected.lines().collect();
    assert!(
        inspected.len() + 50 > ours.lines.len(),
        "{} inspected",
        inspected.len()
    );
    for (index, line) in inspected.iter().enumerate() {
        let (end, main, images) = ours.measures[index];
        let expected = format!("{}\t{end}\t{main}\t{images}", ours.lines[index].start);
        assert_eq!(expected, *line);
    }

    check_control_file(&server);
    let control =
        ControlFile::parse(&std::fs::read(server.data().join("global/pg_control")).unwrap())
            .unwrap();
    assert_eq!(ours.position.last_record, Some(control.checkpoint_lsn));

    // A standby without a primary replays to where we say, and is promoted there.
    server.signal("standby.signal");
    server.start();
    let replayed = wait_for_replay(&server, ours.position.end);
    assert_eq!(replayed, ours.position.end);
    server.promote();
    server.sql("create table after_promotion as select generate_series(1, 1000)");
    server.pgbench(&["-n", "-c", "2", "-t", "50"]);
    server.stop("fast");

    let text = std::fs::read(pg_wal.join("00000002.history")).unwrap();
    let second = TimelineHistory::parse(TimelineId(2), &text).unwrap();
    let switch = second.parent().unwrap().switch_lsn;
    assert_eq!(switch, ours.position.end);
    let both = read(&pg_wal, &second, size);
    let (child, _) = pg_waldump(&pg_wal, &["-t", "2", "-s", &switch.to_string()]);
    let mut expected = ours.lines.clone();
    expected.extend(waldump::parse(&child));
    assert_same(&both.lines, &expected);
    assert!(both.lines.len() > ours.lines.len() + 100);
    assert!(
        both.lines[ours.lines.len()]
            .event
            .as_ref()
            .is_some_and(|event| event.contains("END_OF_RECOVERY")
                || event.contains("CHECKPOINT_SHUTDOWN")
                || event.contains("FPW_CHANGE"))
    );
    check_control_file(&server);
}

/// The checkpointer takes note of the setting in its own time.
fn switch_off_full_pages(server: &Server) {
    server.sql("alter system set full_page_writes = off");
    server.sql("select pg_reload_conf()");
    for _ in 0..100 {
        server.sql("checkpoint");
        if server.sql("select full_page_writes from pg_control_checkpoint()") == "f" {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("full_page_writes was not switched off");
}

/// Crashes in the middle of a record that goes on into a segment that is then lost.
fn cut_off_a_record(server: &Server) {
    let size = server.segment_size;
    server.sql("select pg_switch_wal()");
    server.sql("checkpoint");
    let before: Lsn = server
        .sql("select pg_current_wal_insert_lsn()")
        .parse()
        .unwrap();
    let length = size.bytes() + 100_000;
    server.sql(&format!(
        "select pg_logical_emit_message(false, 'cut', repeat('c', {length}))"
    ));
    server.stop("immediate");
    for (number, path) in segments(&server.pg_wal(), TimelineId::FIRST, size) {
        if number > size.segment_of(before) {
            std::fs::remove_file(path).unwrap();
        }
    }
    server.start();
}

/// Waits until a standby has replayed `end`, or stopped moving short of it.
fn wait_for_replay(server: &Server, end: Lsn) -> Lsn {
    let mut replayed = Lsn::INVALID;
    for _ in 0..100 {
        replayed = server
            .sql("select pg_last_wal_replay_lsn()")
            .parse()
            .unwrap();
        if replayed >= end {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    replayed
}

fn check_base_backup(server: &Server, base: &Path) {
    let label = BackupLabel::parse(&std::fs::read(base.join("backup_label")).unwrap()).unwrap();
    assert_eq!(label.label, "nightly");
    assert_eq!(label.method, "streamed");
    assert!(!label.from_standby);
    assert!(label.start_time.as_ref().unwrap().utc.is_some());
    let history = std::fs::read_dir(server.archive())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "backup")
        })
        .unwrap();
    let history = BackupHistory::parse(&std::fs::read(history).unwrap()).unwrap();
    assert_eq!(history.label, label);
    assert!(history.stop_lsn > label.checkpoint);
}

/// Every field of ours has `pg_controldata`'s value.
fn check_control_file(server: &Server) {
    let text = server.pg_controldata();
    let theirs = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or_else(|| panic!("pg_controldata has no {name:?}"))
            .trim()
            .to_owned()
    };
    let bytes = std::fs::read(server.data().join("global/pg_control")).unwrap();
    let file = ControlFile::parse(&bytes).unwrap();
    let time =
        |time: chrono::DateTime<chrono::Utc>| time.format("%a %b %e %H:%M:%S %Y").to_string();
    let yes = |value: bool| if value { "yes" } else { "no" }.to_owned();
    let on = |value: bool| if value { "on" } else { "off" }.to_owned();
    for (name, ours) in [
        (
            "pg_control version number",
            file.control_version.to_string(),
        ),
        ("Catalog version number", file.catalog_version.to_string()),
        ("Database system identifier", file.system_id.to_string()),
        ("Database cluster state", file.state.to_string()),
        ("pg_control last modified", time(file.time)),
        (
            "Latest checkpoint location",
            file.checkpoint_lsn.to_string(),
        ),
        ("Latest checkpoint's REDO location", file.redo().to_string()),
        (
            "Latest checkpoint's TimeLineID",
            file.timeline().to_string(),
        ),
        (
            "Latest checkpoint's PrevTimeLineID",
            file.previous_timeline().to_string(),
        ),
        (
            "Latest checkpoint's full_page_writes",
            on(file.checkpoint.full_page_writes),
        ),
        (
            "Latest checkpoint's NextXID",
            format!(
                "{}:{}",
                file.checkpoint.next_xid >> 32,
                file.checkpoint.next_xid & 0xFFFF_FFFF
            ),
        ),
        ("Time of latest checkpoint", time(file.checkpoint.time)),
        (
            "Minimum recovery ending location",
            file.min_recovery_point.to_string(),
        ),
        (
            "Min recovery ending loc's timeline",
            file.min_recovery_point_timeline.to_string(),
        ),
        ("Backup start location", file.backup_start.to_string()),
        ("Backup end location", file.backup_end.to_string()),
        (
            "End-of-backup record required",
            yes(file.backup_end_required),
        ),
        ("wal_level setting", file.wal_level.to_string()),
        ("wal_log_hints setting", on(file.wal_log_hints)),
        ("max_connections setting", file.max_connections.to_string()),
        (
            "max_worker_processes setting",
            file.max_worker_processes.to_string(),
        ),
        ("max_wal_senders setting", file.max_wal_senders.to_string()),
        (
            "max_prepared_xacts setting",
            file.max_prepared_transactions.to_string(),
        ),
        (
            "max_locks_per_xact setting",
            file.max_locks_per_transaction.to_string(),
        ),
        (
            "track_commit_timestamp setting",
            on(file.track_commit_timestamp),
        ),
        ("Database block size", file.block_size.to_string()),
        (
            "Blocks per segment of large relation",
            file.relation_segment_blocks.to_string(),
        ),
        ("WAL block size", file.wal_block_size.to_string()),
        (
            "Bytes per WAL segment",
            file.segment_size.bytes().to_string(),
        ),
        (
            "Data page checksum version",
            file.data_checksum_version.to_string(),
        ),
    ] {
        assert_eq!(ours, theirs(name), "{name}");
    }
    assert_eq!(file.major(), Some(15));
}

#[test]
fn records_equal_pg_waldump_with_1_mib_segments() {
    lives_alike(1);
}

#[test]
fn records_equal_pg_waldump_with_16_mib_segments() {
    lives_alike(16);
}

#[test]
fn records_equal_pg_waldump_with_64_mib_segments() {
    lives_alike(64);
}
