//! Ctrl-C and SIGTERM: the first asks to stop and clean up, the second leaves at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{ExitCode, Failure, Progress};

/// Becomes true when a person or the system asks walproof to stop. Cheap to clone.
pub type Interrupt = watch::Receiver<bool>;

/// Begins to listen. Must be called within a tokio runtime.
pub(super) fn listen(progress: Progress) -> Result<Interrupt, Failure> {
    let failed =
        |error: std::io::Error| Failure::unproven(format_args!("listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            let received = tokio::select! {
                received = interrupt.recv() => received,
                received = terminate.recv() => received,
            };
            if received.is_none() {
                break;
            }
            if asked {
                std::process::exit(ExitCode::Interrupted.number().into());
            }
            asked = true;
            let _ = sender.send(true);
            progress.print("stopping and cleaning up; once more leaves at once\n");
        }
        // Whoever waits for the signal keeps waiting; dropping the sender would wake them.
        sender.closed().await;
    });
    Ok(receiver)
}

/// Waits until walproof is asked to stop; for ever if that cannot happen any more.
pub async fn interrupted(interrupt: &mut Interrupt) {
    if interrupt.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_first_signal_asks_to_stop() {
        let mut interrupt = listen(Progress::new(false)).unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), interrupted(&mut interrupt));
        assert!(early.await.is_err(), "nobody has asked yet");
        nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGTERM).unwrap();
        tokio::time::timeout(Duration::from_secs(10), interrupted(&mut interrupt))
            .await
            .expect("the signal was not heard");
        assert!(*interrupt.borrow());
    }
}
