//! Words and numbers on the page. Everything that comes from outside goes through
//! [`Escaped`].

use std::fmt;

use chrono::{DateTime, Utc};

/// Text as it may stand between tags and in quoted attributes. Control characters, and
/// characters that turn the direction of what follows, are shown as U+FFFD: no name changes
/// how the rest of the page reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
                    f.write_str("\u{fffd}")?;
                }
                letter if letter.is_control() => f.write_str("\u{fffd}")?,
                letter => fmt::Write::write_char(f, letter)?,
            }
        }
        Ok(())
    }
}

/// A name as [`Escaped`], with places to break it when it is long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a>(pub(super) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const RUN: usize = 16;
        let mut rest = self.0;
        while let Some((at, _)) = rest.char_indices().nth(RUN) {
            let (begin, end) = rest.split_at(at);
            write!(f, "{}<wbr>", Escaped(begin))?;
            rest = end;
        }
        write!(f, "{}", Escaped(rest))
    }
}

/// A length of time with two units at most.
pub(super) fn length(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A number with thin groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A moment to the minute.
pub(super) fn minute(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d\u{a0}%H:%M").to_string()
}

/// `1 drill`, `3 drills`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        assert_eq!(
            Escaped("<b onclick='x'>\"&\u{202e}\u{1b}ä").to_string(),
            "&lt;b onclick=&#39;x&#39;&gt;&quot;&amp;\u{fffd}\u{fffd}ä"
        );
    }

    #[test]
    fn long_names_can_be_broken_and_short_ones_are_not() {
        assert_eq!(Name("second-region").to_string(), "second-region");
        assert_eq!(
            Name("0000000100000012000000A4").to_string(),
            "0000000100000012<wbr>000000A4"
        );
        assert_eq!(
            Name(&"ß<".repeat(9)).to_string(),
            format!("{}<wbr>ß&lt;", "ß&lt;".repeat(8))
        );
    }

    #[test]
    fn lengths_and_numbers_are_readable() {
        for (milliseconds, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (4_250, "4.2 s"),
            (192_000, "3m 12s"),
            (7_500_000, "2h 05m"),
            (100 * 3_600_000, "4d 04h"),
        ] {
            assert_eq!(length(milliseconds), text);
        }
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
    }
}
