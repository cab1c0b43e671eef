//! How moments, lengths and counts are written in findings and reports.

use chrono::{DateTime, Duration, SecondsFormat, Utc};

/// A moment to the second, with its zone.
pub fn utc(moment: DateTime<Utc>) -> String {
    moment.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A moment to the millisecond, with its zone: for commits, where many share a second.
pub fn utc_milliseconds(moment: DateTime<Utc>) -> String {
    moment.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()
}

/// A moment for machines: RFC 3339 with microseconds, as PostgreSQL keeps them.
pub fn rfc3339(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A length of time by its two largest units: `3d 4h`, `12m 5s`, `0s`.
pub fn length(duration: Duration) -> String {
    let seconds = duration.num_seconds().max(0);
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let words: Vec<String> = units
        .iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if words.is_empty() {
        "0s".to_owned()
    } else {
        words.join(" ")
    }
}

/// A measured length, exact where it is short: `312ms`, `2.8s`, `12m 5s`.
pub fn measured(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds}ms"),
        1_000..60_000 => format!("{}.{}s", milliseconds / 1_000, milliseconds % 1_000 / 100),
        _ => length(Duration::seconds(
            i64::try_from(milliseconds / 1_000).unwrap_or(i64::MAX / 1_000),
        )),
    }
}

/// `1 segment`, `3 segments`.
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// Bytes in binary units with three digits: `16.0 MiB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1000.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 100.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_show_two_units() {
        for (seconds, words) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_725, "1h 2m"),
            (90_061, "1d 1h"),
            (86_400 + 5, "1d"),
        ] {
            assert_eq!(length(Duration::seconds(seconds)), words);
        }
    }

    #[test]
    fn short_lengths_are_exact() {
        for (milliseconds, words) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_250, "1.2s"),
            (59_999, "59.9s"),
            (61_000, "1m 1s"),
            (90_000_000, "1d 1h"),
        ] {
            assert_eq!(measured(milliseconds), words);
        }
        assert!(measured(u64::MAX).contains('d'));
    }

    #[test]
    fn moments_name_their_zone() {
        let moment: DateTime<Utc> = "2026-11-21T02:00:00.25Z".parse().unwrap();
        assert_eq!(utc(moment), "2026-11-21 02:00:00 UTC");
        assert_eq!(utc_milliseconds(moment), "2026-11-21 02:00:00.250 UTC");
    }

    #[test]
    fn bytes_show_three_digits() {
        for (number, words) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (16 << 20, "16.0 MiB"),
            (1 << 50, "1.0 PiB"),
            (250 << 30, "250 GiB"),
        ] {
            assert_eq!(bytes(number), words);
        }
    }
}
