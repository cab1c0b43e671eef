//! Pauses between the tries of a watch that does not work.

use std::time::Duration;

use kube::runtime::utils::Backoff;
use kube::runtime::watcher::DefaultBackoff;

/// Pauses that grow from about a second to half a minute, and begin anew after two minutes
/// without trouble.
///
/// The client's own begin anew with each event, and a watcher says that it begins to list before
/// it has been answered: what is refused or not there would be asked for every second for ever.
#[derive(Default)]
pub struct WatchBackoff(DefaultBackoff);

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl Backoff for WatchBackoff {
    /// Nothing: quiet alone begins anew, by the clock of what is inside.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_though_it_begins_anew_each_time() {
        let mut backoff = WatchBackoff::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pauses.push(backoff.next().unwrap());
            backoff.reset();
        }
        assert!(pauses[0] < Duration::from_secs(2), "{pauses:?}");
        assert!(pauses[11] >= Duration::from_secs(15), "{pauses:?}");
    }
}
