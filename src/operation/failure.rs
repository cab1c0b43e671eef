//! Why something could not be done, and to which class that belongs.

use std::fmt::{self, Display};

use super::evidence::LedgerError;
use crate::config::SecretError;
use crate::evidence::export::ExportError;
use crate::kubernetes::{KubeError, KubeErrorKind};
use crate::replicate::ReplicateError;
use crate::replicate::definition::DefinitionError;
use crate::repository::RepositoryError;
use crate::state::{StateError, StateErrorKind};
use crate::storage::{ErrorKind, StorageError};
use crate::verify::VerifyError;

/// To which class a failure belongs: by it is decided whether trying again makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The configuration or the request is wrong. Trying again gives the same.
    Configuration,
    /// It was refused for safety. Trying again gives the same.
    Refused,
    /// A store did not do what it should.
    Storage {
        /// Whether it may pass by itself: no answer, too many requests, a changed object. A
        /// missing bucket or a wrong name does not.
        transient: bool,
    },
    /// Credentials are missing, wrong, or may not do this.
    Credentials,
    /// Something cannot be done here now: too little room or time, missing programs,
    /// somebody else is at it.
    Capacity,
    /// The state database failed.
    State,
    /// It was asked to stop.
    Interrupted,
    /// Somebody else holds the job by now; nothing of this attempt was kept.
    Fenced,
    /// A defect of walproof, or a shutdown in the middle of the work.
    Defect,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 10] = [
        Self::Configuration,
        Self::Refused,
        Self::Storage { transient: true },
        Self::Storage { transient: false },
        Self::Credentials,
        Self::Capacity,
        Self::State,
        Self::Interrupted,
        Self::Fenced,
        Self::Defect,
    ];

    /// The word used in records and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Refused => "refused",
            Self::Storage { transient: true } => "storage-transient",
            Self::Storage { transient: false } => "storage",
            Self::Credentials => "credentials",
            Self::Capacity => "capacity",
            Self::State => "state",
            Self::Interrupted => "interrupted",
            Self::Fenced => "fenced",
            Self::Defect => "defect",
        }
    }

    /// The exit code of a command that ends so (`docs/exit-codes.md`).
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Configuration => 2,
            Self::Refused => 4,
            Self::Interrupted => 130,
            Self::Storage { .. }
            | Self::Credentials
            | Self::Capacity
            | Self::State
            | Self::Fenced
            | Self::Defect => 3,
        }
    }
}

/// Something that could not be done. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// To which class it belongs.
    pub class: FailureClass,
    /// Verb, object and cause.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure of a class.
    pub fn new(class: FailureClass, message: impl Display) -> Self {
        Self {
            class,
            message: message.to_string(),
            hint: None,
        }
    }

    /// The configuration or the request is wrong.
    pub fn configuration(message: impl Display) -> Self {
        Self::new(FailureClass::Configuration, message)
    }

    /// It was refused for safety.
    pub fn refused(message: impl Display) -> Self {
        Self::new(FailureClass::Refused, message)
    }

    /// It was asked to stop.
    pub fn interrupted() -> Self {
        Self::new(FailureClass::Interrupted, "interrupted")
    }

    /// With what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// The exit code of a command that ends so.
    pub const fn exit_code(&self) -> u8 {
        self.class.exit_code()
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// The class of a store's failure.
pub const fn class_of_storage(kind: ErrorKind) -> FailureClass {
    match kind {
        ErrorKind::Settings => FailureClass::Configuration,
        ErrorKind::Credentials | ErrorKind::Denied => FailureClass::Credentials,
        // What is not known may pass; attempts are counted.
        ErrorKind::Network
        | ErrorKind::Throttled
        | ErrorKind::Changed
        | ErrorKind::Damaged
        | ErrorKind::Other => FailureClass::Storage { transient: true },
        ErrorKind::NotFound
        | ErrorKind::MissingBucket
        | ErrorKind::Exists
        | ErrorKind::TooLarge
        | ErrorKind::Local => FailureClass::Storage { transient: false },
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::new(
            class_of_storage(error.kind),
            format_args!("{} {}: {}", error.operation, error.object, error.cause),
        )
        .with_hint(error.kind.hint())
    }
}

impl From<RepositoryError> for Failure {
    fn from(error: RepositoryError) -> Self {
        match error {
            RepositoryError::Storage(error) => error.into(),
            error @ RepositoryError::Task(_) => Self::new(FailureClass::Defect, error),
        }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Catalog(error) => error.into(),
            VerifyError::Storage(error) | VerifyError::Base(error) => error.into(),
            VerifyError::Ledger(error) => error.into(),
            error @ VerifyError::Task(_) => Self::new(FailureClass::Defect, error),
        }
    }
}

/// The class of a failure of the state database.
const fn class_of_state(kind: StateErrorKind) -> FailureClass {
    match kind {
        StateErrorKind::Fenced => FailureClass::Fenced,
        _ => FailureClass::State,
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::State(error) => error.into(),
            LedgerError::Export(error @ ExportError::Period { .. }) => Self::configuration(error),
            error @ (LedgerError::Export(_) | LedgerError::Record { .. }) => Self::new(
                FailureClass::Capacity,
                error,
            )
            .with_hint(
                "reports are written beside the state database; check the directory and its room",
            ),
            error @ (LedgerError::Seal(_) | LedgerError::Task(_)) => {
                Self::new(FailureClass::Defect, error)
            }
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::new(
            class_of_state(error.kind),
            format_args!(
                "{} the state database {}: {}",
                error.verb, error.database, error.cause
            ),
        )
        .with_hint(error.kind.hint())
    }
}

/// The class of a failure at the Kubernetes API.
const fn class_of_kubernetes(kind: KubeErrorKind) -> FailureClass {
    match kind {
        KubeErrorKind::Unauthorized | KubeErrorKind::Forbidden => FailureClass::Credentials,
        KubeErrorKind::Configuration => FailureClass::Configuration,
        // What passes by itself, like a store that does not answer.
        KubeErrorKind::Unreachable | KubeErrorKind::Timeout | KubeErrorKind::Conflict => {
            FailureClass::Storage { transient: true }
        }
        KubeErrorKind::NotFound
        | KubeErrorKind::AlreadyExists
        | KubeErrorKind::Invalid
        | KubeErrorKind::Quota
        | KubeErrorKind::Other => FailureClass::Capacity,
    }
}

impl From<KubeError> for Failure {
    fn from(error: KubeError) -> Self {
        let hint = error.hint();
        Self::new(class_of_kubernetes(error.kind), error).with_hint(hint)
    }
}

impl From<DefinitionError> for Failure {
    fn from(error: DefinitionError) -> Self {
        match error {
            DefinitionError::Storage(error) => error.into(),
            error @ DefinitionError::Changed { .. } => {
                Self::new(FailureClass::Refused, error).with_hint(
                    "what lies there was written by somebody else: capture anew while the Cluster is there, \
                     or name an older one with --at",
                )
            }
        }
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        let class = match &error {
            // The API of Kubernetes did not answer: it may later.
            SecretError::Kubernetes { fault, .. } if fault.transient => {
                FailureClass::Storage { transient: true }
            }
            _ => FailureClass::Credentials,
        };
        Self::new(class, error)
    }
}

impl From<ReplicateError> for Failure {
    fn from(error: ReplicateError) -> Self {
        match error {
            ReplicateError::Storage(error) => error.into(),
            ReplicateError::State(error) => error.into(),
            error @ ReplicateError::SamePlace { .. } => Self::refused(error)
                .with_hint("a copy needs a place of its own, best with another provider"),
            error @ ReplicateError::OtherSystem { .. } => Self::refused(error).with_hint(
                "every cluster needs a place of its own: segments of both have the same names",
            ),
            error @ ReplicateError::Busy { .. } => Self::new(FailureClass::Capacity, error)
                .with_hint("wait for it, or look for a `walproof replicate run --follow`"),
            ReplicateError::Interrupted => Self::interrupted(),
            error @ ReplicateError::Unordered(_) => {
                Self::new(FailureClass::Storage { transient: false }, error)
            }
            error @ ReplicateError::Task(_) => Self::new(FailureClass::Defect, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Operation;

    fn storage(kind: ErrorKind) -> StorageError {
        StorageError::new(Operation::List, "s3://b/orders", kind, "its words")
    }

    async fn task_error() -> tokio::task::JoinError {
        let task = tokio::spawn(std::future::pending::<()>());
        task.abort();
        task.await.unwrap_err()
    }

    #[test]
    fn every_kind_of_storage_error_has_its_class() {
        let passing = FailureClass::Storage { transient: true };
        let lasting = FailureClass::Storage { transient: false };
        for (kind, class, code) in [
            (ErrorKind::NotFound, lasting, 3),
            (ErrorKind::MissingBucket, lasting, 3),
            (ErrorKind::Credentials, FailureClass::Credentials, 3),
            (ErrorKind::Denied, FailureClass::Credentials, 3),
            (ErrorKind::Network, passing, 3),
            (ErrorKind::Throttled, passing, 3),
            (ErrorKind::Exists, lasting, 3),
            (ErrorKind::Changed, passing, 3),
            (ErrorKind::Damaged, passing, 3),
            (ErrorKind::TooLarge, lasting, 3),
            (ErrorKind::Settings, FailureClass::Configuration, 2),
            (ErrorKind::Local, lasting, 3),
            (ErrorKind::Other, passing, 3),
        ] {
            let failure = Failure::from(storage(kind));
            assert_eq!(failure.class, class, "{kind:?}");
            assert_eq!(failure.exit_code(), code, "{kind:?}");
            assert_eq!(failure.message, "list s3://b/orders: its words");
            assert_eq!(failure.hint.as_deref(), Some(kind.hint()));
            // The same through every room that hands it on.
            let passed_on = [
                Failure::from(RepositoryError::Storage(storage(kind))),
                Failure::from(VerifyError::Catalog(RepositoryError::Storage(storage(
                    kind,
                )))),
                Failure::from(VerifyError::Storage(storage(kind))),
                Failure::from(VerifyError::Base(storage(kind))),
                Failure::from(ReplicateError::Storage(storage(kind))),
            ];
            assert!(passed_on.iter().all(|other| *other == failure), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn work_that_was_cut_short_is_a_defect() {
        for failure in [
            Failure::from(RepositoryError::Task(task_error().await)),
            Failure::from(VerifyError::Task(task_error().await)),
            Failure::from(ReplicateError::Task(task_error().await)),
        ] {
            assert_eq!(failure.class, FailureClass::Defect);
            assert_eq!(failure.exit_code(), 3);
        }
    }

    #[test]
    fn a_replication_is_refused_busy_or_stopped() {
        let url = || "s3://b/orders".to_owned();
        for (error, class, code) in [
            (
                ReplicateError::SamePlace {
                    source_url: url(),
                    target_url: url(),
                },
                FailureClass::Refused,
                4,
            ),
            (
                ReplicateError::OtherSystem {
                    source_url: url(),
                    target_url: url(),
                    here: "1".into(),
                    there: "2".into(),
                },
                FailureClass::Refused,
                4,
            ),
            (
                ReplicateError::Busy { target_url: url() },
                FailureClass::Capacity,
                3,
            ),
            (ReplicateError::Interrupted, FailureClass::Interrupted, 130),
            (
                ReplicateError::Unordered(url()),
                FailureClass::Storage { transient: false },
                3,
            ),
        ] {
            let failure = Failure::from(error);
            assert_eq!((failure.class, failure.exit_code()), (class, code));
            let helps = matches!(class, FailureClass::Refused | FailureClass::Capacity);
            assert_eq!(failure.hint.is_some(), helps, "{class:?}");
        }
    }

    #[tokio::test]
    async fn the_state_and_secrets_have_classes_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state.sqlite");
        std::fs::write(&file, "no database at all, but long enough to be looked at").unwrap();
        let error = crate::state::State::open(&crate::config::StateUrl::sqlite(&file))
            .await
            .unwrap_err();
        let failure = Failure::from(error);
        assert_eq!(failure.class, FailureClass::State);
        assert!(failure.hint.is_some());
        let secret = SecretError::Variable {
            key: "access_key_id",
            variable: "KEY".into(),
        };
        let failure = Failure::from(secret);
        assert_eq!(failure.class, FailureClass::Credentials);
        assert_eq!(failure.exit_code(), 3);
    }

    #[test]
    fn words_are_unique_and_codes_are_those_of_the_table() {
        let words: std::collections::BTreeSet<&str> = FailureClass::ALL
            .iter()
            .map(|class| class.as_str())
            .collect();
        assert_eq!(words.len(), FailureClass::ALL.len());
        for class in FailureClass::ALL {
            assert!([2, 3, 4, 130].contains(&class.exit_code()));
        }
    }
}
