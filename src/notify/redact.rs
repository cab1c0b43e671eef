//! Secrets never enter a notice: what is known as one, and what looks like one, is left out.

use crate::config::Config;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";
/// Shorter values are no secrets, and would be found everywhere.
const SHORTEST: usize = 6;

/// Words before `=` or `:` whose value is a secret.
const WORDS: [&str; 12] = [
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "account_key",
    "authorization",
    "signature",
    "credential",
    "sig",
];

/// Environment variables that hold secrets of ours.
const VARIABLES: [&str; 9] = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_CLIENT_SECRET",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "PGPASSWORD",
    "OTEL_EXPORTER_OTLP_HEADERS",
];

/// Takes secrets out of texts. Shows none of them.
#[derive(Clone, Default)]
pub struct Redactor {
    /// The longest first, as a short one may be part of a longer one.
    secrets: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}

impl Redactor {
    /// Knows these secrets.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut all: Vec<String> = Vec::new();
        for secret in secrets {
            // A key in a file of several lines is as secret as the whole.
            if secret.contains('\n') {
                all.extend(secret.lines().map(|line| line.trim().to_owned()));
            }
            all.push(secret);
        }
        all.retain(|secret| secret.len() >= SHORTEST);
        all.sort_by(|left, right| right.len().cmp(&left.len()).then_with(|| left.cmp(right)));
        all.dedup();
        Self { secrets: all }
    }

    /// Knows every secret that this configuration names and that can be read, and those of
    /// the environment.
    pub fn of(config: &Config) -> Self {
        let named = config
            .secret_sources()
            .into_iter()
            .filter_map(|source| source.read("secret").ok());
        let ambient = VARIABLES.iter().filter_map(|name| std::env::var(name).ok());
        Self::new(named.chain(ambient))
    }

    /// The text without secrets.
    pub fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            if clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), REDACTED);
            }
        }
        without_assignments(&without_userinfo(&clean))
    }
}

/// `scheme://user:password@host` without what stands before the `@`.
fn without_userinfo(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = behind
            .find(|letter: char| letter.is_whitespace() || "/?#\"'`<>".contains(letter))
            .unwrap_or(behind.len());
        let (authority, after) = behind.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                clean.push_str(REDACTED);
                clean.push('@');
                clean.push_str(host);
            }
            None => clean.push_str(authority),
        }
        rest = after;
    }
    clean.push_str(rest);
    clean
}

/// `password=hush` without what stands behind the sign.
fn without_assignments(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, behind) = rest.split_at(at + 1);
        clean.push_str(before);
        rest = behind;
        let word: String = before
            .trim_end_matches(['=', ':', ' ', '"', '\''])
            .chars()
            .rev()
            .take_while(|letter| letter.is_ascii_alphanumeric() || "_-".contains(*letter))
            .map(|letter| {
                if letter == '-' {
                    '_'
                } else {
                    letter.to_ascii_lowercase()
                }
            })
            .collect::<Vec<char>>()
            .into_iter()
            .rev()
            .collect();
        let is_secret = WORDS.iter().any(|known| {
            word == *known
                || word.ends_with(&format!("_{known}"))
                || (known.len() > 4 && word.contains(known))
        });
        if !is_secret {
            continue;
        }
        let value = rest.trim_start_matches([' ', '"', '\'']);
        let between = rest.strip_suffix(value).unwrap_or_default();
        let end = value
            .find(|letter: char| letter.is_whitespace() || "&,;\"'`)}]".contains(letter))
            .unwrap_or(value.len());
        let (value, mut after) = value.split_at(end);
        // "Authorization: Bearer hush"
        if matches!(value.to_ascii_lowercase().as_str(), "bearer" | "basic") {
            let token = after.trim_start();
            let end = token.find(char::is_whitespace).unwrap_or(token.len());
            after = token.split_at(end).1;
        }
        if !value.is_empty() {
            clean.push_str(between);
            clean.push_str(REDACTED);
            rest = after;
        }
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_secrets_and_what_looks_like_one_are_left_out() {
        let redactor = Redactor::new(["hush-hush".to_owned(), "hush-hush-longer".to_owned()]);
        for (text, clean) in [
            ("a hush-hush-longer b", "a [redacted] b"),
            (
                "postgres://me:word@db/x, s3://b/k",
                "postgres://[redacted]@db/x, s3://b/k",
            ),
            ("password=word next", "password=[redacted] next"),
            ("X-Amz-Signature=0a1b&x=y", "X-Amz-Signature=[redacted]&x=y"),
            (
                "{\"client_secret\": \"word\"}",
                "{\"client_secret\": \"[redacted]\"}",
            ),
            (
                "Authorization: Bearer word next",
                "Authorization: [redacted] next",
            ),
            ("?sv=1&sig=abc%3D&se=2", "?sv=1&sig=[redacted]&se=2"),
            (
                "AWS_SECRET_ACCESS_KEY=word",
                "AWS_SECRET_ACCESS_KEY=[redacted]",
            ),
        ] {
            assert_eq!(redactor.clean(text), clean);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        let redactor = Redactor::new(["ab".to_owned()]);
        for text in [
            "segment 000000010000000000000007: 2 segments are missing",
            "s3://backups/orders/wals/0000000100000000: not found (404)",
            "ab design: a fine sign=1",
            "see https://walproof.dev/runbooks/wal-gap.md",
            "the tier's RPO: 5m",
        ] {
            assert_eq!(redactor.clean(text), text);
        }
        assert_eq!(
            format!("{:?}", Redactor::new(["hush-hush".to_owned()])),
            "Redactor(1 secrets)"
        );
    }

    proptest! {
        #[test]
        fn a_known_secret_never_stays(before: String, secret in "[a-zA-Z0-9/+]{6,40}", after: String) {
            let clean = Redactor::new([secret.clone()]).clean(&format!("{before}{secret}{after}"));
            prop_assert!(!clean.contains(&secret) || REDACTED.contains(&secret), "{}", clean);
        }
    }
}
