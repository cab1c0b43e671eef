//! `--alone`: proof from one copy while the others cannot be reached.

use clap::{Args, ValueEnum};

use super::Failure;
use super::source::{Source, StoreArgs};
use crate::config::{AloneSetting, Credentials, RepositoryConfig, SecretError};
use crate::repository::{AloneAsked, AloneOptions, Elsewhere};
use crate::storage::StorageOptions;

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

/// How to reach a repository whose secrets are gone. An account's name is none: Azure's
/// address is made of it.
fn unsigned(repository: &RepositoryConfig) -> Result<StorageOptions, SecretError> {
    let mut repository = repository.clone();
    let account_name = repository
        .credentials
        .take()
        .and_then(|credentials| credentials.account_name);
    let nameless = repository.storage_options()?;
    repository.credentials = Some(Credentials {
        account_name,
        ..Credentials::default()
    });
    Ok(repository.storage_options().unwrap_or(nameless))
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
            Err(error) => (unsigned(repository)?, Some(error.to_string())),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ExitCode;
    use crate::cli::source::{SourceArgs, resolve};
    use crate::config::Config;

    fn config(text: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("walproof.yaml");
        std::fs::write(&file, format!("version: 1\nclusters:\n{text}")).unwrap();
        crate::config::load(&file).unwrap()
    }

    fn asked(config: &Config, copy: &str) -> Result<AloneOptions, Failure> {
        let source = resolve(
            &SourceArgs {
                source: "orders".to_owned(),
                copy: Some(copy.to_owned()),
                store: StoreArgs {
                    region: Some("flag".to_owned()),
                    ..StoreArgs::default()
                },
            },
            config,
        )?;
        options(AloneAsked::Required, &source)
    }

    #[test]
    fn the_command_line_wins_over_the_definition() {
        let over = |alone, setting| AloneArgs { alone }.over(setting);
        assert_eq!(over(None, AloneSetting::Required), AloneAsked::Required);
        assert_eq!(over(None, AloneSetting::No), AloneAsked::No);
        let no = Some(AloneArg::No);
        assert_eq!(over(no, AloneSetting::Required), AloneAsked::No);
        let report = Some(AloneArg::Report);
        assert_eq!(over(report, AloneSetting::Required), AloneAsked::Report);
        let required = Some(AloneArg::Required);
        assert_eq!(over(required, AloneSetting::Report), AloneAsked::Required);
    }

    #[test]
    fn every_other_copy_is_among_them_though_its_secrets_are_gone() {
        let lost = "credentials: {access_key_id: {env: WALPROOF_TEST_NEVER_SET}}";
        let config = config(&format!(
            "- name: orders\n  primary: {{url: 's3://b/orders', region: own, {lost}}}\n  \
             replicas: [{{url: 'file:///srv/copy'}}, {{name: far, url: 's3://far/orders'}}]\n"
        ));
        let options = asked(&config, "far").unwrap();
        let others: Vec<(&str, bool)> = options
            .others
            .iter()
            .map(|other| (&*other.copy, other.without_credentials.is_some()))
            .collect();
        assert_eq!(others, [("primary", true), ("replica-1", false)]);
        let primary = &options.others[0];
        assert_eq!(primary.options.region.as_deref(), Some("own"));
        let why = primary.without_credentials.as_deref().unwrap_or_default();
        assert!(why.contains("WALPROOF_TEST_NEVER_SET"), "{why}");
        // The one that is asked for needs its own.
        let failure = asked(&config, "primary").unwrap_err();
        assert_eq!(failure.code, ExitCode::Unproven);
    }

    #[test]
    fn an_accounts_name_is_kept_when_its_key_is_lost() {
        // The file is gone by now, so the name is lost too: it is asked all the same.
        let config = config(
            "- name: orders\n  primary: {url: 'az://c/orders', credentials: {account_name: {env: PATH}, account_key: {env: WALPROOF_TEST_NEVER_SET}}}\n  \
             replicas: [{name: near, url: 'file:///srv/copy'}, {url: 'az://d/orders', credentials: {account_name: {file: name}, account_key: {env: WALPROOF_TEST_NEVER_SET}}}]\n",
        );
        let others = asked(&config, "near").unwrap().others;
        let names: Vec<&str> = others[0]
            .options
            .environment
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names.len(), 1, "{names:?}");
        assert!(names[0].contains("ACCOUNT"), "{names:?}");
        assert!(others[1].options.environment.is_empty());
        assert!(
            others
                .iter()
                .all(|other| other.without_credentials.is_some())
        );
    }
}
