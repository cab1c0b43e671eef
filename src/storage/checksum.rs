//! What a store tells of an object's bytes when it gives them: whether they arrived as it
//! keeps them can be told from it.
//!
//! S3 tells the checksum that came with the object (`x-amz-checksum-*`, on request; of an
//! object in parts only if it is one of the whole), Google Cloud Storage a CRC32C
//! (`x-goog-hash`), Azure the MD5 (`Content-MD5`) where there is one. Directories tell none.

use md5::Md5;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::Digest as _;

use super::wire::base64;

/// The checksum of a whole object, by the store's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChecksum {
    kind: Kind,
    /// In base64.
    told: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Crc32c,
    Crc32,
    Sha256,
    Md5,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Crc32c => "CRC32C",
            Self::Crc32 => "CRC32",
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }
}

/// What asks S3 for checksums.
pub(super) fn asked_for() -> HeaderMap {
    let mode = HeaderName::from_static("x-amz-checksum-mode");
    HeaderMap::from_iter([(mode, HeaderValue::from_static("ENABLED"))])
}

impl StoredChecksum {
    /// Reads the headers of an answer that gives a whole object.
    pub(super) fn told(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let whole = text("x-amz-checksum-type").is_none_or(|kind| kind == "FULL_OBJECT");
        let amazon = [
            (Kind::Crc32c, "x-amz-checksum-crc32c"),
            (Kind::Crc32, "x-amz-checksum-crc32"),
            (Kind::Sha256, "x-amz-checksum-sha256"),
        ];
        let amazon = amazon.into_iter().find_map(|(kind, name)| {
            // With a dash and a number it is one of the checksums of parts.
            let told = text(name).filter(|told| whole && !told.contains('-'))?;
            Some((kind, told))
        });
        let google = || {
            let all = headers.get_all("x-goog-hash").into_iter();
            let mut all = all.filter_map(|value| value.to_str().ok());
            all.find_map(|value| {
                let mut parts = value.split(',');
                parts.find_map(|part| part.trim().strip_prefix("crc32c="))
            })
            .map(|told| (Kind::Crc32c, told))
        };
        let azure = || text("content-md5").map(|told| (Kind::Md5, told));
        let (kind, told) = amazon.or_else(google).or_else(azure)?;
        Some(Self {
            kind,
            told: told.to_owned(),
        })
    }

    /// To be given all bytes that arrive.
    pub fn arriving(self) -> ArrivingBytes {
        let running = match self.kind {
            Kind::Crc32c => Running::Crc32c(0),
            Kind::Crc32 => Running::Crc32(libdeflater::Crc::new()),
            Kind::Sha256 => Running::Sha256(Box::new(sha2::Sha256::new())),
            Kind::Md5 => Running::Md5(Box::new(Md5::new())),
        };
        ArrivingBytes {
            stored: self,
            running,
        }
    }
}

enum Running {
    Crc32c(u32),
    Crc32(libdeflater::Crc),
    Sha256(Box<sha2::Sha256>),
    Md5(Box<Md5>),
}

/// Bytes that are compared with what the store told of them.
pub struct ArrivingBytes {
    stored: StoredChecksum,
    running: Running,
}

impl ArrivingBytes {
    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.running {
            Running::Crc32c(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
            Running::Crc32(crc) => crc.update(bytes),
            Running::Sha256(hash) => hash.update(bytes),
            Running::Md5(hash) => hash.update(bytes),
        }
    }

    /// Says, after the last byte, in what they differ from what the store told; `None` if
    /// they are what it told.
    pub fn difference(self) -> Option<String> {
        let ours = match self.running {
            Running::Crc32c(crc) => base64(&crc.to_be_bytes()),
            Running::Crc32(crc) => base64(&crc.sum().to_be_bytes()),
            Running::Sha256(hash) => base64(&hash.finalize()),
            Running::Md5(hash) => base64(&hash.finalize()),
        };
        let StoredChecksum { kind, told } = self.stored;
        (ours != told).then(|| {
            let kind = kind.as_str();
            format!("what arrived has the {kind} {ours}, the store tells {told}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(headers: &[(&'static str, &'static str)]) -> Option<StoredChecksum> {
        let headers = headers.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        StoredChecksum::told(&headers.collect())
    }

    /// Of `123456789`, by `openssl dgst` and the check values of the CRC catalogue.
    #[test]
    fn what_stores_tell_is_what_arrives() {
        for headers in [
            [("x-amz-checksum-crc32c", "4waSgw==")],
            [("x-amz-checksum-crc32", "y/Q5Jg==")],
            [(
                "x-amz-checksum-sha256",
                "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
            )],
            [("x-goog-hash", "crc32c=4waSgw==, md5=x")],
            [("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==")],
        ] {
            for (bytes, good) in [(b"123456789", true), (b"123456788", false)] {
                let mut arriving = told(&headers).unwrap().arriving();
                arriving.update(&bytes[..4]);
                arriving.update(&bytes[4..]);
                let difference = arriving.difference();
                assert_eq!(difference.is_none(), good, "{headers:?} {difference:?}");
            }
        }
    }

    #[test]
    fn checksums_of_parts_are_none_of_the_whole() {
        assert_eq!(told(&[("x-amz-checksum-crc32c", "4waSgw==-3")]), None);
        let composite = ("x-amz-checksum-type", "COMPOSITE");
        let headers = [("x-amz-checksum-crc32c", "4waSgw=="), composite];
        assert_eq!(told(&headers), None);
        assert_eq!(told(&[("x-goog-hash", "md5=x")]), None);
    }
}
