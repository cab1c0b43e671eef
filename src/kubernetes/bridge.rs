//! A way from code that blocks to the API, which is asynchronous.

use std::sync::OnceLock;
use std::sync::mpsc;

use tokio::runtime::{Builder, Handle, Runtime};

use super::error::{KubeError, KubeErrorKind};

/// The runtime behind the bridge. It lives as long as the process, on one thread.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Runs a future in a runtime of its own and blocks the calling thread until it is done,
/// inside or outside of tokio. Make the [`Kube`](super::Kube) inside the future: a client
/// does its work in the runtime that it was made in, and that of the caller stands still.
pub fn wait<T: Send + 'static>(
    future: impl Future<Output = Result<T, KubeError>> + Send + 'static,
) -> Result<T, KubeError> {
    let runtime = runtime()?;
    let (sender, receiver) = mpsc::sync_channel(1);
    let work = runtime.spawn(future);
    runtime.spawn(async move {
        // The caller waits; it cannot be gone.
        let _ = sender.send(work.await);
    });
    match receiver.recv() {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ended()),
        },
        Err(_) => Err(ended()),
    }
}

/// The runtime behind the bridge, for what must outlive its caller.
pub(super) fn runtime() -> Result<&'static Handle, KubeError> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.handle());
    }
    let made = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("kubernetes")
        .enable_all()
        .build()
        .map_err(|error| {
            KubeError::new(
                KubeErrorKind::Other,
                "start a thread for the Kubernetes API",
                error.to_string(),
            )
        })?;
    // When another thread was faster its runtime stays, and this one ends in peace.
    if let Err(second) = RUNTIME.set(made) {
        second.shutdown_background();
    }
    RUNTIME.get().map(Runtime::handle).ok_or_else(ended)
}

fn ended() -> KubeError {
    KubeError::new(
        KubeErrorKind::Other,
        "ask the Kubernetes API",
        "the thread that asks has ended",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer() -> Result<u32, KubeError> {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        Ok(42)
    }

    #[test]
    fn outside_of_tokio() {
        assert_eq!(wait(answer()), Ok(42));
    }

    #[tokio::test]
    async fn inside_a_runtime_of_one_thread() {
        assert_eq!(wait(answer()), Ok(42));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn inside_a_runtime_whose_only_worker_blocks() {
        let task = tokio::spawn(async { wait(answer()) });
        assert_eq!(task.await.unwrap(), Ok(42));
    }

    #[test]
    fn from_many_threads_at_once() {
        let threads: Vec<_> = (0..16)
            .map(|_| std::thread::spawn(|| wait(answer())))
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Ok(42));
        }
    }

    #[test]
    #[should_panic(expected = "a defect")]
    fn a_panic_is_the_callers() {
        let _ = wait::<()>(async { panic!("a defect") });
    }
}
