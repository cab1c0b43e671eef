//! Waiting for a server that went away: it may be restarted, or another may take its place
//! behind the same name.

use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::Instant;

use super::super::{StateError, StateErrorKind};
use super::Postgres;

/// How long an operation waits for a server that does not answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How long an operation may take that gets no answer at all: longer than any statement
/// may, by the limit that the server is told.
const ATTEMPT: Duration = Duration::from_secs(75);

/// How long to ask why there is no connection.
const PROBE: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Postgres {
    /// Tries until it works, fails for good, or [`PATIENCE`] is over. What is tried must be
    /// right when it is done twice.
    pub(in super::super) async fn patiently<T, F>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Result<T, StateError>
    where
        F: Future<Output = Result<T, StateError>>,
    {
        let mut wait = self.waiting();
        loop {
            match limited(self, attempt()).await {
                Ok(done) => return Ok(done),
                Err(error) => wait.after(error).await?,
            }
        }
    }

    /// The same for what cannot be a closure.
    pub(in super::super) fn waiting(&self) -> Waiting<'_> {
        Waiting {
            postgres: self,
            until: Instant::now() + self.patience,
            pause: PAUSE,
            asked_for_password: false,
        }
    }

    /// Why there is no connection: the pool itself only knows that there was none in time.
    async fn explain(&self, error: StateError) -> StateError {
        let connecting = tokio::time::timeout(PROBE, self.options.connect());
        match connecting.await {
            Ok(Ok(connection)) => {
                let _ = tokio::time::timeout(PROBE, connection.close()).await;
                error
            }
            Ok(Err(cause)) => StateError::server(error.verb, &self.name, &cause),
            Err(_) => error,
        }
    }
}

/// One attempt with an end.
pub(in super::super) async fn limited<T>(
    postgres: &Postgres,
    attempt: impl Future<Output = Result<T, StateError>>,
) -> Result<T, StateError> {
    tokio::time::timeout(ATTEMPT, attempt)
        .await
        .unwrap_or_else(|_| {
            Err(StateError::new(
                "wait for",
                &*postgres.name,
                StateErrorKind::Unreachable,
                format!("no answer within {} seconds", ATTEMPT.as_secs()),
            ))
        })
}

/// The waits between the attempts of one operation.
#[derive(Debug)]
pub(in super::super) struct Waiting<'a> {
    postgres: &'a Postgres,
    until: Instant,
    pause: Duration,
    asked_for_password: bool,
}

impl Waiting<'_> {
    /// Waits a moment after a failure; gives the failure back when it will not pass, or not
    /// in time.
    pub(in super::super) async fn after(&mut self, error: StateError) -> Result<(), StateError> {
        if error.kind == StateErrorKind::Credentials && !self.asked_for_password {
            // The password may have been replaced since this process began.
            self.asked_for_password = true;
            return self.postgres.renew_password(error);
        }
        if !error.kind.may_pass() || self.postgres.pool.is_closed() {
            return Err(error);
        }
        if Instant::now() + self.pause >= self.until {
            let error = self.postgres.explain(error).await;
            let waited = self.postgres.patience.as_secs();
            return Err(StateError {
                cause: format!("{} (after {waited} seconds of trying)", error.cause),
                ..error
            });
        }
        tracing::debug!(%error, "the state database does not answer, trying again");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
