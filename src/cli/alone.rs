//! `--alone`: proof from one copy while the others cannot be reached.

use clap::{Args, ValueEnum};

use super::Failure;
use super::source::{Source, StoreArgs};
use crate::config::AloneSetting;
use crate::repository::{AloneAsked, AloneOptions, Elsewhere};

/// What a copy that answers means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AloneArg {
    /// It was no proof from one copy alone.
    Required,
    /// It is recorded.
    Report,
    /// Nobody asks.
    No,
}

/// Whether the other copies must be out of reach.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct AloneArgs {
    /// Prove it from this copy alone: ask every other copy of the cluster before and after,
    /// and leave it unproven if one answers; with report only record what they say
    #[arg(
        long,
        value_name = "WHAT",
        num_args = 0..=1,
        default_missing_value = "required",
        require_equals = true,
        hide_possible_values = true
    )]
    pub alone: Option<AloneArg>,
}

impl AloneArgs {
    /// What is asked: as the command line says, else as the definition does.
    pub fn over(self, setting: AloneSetting) -> AloneAsked {
        match (self.alone, setting) {
            (Some(AloneArg::Required), _) | (None, AloneSetting::Required) => AloneAsked::Required,
            (Some(AloneArg::Report), _) | (None, AloneSetting::Report) => AloneAsked::Report,
            (Some(AloneArg::No), _) | (None, AloneSetting::No) => AloneAsked::No,
        }
    }
}

/// The other copies of the cluster that `source` is one of. A copy whose secrets are gone is
/// among them: it will be asked without.
pub fn options(asked: AloneAsked, source: &Source) -> Result<AloneOptions, Failure> {
    if asked == AloneAsked::No {
        return Ok(AloneOptions::default());
    }
    let Some(cluster) = &source.cluster else {
        return Err(
            Failure::usage("--alone needs a cluster's name, not a URL").with_hint(
                "which other copies there are is known from the configuration (`clusters`)",
            ),
        );
    };
    let mut others = Vec::new();
    for (copy, repository) in cluster.copies().filter(|(label, _)| *label != source.copy) {
        let (mut options, without_credentials) = match repository.storage_options() {
            Ok(options) => (options, None),
            Err(error) => {
                let mut repository = repository.clone();
                repository.credentials = None;
                (repository.storage_options()?, Some(error.to_string()))
            }
        };
        // The flags are about the copy that is proven.
        StoreArgs::default().apply(&repository.url, &mut options)?;
        others.push(Elsewhere {
            copy,
            location: repository.url.clone(),
            options,
            without_credentials,
        });
    }
    if others.is_empty() {
        return Err(Failure::usage(format_args!(
            "--alone: cluster `{}` has no other copy that could be away",
            cluster.name
        ))
        .with_hint("name its other copies under `replicas` in the configuration"));
    }
    Ok(AloneOptions { asked, others })
}
