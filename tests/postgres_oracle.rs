//! What we read of PostgreSQL's own files equals what PostgreSQL's own tools read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod oracle;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use oracle::server::{Installation, Server, pg_waldump};
use oracle::waldump::{self, Line};
use oracle::{segments, workload};
use walproof::postgres::wal::{
    WalEvent, WalFault, WalPiece, WalPosition, WalStream, WalStreamOptions, first_record,
    read_first_page,
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
    commits: Vec<(u32, DateTime<Utc>)>,
    position: WalPosition,
    fault: Option<WalFault>,
}

/// Where the first record of the oldest segment begins.
fn first_lsn(server: &Server) -> Lsn {
    let oldest = segments(&server.pg_wal(), TimelineId::FIRST, server.segment_size);
    let bytes = std::fs::read(&oldest[0].1).unwrap();
    first_record(&bytes).unwrap().unwrap()
}

/// A directory's segments along a timeline path from the oldest on, each from the newest
/// timeline that has it, as recovery takes them, and how to read them.
fn segments_of(
    pg_wal: &Path,
    history: &TimelineHistory,
    size: SegmentSize,
) -> (WalStreamOptions, Vec<(SegmentNumber, PathBuf)>) {
    let mut timelines: Vec<TimelineId> = vec![history.timeline];
    timelines.extend(history.ancestors.iter().rev().map(|entry| entry.timeline));
    let mut all = BTreeMap::new();
    for timeline in timelines {
        for (number, path) in segments(pg_wal, timeline, size) {
            all.entry(number).or_insert(path);
        }
    }
    let (first, path) = all.first_key_value().unwrap();
    let bytes = std::fs::read(path).unwrap();
    let options = WalStreamOptions {
        segment_size: size,
        system_id: Some(read_first_page(&bytes).unwrap().system_id),
        history: history.clone(),
        start: first_record(&bytes).unwrap().unwrap(),
    };
    let mut due = *first;
    all.retain(|number, _| {
        let follows = *number == due;
        due = if follows { due.next() } else { due };
        follows
    });
    (options, all.into_iter().collect())
}

/// Reads a directory's segments in sequence and in pieces, which must be the same.
fn read(pg_wal: &Path, history: &TimelineHistory, size: SegmentSize) -> Reading {
    let (options, segments) = segments_of(pg_wal, history, size);
    let mut stream = WalStream::new(options.clone());
    let mut reading = Reading {
        lines: Vec::new(),
        measures: Vec::new(),
        commits: Vec::new(),
        position: stream.position(),
        fault: None,
    };
    for (number, path) in &segments {
        let bytes = std::fs::read(path).unwrap();
        let (lines, measures) = (&mut reading.lines, &mut reading.measures);
        let commits = &mut reading.commits;
        let result = stream.push_segment(*number, &bytes, &mut |record| {
            lines.push(waldump::describe(record));
            if let Some(WalEvent::Commit { xid, time, .. }) = record.event() {
                commits.push((xid, time));
            }
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
    let (lines, position, fault) = read_in_pieces(options, &segments);
    assert_same(&lines, &reading.lines);
    assert_eq!((position, &fault), (reading.position, &reading.fault));
    reading
}

/// Reads the segments by two threads, each every second one, and joins them.
fn read_in_pieces(
    options: WalStreamOptions,
    segments: &[(SegmentNumber, PathBuf)],
) -> (Vec<Line>, WalPosition, Option<WalFault>) {
    let mut stream = WalStream::new(options);
    let options = stream.piece_options();
    let work = |which: usize| {
        let chosen = segments.iter().skip(which).step_by(2);
        let read = chosen.map(|(number, path)| {
            let mut lines = Vec::new();
            let bytes = std::fs::read(path).unwrap();
            let piece = WalPiece::read(&options, *number, &bytes, &mut |record| {
                lines.push(waldump::describe(record));
            });
            (piece, lines)
        });
        read.collect::<Vec<_>>().into_iter()
    };
    let [mut even, mut odd] = std::thread::scope(|scope| {
        let odd = scope.spawn(|| work(1));
        [work(0), odd.join().unwrap()]
    });
    let mut lines = Vec::new();
    while let Some((piece, own)) = even.next() {
        let result = stream.join(piece, &mut |record| lines.push(waldump::describe(record)));
        if stream.adopted() {
            lines.extend(own);
        }
        if let Err(fault) = result {
            return (lines, stream.position(), Some(fault));
        }
        std::mem::swap(&mut even, &mut odd);
    }
    (lines, stream.position(), None)
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
fn lives_alike(installation: Installation, mebibytes: u64) {
    let size = SegmentSize::new(mebibytes << 20).unwrap();
    let server = Server::create(installation, size);
    workload::mixed(&server);
    server.stop("immediate");
    server.start();
    workload::transactions(&server);
    server.sql("alter system set max_connections = 120");
    server.sql("alter system set wal_level = logical");
    switch_off_full_pages(&server);
    server.stop("fast");
    server.start();
    workload::logical(&server);
    cut_off_a_record(&server);
    let label = server.backup_label("nightly");
    let inspect = server.sql("select 1 from pg_available_extensions where name = 'pg_walinspect'");
    server.sql("create table last (id int)");

    // The server's own view of each record's end and parts, while it still is on timeline 1.
    let inspected = if inspect == "1" {
        server.sql("create extension pg_walinspect");
        server.sql(&format!(
            "select start_lsn, end_lsn, main_data_length, fpi_length
             from pg_get_wal_records_info('{}', pg_current_wal_flush_lsn())",
            first_lsn(&server)
        ))
    } else {
        assert!(server.installation().major < 15 || server.installation().has("pg_waldump"));
        String::new()
    };
    check_backup_label(&server, &label);
    server.stop("fast");

    let pg_wal = server.pg_wal();
    let first = TimelineHistory::first();
    let ours = read(&pg_wal, &first, size);
    let begin = ours.lines[0].start.to_string();
    if server.installation().has("pg_waldump") {
        let (theirs, _) = pg_waldump(server.installation(), &pg_wal, &["-s", &begin]);
        assert_same(&ours.lines, &waldump::parse(&theirs));
    }
    assert!(
        ours.fault
            .as_ref()
            .is_none_or(WalFault::looks_like_end_of_wal),
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
        "CREATE_FILE_COPY",
        "DROP",
        "TRUNCATE",
        "UPDATE",
        "OVERWRITE_CONTRECORD",
        "FPW_CHANGE",
    ] {
        let seen = ours.lines.iter().filter_map(|line| line.event.as_ref());
        let count = seen
            .filter(|event| event.split(' ').next() == Some(kind))
            .count();
        assert!(count > 0, "the workload made no {kind}");
    }
    for (manager, kind) in [
        ("Storage", "CREATE"),
        ("Storage", "TRUNCATE"),
        ("Heap", "TRUNCATE"),
        ("RelMap", "UPDATE"),
        ("Tablespace", "DROP"),
        ("Database", "DROP"),
    ] {
        let made = ours.lines.iter().any(|line| {
            let event = line.event.as_deref().unwrap_or_default();
            line.resource_manager == manager && event.starts_with(kind)
        });
        assert!(made, "the workload made no {kind} of {manager}");
    }

    let inspected: Vec<&str> = inspected.lines().collect();
    assert!(
        inspect.is_empty() || inspected.len() + 50 > ours.lines.len(),
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
    if server.installation().has("pg_waldump") {
        let from = switch.to_string();
        let (child, _) = pg_waldump(server.installation(), &pg_wal, &["-t", "2", "-s", &from]);
        let mut expected = ours.lines.clone();
        expected.extend(waldump::parse(&child));
        assert_same(&both.lines, &expected);
    }
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
    server.start();
    check_commit_times(&server, &both.commits);
    check_control_functions(&server);
}

/// The server itself remembers when each transaction committed.
fn check_commit_times(server: &Server, commits: &[(u32, DateTime<Utc>)]) {
    let xids: Vec<String> = commits.iter().map(|(xid, _)| xid.to_string()).collect();
    let theirs = server.sql(&format!(
        "select to_char(pg_xact_commit_timestamp(xid::text::xid) at time zone 'UTC',
             'YYYY-MM-DD HH24:MI:SS.US')
         from unnest('{{{}}}'::bigint[]) with ordinality as u (xid, n) order by n",
        xids.join(",")
    ));
    // Those of initdb, before the server kept times, come first and have none.
    let theirs: Vec<&str> = theirs.lines().filter(|line| !line.is_empty()).collect();
    assert!(theirs.len() > 400, "{} commit times", theirs.len());
    for ((xid, time), their) in commits.iter().rev().zip(theirs.iter().rev()) {
        let our = time.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
        assert_eq!(our, *their, "commit of {xid}");
    }
}

/// The control file against the functions that read it in the running server.
fn check_control_functions(server: &Server) {
    let theirs = server.sql(
        "select system_identifier, pg_control_version, catalog_version_no, checkpoint_lsn, redo_lsn,
             timeline_id, prev_timeline_id, full_page_writes, next_xid,
             extract(epoch from checkpoint_time)::bigint, min_recovery_end_lsn,
             min_recovery_end_timeline, backup_start_lsn, backup_end_lsn,
             end_of_backup_record_required, database_block_size, blocks_per_segment,
             wal_block_size, bytes_per_wal_segment, data_page_checksum_version,
             current_setting('wal_level'), current_setting('wal_log_hints'),
             current_setting('max_connections'), current_setting('max_worker_processes'),
             current_setting('max_wal_senders'), current_setting('max_prepared_transactions'),
             current_setting('max_locks_per_transaction'),
             current_setting('track_commit_timestamp')
         from pg_control_system(), pg_control_checkpoint(), pg_control_recovery(),
             pg_control_init()",
    );
    let bytes = std::fs::read(server.data().join("global/pg_control")).unwrap();
    let file = ControlFile::parse(&bytes).unwrap();
    let letter = |value: bool| if value { "t" } else { "f" };
    let on = |value: bool| if value { "on" } else { "off" };
    let point = file.checkpoint;
    let ours: [&dyn std::fmt::Display; 28] = [
        &file.system_id,
        &file.control_version,
        &file.catalog_version,
        &file.checkpoint_lsn,
        &point.redo,
        &point.timeline,
        &point.previous_timeline,
        &letter(point.full_page_writes),
        &format!("{}:{}", point.next_xid >> 32, point.next_xid & 0xFFFF_FFFF),
        &point.time.timestamp(),
        &file.min_recovery_point,
        &file.min_recovery_point_timeline,
        &file.backup_start,
        &file.backup_end,
        &letter(file.backup_end_required),
        &file.block_size,
        &file.relation_segment_blocks,
        &file.wal_block_size,
        &file.segment_size.bytes(),
        &file.data_checksum_version,
        &file.wal_level,
        &on(file.wal_log_hints),
        &file.max_connections,
        &file.max_worker_processes,
        &file.max_wal_senders,
        &file.max_prepared_transactions,
        &file.max_locks_per_transaction,
        &on(file.track_commit_timestamp),
    ];
    let ours: Vec<String> = ours.iter().map(ToString::to_string).collect();
    assert_eq!(ours, theirs.split('\t').collect::<Vec<_>>());
    assert_eq!(file.major(), Some(server.installation().major));
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

fn check_backup_label(server: &Server, text: &str) {
    let label = BackupLabel::parse(text.as_bytes()).unwrap();
    assert_eq!(label.label, "nightly");
    assert_eq!(label.method, "streamed");
    assert!(!label.from_standby);
    assert!(label.start_time.as_ref().unwrap().utc.is_some());
    // It is archived in the server's own time.
    let find = || {
        std::fs::read_dir(server.archive())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "backup")
                    && path.metadata().unwrap().len() > 0
            })
    };
    let mut history = find();
    for _ in 0..200 {
        if history.is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        history = find();
    }
    let history = history.expect("the backup history file is archived");
    let history = BackupHistory::parse(&std::fs::read(history).unwrap()).unwrap();
    assert_eq!(history.label, label);
    assert!(history.stop_lsn > label.checkpoint);
}

/// Every field of ours has `pg_controldata`'s value.
fn check_control_file(server: &Server) {
    if !server.installation().has("pg_controldata") {
        return;
    }
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
    assert_eq!(file.major(), Some(server.installation().major));
}

#[test]
fn records_equal_pg_waldump_with_1_mib_segments() {
    lives_alike(Installation::debian(), 1);
}

#[test]
fn records_equal_pg_waldump_with_16_mib_segments() {
    lives_alike(Installation::debian(), 16);
}

#[test]
fn records_equal_pg_waldump_with_64_mib_segments() {
    lives_alike(Installation::debian(), 64);
}

/// Bytes changed anywhere within records and page headers: both stop behind the same record.
#[test]
fn damage_stops_pg_waldump_at_the_same_record() {
    let size = SegmentSize::new(1 << 20).unwrap();
    let server = Server::create(Installation::debian(), size);
    workload::transactions(&server);
    server.stop("fast");
    let (options, segments) = segments_of(&server.pg_wal(), &TimelineHistory::first(), size);
    let healthy = read(&server.pg_wal(), &TimelineHistory::first(), size);
    // pg_waldump runs as the server's user and reads these copies.
    let directory = tempfile::tempdir().unwrap();
    let readable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), readable).unwrap();
    for (_, path) in &segments {
        let copy = directory.path().join(path.file_name().unwrap());
        std::fs::write(copy, std::fs::read(path).unwrap()).unwrap();
    }
    let (mut crc, mut others) = (0, 0);
    for round in 0..120_u64 {
        // Spread over the range without a pattern; every fourth hits a page's header.
        let length = healthy.position.end.bytes() - options.start.bytes();
        let mut at = options.start.bytes() + round.wrapping_mul(0x9E37_79B9_7F4A_7C15) % length;
        if round % 4 == 0 {
            at = at / 8192 * 8192 + [0, 2, 9, 16, 17, 18][usize::try_from(round / 4 % 6).unwrap()];
        }
        let number = size.segment_of(Lsn::new(at));
        let (_, source) = segments.iter().find(|(other, _)| *other == number).unwrap();
        let target = directory.path().join(source.file_name().unwrap());
        let whole = std::fs::read(source).unwrap();
        let mut bytes = whole.clone();
        bytes[usize::try_from(at % size.bytes()).unwrap()] ^= 1 << (round % 8);
        std::fs::write(&target, &bytes).unwrap();

        // From some records before.
        let before = healthy
            .lines
            .partition_point(|line| line.start.bytes() <= at);
        let first = healthy.lines[before.saturating_sub(60)].start;
        let mut stream = WalStream::new(WalStreamOptions {
            start: first,
            ..options.clone()
        });
        let mut starts = Vec::new();
        let mut fault = None;
        for (other, path) in &segments {
            if *other == stream.next_segment() && starts.len() < 200 && fault.is_none() {
                let path = directory.path().join(path.file_name().unwrap());
                let bytes = std::fs::read(path).unwrap();
                let result = stream.push_segment(*other, &bytes, &mut |record| {
                    starts.push(record.start);
                    if starts.len() < 200 {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                });
                fault = result.err();
            }
        }
        let start = first.to_string();
        let arguments = ["-s", &start, "-n", "200"];
        let (text, error) = pg_waldump(server.installation(), directory.path(), &arguments);
        let theirs: Vec<Lsn> = waldump::parse(&text)
            .iter()
            .map(|line| line.start)
            .collect();
        assert_eq!(starts, theirs, "{} {fault:?} {error}", Lsn::new(at));
        assert_eq!(fault.is_some(), !error.is_empty(), "{fault:?} {error}");
        if let Some(WalFault::BadCrc { lsn, .. }) = fault {
            let words = "incorrect resource manager data checksum in record at ";
            let their: Lsn = error
                .split(words)
                .nth(1)
                .expect(&error)
                .trim()
                .parse()
                .unwrap();
            assert_eq!(lsn, their);
            crc += 1;
        } else if fault.is_some() {
            others += 1;
        }
        std::fs::write(&target, &whole).unwrap();
    }
    assert!(crc > 60 && others > 10, "{crc} checksums, {others} others");
}

/// The directories with other majors' programs are told by `WALPROOF_TEST_SERVERS`,
/// separated by colons. Each has initdb, pg_ctl and postgres; with pg_waldump or the
/// extension pg_walinspect, records are compared with those as well.
#[test]
#[ignore = "needs WALPROOF_TEST_SERVERS"]
fn other_majors_are_read_alike() {
    let paths = std::env::var("WALPROOF_TEST_SERVERS").unwrap();
    for path in paths.split(':') {
        let installation = Installation::at(Path::new(path));
        println!("PostgreSQL {} in {path}", installation.major);
        lives_alike(installation, 1);
    }
}
