//! The digests of what is written, taken on blocking threads.

use bytes::Bytes;
use md5::Md5;
use sha2::Digest as _;

use crate::codec::Sha256;
use crate::storage::wire::base64;

/// So little is digested where it is: to change the thread costs more.
const AT_ONCE: usize = 32 << 10;

/// Running digests of an object.
#[derive(Clone)]
pub(super) struct Digests {
    sha256: sha2::Sha256,
    crc32c: u32,
    bytes: u64,
    /// Those of what was added last.
    last_crc32c: u32,
    last_md5: Option<String>,
    wants_md5: bool,
}

impl Digests {
    pub(super) fn new(wants_md5: bool) -> Self {
        Self {
            sha256: sha2::Sha256::new(),
            crc32c: 0,
            bytes: 0,
            last_crc32c: 0,
            last_md5: None,
            wants_md5,
        }
    }

    /// Adds pieces as one part.
    pub(super) async fn add(mut self, pieces: Vec<Bytes>) -> (Vec<Bytes>, Self) {
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        if bytes <= AT_ONCE {
            self.update(&pieces);
            return (pieces, self);
        }
        let work = tokio::task::spawn_blocking(move || {
            self.update(&pieces);
            (pieces, self)
        });
        match work.await {
            Ok(done) => done,
            // The runtime ends, or the digest panicked.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// The same where one may block.
    pub(super) fn update(&mut self, pieces: &[Bytes]) {
        let mut md5 = self.wants_md5.then(Md5::new);
        let mut crc32c = 0;
        let mut bytes = 0;
        // In steps that stay in the processor's cache from one digest to the next.
        for step in pieces.iter().flat_map(|piece| piece.chunks(128 << 10)) {
            self.sha256.update(step);
            crc32c = crc32c::crc32c_append(crc32c, step);
            if let Some(md5) = &mut md5 {
                md5.update(step);
            }
            bytes += step.len();
        }
        self.crc32c = crc32c::crc32c_combine(self.crc32c, crc32c, bytes);
        self.bytes += bytes as u64;
        self.last_crc32c = crc32c;
        self.last_md5 = md5.map(|md5| base64(&md5.finalize()));
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn sha256(&self) -> Sha256 {
        <[u8; 32]>::from(self.sha256.clone().finalize()).into()
    }

    /// The CRC32C of the whole, as headers carry it.
    pub(super) fn crc32c(&self) -> String {
        base64(&self.crc32c.to_be_bytes())
    }

    /// The CRC32C of what was added last.
    pub(super) fn last_crc32c(&self) -> String {
        base64(&self.last_crc32c.to_be_bytes())
    }

    /// The MD5 of what was added last, if wanted.
    pub(super) fn last_md5(&self) -> Option<&str> {
        self.last_md5.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_make_the_whole() {
        let whole: Vec<u8> = (0..100_000_u32).map(|at| at.to_le_bytes()[0] ^ 7).collect();
        let mut digests = Digests::new(true);
        for part in [
            &whole[..0],
            &whole[..1],
            &whole[1..70_000],
            &whole[70_000..],
        ] {
            let pieces = part.chunks(40_000).map(Bytes::copy_from_slice).collect();
            digests = digests.add(pieces).await.1;
        }
        assert_eq!(digests.bytes(), 100_000);
        assert_eq!(digests.sha256(), Sha256::of(&whole));
        assert_eq!(
            digests.crc32c(),
            base64(&crc32c::crc32c(&whole).to_be_bytes())
        );
        let last = crc32c::crc32c(&whole[70_000..]);
        assert_eq!(digests.last_crc32c(), base64(&last.to_be_bytes()));
        // RFC 1321: the digest of nothing.
        let (_, nothing) = Digests::new(true).add(Vec::new()).await;
        assert_eq!(nothing.last_md5(), Some("1B2M2Y8AsgTpgAmY7PhCfg=="));
    }
}
