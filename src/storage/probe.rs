//! Whether credentials that should only read can write.

use bytes::Bytes;

use super::{DeleteOutcome, ErrorKind, OnceOutcome, Operation, StorageError, Store};

/// What a store said to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteProbe {
    /// The credentials may not write here: as it should be for a primary repository.
    Refused,
    /// The credentials may write here.
    Allowed,
}

impl Store {
    /// Tries to create an object with a name that nobody else uses,
    /// `.walproof-write-probe-UUID`, and removes that one object again if it came to be.
    ///
    /// # Errors
    /// Anything but a clear refusal; also when the object was made and cannot be removed
    /// (operation [`Operation::Remove`], with its URL).
    pub async fn write_probe(&self) -> Result<WriteProbe, StorageError> {
        let key = format!(".walproof-write-probe-{}", uuid::Uuid::now_v7());
        let body = Bytes::from_static(b"walproof checks whether it may write; safe to delete\n");
        match self.create(&key, body).await {
            // "Exists", of a name made up just now, is a write that was repeated because its
            // first answer got lost. Either way the store takes writes.
            Ok(OnceOutcome::Written(_) | OnceOutcome::Exists) => {}
            Err(error) if error.kind == ErrorKind::Denied => return Ok(WriteProbe::Refused),
            Err(error) => return Err(error),
        }
        self.remove_own(&key).await?;
        Ok(WriteProbe::Allowed)
    }

    /// Removes an object that this process has just made.
    async fn remove_own(&self, key: &str) -> Result<(), StorageError> {
        match self.delete(key, None).await? {
            DeleteOutcome::Deleted | DeleteOutcome::Absent => Ok(()),
            DeleteOutcome::Refused { cause, .. } => Err(StorageError::new(
                Operation::Remove,
                self.url(key),
                ErrorKind::Denied,
                cause,
            )),
        }
    }
}
