//! Checksums of files, as manifests write them.

use std::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

/// How a file's checksum is made (`pg_checksum_type` in
/// `src/include/common/checksum_helper.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ChecksumAlgorithm {
    /// CRC-32C, PostgreSQL's own choice; written with the lowest byte first.
    Crc32c,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl ChecksumAlgorithm {
    /// The algorithm of a name, in any case as PostgreSQL takes it.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Crc32c,
            Self::Sha224,
            Self::Sha256,
            Self::Sha384,
            Self::Sha512,
        ]
        .into_iter()
        .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The name in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32c => "CRC32C",
            Self::Sha224 => "SHA224",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        }
    }

    /// Bytes of a checksum.
    pub const fn length(self) -> usize {
        match self {
            Self::Crc32c => 4,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for ChecksumAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A file's checksum.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FileChecksum {
    algorithm: ChecksumAlgorithm,
    /// As many as the algorithm has count; the rest is zero.
    bytes: [u8; 64],
}

impl FileChecksum {
    /// Reads hexadecimal digits; `None` when they are not as many as the algorithm has.
    pub fn from_hex(algorithm: ChecksumAlgorithm, text: &str) -> Option<Self> {
        let mut bytes = [0; 64];
        let target = bytes.get_mut(..algorithm.length())?;
        (decode_hex(text, target)? == target.len()).then_some(Self { algorithm, bytes })
    }

    /// How it was made.
    pub const fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.algorithm.length())
            .unwrap_or_default()
    }

    fn of(algorithm: ChecksumAlgorithm, digest: &[u8]) -> Self {
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(digest) {
            *to = *from;
        }
        Self { algorithm, bytes }
    }
}

impl fmt::Display for FileChecksum {
    /// The digits as manifests have them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FileChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({self})", self.algorithm)
    }
}

impl Serialize for FileChecksum {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

/// Decodes digits into `target`, and says how many bytes they were; `None` for other
/// characters, half a byte, or too many.
pub(super) fn decode_hex(text: &str, target: &mut [u8]) -> Option<usize> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > target.len() {
        return None;
    }
    for (to, [high, low]) in target.iter_mut().zip(pairs) {
        let high = char::from(*high).to_digit(16)?;
        let low = char::from(*low).to_digit(16)?;
        *to = u8::try_from(high * 16 + low).ok()?;
    }
    Some(pairs.len())
}

/// A checksum in the making.
#[derive(Clone, Debug)]
pub struct FileHasher(State);

#[derive(Clone, Debug)]
enum State {
    Crc32c(u32),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl FileHasher {
    /// Begins a file.
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        Self(match algorithm {
            ChecksumAlgorithm::Crc32c => State::Crc32c(0),
            ChecksumAlgorithm::Sha224 => State::Sha224(Sha224::new()),
            ChecksumAlgorithm::Sha256 => State::Sha256(Sha256::new()),
            ChecksumAlgorithm::Sha384 => State::Sha384(Sha384::new()),
            ChecksumAlgorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// Takes the file's next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc32c(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
            State::Sha224(hash) => hash.update(bytes),
            State::Sha256(hash) => hash.update(bytes),
            State::Sha384(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The checksum of what was taken.
    pub fn finish(self) -> FileChecksum {
        use ChecksumAlgorithm as A;
        match self.0 {
            State::Crc32c(crc) => FileChecksum::of(A::Crc32c, &crc.to_le_bytes()),
            State::Sha224(hash) => FileChecksum::of(A::Sha224, &hash.finalize()),
            State::Sha256(hash) => FileChecksum::of(A::Sha256, &hash.finalize()),
            State::Sha384(hash) => FileChecksum::of(A::Sha384, &hash.finalize()),
            State::Sha512(hash) => FileChecksum::of(A::Sha512, &hash.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_written_as_manifests_have_them() {
        // What pg_basebackup wrote for a PG_VERSION of 15, "15\n".
        for (algorithm, digits) in [
            (ChecksumAlgorithm::Crc32c, "8a744722"),
            (
                ChecksumAlgorithm::Sha224,
                "33d5f71bef0638fb2aa65a5d48851e6a3117148795b7f7b4dab02a82",
            ),
            (
                ChecksumAlgorithm::Sha256,
                "238903180cc104ec2c5d8b3f20c5bc61b389ec0a967df8cc208cdc7cd454174f",
            ),
            (
                ChecksumAlgorithm::Sha384,
                "11a0ed6cd0c92730513645e837b6a41617cebec8b8c5e0f52ae446a66beac2cf78e10b8345372b028928e3b08ea8fe80",
            ),
            (
                ChecksumAlgorithm::Sha512,
                "a475fa35e5e301a8b099d1752287bce07bf1ec88c984c71a18f2055033ecc9467f3642cd2184d5517a487b89e9ee828d4c0d4bccb3ad19c5d08e862afb16c2a5",
            ),
        ] {
            let mut hasher = FileHasher::new(algorithm);
            hasher.update(b"1");
            hasher.update(b"5\n");
            let checksum = hasher.finish();
            assert_eq!(checksum.to_string(), digits);
            assert_eq!(checksum.algorithm(), algorithm);
            assert_eq!(FileChecksum::from_hex(algorithm, digits), Some(checksum));
            assert_eq!(
                FileChecksum::from_hex(algorithm, &digits.to_uppercase()),
                Some(checksum)
            );
            assert_eq!(FileChecksum::from_hex(algorithm, &digits[2..]), None);
            assert_eq!(
                FileChecksum::from_hex(algorithm, &format!("{digits}00")),
                None
            );
            assert_eq!(
                ChecksumAlgorithm::from_name(&algorithm.name().to_lowercase()),
                Some(algorithm)
            );
        }
        assert_eq!(
            ChecksumAlgorithm::from_name("SHA224"),
            Some(ChecksumAlgorithm::Sha224)
        );
        assert_eq!(ChecksumAlgorithm::from_name("MD5"), None);
        assert_eq!(
            FileChecksum::from_hex(ChecksumAlgorithm::Crc32c, "8a74472g"),
            None
        );
        assert_eq!(
            FileChecksum::from_hex(ChecksumAlgorithm::Crc32c, "8a74472"),
            None
        );
    }
}
