//! Names and values that configure a store, from two layers: what the caller resolved, and
//! the process environment.

use std::collections::BTreeMap;

/// Names that bring credentials of their own. If the upper layer has one of them, the lower
/// layer's are left out: a session token of one identity with the key of another is refused
/// by every store, in words that help nobody.
const IDENTITIES: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
];

/// The merged environment. Has no `Debug`: it holds secrets.
pub(super) struct Environment {
    values: BTreeMap<String, String>,
}

impl Environment {
    /// Merges the caller's pairs over the process environment. Empty values count as unset.
    pub(super) fn new(
        pairs: &[(String, String)],
        process: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let own_identity = pairs
            .iter()
            .any(|(name, value)| !value.trim().is_empty() && IDENTITIES.contains(&&**name));
        let lower = process
            .into_iter()
            .filter(|(name, _)| !(own_identity && IDENTITIES.contains(&&**name)));
        let mut values: BTreeMap<String, String> = lower.collect();
        values.extend(pairs.iter().cloned());
        // Files and secret stores like to end values with a line feed.
        values.retain(|_, value| !value.trim().is_empty());
        for value in values.values_mut() {
            *value = value.trim().to_owned();
        }
        Self { values }
    }

    /// Merges over the environment of this process; what is not UTF-8 there is left out.
    pub(super) fn of_process(pairs: &[(String, String)]) -> Self {
        let process = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::new(pairs, process)
    }

    /// A value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The first of several names that has a value.
    pub(super) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Whether a name is set to something like true.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| {
            ["1", "true", "yes", "on"]
                .iter()
                .any(|word| value.eq_ignore_ascii_case(word))
        })
    }

    /// All names that begin with a prefix, and their values.
    pub(super) fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn identities_do_not_mix() {
        let process = pairs(&[
            ("AWS_SESSION_TOKEN", "old"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_EMPTY", ""),
        ]);
        let own = pairs(&[("AWS_ACCESS_KEY_ID", "key\n")]);
        let merged = Environment::new(&own, process.clone());
        assert_eq!(merged.get("AWS_ACCESS_KEY_ID"), Some("key"));
        assert_eq!(merged.get("AWS_SESSION_TOKEN"), None);
        assert_eq!(merged.get("AWS_REGION"), Some("eu-west-1"));
        assert_eq!(merged.get("AWS_EMPTY"), None);
        let other = Environment::new(&pairs(&[("AWS_REGION", "x")]), process);
        assert_eq!(other.get("AWS_SESSION_TOKEN"), Some("old"));
        assert_eq!(other.first(&["NONE", "AWS_REGION"]), Some("x"));
    }
}
