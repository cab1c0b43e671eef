//! The wish to stop: one sender, any number of listeners.

use tokio::sync::watch;

/// The end that stops a drill. Dropping it does not stop anything.
#[derive(Debug)]
pub struct Canceller(watch::Sender<bool>);

impl Canceller {
    /// Asks every listener to stop and clean up. May be called again.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

/// The end that a drill listens to.
#[derive(Clone, Debug)]
pub struct Cancellation(watch::Receiver<bool>);

impl Cancellation {
    /// A connected pair.
    pub fn new() -> (Canceller, Self) {
        let (sender, receiver) = watch::channel(false);
        (Canceller(sender), Self(receiver))
    }

    /// One that never comes.
    pub fn never() -> Self {
        Self::new().1
    }

    /// Whether stopping was asked for.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until stopping is asked for; for ever when nobody can ask any more.
    pub async fn cancelled(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl From<watch::Receiver<bool>> for Cancellation {
    /// Listens to a wish that somebody else utters by sending `true`.
    fn from(receiver: watch::Receiver<bool>) -> Self {
        Self(receiver)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn listeners_hear_it_even_when_they_come_late() {
        let (canceller, cancellation) = Cancellation::new();
        assert!(!cancellation.is_cancelled());
        canceller.cancel();
        cancellation.cancelled().await;
        cancellation.clone().cancelled().await;
        assert!(cancellation.is_cancelled());
    }

    #[tokio::test]
    async fn a_lost_sender_stops_nothing() {
        let cancellation = Cancellation::never();
        let waited =
            tokio::time::timeout(Duration::from_millis(20), cancellation.cancelled()).await;
        assert!(waited.is_err());
        assert!(!cancellation.is_cancelled());
    }
}
