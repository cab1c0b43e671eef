//! From a client's error to what a person must do about it.

use super::{ErrorKind, Operation, StorageError};

/// Classifies an error of the store client.
pub(super) fn classify(
    operation: Operation,
    object: String,
    error: &object_store::Error,
) -> StorageError {
    let kind = match error {
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. } => ErrorKind::Denied,
        object_store::Error::Unauthenticated { .. } => ErrorKind::Credentials,
        object_store::Error::Precondition { .. } => ErrorKind::Changed,
        _ => ErrorKind::Other,
    };
    StorageError::new(operation, object, kind, error.to_string())
}
