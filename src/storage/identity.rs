//! What a store says of one state of an object, written alike however it was asked.

use chrono::{DateTime, SubsecRound as _, Utc};

use super::ObjectEntry;

/// One state of an object by the store's own words: enough to tell without reading that an
/// object is no longer the one that was read, never enough to prove that it still is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectIdentity {
    /// The size in bytes.
    pub size: u64,
    /// The entity tag, see [`normal_etag`].
    pub etag: Option<String>,
    /// The version, where the store told one. Listings tell none.
    pub version: Option<String>,
    /// When it was written, in whole seconds: listings of S3 give milliseconds, HTTP headers
    /// cut them off.
    pub modified: DateTime<Utc>,
}

/// In what two states of an object differ; the first that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentityChange {
    /// Only in time. A server below which a file was written anew keeps the tag.
    Time,
    /// In the tag or the version: it was written again, perhaps with the same bytes.
    Tag,
    /// In size: its bytes are others.
    Size,
}

impl ObjectIdentity {
    /// In what this state differs from an earlier one; `None` when the store tells both
    /// alike. What only one of them knows is not compared.
    pub fn change_since(&self, earlier: &Self) -> Option<IdentityChange> {
        let differ = |now: &Option<String>, then: &Option<String>| {
            now.as_ref()
                .zip(then.as_ref())
                .is_some_and(|(now, then)| now != then)
        };
        if self.size != earlier.size {
            Some(IdentityChange::Size)
        } else if differ(&self.etag, &earlier.etag) || differ(&self.version, &earlier.version) {
            Some(IdentityChange::Tag)
        } else {
            (self.modified != earlier.modified).then_some(IdentityChange::Time)
        }
    }
}

impl ObjectEntry {
    /// What the store says of this state of the object.
    pub fn identity(&self) -> ObjectIdentity {
        ObjectIdentity {
            size: self.size,
            etag: self.etag.clone(),
            version: self.version.clone(),
            modified: self.last_modified.trunc_subsecs(0),
        }
    }
}

/// An entity tag without its quotes and without the mark of a weak one (RFC 9110, 8.8.3):
/// S3 quotes tags everywhere, Google Cloud Storage and Azure in answers to HEAD and GET but
/// not in listings. The tag of a multipart upload (`<hex>-<parts>`) stays as it is. `None`
/// when nothing is left.
pub(super) fn normal_etag(etag: &str) -> Option<String> {
    let etag = etag.trim();
    let etag = etag
        .strip_prefix("W/")
        .or_else(|| etag.strip_prefix("w/"))
        .filter(|rest| rest.starts_with('"'))
        .unwrap_or(etag);
    let etag = etag.strip_prefix('"').unwrap_or(etag);
    let etag = etag.strip_suffix('"').unwrap_or(etag);
    (!etag.is_empty()).then(|| etag.to_owned())
}

/// A version id; `None` for the `null` of a bucket in which S3 keeps no versions.
pub(super) fn normal_version(version: String) -> Option<String> {
    (!version.is_empty() && version != "null").then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(size: u64, etag: Option<&str>, millis: i64) -> ObjectIdentity {
        ObjectEntry {
            key: "wals/a".to_owned(),
            size,
            last_modified: DateTime::from_timestamp_millis(millis).unwrap(),
            etag: etag.and_then(normal_etag),
            version: None,
        }
        .identity()
    }

    #[test]
    fn a_tag_is_the_same_however_a_store_writes_it() {
        for (written, normal) in [
            ("\"0fa\"", Some("0fa")),
            ("0fa", Some("0fa")),
            ("W/\"0fa\"", Some("0fa")),
            (" \"0fa-12\" ", Some("0fa-12")),
            ("W/oddity", Some("W/oddity")),
            ("0x8DE28E1F6A3B2C1", Some("0x8DE28E1F6A3B2C1")),
            ("\"\"", None),
            ("\"", None),
            ("", None),
        ] {
            assert_eq!(normal_etag(written).as_deref(), normal, "{written:?}");
        }
        assert_eq!(normal_version("null".to_owned()), None);
        assert_eq!(normal_version("17".to_owned()).as_deref(), Some("17"));
    }

    #[test]
    fn a_listing_and_a_header_are_one_state() {
        let listed = identity(5, Some("\"a\""), 1_700_000_000_731);
        let asked = ObjectIdentity {
            version: Some("v1".to_owned()),
            ..identity(5, Some("a"), 1_700_000_000_000)
        };
        assert_eq!(listed.change_since(&asked), None);
        assert_eq!(asked.change_since(&listed), None);
    }

    #[test]
    fn what_differs_most_is_told() {
        let then = identity(5, Some("a"), 0);
        let change = |now: ObjectIdentity| now.change_since(&then);
        assert_eq!(
            change(identity(6, Some("b"), 9_000)),
            Some(IdentityChange::Size)
        );
        assert_eq!(change(identity(5, Some("b"), 0)), Some(IdentityChange::Tag));
        assert_eq!(
            change(identity(5, Some("a"), 9_000)),
            Some(IdentityChange::Time)
        );
        assert_eq!(change(identity(5, None, 0)), None);
    }
}
