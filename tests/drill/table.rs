//! The fault table: everything that is known to go wrong with a repository, one row each, on
//! repositories made by the real tools. Each row says what `verify` must say of it, by names
//! and sizes (or that it cannot be seen so) and by reading, and what a drill must say: never `proven`, unless
//! what is restored is the same to the row.
//!
//! `docs/faults.md` is this table. Write it anew with `WALPROOF_WRITE_FAULTS=1`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::Duration;
use walproof::finding::{Code, Severity};
use walproof::storage::{StorageOptions, Store};
use walproof::verify::{RequestedDepth, VerifyOptions, VerifyReport};

use crate::common::codec;
use crate::common::damage::Tree;
use crate::common::repository::{Facts, Fixture, RepositoryOptions};
use crate::common::require;
use crate::kit::Place;
use crate::matrix;
use crate::rows;

/// Rows that reading every byte does not show although they do harm. None.
const EXPECTED_UNSEEN: &[&str] = &[];

/// Rows that names and sizes cannot show: it takes reading.
const TAKES_READING: &[&str] = &[
    "plain: one byte of a table's page flipped",
    "lz4: one byte of a table's page flipped",
    "a table's page zeroed",
    "a table's file absent",
    "`pg_xact/0000` absent",
    "`global/pg_control` absent",
    "`backup_label` absent",
    "plain: cut between two members",
    "plain: a tar header damaged",
    "plain: a PAX header damaged",
    "gzip: one byte flipped",
    "gzip: CRC trailer zeroed",
    "gzip: cut",
    "bzip2: one byte flipped",
    "bzip2: cut",
    "snappy: one byte flipped",
    "snappy: cut",
    "lz4: cut",
    "lz4: a tablespace's archive cut",
    "gzip bytes under the name of an lz4 archive",
    "another base backup's archive of the data directory",
    "a table ten pages short",
    "plain: bytes behind the archive's end",
    "a member named `../../escaped`",
    "a file behind a link that leads out",
    "the last part missing",
    "a record damaged",
    "zeros where records should be",
    "`xl_prev` of a segment's first record wrong, its CRC right",
    "a segment's page address wrong",
    "an older segment's bytes",
    "a segment of another database system",
    "a segment of half its size",
    "a segment longer than its size",
    "gzip: a segment's object cut",
    "gzip: a segment's CRC wrong",
    "gzip: bytes behind a segment's end",
    "xz: a segment's object flipped",
    "bzip2: a segment's object flipped",
    "snappy: a segment's object flipped",
    "lz4: a segment's object cut",
    "plain bytes under the name of a gzip segment",
    "plain: cut within a member",
    "an error page as long as the segment's object",
];

/// What a drill must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drill {
    /// `failed`, with this code and the object named.
    Failed(Code),
    /// Refused for safety (status 4), with this code and the object named.
    Refused(Code),
    /// `proven`, and every row and page is there: the fault does not reach what is restored.
    Proven,
}

/// One row.
pub(crate) struct Fault {
    /// The part of the repository that is hit.
    pub(crate) part: &'static str,
    /// What was done to it.
    pub(crate) name: &'static str,
    /// The row of the healthy matrix that is damaged; empty: the standard repository.
    pub(crate) on: &'static str,
    /// Does it; gives the object that must be named.
    pub(crate) damage: fn(&Ground) -> String,
    /// What `verify` must say: at depth `read`, and but for [`TAKES_READING`] at depth
    /// `listed`, too. `None`: nothing.
    pub(crate) verify: Option<Code>,
    /// What a drill from the newest base backup must say.
    pub(crate) drill: Drill,
    /// What the tier asks for.
    pub(crate) tier: fn(&mut VerifyOptions),
}

/// What a fault is done to.
pub(crate) struct Ground {
    pub(crate) tree: Tree,
    pub(crate) facts: Facts,
}

fn ground(on: &str) -> Ground {
    let options = if on.is_empty() {
        RepositoryOptions::default()
    } else {
        matrix::options(on)
    };
    let fixture = Fixture::get(&options);
    Ground {
        tree: fixture.tree(),
        facts: fixture.facts,
    }
}

fn verify(tree: &Tree, depth: RequestedDepth, tier: fn(&mut VerifyOptions)) -> VerifyReport {
    let store = Store::open(&tree.url().parse().unwrap(), &StorageOptions::default()).unwrap();
    let mut options = VerifyOptions {
        depth,
        ..VerifyOptions::default()
    };
    tier(&mut options);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(walproof::verify::verify(
            &walproof::repository::open(store),
            &options,
        ))
        .unwrap()
}

/// The name without folders, codec and number of the part: what a person looks for.
fn stem(object: &str) -> &str {
    let file = object.rsplit('/').next().unwrap_or(object);
    file.strip_suffix(codec::extension(Path::new(file)))
        .unwrap_or(file)
}

/// Holds `verify` at a depth against the row; gives what it said.
fn look(
    fault: &Fault,
    depth: RequestedDepth,
    ground: &Ground,
    object: &str,
    wrong: &mut Vec<String>,
) -> String {
    let report = verify(&ground.tree, depth, fault.tier);
    let codes: BTreeSet<&str> = report
        .findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect();
    let said = codes.into_iter().collect::<Vec<_>>().join(", ");
    let unseen: &[&str] = match depth {
        RequestedDepth::Listed => TAKES_READING,
        RequestedDepth::Sampled | RequestedDepth::Read => EXPECTED_UNSEEN,
    };
    let mut wrong = |text: String| wrong.push(format!("{depth:?}: {text}"));
    match fault.verify {
        _ if unseen.contains(&fault.name) => {
            if !said.is_empty() {
                wrong(format!("verify sees it now ({said}): turn this row"));
            }
        }
        None => {
            let alarms = report
                .findings
                .iter()
                .any(|finding| finding.severity > Severity::Info);
            if alarms {
                wrong(format!("verify says {said} of something harmless"));
            }
        }
        Some(code) => {
            // Where a drill's check names its question, `verify` names the archive.
            let archive = (fault.part == rows::BASE_CONTENT).then(|| ground.data());
            let named = report.findings.iter().any(|finding| {
                finding.code == code
                    && (finding.object == object
                        || stem(&finding.object) == stem(object)
                        || Some(&finding.object) == archive.as_ref())
            });
            if !named {
                wrong(format!(
                    "verify does not say {code} of {object}: {:#?}",
                    report.findings
                ));
            }
        }
    }
    if said.is_empty() {
        "nothing".to_owned()
    } else {
        said
    }
}

/// Holds a drill against the row; gives what it said.
fn drill(fault: &Fault, ground: &Ground, object: &str, wrong: &mut Vec<String>) -> String {
    let place = Place::new();
    let definition = place.definition_of_tip(&ground.facts);
    let newest = ground.facts.backups[1].id.clone();
    let mut more = vec!["--definition", definition.as_str()];
    if ground.tree.backups().contains(&newest) {
        more.extend(["--backup", &newest]);
    }
    let run = place.drill(&ground.tree.url(), &more);
    let report = run.json();
    let verdict = report["verdict"].as_str().unwrap_or_default().to_owned();
    let said = format!("{verdict} {}", run.finding_codes().join(", "));
    match fault.drill {
        Drill::Proven => {
            if (verdict.as_str(), run.code) != ("proven", Some(0)) {
                wrong.push(format!(
                    "the same data, but the drill says {verdict}: {:#}",
                    report["reasons"]
                ));
            }
        }
        Drill::Failed(code) | Drill::Refused(code) => {
            let expected = match fault.drill {
                Drill::Refused(_) => ("unproven", Some(4)),
                _ => ("failed", Some(1)),
            };
            if (verdict.as_str(), run.code) != expected {
                wrong.push(format!(
                    "the drill says {verdict}, status {:?}: {:#}",
                    run.code, report["reasons"]
                ));
            }
            let named = report["findings"]
                .as_array()
                .unwrap()
                .iter()
                .any(|finding| {
                    let holds = |field: &str| {
                        let text = finding[field].as_str().unwrap_or_default();
                        text.contains(stem(object))
                    };
                    finding["code"] == code.as_str() && (holds("object") || holds("message"))
                });
            if !named {
                wrong.push(format!(
                    "the drill does not say {code} of {}: {:#}\nreasons {:#}\n{}",
                    stem(object),
                    report["findings"],
                    report["reasons"],
                    run.stderr
                ));
            }
        }
    }
    if only_by_checks(fault) {
        let run = place.drill(&ground.tree.url(), &more[2..]);
        if run.json()["verdict"] != "proven" {
            wrong.push(format!(
                "a drill without checks sees it now ({}): turn this row",
                run.finding_codes().join(", ")
            ));
        }
    }
    place.assert_clean();
    said
}

/// Whether only the checks of a drill tell: PostgreSQL itself replays and opens without a
/// word, so that a drill that asks nothing is proven.
fn only_by_checks(fault: &Fault) -> bool {
    matches!(
        fault.drill,
        Drill::Failed(Code::CheckFailed | Code::CorruptionFound)
    )
}

#[test]
fn every_fault_gives_its_code_and_none_passes() {
    require!(Postgres, S3, Barman);
    let faults = rows::all();
    let only = std::env::var("WALPROOF_FAULT").unwrap_or_default();
    let next = AtomicUsize::new(0);
    let said = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !fault.name.contains(&only) {
                        continue;
                    }
                    let ground = ground(fault.on);
                    let mut wrong = Vec::new();
                    let object = (fault.damage)(&ground);
                    let listed = RequestedDepth::Listed;
                    let listed = look(fault, listed, &ground, &object, &mut wrong);
                    let read = RequestedDepth::Read;
                    let read = look(fault, read, &ground, &object, &mut wrong);
                    let drilled = drill(fault, &ground, &object, &mut wrong);
                    said.lock()
                        .unwrap()
                        .insert(fault.name, (listed, read, drilled, wrong));
                }
            });
        }
    });
    let said = said.into_inner().unwrap();
    let mut wrong = String::new();
    for fault in &faults {
        let Some((listed, read, drilled, problems)) = said.get(fault.name) else {
            assert!(!only.is_empty(), "{} was not run", fault.name);
            continue;
        };
        let mark = if problems.is_empty() {
            "ok   "
        } else {
            "WRONG"
        };
        println!(
            "{mark} {}: {}\n      listed: {listed}\n      read:   {read}\n      drill:  {drilled}",
            fault.part, fault.name
        );
        for problem in problems {
            writeln!(wrong, "{}: {problem}\n", fault.name).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The table in words.
fn table(faults: &[Fault]) -> String {
    let mut text = String::from(
        "# What goes wrong with a repository, and who says so\n\n\
         Written by the tests from the rows that they run (`tests/drill/rows.rs`): every row is a\n\
         fault done to a repository that the real Barman Cloud tools made, checked with `walproof\n\
         verify` and with `walproof drill run --backup` of its newest base backup, with row counts\n\
         and `pg_amcheck`. Each finding names the object that was damaged.\n\n\
         `listed`: `verify` reads names and sizes, the ends of WAL, segments stored twice, and\n\
         timeline switches. `read`: every byte (`walproof verify --depth read`). *unseen* means that\n\
         this depth cannot see it. A drill with checks is `proven` only where the restored database\n\
         is the same. Rows marked *proven if no check asks* open and replay without an error: give\n\
         every drill row counts or a heartbeat, and `amcheck`.\n",
    );
    let mut part = "";
    for fault in faults {
        if fault.part != part {
            part = fault.part;
            write!(
                text,
                "\n## {part}\n\n| Fault | `listed` | `read` | Drill |\n|---|---|---|---|\n"
            )
            .unwrap();
        }
        let verify = |unseen: &[&str]| match fault.verify {
            _ if unseen.contains(&fault.name) => "*unseen*".to_owned(),
            None => "no finding".to_owned(),
            Some(code) => format!("`{code}`"),
        };
        let (listed, read) = (verify(TAKES_READING), verify(EXPECTED_UNSEEN));
        let drill = match fault.drill {
            Drill::Proven => "proven: the same data".to_owned(),
            Drill::Failed(code) if only_by_checks(fault) => {
                format!("failed, `{code}` (**proven** if no check asks)")
            }
            Drill::Failed(code) => format!("failed, `{code}`"),
            Drill::Refused(code) => format!("refused, `{code}`"),
        };
        writeln!(text, "| {} | {listed} | {read} | {drill} |", fault.name).unwrap();
    }
    text
}

#[test]
fn the_committed_table_is_the_one_that_is_run() {
    let faults = rows::all();
    let names: BTreeSet<&str> = faults.iter().map(|fault| fault.name).collect();
    assert_eq!(names.len(), faults.len(), "a name occurs twice");
    for name in EXPECTED_UNSEEN.iter().chain(TAKES_READING) {
        let known = faults.iter().find(|fault| fault.name == *name);
        assert!(
            known.is_some_and(|fault| fault.verify.is_some()),
            "{name} is not a row whose finding is known"
        );
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md");
    let text = table(&faults);
    if std::env::var_os("WALPROOF_WRITE_FAULTS").is_some() {
        std::fs::write(&page, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&page).unwrap_or_default() == text,
        "docs/faults.md is not what the rows say; run this test with WALPROOF_WRITE_FAULTS=1"
    );
}

/// Limits that no repository of a test reaches.
pub(crate) fn strict_tier(options: &mut VerifyOptions) {
    options.max_backup_age = Some(Duration::milliseconds(1));
    options.retention = Some(Duration::days(365));
}
