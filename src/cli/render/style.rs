//! How much a terminal can show: colour, line-drawing characters, columns.

use std::io::IsTerminal;

/// Colours, characters and width of a rendering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour.
    pub color: bool,
    /// Whether characters beyond ASCII may be used.
    pub unicode: bool,
    /// Columns; at least 40 are used.
    pub width: usize,
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Headings and names.
    Strong,
    /// What is only there for completeness.
    Quiet,
    /// What can be recovered.
    Good,
    /// Warnings.
    Warning,
    /// Critical findings, and what is lost.
    Bad,
    /// Everything else.
    Plain,
}

impl Style {
    /// ASCII without colour, 80 columns: for files and tests.
    pub const PLAIN: Self = Self {
        color: false,
        unicode: false,
        width: 80,
    };

    /// What standard output can show: colour only on a terminal and not with `NO_COLOR`
    /// (<https://no-color.org>) or `TERM=dumb`; line drawing when the locale says UTF-8;
    /// the width from `COLUMNS`, else 100.
    pub fn of_stdout() -> Self {
        let text = |name: &str| std::env::var(name).unwrap_or_default();
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .map(text)
            .find(|value| !value.is_empty())
            .unwrap_or_default()
            .to_uppercase();
        let terminal = std::io::stdout().is_terminal();
        Self {
            color: terminal && text("NO_COLOR").is_empty() && text("TERM") != "dumb",
            unicode: locale.contains("UTF-8") || locale.contains("UTF8"),
            width: text("COLUMNS")
                .parse()
                .ok()
                .filter(|columns| (40..=400).contains(columns))
                .unwrap_or(100),
        }
    }

    /// Text in a tone.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Strong => "1",
            Tone::Quiet => "2",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Plain => return text.to_owned(),
        };
        if self.color && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// One of two texts, by whether characters beyond ASCII may be used.
    pub const fn pick(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }

    /// Breaks text into lines that fit behind an indent. Words longer than a line, such
    /// as object keys, are not broken: they must stay fit to be copied.
    pub fn wrap(self, text: &str, indent: usize) -> Vec<String> {
        let width = self.width.max(40).saturating_sub(indent);
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_only_when_asked() {
        assert_eq!(Style::PLAIN.paint(Tone::Bad, "x"), "x");
        let colored = Style {
            color: true,
            ..Style::PLAIN
        };
        assert_eq!(colored.paint(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(colored.paint(Tone::Plain, "x"), "x");
    }

    #[test]
    fn lines_fit_and_long_words_stay_whole() {
        let style = Style {
            width: 40,
            ..Style::PLAIN
        };
        let key = "base/20261120T120000/a-very-long-name-of-an-object.tar.gz";
        let lines = style.wrap(
            &format!("some words before {key} and some more after it"),
            4,
        );
        assert!(lines.iter().any(|line| line == key));
        assert!(
            lines
                .iter()
                .filter(|line| *line != key)
                .all(|line| line.len() <= 36)
        );
    }
}
