//! Where a repository lies: a URL of a bucket and prefix, or of a local directory.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which kind of store a location names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Amazon S3 and everything that speaks it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// A directory of this machine.
    File,
}

impl Scheme {
    /// The scheme as written in URLs, without `://`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
            Self::File => "file",
        }
    }
}

/// A place in a store: `s3://bucket/prefix`, `gs://bucket/prefix`,
/// `az://container/prefix` or `file:///absolute/directory`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Location {
    scheme: Scheme,
    bucket: String,
    prefix: String,
}

/// A text that names no place in a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a repository URL: {text:?}: {reason} (expected s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///absolute/directory)"
)]
pub struct LocationError {
    text: String,
    reason: &'static str,
}

impl Location {
    /// The kind of store.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The bucket or container; empty for local files.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The prefix without leading and trailing slashes; for local files the absolute
    /// directory without its leading slash.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The directory, for local files.
    pub fn directory(&self) -> Option<PathBuf> {
        (self.scheme == Scheme::File).then(|| PathBuf::from(format!("/{}", self.prefix)))
    }

    /// The place `below` this one. Slashes around `below` do not matter.
    #[must_use]
    pub fn join(&self, below: &str) -> Self {
        let below = below.trim_matches('/');
        let prefix = match (self.prefix.is_empty(), below.is_empty()) {
            (_, true) => self.prefix.clone(),
            (true, false) => below.to_owned(),
            (false, false) => format!("{}/{below}", self.prefix),
        };
        Self {
            prefix,
            ..self.clone()
        }
    }

    /// The last part of the prefix: the server's name in a Barman Cloud layout.
    pub fn last_part(&self) -> Option<&str> {
        self.prefix
            .rsplit('/')
            .next()
            .filter(|part| !part.is_empty())
    }

    /// The place one level up, or `None` at the top of the bucket.
    pub fn parent(&self) -> Option<Self> {
        if self.prefix.is_empty() {
            return None;
        }
        let prefix = self
            .prefix
            .rsplit_once('/')
            .map_or("", |(parent, _)| parent);
        Some(Self {
            prefix: prefix.to_owned(),
            ..self.clone()
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.scheme, self.prefix.is_empty()) {
            (Scheme::File, _) => write!(f, "file:///{}", self.prefix),
            (scheme, true) => write!(f, "{}://{}", scheme.as_str(), self.bucket),
            (scheme, false) => write!(f, "{}://{}/{}", scheme.as_str(), self.bucket, self.prefix),
        }
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| LocationError {
            text: text.to_owned(),
            reason,
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| error("no scheme"))?;
        let scheme = match scheme {
            "s3" | "s3a" => Scheme::S3,
            "gs" | "gcs" => Scheme::Gcs,
            "az" | "azure" | "abfs" => Scheme::Azure,
            "file" => Scheme::File,
            _ => return Err(error("unknown scheme")),
        };
        if rest.contains('@') || rest.contains('?') || rest.contains('#') {
            // The text may hold a password or a signature, so it is not repeated.
            return Err(LocationError {
                text: format!("{}://…", scheme.as_str()),
                reason: "credentials and options do not go into the URL",
            });
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if scheme == Scheme::File {
            if !bucket.is_empty() {
                return Err(error("a local path must be absolute"));
            }
        } else if bucket.is_empty() {
            return Err(error("no bucket"));
        }
        let parts: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
        if parts.iter().any(|part| *part == "." || *part == "..") {
            return Err(error("`.` and `..` are not allowed"));
        }
        Ok(Self {
            scheme,
            bucket: bucket.to_owned(),
            prefix: parts.join("/"),
        })
    }
}

impl TryFrom<String> for Location {
    type Error = LocationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.to_string()
    }
}

impl schemars::JsonSchema for Location {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Location".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^(s3|gs|az)://[^/]+|^file:///",
            "description": "s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///absolute/directory. Never with credentials.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_normalised() {
        let location: Location = "s3://backups//a/orders/".parse().unwrap();
        assert_eq!(location.to_string(), "s3://backups/a/orders");
        assert_eq!(location.last_part(), Some("orders"));
        assert_eq!(location.parent().unwrap().to_string(), "s3://backups/a");
        assert_eq!(
            location.join("/wals/").to_string(),
            "s3://backups/a/orders/wals"
        );
        let file: Location = "file:///srv/backups/orders".parse().unwrap();
        assert_eq!(
            file.directory().unwrap(),
            PathBuf::from("/srv/backups/orders")
        );
        assert_eq!(file.to_string(), "file:///srv/backups/orders");
    }

    #[test]
    fn refusals_say_why() {
        for (text, reason) in [
            ("orders", "no scheme"),
            ("ftp://a/b", "unknown scheme"),
            ("s3:///b", "no bucket"),
            ("file://relative/dir", "a local path must be absolute"),
            (
                "s3://key:secret@bucket/b",
                "credentials and options do not go into the URL",
            ),
            ("file:///srv/../etc", "`.` and `..` are not allowed"),
        ] {
            let error = text.parse::<Location>().unwrap_err();
            assert_eq!(error.reason, reason, "{text}");
        }
        for text in ["s3://key:secret@bucket/b", "az://box/b?sig=secret"] {
            let words = text.parse::<Location>().unwrap_err().to_string();
            assert!(!words.contains("secret"), "{words}");
        }
    }
}
