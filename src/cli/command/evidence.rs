//! `walproof evidence`: the records, followed, and exported for those who were not there.

use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::target::moment;
use crate::cli::{Context, ExitCode, Failure, render};
use crate::evidence::Digest;
use crate::evidence::export::{Manifest, Scope, check_file, directory_name};
use crate::evidence::ledger::{Asked, Break, Head};
use crate::finding::Finding;
use crate::operation::evidence::{
    LedgerError, RecordsCheck, broken_finding, check_ledger, export_ledger, report_entry,
};

/// Follow the records, and export them for auditors
#[derive(Subcommand, Clone, Debug)]
pub enum EvidenceCommand {
    /// Follow the records from the first one on and say where they break, if they do
    #[command(
        long_about = "Follow the records from the first one on and say where they break, if they do.\n\nEvery verification, replication, drill, miss, skip and change of configuration is one record. Each holds the SHA-256 of the one before it, so that nothing can be changed, removed or inserted without a trace. Drill records in the database and in the records directory are compared with the digests that the records vouch for.\n\nWhat was removed from the end shows only against a head that was kept elsewhere: note what `walproof evidence head` prints, and give it with --head.\n\nWith --file an export is checked, without a database and without a network; the manifest beside it is taken into account.",
        after_long_help = "Examples:\n  walproof evidence verify\n  walproof evidence verify \\\n    --head 4711:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n  walproof evidence verify --file entries.jsonl\n\nExit codes: 0 the records hold, 1 they are broken, 3 they could not be read."
    )]
    Verify(VerifyArgs),
    /// Print the last record's number and digest, to be noted elsewhere
    #[command(
        long_about = "Print the last record's number and SHA-256, to be noted somewhere that walproof cannot write to: a ticket, a mail, another bucket. Given to `walproof evidence verify` with --head it shows later that nothing up to it was changed or removed.",
        after_long_help = "Examples:\n  walproof evidence head\n  walproof evidence head | mail -s 'walproof records' audit@example.com"
    )]
    Head,
    /// Write the records of a period with the numbers over them: JSON lines, CSV, one page
    #[command(
        long_about = "Write the records of a period with the numbers over them, into a new directory:\n\n  entries.jsonl    the records, one per line\n  population.csv   what was due, run, proven, failed, unproven, missed, skipped, late\n  objectives.csv   RPO and RTO against what was achieved: n, p50, p95\n  findings.csv     findings opened and closed, with their age\n  report.html      all of it on one page, for screen and paper\n  manifest.json    the digest of each file, the first record and the last\n\nIt is written whole or not at all, never over another, and the records are followed from the first one on meanwhile. Who is given the directory can check it with `walproof evidence verify` and --file, or by hand as the page shows.",
        after_long_help = "Examples:\n  walproof evidence export --from 2026-11-01 --to 2026-12-01\n  walproof evidence export --from -30d --cluster orders\n  walproof evidence export --from -90d --dir /srv/audit/2026-q4\n\nExit codes: 0 written, 1 written and the records are broken, 2 the directory exists already,\n3 it could not be written."
    )]
    Export(ExportArgs),
}

/// Arguments of `evidence verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// A head that was noted elsewhere, as `walproof evidence head` printed it
    #[arg(long, value_name = "SEQ:SHA256")]
    pub head: Option<Head>,
    /// Check this file of an export instead of the state
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Arguments of `evidence export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// Begin of the period: 2026-11-01, 2026-11-01T06:00:00Z, or -30d for that long ago
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: String,
    /// End of the period, not part of it [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<String>,
    /// Only this cluster, and what is about no cluster: an extract
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The directory to write, new or empty [default: walproof-evidence-FROM-TO here]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// What `evidence verify` found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EvidenceVerifyReport {
    /// `walproof.evidence-verify/v1`.
    pub schema: String,
    /// The file that was checked; `null` for the state.
    pub file: Option<String>,
    /// Whether everything that could be checked holds.
    pub holds: bool,
    /// How many records hold.
    pub entries: u64,
    /// The first one's number.
    pub first: Option<u64>,
    /// The last one that holds.
    pub head: Option<Head>,
    /// The head that was noted elsewhere.
    pub noted: Option<Head>,
    /// Whether it was met. When not, nothing is known of it.
    pub noted_met: bool,
    /// Whether they are all records from the first to the last; an export of one cluster is
    /// an extract.
    pub complete: bool,
    /// The drill records, when the state was checked.
    pub records: Option<RecordsCheck>,
    /// The files beside it that have the digest which the manifest states; `null` without one.
    pub files: Option<u64>,
    /// Those that have not.
    pub differing_files: Vec<String>,
    /// The first break.
    pub first_break: Option<Break>,
    /// The same as a finding.
    pub findings: Vec<Finding>,
}

impl EvidenceVerifyReport {
    /// The schema's name.
    pub const SCHEMA: &'static str = "walproof.evidence-verify/v1";
}

/// Runs `evidence`.
pub async fn run(command: EvidenceCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        EvidenceCommand::Verify(args) => verify(args, context).await,
        EvidenceCommand::Head => head(context).await,
        EvidenceCommand::Export(args) => export(args, context).await,
    }
}

async fn verify(args: VerifyArgs, context: &Context) -> Result<ExitCode, Failure> {
    let report = match args.file {
        Some(file) => of_file(file, args.head, context).await?,
        None => of_state(args.head, context).await?,
    };
    if context.output.is_json() {
        context.output.json(&report)?;
    } else {
        let text = render::evidence::verified(&report, context.output);
        context.output.text(&text)?;
    }
    Ok(if report.holds {
        ExitCode::Done
    } else {
        ExitCode::Problem
    })
}

async fn of_state(noted: Option<Head>, context: &Context) -> Result<EvidenceVerifyReport, Failure> {
    let config = context.config()?;
    let state = context.state(&config).await?;
    let all = state
        .entry_head()
        .await?
        .map_or(0, |(sequence, _)| sequence);
    let bar = context.progress.count("records", all);
    let check = check_ledger(&state, noted.as_ref(), |count| bar.set_position(count)).await;
    bar.finish_and_clear();
    state.close().await;
    let check = check?;
    Ok(EvidenceVerifyReport {
        schema: EvidenceVerifyReport::SCHEMA.to_owned(),
        file: None,
        holds: check.first_break.is_none(),
        entries: check.entries,
        first: (check.entries > 0).then_some(1),
        head: check.head,
        noted,
        noted_met: check.met_head,
        complete: true,
        records: Some(check.records),
        files: None,
        differing_files: Vec::new(),
        findings: check.first_break.iter().map(broken_finding).collect(),
        first_break: check.first_break,
    })
}

async fn of_file(
    file: PathBuf,
    noted: Option<Head>,
    context: &Context,
) -> Result<EvidenceVerifyReport, Failure> {
    let spinner = context.progress.spinner("records");
    let shown = spinner.clone();
    let (to_read, head) = (file.clone(), noted.clone());
    let check = tokio::task::spawn_blocking(move || {
        check_file(&to_read, head.as_ref(), |count| {
            if count % 1000 == 0 {
                shown.set_message(format!("{count} followed"));
            }
        })
    })
    .await
    .map_err(|error| Failure::unproven(format_args!("read {}: {error}", file.display())))?;
    spinner.finish_and_clear();
    let check = check.map_err(|error| {
        Failure::unproven(error)
            .with_hint("give the entries.jsonl of an export, with manifest.json beside it")
    })?;
    Ok(EvidenceVerifyReport {
        schema: EvidenceVerifyReport::SCHEMA.to_owned(),
        file: Some(file.display().to_string()),
        holds: check.holds(),
        entries: check.entries,
        first: check.first,
        head: check.head,
        noted,
        noted_met: check.met_head,
        complete: check.complete,
        records: None,
        files: check.manifest.then_some(check.files),
        differing_files: check.differing_files,
        findings: check.first_break.iter().map(broken_finding).collect(),
        first_break: check.first_break,
    })
}

async fn head(context: &Context) -> Result<ExitCode, Failure> {
    let config = context.config()?;
    let state = context.state(&config).await?;
    let head = state.entry_head().await?;
    state.close().await;
    let head = head.map(|(sequence, sha256)| Head { sequence, sha256 });
    if context.output.is_json() {
        context.output.json(&serde_json::json!({
            "schema": "walproof.evidence-head/v1",
            "head": head,
        }))?;
    } else if let Some(head) = head {
        context.output.line(head)?;
    } else {
        return Err(Failure::new(ExitCode::Problem, "there is no record yet")
            .with_hint("every verification, replication and drill leaves one"));
    }
    Ok(ExitCode::Done)
}

/// A moment; a date is its midnight in UTC.
fn time(flag: &str, text: &str) -> Result<DateTime<Utc>, Failure> {
    match text.parse::<NaiveDate>() {
        Ok(date) => Ok(date.and_time(NaiveTime::MIN).and_utc()),
        Err(_) => moment(flag, text),
    }
}

async fn export(args: ExportArgs, context: &Context) -> Result<ExitCode, Failure> {
    let now = Utc::now();
    let scope = Scope {
        from: time("--from", &args.from)?,
        to: match &args.to {
            Some(to) => time("--to", to)?,
            None => now,
        },
        cluster: args.cluster,
    };
    let directory = args
        .dir
        .unwrap_or_else(|| Path::new(".").join(directory_name(&scope)));
    let config = context.config()?;
    let state = context.state(&config).await?;
    let all = state
        .entry_head()
        .await?
        .map_or(0, |(sequence, _)| sequence);
    let bar = context.progress.count("records", all);
    let exported = export_ledger(&state, scope, &directory, now, |count| {
        bar.set_position(count);
    })
    .await;
    bar.finish_and_clear();
    let exported = exported?;
    // That evidence was handed out is itself on record.
    state
        .append(&[report_entry(Asked::default(), &exported, Utc::now())?])
        .await?;
    state.close().await;
    if context.output.is_json() {
        context.output.json(&ExportDocument {
            schema: "walproof.evidence-export/v1",
            directory: exported.directory.display().to_string(),
            manifest: &exported.manifest,
            manifest_file: Digest {
                name: crate::evidence::export::MANIFEST_FILE.to_owned(),
                bytes: exported.manifest_bytes,
                sha256: exported.manifest_sha256.clone(),
            },
        })?;
    } else {
        let text = render::evidence::exported(&exported, context.output);
        context.output.text(&text)?;
    }
    Ok(if exported.manifest.ledger.first_break.is_none() {
        ExitCode::Done
    } else {
        ExitCode::Problem
    })
}

#[derive(Serialize)]
struct ExportDocument<'a> {
    schema: &'static str,
    directory: String,
    manifest: &'a Manifest,
    manifest_file: Digest,
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        use crate::evidence::export::ExportError;
        match error {
            LedgerError::State(error) => error.into(),
            LedgerError::Export(
                error
                @ (ExportError::Period { .. } | ExportError::Exists(_) | ExportError::Busy(_)),
            ) => Self::usage(error),
            other => Self::unproven(other),
        }
    }
}
