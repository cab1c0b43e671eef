//! The ledger followed and exported: what `walproof evidence` and the reports of the daemon
//! share.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::evidence::export::{ExportError, Exported, Exporter, MANIFEST_FILE, Scope};
use crate::evidence::ledger::{
    Asked, Body, Break, BreakKind, Head, RecordReference, ReportBody, SealError, Walk,
};
use crate::evidence::{Digest, NewEntry, sha256_hex, sha256_of_file};
use crate::finding::{Code, Finding};
use crate::state::{State, StateError, StateErrorKind};

/// How many entries are held at once.
const PAGE: u32 = 1000;

/// What came of following the whole ledger.
#[derive(Clone, Debug, Default)]
pub struct LedgerCheck {
    /// How many entries hold.
    pub entries: u64,
    /// The last one that holds.
    pub head: Option<Head>,
    /// Whether the noted head was met.
    pub met_head: bool,
    /// The first break.
    pub first_break: Option<Break>,
    /// The drill records that entries vouch for.
    pub records: RecordsCheck,
}

/// What came of comparing drill records with the entries that vouch for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct RecordsCheck {
    /// Records that entries vouch for, and that hold in the database.
    pub rows: u64,
    /// Of them, files in the records directory that hold.
    pub files: u64,
    /// Of them, those without a file here: another machine may have it.
    pub files_elsewhere: u64,
}

/// The ledger could not be followed or exported.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The state failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The export could not be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A file of a record could not be read.
    #[error("read {}: {cause}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: std::io::Error,
    },
    /// What was done cannot be recorded.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A thread ended early.
    #[error("follow the records: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Follows the whole ledger from its first entry on, and compares the drill records in
/// database and directory with the entries that vouch for them. `step` is told how many
/// entries were followed. Memory: 1,000 entries.
pub async fn check_ledger(
    state: &State,
    noted: Option<&Head>,
    mut step: impl FnMut(u64),
) -> Result<LedgerCheck, LedgerError> {
    let mut walk = Walk::new().against(noted.cloned());
    let mut check = LedgerCheck::default();
    let mut after = 0;
    while check.first_break.is_none() {
        let page = state.labelled_entries(after, PAGE).await?;
        let Some((last, _)) = page.last() else {
            check.first_break = walk.finish().err();
            break;
        };
        after = last.sequence;
        let mut ahead = walk.clone();
        let (walked, vouched, broken) = tokio::task::spawn_blocking(move || {
            let mut vouched: Vec<(u64, RecordReference)> = Vec::new();
            for (entry, labels) in &page {
                let content = match ahead.step_labelled(entry, labels) {
                    Ok(content) => content,
                    Err(broken) => return (ahead, vouched, Some(broken)),
                };
                if let Ok(Body::Drill(drill)) = Body::read(content.kind, content.body)
                    && let Some(record) = drill.record
                {
                    vouched.push((entry.sequence, record));
                }
            }
            (ahead, vouched, None)
        })
        .await?;
        walk = walked;
        // A record breaks at the entry that vouches for it, which lies before the break.
        for (sequence, record) in vouched {
            if let Some(broken) = check_record(state, sequence, &record, &mut check.records).await?
            {
                check.first_break = Some(broken);
                break;
            }
        }
        check.first_break = check.first_break.or(broken);
        step(walk.count());
    }
    check.entries = walk.count();
    check.head = walk.head();
    check.met_head = noted.is_some_and(|noted| walk.met(noted));
    Ok(check)
}

async fn check_record(
    state: &State,
    sequence: u64,
    record: &RecordReference,
    counts: &mut RecordsCheck,
) -> Result<Option<Break>, LedgerError> {
    let broken = |kind, message: String| {
        Ok(Some(Break {
            kind,
            sequence,
            message,
        }))
    };
    let Some(row) = state.record_row(record.id).await? else {
        return broken(
            BreakKind::RecordMissing,
            format!("drill record {} is not in the database", record.id),
        );
    };
    let digest = sha256_hex(row.text.as_bytes());
    for (what, found) in [("text", &digest), ("digest kept beside it", &row.sha256)] {
        if found != &record.sha256 {
            return broken(
                BreakKind::RecordAltered,
                format!(
                    "drill record {} in the database: its {what} is {found}, vouched for is {}",
                    record.id, record.sha256
                ),
            );
        }
    }
    counts.rows = counts.rows.saturating_add(1);
    // A name out of the ledger is never a path.
    let plain = Path::new(&record.file)
        .file_name()
        .is_some_and(|name| name == record.file.as_str());
    let path = state.records_directory().join(&record.file);
    let digest = if plain {
        let to_read = path.clone();
        tokio::task::spawn_blocking(move || sha256_of_file(&to_read))
            .await?
            .map_err(|cause| LedgerError::Record {
                path: path.clone(),
                cause,
            })?
    } else {
        None
    };
    match digest {
        None => counts.files_elsewhere = counts.files_elsewhere.saturating_add(1),
        Some(digest) if digest == record.sha256 => counts.files = counts.files.saturating_add(1),
        Some(digest) => {
            return broken(
                BreakKind::RecordAltered,
                format!(
                    "{} has the SHA-256 {digest}, vouched for is {}",
                    path.display(),
                    record.sha256
                ),
            );
        }
    }
    Ok(None)
}

/// Writes an export of the ledger. `step` is told how many entries were followed. Memory:
/// 1,000 entries and the numbers over them.
pub async fn export_ledger(
    state: &State,
    scope: Scope,
    directory: &Path,
    made_at: DateTime<Utc>,
    mut step: impl FnMut(u64),
) -> Result<Exported, LedgerError> {
    let mut exporter = Exporter::begin(directory, scope, made_at)?;
    let mut after = 0;
    loop {
        let page = state.entries(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.sequence;
        exporter = tokio::task::spawn_blocking(move || -> Result<Exporter, ExportError> {
            for entry in &page {
                exporter.entry(entry)?;
            }
            Ok(exporter)
        })
        .await??;
        step(exporter.walked());
    }
    Ok(tokio::task::spawn_blocking(move || exporter.finish()).await??)
}

/// The entry that tells of an export.
pub fn report_entry(
    asked: Asked,
    exported: &Exported,
    now: DateTime<Utc>,
) -> Result<NewEntry, LedgerError> {
    let manifest = &exported.manifest;
    let body = ReportBody {
        asked,
        from: manifest.from,
        to: manifest.to,
        cluster: manifest.cluster.clone(),
        directory: Some(exported.directory.display().to_string()),
        error: None,
        first: manifest.entries.first,
        last: manifest.entries.head.as_ref().map(|head| head.sequence),
        files: vec![Digest {
            name: MANIFEST_FILE.to_owned(),
            bytes: exported.manifest_bytes,
            sha256: exported.manifest_sha256.clone(),
        }],
        opened: Vec::new(),
        closed: Vec::new(),
    };
    let entry = NewEntry::new(now, &Body::Report(Box::new(body)))?;
    Ok(match &manifest.cluster {
        Some(cluster) => entry.about(cluster, ""),
        None => entry,
    })
}

/// The finding that a break of the ledger is.
pub fn broken_finding(broken: &Break) -> Finding {
    Finding::new(
        Code::RecordsBroken,
        format!("entry {}", broken.sequence),
        format!(
            "{}; {} ({})",
            broken.message,
            broken.kind.meaning(),
            broken.kind.as_str()
        ),
    )
}

impl LedgerError {
    /// Whether the state database failed, and how.
    pub fn state_kind(&self) -> Option<StateErrorKind> {
        match self {
            Self::State(error) => Some(error.kind),
            _ => None,
        }
    }
}
