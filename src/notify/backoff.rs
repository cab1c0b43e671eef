//! When a notice that was not taken is tried again.

use std::time::Duration;

/// The pauses after the first, second, … attempt; the last one holds for all that follow.
const PAUSES: [u64; 7] = [5, 15, 30, 60, 120, 300, 900];
/// A receiver may ask to be left alone for at most this long.
const LONGEST: Duration = Duration::from_hours(1);

/// The pause after an attempt (1 is the first). `spread` is a number that differs between
/// notices, so that many of them do not come back at once: up to a fifth more.
pub(super) fn pause(attempt: u32, asked: Option<Duration>, spread: u8) -> Duration {
    let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let seconds = PAUSES.get(index).or(PAUSES.last()).copied().unwrap_or(900);
    let more = seconds * 1000 / 5 * u64::from(spread) / u64::from(u8::MAX);
    let pause = Duration::from_millis(seconds * 1000 + more);
    asked.map_or(pause, |asked| asked.min(LONGEST).max(pause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let seconds = |attempt| pause(attempt, None, 0).as_secs();
        assert_eq!(
            (0..10).map(seconds).collect::<Vec<_>>(),
            [5, 5, 15, 30, 60, 120, 300, 900, 900, 900]
        );
        assert_eq!(pause(1, None, u8::MAX), Duration::from_secs(6));
        let asked = |seconds| pause(1, Some(Duration::from_secs(seconds)), 0).as_secs();
        assert_eq!([asked(1), asked(40), asked(86_400)], [5, 40, 3600]);
    }
}
