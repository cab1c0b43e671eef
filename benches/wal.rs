//! Reading a real range of WAL, beside `pg_waldump --quiet` on the same files.
//!
//! `cargo bench --bench wal`. The range is written once by PostgreSQL 15, about 1.3 GB
//! below `target/bench/wal`, and stays there; it fits into the page cache, so that disks
//! play no part. All contestants take turns, `WALPROOF_BENCH_ROUNDS` times (5).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench reports on the terminal and fails by panicking"
)]

#[path = "../tests/oracle/server.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod server;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use server::{Installation, Server};
use walproof::postgres::wal::{
    WalEvent, WalPiece, WalStream, WalStreamOptions, first_record, read_first_page,
};
use walproof::postgres::{SegmentName, SegmentSize, TimelineHistory};

/// The segments of the range.
struct Range {
    directory: PathBuf,
    files: Vec<(SegmentName, PathBuf)>,
    bytes: u64,
}

impl Range {
    fn options(&self) -> WalStreamOptions {
        let bytes = std::fs::read(&self.files[0].1).unwrap();
        WalStreamOptions {
            segment_size: SegmentSize::DEFAULT,
            system_id: Some(read_first_page(&bytes).unwrap().system_id),
            history: TimelineHistory::first(),
            start: first_record(&bytes).unwrap().unwrap(),
        }
    }

    fn read(&self, index: usize, buffer: &mut Vec<u8>) {
        buffer.clear();
        let mut file = File::open(&self.files[index].1).unwrap();
        file.read_to_end(buffer).unwrap();
    }
}

/// Bulk loads by COPY and INSERT, updates, deletes, indexes, and pgbench's transactions
/// before and after checkpoints.
fn make(directory: &Path) {
    println!("writing WAL with PostgreSQL 15, once ...");
    let server = Server::create(Installation::debian(), SegmentSize::DEFAULT);
    server.sql(
        "alter system set autovacuum = off; alter system set archive_mode = off;
                alter system set shared_buffers = '512MB'; alter system set max_wal_size = '64GB';",
    );
    server.stop("fast");
    server.start();
    server.pgbench(&["-i", "-q", "-s", "25"]);
    for _ in 0..2 {
        server.pgbench(&["-n", "-c", "4", "-j", "2", "-t", "25000"]);
        server.sql("checkpoint");
    }
    server.sql(
        "create table bulk as select g as id, md5(g::text) as word from generate_series(1, 1500000) g;
         create index on bulk (word); create index on bulk (id);
         insert into bulk select g, md5(g::text) from generate_series(1, 400000) g;
         update bulk set word = 'x' || word where id % 7 = 0;
         delete from bulk where id % 5 = 0;
         select pg_switch_wal() \\g /dev/null",
    );
    server.stop("fast");
    let building = directory.with_extension("building");
    let _ = std::fs::remove_dir_all(&building);
    std::fs::create_dir_all(&building).unwrap();
    // What follows the last switch is unfinished and not taken.
    let mut names: Vec<_> = std::fs::read_dir(server.pg_wal())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .parse::<SegmentName>()
                .is_ok()
        })
        .filter(|entry| first_page_is_its_own(&entry.path()))
        .map(|entry| entry.path())
        .collect();
    names.sort();
    names.pop();
    for path in names {
        std::fs::copy(&path, building.join(path.file_name().unwrap())).unwrap();
    }
    std::fs::rename(&building, directory).unwrap();
}

/// Segment files kept for later have other names than their content.
fn first_page_is_its_own(path: &Path) -> bool {
    let mut head = [0; 40];
    File::open(path).unwrap().read_exact(&mut head).unwrap();
    let name: SegmentName = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let begin = name.number(SegmentSize::DEFAULT).unwrap();
    read_first_page(&head).is_ok_and(|page| page.address == begin.begin_lsn(SegmentSize::DEFAULT))
}

fn pg_waldump(range: &Range) {
    let ends = [&range.files[0], range.files.last().unwrap()];
    let output = Command::new("/usr/lib/postgresql/15/bin/pg_waldump")
        .args(["--quiet", "-p"])
        .arg(&range.directory)
        .args(ends.map(|(name, _)| name.to_string()))
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

/// Only brings the bytes into memory, as every reader must.
fn copy(range: &Range) {
    let mut buffer = Vec::new();
    for index in 0..range.files.len() {
        range.read(index, &mut buffer);
    }
}

/// Copies and computes one checksum per page, as a floor for one per record.
fn checksum(range: &Range) {
    let mut buffer = Vec::new();
    let mut sum = 0;
    for index in 0..range.files.len() {
        range.read(index, &mut buffer);
        for page in buffer.chunks(8192) {
            sum ^= crc32c::crc32c(page);
        }
    }
    std::hint::black_box(sum);
}

/// In sequence; with events, all that are of interest are decoded, and blocks looked at.
fn in_sequence(range: &Range, events: bool) -> (u64, u64) {
    let mut stream = WalStream::new(range.options());
    let mut buffer = Vec::new();
    let (mut records, mut found) = (0, 0);
    for index in 0..range.files.len() {
        range.read(index, &mut buffer);
        let number = stream.next_segment();
        stream
            .push_segment(number, &buffer, &mut |record| {
                records += 1;
                if events {
                    found += u64::from(matches!(record.event(), Some(WalEvent::Commit { .. })));
                    found += record
                        .blocks()
                        .filter(|block| block.image.is_some())
                        .count() as u64;
                }
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    (records, found)
}

/// In pieces, by so many threads; each joins what has come in order.
fn in_pieces(range: &Range, threads: usize) -> u64 {
    let stream = WalStream::new(range.options());
    let options = stream.piece_options();
    let first = stream.next_segment().0;
    let state = Mutex::new((stream, BTreeMap::new(), 0_u64));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut buffer = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= range.files.len() {
                        break;
                    }
                    range.read(index, &mut buffer);
                    let number = walproof::postgres::SegmentNumber(first + index as u64);
                    let mut own = 0_u64;
                    let piece = WalPiece::read(&options, number, &buffer, &mut |_| own += 1);
                    let (stream, waiting, records) = &mut *state.lock().unwrap();
                    waiting.insert(number, (piece, own));
                    while let Some((piece, own)) = waiting.remove(&stream.next_segment()) {
                        stream.join(piece, &mut |_| *records += 1).unwrap();
                        *records += if stream.adopted() { own } else { 0 };
                    }
                }
            });
        }
    });
    state.into_inner().unwrap().2
}

/// A name and what it does.
type Contestant<'c> = (&'c str, &'c dyn Fn());

/// Processor seconds of this process and the children it waited for. Unlike the time that
/// passes, they say something on a machine that has other work, too.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(4);
    ticks
        .map(|field| field.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/wal");
    if !directory.exists() {
        make(&directory);
    }
    let mut files: Vec<(SegmentName, PathBuf)> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().to_str().unwrap().parse().unwrap(),
                path,
            )
        })
        .collect();
    files.sort();
    let bytes = files.len() as u64 * SegmentSize::DEFAULT.bytes();
    let range = Range {
        directory,
        files,
        bytes,
    };
    let (records, _) = in_sequence(&range, false);
    assert_eq!(in_pieces(&range, 2), records);
    println!(
        "{} segments, {:.2} GB, {records} records, {} bytes each on average\n",
        range.files.len(),
        range.bytes as f64 / 1e9,
        range.bytes / records,
    );

    let contestants: [Contestant<'_>; 7] = [
        ("pg_waldump --quiet", &|| pg_waldump(&range)),
        ("walproof, 1 thread", &|| _ = in_sequence(&range, false)),
        ("walproof, pieces, 2 threads", &|| {
            _ = in_pieces(&range, 2);
        }),
        ("walproof, pieces, 1 thread", &|| _ = in_pieces(&range, 1)),
        ("walproof, 1 thread, events and blocks", &|| {
            _ = in_sequence(&range, true);
        }),
        ("files into memory only", &|| copy(&range)),
        ("files into memory, CRC-32C by pages", &|| checksum(&range)),
    ];
    let rounds: usize = std::env::var("WALPROOF_BENCH_ROUNDS")
        .map_or(5, |rounds| rounds.parse().expect("a number of rounds"));
    let mut times = vec![(Vec::new(), Vec::new()); contestants.len()];
    for _ in 0..rounds {
        for ((_, run), (elapsed, used)) in contestants.iter().zip(&mut times) {
            let (begin, cpu) = (Instant::now(), cpu_seconds());
            run();
            elapsed.push(begin.elapsed().as_secs_f64());
            used.push(cpu_seconds() - cpu);
        }
    }
    let medians: Vec<(f64, f64)> = times
        .iter_mut()
        .map(|(elapsed, used)| (median(elapsed), median(used)))
        .collect();
    println!(
        "{:<40}{:>8}{:>8}{:>8}{:>9}{:>9}{:>9}",
        "medians", "s", "GB/s", "ns/rec", "speed", "CPU s", "less CPU"
    );
    for ((name, _), (elapsed, used)) in contestants.iter().zip(&medians) {
        println!(
            "{name:<40}{elapsed:>8.3}{:>8.2}{:>8.0}{:>8.2}x{used:>9.2}{:>8.2}x",
            range.bytes as f64 / 1e9 / elapsed,
            elapsed * 1e9 / records as f64,
            medians[0].0 / elapsed,
            medians[0].1 / used,
        );
    }
    println!(
        "\nFiles are in the page cache. Copying them out of it and one CRC-32C per record are\n\
         the floor; what lies above is per record: its header, its parts, its place in the chain.\n\
         pg_waldump reads page by page, copies each record's parts and keeps statistics.\n\
         A second thread helps as far as memory bandwidth and a second core are free."
    );
}
