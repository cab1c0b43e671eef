//! Failures of commands: what could not be done, why, and what to do about it.

use std::fmt::{Display, Write as _};

use serde::Serialize;

use super::{ExitCode, Palette};
use crate::config::{ConfigErrors, Mistake, SecretError};
use crate::operation;
use crate::replicate::ReplicateError;
use crate::repository::RepositoryError;
use crate::state::StateError;
use crate::storage::StorageError;
use crate::verify::VerifyError;

/// A command that could not do what was asked. Rendered as `error: verb object: cause`
/// with `hint: …` below it. Never holds a secret.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: ExitCode,
    /// Verb, object and cause.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The mistakes, when the configuration is wrong.
    pub mistakes: Vec<Mistake>,
}

impl Failure {
    /// A failure with any exit code.
    pub fn new(code: ExitCode, message: impl Display) -> Self {
        Self {
            code,
            message: message.to_string(),
            hint: None,
            mistakes: Vec::new(),
        }
    }

    /// The command line or the configuration is wrong (2).
    pub fn usage(message: impl Display) -> Self {
        Self::new(ExitCode::Usage, message)
    }

    /// It could not be checked or done (3).
    pub fn unproven(message: impl Display) -> Self {
        Self::new(ExitCode::Unproven, message)
    }

    /// It was refused for safety (4).
    pub fn refused(message: impl Display) -> Self {
        Self::new(ExitCode::Refused, message)
    }

    /// It was interrupted (130).
    pub fn interrupted() -> Self {
        Self::new(ExitCode::Interrupted, "interrupted")
    }

    /// With what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// As people read it, without a newline at the end.
    pub fn render(&self, palette: Palette) -> String {
        let mut text = format!("{} {}", palette.red("error:"), self.message);
        for mistake in &self.mistakes {
            text.push_str("\n  ");
            text.push_str(&mistake.to_string().replace('\n', "\n  "));
        }
        if let Some(hint) = &self.hint {
            let _ = write!(text, "\n{} {hint}", palette.cyan("hint:"));
        }
        text
    }

    /// As programs read it.
    pub fn document(&self) -> impl Serialize {
        Document {
            schema: "walproof.error/v1",
            exit_code: self.code.number(),
            message: &self.message,
            hint: self.hint.as_deref(),
            mistakes: &self.mistakes,
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    exit_code: u8,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Mistake]>::is_empty")]
    mistakes: &'a [Mistake],
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        let mistakes = errors.mistakes().to_vec();
        let count = mistakes.len();
        let mut failure = Self::usage(format_args!(
            "read the configuration: {count} {}",
            if count == 1 { "mistake" } else { "mistakes" }
        ));
        failure.mistakes = mistakes;
        failure
    }
}

impl From<operation::Failure> for Failure {
    fn from(failure: operation::Failure) -> Self {
        Self {
            code: ExitCode::of(failure.exit_code()),
            message: failure.message,
            hint: failure.hint,
            mistakes: Vec::new(),
        }
    }
}

/// What the rooms below say is understood in one place, [`operation::Failure`].
macro_rules! through_operation {
    ($($error:ty,)*) => {
        $(
            impl From<$error> for Failure {
                fn from(error: $error) -> Self {
                    operation::Failure::from(error).into()
                }
            }
        )*
    };
}

through_operation! {
    StorageError,
    RepositoryError,
    VerifyError,
    ReplicateError,
    StateError,
    SecretError,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{ErrorKind, Operation};

    #[test]
    fn a_failure_says_what_why_and_what_to_do() {
        let error = StorageError::new(
            Operation::List,
            "s3://backups/orders",
            ErrorKind::Credentials,
            "InvalidAccessKeyId",
        );
        let failure = Failure::from(error);
        assert_eq!(failure.code, ExitCode::Unproven);
        let text = failure.render(Palette::plain());
        assert!(
            text.starts_with("error: list s3://backups/orders: InvalidAccessKeyId\nhint: "),
            "{text}"
        );
        let document = serde_json::to_value(failure.document()).unwrap();
        assert_eq!(document["schema"], "walproof.error/v1");
        assert_eq!(document["exit_code"], 3);
    }
}
