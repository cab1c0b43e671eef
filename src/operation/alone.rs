//! Proof from one copy alone: the other copies of its cluster, and how they are asked.

use super::Failure;
use super::secrets::KubernetesSecrets;
use super::source::{Reach, Source, reachable};
use crate::config::{AloneSetting, Credentials, RepositoryConfig, SecretReader};
use crate::repository::{AloneAsked, AloneOptions, Elsewhere};
use crate::storage::StorageOptions;

/// What a definition asks for.
pub const fn asked_by(setting: AloneSetting) -> AloneAsked {
    match setting {
        AloneSetting::Required => AloneAsked::Required,
        AloneSetting::Report => AloneAsked::Report,
        AloneSetting::No => AloneAsked::No,
    }
}

/// How to reach a repository whose secrets are gone. An account's name is none: Azure's
/// address is made of it.
fn unsigned(repository: &RepositoryConfig, reader: &dyn SecretReader) -> StorageOptions {
    let mut repository = repository.clone();
    let account_name = repository
        .credentials
        .take()
        .and_then(|credentials| credentials.account_name);
    let nameless = repository.options_without_secrets();
    repository.credentials = Some(Credentials {
        account_name,
        ..Credentials::default()
    });
    repository.storage_options(reader).unwrap_or(nameless)
}

/// The other copies of the cluster that `source` is one of. A copy whose secrets are gone is
/// among them: it will be asked without.
pub fn others(asked: AloneAsked, source: &Source) -> Result<AloneOptions, Failure> {
    if asked == AloneAsked::No {
        return Ok(AloneOptions::default());
    }
    let Some(cluster) = &source.cluster else {
        return Err(
            Failure::configuration("--alone needs a cluster's name, not a URL").with_hint(
                "which other copies there are is known from the configuration (`clusters`)",
            ),
        );
    };
    let reader = KubernetesSecrets::new(source.kubernetes.clone());
    let mut others = Vec::new();
    for (copy, repository) in cluster.copies().filter(|(label, _)| *label != source.copy) {
        let (mut options, without_credentials) = match repository.storage_options(&reader) {
            Ok(options) => (options, None),
            Err(error) => (unsigned(repository, &reader), Some(error.to_string())),
        };
        // The flags are about the copy that is proven.
        Reach::default().apply(&repository.url, &mut options)?;
        // What is out of reach through Kubernetes is asked by its name, and so told of.
        let options = reachable(&source.kubernetes, &options).unwrap_or(options);
        others.push(Elsewhere {
            copy,
            location: repository.url.clone(),
            options,
            without_credentials,
        });
    }
    if others.is_empty() {
        return Err(Failure::configuration(format_args!(
            "--alone: cluster `{}` has no other copy that could be away",
            cluster.name
        ))
        .with_hint("name its other copies under `replicas` in the configuration"));
    }
    Ok(AloneOptions { asked, others })
}

#[cfg(test)]
mod tests {
    use super::super::FailureClass;
    use super::*;
    use crate::config::Config;

    fn config(text: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("walproof.yaml");
        std::fs::write(&file, format!("version: 1\nclusters:\n{text}")).unwrap();
        crate::config::load(&file).unwrap()
    }

    fn asked(config: &Config, copy: &str) -> Result<AloneOptions, Failure> {
        let reach = Reach {
            region: Some("flag".to_owned()),
            ..Reach::default()
        };
        let source = Source::of_cluster(config, "orders", Some(copy), &reach)?;
        others(AloneAsked::Required, &source)
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
        assert_eq!(failure.class, FailureClass::Credentials);
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
