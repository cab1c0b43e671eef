//! A verification that remembers.

use std::time::Instant;

use tokio::sync::mpsc;

use super::keep::{Ledger, LedgerOptions};
use super::listing::Listed;
use super::log::{self, Logged};
use super::{LedgerReport, ReadLog, damage, findings, memory, small};
use crate::codec::Codec;
use crate::postgres::{SegmentNumber, TimelineId};
use crate::repository::{Catalog, Repository};
use crate::state::{ReadRate, RememberedObject, StateError};
use crate::verify::report::settle;
use crate::verify::rotation::{Holdings, Pace, Rotation, RotationOptions, RotationReport, rotate};
use crate::verify::{
    OnReadProgress, RequestedDepth, VerifyError, VerifyOptions, VerifyReport, verify_catalog,
};

/// Batches of a listing that wait to be compared.
const BATCHES: usize = 2;

/// How many marked objects are told of.
const MARKED: u32 = 10_000;

/// Less read than this says nothing about how fast a repository can be read.
const RATE_BYTES: u64 = 64 << 20;

/// Looks at a repository as deeply as the options say, with the ledger: the listing is
/// compared with what is remembered, what is read is remembered, and at depth `sampled` the
/// ledger decides what is read.
///
/// Trouble with the state database is told in the report, but at depth `sampled` it is an
/// error: without the ledger nobody knows what is due.
///
/// Memory: that of [`crate::verify::verify_catalog`], and 24 bytes per segment object.
pub async fn verify_with(
    ledger: &Ledger,
    repository: &Repository,
    options: &VerifyOptions,
    ledger_options: &LedgerOptions,
    on_progress: OnReadProgress<'_>,
) -> Result<VerifyReport, VerifyError> {
    let place = &ledger.place;
    let (sender, batches) = mpsc::channel(BATCHES);
    let watching = tokio::spawn(Listed::watch(
        place.clone(),
        batches,
        options.parts.is_kept(),
    ));
    let catalog = repository.catalog_shown_to(Some(sender)).await?;
    let mut listed = match watching.await? {
        Ok(listed) => listed,
        Err(error) if options.depth == RequestedDepth::Sampled => return Err(error.into()),
        Err(error) => return without(repository, &catalog, options, on_progress, error).await,
    };
    listed.note_absent(place).await?;
    let mut options = options.clone();
    if let Some(shown) = listed.shown.take() {
        options.parts = options.parts.beside(shown);
    }
    let rotation = match options.depth {
        RequestedDepth::Listed => None,
        RequestedDepth::Sampled | RequestedDepth::Read => {
            let rotation = ledger
                .rotation(&listed, &catalog, &options, ledger_options)
                .await?;
            choose(&mut options, &rotation, &catalog);
            let deadline = ledger_options.max_time.map(|time| Instant::now() + time);
            options.selection = options.selection.until(deadline);
            Some(rotation.report)
        }
    };

    let (log, readings) = ReadLog::channel();
    let writing = tokio::spawn(log::write(place.clone(), readings));
    options.log = log.clone();
    let began = Instant::now();
    let verified = verify_catalog(repository, &catalog, &options, on_progress).await;
    let took = began.elapsed();
    small::descriptions(&listed, &catalog, &log).await;
    let digests = match &verified {
        Ok(_) => {
            let all = options.depth != RequestedDepth::Listed;
            small::digests(place, repository, &listed, all, &log).await
        }
        Err(_) => Ok(()),
    };
    options.log = ReadLog::none();
    drop(log);
    // Also of a run that failed: what it read it has read.
    let logged = writing.await?;
    let mut report = verified?;
    digests?;
    // What shards read says nothing of how fast it was read.
    if logged.bytes >= RATE_BYTES && !options.parts.is_kept() {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let rate = ReadRate {
            bytes: logged.bytes,
            millis: millis.max(1),
        };
        place.state.keep_read_rate(&place.name, rate).await?;
    }
    ledger
        .conclude(&mut report, rotation, logged, ledger_options)
        .await?;
    Ok(report)
}

/// The verification without the ledger, which could not be looked into.
async fn without(
    repository: &Repository,
    catalog: &Catalog,
    options: &VerifyOptions,
    on_progress: OnReadProgress<'_>,
    error: StateError,
) -> Result<VerifyReport, VerifyError> {
    let mut report = verify_catalog(repository, catalog, options, on_progress).await?;
    report.ledger = Some(LedgerReport {
        trouble: Some(error.to_string()),
        ..LedgerReport::default()
    });
    Ok(report)
}

/// Puts what the rotation chose into the options, with the newest segments: where recovery
/// ends is read every time.
fn choose(options: &mut VerifyOptions, rotation: &Rotation, catalog: &Catalog) {
    options.selection = rotation.selection.clone();
    if rotation.selection.is_everything() {
        options.depth = RequestedDepth::Read;
        return;
    }
    options.depth = RequestedDepth::Sampled;
    for (timeline, own) in &catalog.wal.timelines {
        if let Some(newest) = own.newest() {
            let before = newest
                .0
                .saturating_sub(options.tip_segments.saturating_sub(1));
            for number in (before..=newest.0).map(SegmentNumber) {
                if own.run_of(number).is_some() {
                    options.selection.add_segments(*timeline, number, number);
                }
            }
        }
    }
}

impl Ledger {
    async fn rotation(
        &self,
        listed: &Listed,
        catalog: &Catalog,
        options: &VerifyOptions,
        ledger_options: &LedgerOptions,
    ) -> Result<Rotation, StateError> {
        let rate = self.place.state.read_rate(&self.place.name).await?;
        let everything = RotationOptions::everything(self.place.now);
        let asked = RotationOptions {
            pace: match options.depth {
                RequestedDepth::Read => ledger_options.pace.map_or(everything.pace, at_once),
                _ => ledger_options.pace.unwrap_or(Pace::Budget),
            },
            subset: ledger_options.subset,
            max_bytes: ledger_options.max_bytes,
            max_time: ledger_options.max_time,
            bytes_per_second: rate
                .and_then(|rate| rate.bytes.saturating_mul(1_000).checked_div(rate.millis)),
            ..everything
        };
        let readable = |timeline: TimelineId, number: SegmentNumber, codec: Codec| {
            catalog.wal.codecs_of(timeline, number).contains(&codec)
        };
        let held: Holdings = listed.holdings(catalog, readable);
        let rotated = tokio::task::spawn_blocking(move || rotate(&held, &asked)).await;
        // The plan is pure; a task that ends without one was cut short by the shutdown.
        Ok(rotated.unwrap_or_else(|_| Rotation {
            selection: crate::verify::rotation::Selection::everything(),
            report: RotationReport::default(),
        }))
    }

    /// Adds to the report what the ledger knows.
    async fn conclude(
        &self,
        report: &mut VerifyReport,
        rotation: Option<RotationReport>,
        logged: Logged,
        options: &LedgerOptions,
    ) -> Result<(), StateError> {
        let place = &self.place;
        let (state, name) = (&place.state, place.name.as_str());
        damage::remember(place, &logged, &report.findings).await?;
        let marked = state.objects_marked(name, MARKED).await?;
        let mut told = if options.accept_changed {
            self.accept(&marked).await?
        } else {
            Vec::new()
        };
        let marked = if options.accept_changed {
            state.objects_marked(name, MARKED).await?
        } else {
            marked
        };
        told.extend(findings::findings(&marked, place.now));
        if let Some(age) = options.forget_absent {
            state.objects_forget_absent(name, place.now - age).await?;
        }
        let summary = state.objects_summary(name).await?;
        report.findings.extend(told);
        report.findings = settle(std::mem::take(&mut report.findings));
        report.rotation = rotation;
        report.ledger = Some(LedgerReport {
            objects: summary.objects,
            unread: summary.unread,
            oldest_read: summary.oldest_read,
            read_now: logged.objects,
            read_now_bytes: logged.bytes,
            stored_anew: logged.same_bytes,
            changed: summary.changed,
            damaged: summary.damaged,
            absent: summary.absent,
            trouble: logged.trouble.map(|error| error.to_string()),
        });
        Ok(())
    }

    /// Takes changed objects for what they are now. Gives what is told of them.
    async fn accept(
        &self,
        marked: &[RememberedObject],
    ) -> Result<Vec<crate::finding::Finding>, StateError> {
        let changed: Vec<&RememberedObject> = marked
            .iter()
            .filter(|object| object.change.is_some())
            .collect();
        for objects in changed.chunks(crate::state::State::OBJECTS_TOGETHER) {
            let keys: Vec<String> = objects.iter().map(|object| object.key.clone()).collect();
            let update = |rows: Vec<RememberedObject>| {
                rows.iter()
                    .filter(|row| row.change.is_some())
                    .map(memory::accepted)
                    .collect()
            };
            let place = &self.place;
            place
                .state
                .objects_update(&place.name, &keys, update)
                .await?;
        }
        Ok(changed.into_iter().filter_map(findings::accepted).collect())
    }
}

/// At depth `read` what is due is read at once.
const fn at_once(pace: Pace) -> Pace {
    match pace {
        Pace::Spread(within) | Pace::AtOnce(within) => Pace::AtOnce(within),
        Pace::Budget => Pace::Budget,
    }
}
