//! The fault matrix: every kind of damage in every codec that it can befall, read to the last
//! byte by `walproof verify --depth read`. Each must be found, with its code, at its object,
//! or be proven harmless: no finding, and a restore that gives the source's own rows.
//!
//! `docs/damage-matrix.md` is this table. Write it anew with `WALPROOF_WRITE_DAMAGE=1`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use walproof::finding::{Code, Severity};
use walproof::storage::{StorageOptions, Store};
use walproof::verify::{RequestedDepth, VerifyOptions, VerifyReport, verify};

use crate::common::{codec, process, require};
use crate::ground::Ground;
use crate::healthy::is_healthy_by_a_restore;
use crate::kinds;

/// Extensions of the codecs of WAL, the one that stands for all first.
pub(crate) const WAL_CODECS: &[&str] = &[".gz", "", ".bz2", ".xz", ".snappy", ".zst", ".lz4"];
/// Extensions of the codecs of base backups.
pub(crate) const BASE_CODECS: &[&str] = &[".lz4", "", ".gz", ".bz2", ".snappy"];

/// In which codecs a kind of damage is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    /// It lies below the codec: one pair stands for all, the full run tries every pair once.
    AnyCodec,
    /// These codecs of WAL.
    Wal(&'static [&'static str]),
    /// These codecs of base backups.
    Base(&'static [&'static str]),
}

/// What reading must say.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    /// A finding of this code that names the object.
    Finding(&'static str),
    /// Findings of severity `info` only, and a restore gives the same rows.
    Harmless,
}

/// One kind of damage.
pub(crate) struct Kind {
    pub(crate) part: &'static str,
    pub(crate) name: &'static str,
    pub(crate) on: On,
    /// Does it; gives the object that is named, and what its message must hold.
    pub(crate) damage: fn(&Ground) -> Hit,
    pub(crate) expect: Expect,
}

/// Where the damage is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hit {
    /// The object: a key, a WAL file's name or a backup's id.
    pub(crate) object: String,
    /// What the message must name besides, such as a relation's file.
    pub(crate) detail: String,
}

impl From<String> for Hit {
    fn from(object: String) -> Self {
        Self {
            object,
            detail: String::new(),
        }
    }
}

/// A kind in one pair of codecs.
struct Cell {
    kind: usize,
    /// The server's programs, empty for this machine's own.
    programs: &'static str,
    base: &'static str,
    wal: &'static str,
}

/// Whether every kind is tried in every codec, not only those that depend on it.
fn full() -> bool {
    std::env::var_os("WALPROOF_DAMAGE_FULL").is_some()
}

fn cells(kinds: &[Kind]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (kind, what) in kinds.iter().enumerate() {
        let mut add = |base, wal| {
            cells.push(Cell {
                kind,
                programs: "",
                base,
                wal,
            });
        };
        let (base, wal) = (BASE_CODECS[0], WAL_CODECS[0]);
        match what.on {
            On::AnyCodec if full() => {
                for (index, wal) in WAL_CODECS.iter().enumerate() {
                    add(BASE_CODECS[index % BASE_CODECS.len()], wal);
                }
            }
            On::AnyCodec => add(base, wal),
            On::Wal(codecs) => codecs.iter().for_each(|wal| add(base, wal)),
            On::Base(codecs) => codecs.iter().for_each(|base| add(base, wal)),
        }
    }
    cells
}

/// The name without folders, codec and number of the part: what a person looks for.
fn stem(object: &str) -> &str {
    let file = object.rsplit('/').next().unwrap_or(object);
    file.strip_suffix(codec::extension(Path::new(file)))
        .unwrap_or(file)
}

/// What `verify` finds at depth `read`.
pub(crate) fn read(url: &str) -> VerifyReport {
    let store = Store::open(&url.parse().unwrap(), &StorageOptions::default()).unwrap();
    let options = VerifyOptions {
        depth: RequestedDepth::Read,
        ..VerifyOptions::default()
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(verify(&walproof::repository::open(store), &options))
        .unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Damages one copy and reads it; gives what was said and what is wrong with that.
fn try_cell(kind: &Kind, cell: &Cell) -> (String, Option<String>) {
    let ground = Ground::new(cell.programs, cell.base, cell.wal);
    let hit = (kind.damage)(&ground);
    let findings = read(&ground.tree.url()).findings;
    let said: BTreeSet<&str> = findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect();
    let said = said.into_iter().collect::<Vec<_>>().join(", ");
    let problem = match kind.expect {
        Expect::Finding(code) => {
            let named = findings.iter().any(|finding| {
                let object = &finding.object;
                finding.code.as_str() == code
                    && (object.contains(&hit.object) || stem(object) == stem(&hit.object))
                    && (finding.message.contains(&hit.detail) || object.contains(&hit.detail))
            });
            (!named).then(|| {
                format!(
                    "{code} is not said of {} ({}): {findings:#?}",
                    hit.object, hit.detail
                )
            })
        }
        Expect::Harmless => {
            let alarm = findings
                .iter()
                .find(|finding| finding.severity > Severity::Info);
            match alarm {
                Some(alarm) => Some(format!("a false alarm: {alarm:#?}")),
                None => is_healthy_by_a_restore(
                    &ground.tree,
                    ground.newest(),
                    ground.facts,
                    cell.programs,
                )
                .err()
                .map(|words| format!("reading sees nothing, a restore does: {words}")),
            }
        }
    };
    (said, problem)
}

/// Tries the cells, two at a time; gives what is wrong.
fn run(kinds: &[Kind], cells: &[Cell]) -> Vec<String> {
    let only = std::env::var("WALPROOF_DAMAGE").unwrap_or_default();
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let kind = &kinds[cell.kind];
                    if !kind.name.contains(&only) && !kind.part.contains(&only) {
                        continue;
                    }
                    // A kind that cannot be done must not take the others with it.
                    let (said, problem) = std::panic::catch_unwind(|| try_cell(kind, cell))
                        .unwrap_or_else(|panic| {
                            let words = panic.downcast_ref::<String>().cloned();
                            (String::new(), Some(words.unwrap_or_default()))
                        });
                    let place = format!(
                        "{}: {} ({} tar{}, wal{})",
                        kind.part, kind.name, cell.programs, cell.base, cell.wal
                    );
                    let mark = if problem.is_none() { "ok   " } else { "WRONG" };
                    println!("{mark} {place}: {said}");
                    if let Some(problem) = problem {
                        wrong.lock().unwrap().push(format!("{place}: {problem}"));
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

#[track_caller]
fn nothing_is_wrong(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} cells are wrong:\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

#[test]
fn every_kind_of_damage_is_found_or_harmless() {
    require!(Postgres, S3, Barman);
    let kinds = kinds::all();
    nothing_is_wrong(&run(&kinds, &cells(&kinds)));
}

/// The directories of other majors' programs are told by `WALPROOF_TEST_SERVERS`, separated
/// by colons (`scripts/install --all-majors`).
#[test]
#[ignore = "needs WALPROOF_TEST_SERVERS"]
fn every_kind_of_damage_to_other_majors_too() {
    require!(Postgres, S3, Barman);
    let kinds = kinds::all();
    let servers: &'static str = std::env::var("WALPROOF_TEST_SERVERS").unwrap().leak();
    let mut cells = Vec::new();
    for programs in servers.split(':') {
        for (kind, what) in kinds.iter().enumerate() {
            // What befalls codecs does not depend on the server.
            if !matches!(what.on, On::AnyCodec) {
                continue;
            }
            let (base, wal) = (BASE_CODECS[0], WAL_CODECS[0]);
            cells.push(Cell {
                kind,
                programs,
                base,
                wal,
            });
        }
    }
    nothing_is_wrong(&run(&kinds, &cells));
    let all = std::env::var_os("WALPROOF_DAMAGE").is_none();
    if all && std::env::var_os("WALPROOF_WRITE_DAMAGE").is_some() {
        let mut lines = String::new();
        for programs in servers.split(':') {
            let own: Vec<_> = cells
                .iter()
                .filter(|cell| cell.programs == programs)
                .collect();
            let harmless = own
                .iter()
                .filter(|cell| matches!(kinds[cell.kind].expect, Expect::Harmless))
                .count();
            let mut command = Command::new(Path::new(programs).join("postgres"));
            let version = process::run(command.arg("--version"));
            let version = version.split(' ').nth(2).unwrap();
            writeln!(
                lines,
                "| {version} | {} | {} | {harmless} |",
                own.len(),
                own.len() - harmless
            )
            .unwrap();
        }
        std::fs::write(page(MAJORS), lines).unwrap();
    }
}

/// What the last run over other majors gave.
const MAJORS: &str = "tests/damage/majors.md";

fn page(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn codec_name(extension: &str) -> &str {
    match extension {
        "" => "none",
        ".gz" => "gzip",
        ".bz2" => "bzip2",
        ".zst" => "zstd",
        other => other.trim_start_matches('.'),
    }
}

/// The table in words.
fn table(kinds: &[Kind]) -> String {
    let found = kinds
        .iter()
        .filter(|kind| matches!(kind.expect, Expect::Finding(_)))
        .count();
    let mut text = format!(
        "# What reading every byte finds\n\n\
         Written by the tests from the rows that they run (`tests/damage/kinds/`): each row is a kind of\n\
         damage done to a repository that the real Barman Cloud tools made, then read by `walproof verify\n\
         --depth read`. A row with a code was found, with that code, at the object that was damaged. A row\n\
         that is *harmless* gave no warning, and a restore of it gave the source's own rows, with\n\
         `pg_amcheck` and `pg_checksums` content.\n\n\
         {} kinds in {} cells: {found} found, {} harmless. Damage that lies below the codec is tried in\n\
         one pair of codecs; `WALPROOF_DAMAGE_FULL=1` tries it in all.\n\n\
         Repositories of other majors, what lies below the codec, at the last run with\n\
         `WALPROOF_TEST_SERVERS`. There the rows' numbers and sums alone show what is harmless,\n\
         for these builds come without `pg_amcheck` and `pg_checksums`:\n\n| PostgreSQL | Cells | Found | Harmless |\n|---|---|---|---|\n",
        kinds.len(),
        cells(kinds).len(),
        kinds.len() - found
    );
    text.push_str(&std::fs::read_to_string(page(MAJORS)).unwrap_or_default());
    let mut part = "";
    for kind in kinds {
        if kind.part != part {
            part = kind.part;
            write!(
                text,
                "\n## {part}\n\n| Damage | Codecs | Says |\n|---|---|---|\n"
            )
            .unwrap();
        }
        let codecs = match kind.on {
            On::AnyCodec => "any".to_owned(),
            On::Wal(codecs) | On::Base(codecs) => codecs
                .iter()
                .map(|extension| codec_name(extension))
                .collect::<Vec<_>>()
                .join(", "),
        };
        let says = match kind.expect {
            Expect::Finding(code) => format!("`{code}`"),
            Expect::Harmless => "harmless".to_owned(),
        };
        writeln!(text, "| {} | {codecs} | {says} |", kind.name).unwrap();
    }
    text
}

#[test]
fn the_committed_table_is_the_one_that_is_run() {
    if full() {
        return;
    }
    let kinds = kinds::all();
    let names: BTreeSet<&str> = kinds.iter().map(|kind| kind.name).collect();
    assert_eq!(names.len(), kinds.len(), "a name occurs twice");
    assert!(kinds.len() >= 40);
    for kind in &kinds {
        if let Expect::Finding(code) = kind.expect {
            let known = Code::ALL.iter().any(|known| known.as_str() == code);
            assert!(known, "{code} is no code");
        }
    }
    let page = page("docs/damage-matrix.md");
    let text = table(&kinds);
    if std::env::var_os("WALPROOF_WRITE_DAMAGE").is_some() {
        std::fs::write(&page, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&page).unwrap_or_default() == text,
        "docs/damage-matrix.md is not what the rows say; run this test with WALPROOF_WRITE_DAMAGE=1"
    );
}
