//! `pg_waldump`'s lines, and our records in the same words.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use walproof::postgres::Lsn;
use walproof::postgres::wal::{
    DatabaseDirectory, RelationLocator, WalEvent, WalRecord, resource_manager_name,
};

/// One record as both sides see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) resource_manager: String,
    pub(crate) length: usize,
    pub(crate) xid: u32,
    pub(crate) start: Lsn,
    pub(crate) prev: Lsn,
    /// Blocks as `rel 1663/5/2619 fork fsm blk 3 FPW`.
    pub(crate) blocks: Vec<String>,
    /// What it means, for the kinds that we decode.
    pub(crate) event: Option<String>,
}

/// Reads `pg_waldump`'s standard output (15; `WALDUMP` in `pg_waldump.c`).
pub(crate) fn parse(output: &str) -> Vec<Line> {
    output.lines().map(parse_line).collect()
}

fn parse_line(line: &str) -> Line {
    let after = |mark: &str| {
        let (_, rest) = line
            .split_once(mark)
            .unwrap_or_else(|| panic!("no {mark:?} in {line:?}"));
        rest
    };
    let word = |mark: &str, end: char| after(mark).split(end).next().unwrap().trim();
    let resource_manager = word("rmgr: ", ' ').to_owned();
    let description = after("desc: ");
    let (description, blocks) = description
        .split_once(", blkref #")
        .map_or((description, None), |(text, blocks)| (text, Some(blocks)));
    Line {
        length: after("(rec/tot):")
            .split('/')
            .nth(1)
            .and_then(|rest| rest.split(',').next())
            .unwrap()
            .trim()
            .parse()
            .unwrap(),
        xid: word("tx:", ',').parse().unwrap(),
        start: word("lsn: ", ',').parse().unwrap(),
        prev: word("prev ", ',').parse().unwrap(),
        blocks: blocks
            .map(|blocks| blocks.split(", blkref #").map(plain_block).collect())
            .unwrap_or_default(),
        event: event_words(&resource_manager, description.trim_end()),
        resource_manager,
    }
}

fn plain_block(text: &str) -> String {
    let (_, text) = text.split_once(": ").unwrap();
    text.trim().to_owned()
}

/// Keeps of a description what an event of ours says.
fn event_words(resource_manager: &str, text: &str) -> Option<String> {
    let kind = text.split(' ').next().unwrap();
    let parts: Vec<&str> = text.split("; ").collect();
    match (resource_manager, kind) {
        ("Transaction", "COMMIT" | "ABORT" | "COMMIT_PREPARED" | "ABORT_PREPARED") => {
            let rels = parts.iter().find(|part| part.starts_with("rels:"));
            Some(match rels {
                Some(rels) => format!("{}; {rels}", parts[0]),
                None => parts[0].to_owned(),
            })
        }
        ("Transaction", "PREPARE") => Some(parts[0].to_owned()),
        ("XLOG", "CHECKPOINT_SHUTDOWN" | "CHECKPOINT_ONLINE") => {
            let xid = parts.iter().find(|part| part.starts_with("xid ")).unwrap();
            Some(format!("{}; {}; {}; {xid}", parts[0], parts[1], parts[2]))
        }
        // 17 adds the WAL level.
        ("XLOG", "END_OF_RECOVERY") => Some(parts[..3].join("; ")),
        (
            "XLOG",
            "SWITCH"
            | "RESTORE_POINT"
            | "BACKUP_END"
            | "PARAMETER_CHANGE"
            | "FPW_CHANGE"
            | "OVERWRITE_CONTRECORD",
        )
        | ("Tablespace" | "Database", _)
        | ("Storage", "CREATE" | "TRUNCATE")
        | ("RelMap", "UPDATE") => Some(text.to_owned()),
        ("Heap", "TRUNCATE") => {
            // 16 writes "flags: [CASCADE], nrelids: 1, relids: [5]".
            let plain = text.replace(['[', ']', ':', ','], "").to_lowercase();
            let words = plain.split_whitespace().filter(|word| *word != "flags");
            let plain = words.collect::<Vec<_>>().join(" ");
            Some(plain.replacen("truncate", kind, 1))
        }
        _ => None,
    }
}

/// Our record in the same words.
pub(crate) fn describe(record: &WalRecord<'_>) -> Line {
    let major = record.major();
    Line {
        resource_manager: resource_manager_name(record.resource_manager)
            .unwrap_or("custom")
            .to_owned(),
        length: record.len(),
        xid: record.xid,
        start: record.start,
        prev: record.prev,
        blocks: record
            .blocks()
            .map(|block| {
                let fork = ["", " fork fsm", " fork vm", " fork init"][usize::from(block.fork)];
                let image = match block.image {
                    Some(image) if image.apply => " FPW",
                    Some(_) => " FPW for WAL verification",
                    None => "",
                };
                format!("rel {}{fork} blk {}{image}", block.relation, block.block)
            })
            .collect(),
        event: record.event().map(|event| words(&event, record.xid, major)),
    }
}

fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.6f UTC").to_string()
}

fn path(relation: RelationLocator, major: u32) -> String {
    let RelationLocator {
        tablespace,
        database,
        relation,
    } = relation;
    match tablespace {
        1663 => format!("base/{database}/{relation}"),
        1664 => format!("global/{relation}"),
        _ => {
            let catalog = match major {
                16 => 202_307_071,
                18 => 202_506_291,
                _ => 202_209_061,
            };
            format!("pg_tblspc/{tablespace}/PG_{major}_{catalog}/{database}/{relation}")
        }
    }
}

fn transaction_end(
    kind: &str,
    at: DateTime<Utc>,
    prepared: bool,
    xid: u32,
    dropped: &[RelationLocator],
    major: u32,
) -> String {
    let mut text = if prepared {
        format!("{kind}_PREPARED {xid}: {}", time(at))
    } else {
        format!("{kind} {}", time(at))
    };
    if !dropped.is_empty() {
        text += "; rels:";
        for relation in dropped {
            text += " ";
            text += &path(*relation, major);
        }
    }
    text
}

fn on(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn database_directory(directory: DatabaseDirectory) -> String {
    format!("{}/{}", directory.tablespace, directory.database)
}

fn words(event: &WalEvent, record_xid: u32, major: u32) -> String {
    match event {
        WalEvent::Commit {
            xid,
            time,
            prepared,
            dropped_relations,
        } => {
            assert!(*prepared || *xid == record_xid);
            transaction_end("COMMIT", *time, *prepared, *xid, dropped_relations, major)
        }
        WalEvent::Abort {
            xid,
            time,
            prepared,
            dropped_relations,
        } => transaction_end("ABORT", *time, *prepared, *xid, dropped_relations, major),
        WalEvent::Prepare { xid, gid, time: at } => {
            assert_eq!(*xid, record_xid);
            format!("PREPARE gid {gid}: {}", time(*at))
        }
        WalEvent::Checkpoint {
            shutdown,
            redo,
            timeline,
            previous_timeline,
            next_xid,
            ..
        } => format!(
            "CHECKPOINT_{} redo {redo}; tli {timeline}; prev tli {previous_timeline}; xid {}:{}",
            if *shutdown { "SHUTDOWN" } else { "ONLINE" },
            next_xid >> 32,
            next_xid & 0xFFFF_FFFF
        ),
        WalEvent::Switch => "SWITCH".to_owned(),
        WalEvent::RestorePoint { name, .. } => format!("RESTORE_POINT {name}"),
        WalEvent::BackupEnd { start } => format!("BACKUP_END {start}"),
        WalEvent::EndOfRecovery {
            time: at,
            timeline,
            previous_timeline,
        } => format!(
            "END_OF_RECOVERY tli {timeline}; prev tli {previous_timeline}; time {}",
            time(*at)
        ),
        WalEvent::ParameterChange(change) => format!(
            "PARAMETER_CHANGE max_connections={} max_worker_processes={} max_wal_senders={} \
             max_prepared_xacts={} max_locks_per_xact={} wal_level={} wal_log_hints={} \
             track_commit_timestamp={}",
            change.max_connections,
            change.max_worker_processes,
            change.max_wal_senders,
            change.max_prepared_transactions,
            change.max_locks_per_transaction,
            change.wal_level,
            on(change.wal_log_hints),
            on(change.track_commit_timestamp),
        ),
        WalEvent::RelationCreate { relation, fork } => {
            let fork = ["", "_fsm", "_vm", "_init"][usize::from(*fork)];
            format!("CREATE {}{fork}", path(*relation, major))
        }
        WalEvent::RelationTruncate {
            relation,
            blocks,
            main,
            visibility_map,
            free_space_map,
        } => format!(
            "TRUNCATE {} to {blocks} blocks flags {}",
            path(*relation, major),
            u8::from(*main) + 2 * u8::from(*visibility_map) + 4 * u8::from(*free_space_map)
        ),
        WalEvent::DatabaseCreate {
            directory,
            copied_from: Some(from),
        } => format!(
            "CREATE_FILE_COPY copy dir {} to {}",
            database_directory(*from),
            database_directory(*directory)
        ),
        WalEvent::DatabaseCreate { directory, .. } => {
            format!(
                "CREATE_WAL_LOG create dir {}",
                database_directory(*directory)
            )
        }
        WalEvent::DatabaseDrop {
            database,
            tablespaces,
        } => {
            let mut text = "DROP dir".to_owned();
            for tablespace in tablespaces {
                let _ = write!(text, " {tablespace}/{database}");
            }
            text
        }
        WalEvent::TableTruncate {
            tables,
            cascade,
            restart_sequences,
            ..
        } => {
            let mut text = "TRUNCATE ".to_owned();
            text += if *cascade { "cascade " } else { "" };
            text += if *restart_sequences {
                "restart_seqs "
            } else {
                ""
            };
            let _ = write!(text, "nrelids {} relids", tables.len());
            for table in tables {
                let _ = write!(text, " {table}");
            }
            text
        }
        WalEvent::RelationMapUpdate {
            tablespace,
            database,
        } => format!(
            "UPDATE database {database} tablespace {tablespace} size {}",
            if major >= 16 { 524 } else { 512 }
        ),
        WalEvent::TablespaceCreate { oid, location } => format!("CREATE {oid} \"{location}\""),
        WalEvent::TablespaceDrop { oid } => format!("DROP {oid}"),
        WalEvent::OverwriteContrecord {
            overwritten,
            time: at,
        } => format!("OVERWRITE_CONTRECORD lsn {overwritten}; time {}", time(*at)),
        WalEvent::FullPageWritesChange { on } => format!("FPW_CHANGE {on}"),
    }
}
