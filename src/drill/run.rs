//! The drill as a whole.

use std::sync::Arc;

use super::cancel::Cancellation;
use super::checks::run::ChecksReport;
use super::conclude::{Aftermath, conclude};
use super::course::{Course, Stop};
use super::environments::cnpg;
use super::environments::local::{self, SweepReport};
use super::facts::RecoveryFacts;
use super::observer::DrillObserver;
use super::options::{DrillOptions, EnvironmentOptions};
use super::plan::DrillPlan;
use super::report::DrillReport;
use crate::finding::Finding;
use crate::repository::{Alone, Catalog, Repository, RepositoryError};
use crate::restore::configuration::SettingsReview;
use crate::restore::{ExtractReport, Watch};

/// Everything that a drill has learned so far, wherever it runs.
#[derive(Default)]
pub(super) struct Workshop {
    pub(super) plan: Option<DrillPlan>,
    pub(super) extracted: Option<ExtractReport>,
    pub(super) review: SettingsReview,
    pub(super) facts: RecoveryFacts,
    pub(super) checks: ChecksReport,
    pub(super) findings: Vec<Finding>,
    pub(super) swept: SweepReport,
    pub(super) time_to_service: Option<u64>,
    pub(super) time_to_verified: Option<u64>,
    pub(super) fsync: bool,
    /// Stored bytes of the base backup, where somebody else fetched it.
    pub(super) base_bytes_fetched: Option<u64>,
}

/// Runs a drill to its end, whatever that is: everything that goes wrong is in the report,
/// and everything that was made is removed.
pub async fn run(
    options: &DrillOptions,
    repository: &Repository,
    observer: Arc<dyn DrillObserver>,
    cancellation: Cancellation,
) -> DrillReport {
    let mut alone = first_look(options, &observer, &cancellation).await;
    let mut course = Course::begin(observer.as_ref(), cancellation, options.limit);
    let mut work = Workshop::default();
    let (result, torn) = match &options.environment {
        EnvironmentOptions::Local(local) => {
            let mut place = local::course::Place::default();
            let result = local::course::drill(
                local,
                options,
                repository,
                &observer,
                &mut course,
                &mut place,
                &mut work,
            )
            .await;
            course.tear_down(result.is_ok());
            let torn = local::tear_down::tear_down(options, &mut place, &mut work).await;
            (result, torn)
        }
        EnvironmentOptions::Cnpg(cnpg) => {
            let mut place = cnpg::course::Place::default();
            let result = Box::pin(cnpg::course::drill(
                cnpg,
                options,
                repository,
                &observer,
                &mut course,
                &mut place,
                &mut work,
            ))
            .await;
            course.tear_down(result.is_ok());
            let stopped = course.cancellation().is_cancelled();
            let tearing = cnpg::tear_down::tear_down(cnpg, options, &mut place, &mut work, stopped);
            let torn = tearing.await;
            (result, torn)
        }
    };
    course.finish(torn.complete());
    let stop = result.err();
    if course.cancellation().is_cancelled() {
        alone.read_from(repository.store());
    } else {
        alone.end(&options.alone, repository.store()).await;
    }
    let after = Aftermath { alone, torn };
    conclude(options, repository, &course, work, stop.as_ref(), after)
}

/// Asks the other copies before the clock runs: it is no part of any recovery.
async fn first_look(
    options: &DrillOptions,
    observer: &Arc<dyn DrillObserver>,
    cancellation: &Cancellation,
) -> Alone {
    let alone = tokio::select! {
        alone = Alone::begin(&options.alone) => alone,
        () = cancellation.cancelled() => Alone {
            asked: options.alone.asked,
            ..Alone::default()
        },
    };
    if alone.holds == Some(false) {
        for reason in alone.reasons() {
            observer.note(&format!(
                "{reason}. It goes on all the same: what is wrong with this copy will show"
            ));
        }
    }
    alone
}

/// Shows what a drill would do. Reads the repository; writes nothing.
pub async fn plan(
    options: &DrillOptions,
    repository: &Repository,
    cancellation: Cancellation,
) -> Result<DrillPlan, Stop> {
    let course = Course::begin(&super::observer::Unobserved, cancellation, options.limit);
    let catalog = read_catalog(repository, &course).await?;
    let watch = Watch::default();
    let now = course.clock().started_at();
    match &options.environment {
        EnvironmentOptions::Local(local) => {
            let admitting = local::admit::admit(local, options, repository, &catalog, now, &watch);
            course.wait(admitting).await?.map(|admitted| admitted.plan)
        }
        EnvironmentOptions::Cnpg(cnpg) => {
            let admitting = Box::pin(cnpg::admit::admit(
                cnpg, options, repository, &catalog, now, &watch,
            ));
            let admitted = course.wait(admitting).await??;
            admitted.has_hope()?;
            Ok(admitted.plan)
        }
    }
}

pub(super) async fn read_catalog(
    repository: &Repository,
    course: &Course<'_>,
) -> Result<Catalog, Stop> {
    course
        .wait(repository.catalog())
        .await?
        .map_err(|error| match error {
            RepositoryError::Storage(error) => Stop::Store(error),
            error @ RepositoryError::Task(_) => Stop::unproven(error),
        })
}

/// Runs blocking work on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stop> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Stop::unproven)
}
