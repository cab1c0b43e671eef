//! A bell: says that there may be something to do, once, however often it is rung.

use tokio::sync::{Mutex, mpsc};

use super::clock::{Awake, Clock};

/// A bell that one task waits for and others ring. Whoever rings hands on being awake, so
/// that simulated time stands still until the one who waits has looked.
#[derive(Debug)]
pub(super) struct Bell {
    sender: mpsc::Sender<Awake>,
    receiver: Mutex<mpsc::Receiver<Awake>>,
}

impl Bell {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        Self {
            sender,
            receiver: Mutex::new(receiver),
        }
    }

    /// Rings. A bell that has been rung and not yet heard stays so.
    pub(super) fn ring(&self, clock: &dyn Clock) {
        let _ = self.sender.try_send(clock.awake());
    }

    /// Waits until it is rung. Giving up waiting loses nothing.
    pub(super) async fn rung(&self) -> Awake {
        match self.receiver.lock().await.recv().await {
            Some(awake) => awake,
            // The sender lives as long as the bell.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::daemon::clock::SystemClock;

    #[tokio::test]
    async fn it_is_heard_once_however_often_it_was_rung() {
        let bell = Bell::new();
        let clock = SystemClock::default();
        bell.ring(&clock);
        bell.ring(&clock);
        let _awake = bell.rung().await;
        let again = tokio::time::timeout(Duration::from_millis(20), bell.rung()).await;
        assert!(again.is_err());
        bell.ring(&clock);
        let _awake = bell.rung().await;
    }
}
