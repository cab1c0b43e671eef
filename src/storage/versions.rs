//! Versions of an object.

use bytes::Bytes;
use object_store::{GetOptions, ObjectStore as _};

use super::open::Backend;
use super::remote::Remote;
use super::store::permit;
use super::{ErrorKind, Operation, StorageError, Store};

impl Store {
    /// Reads one version of a small object; without a version, or in a directory, the object
    /// as it is now.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] if it has more than `limit` bytes.
    pub async fn read_version(
        &self,
        key: &str,
        version: Option<&str>,
        limit: u64,
    ) -> Result<Bytes, StorageError> {
        let (Backend::Remote(Remote { inner, .. }), Some(version)) =
            (&self.shared.backend, version)
        else {
            return self.read_small(key, limit).await;
        };
        let path = self.path(Operation::Read, key)?;
        let _permit = permit(&self.shared).await;
        let options = GetOptions {
            version: Some(version.to_owned()),
            ..GetOptions::default()
        };
        let failed = |error| self.error(Operation::Read, key, &error);
        let got = inner.get_opts(&path, options).await.map_err(failed)?;
        if got.meta.size > limit {
            return Err(StorageError::new(
                Operation::Read,
                self.url(key),
                ErrorKind::TooLarge,
                format!("it has {} bytes, expected at most {limit}", got.meta.size),
            ));
        }
        let bytes = got.bytes().await.map_err(failed)?;
        self.shared.counters.read(bytes.len());
        Ok(bytes)
    }
}
