//! Standard output: text or one JSON document, with colour where a person looks.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use super::Failure;
use super::render::style::Style;

/// What standard output is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document for programs (docs/json-contract.md).
    Json,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// Whether to colour a stream.
    pub fn wanted(self, terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            // https://no-color.org
            Self::Auto => {
                terminal
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
            }
        }
    }
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    enabled: bool,
}

macro_rules! styles {
    ($($name:ident, $code:literal, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub fn $name(self, text: impl std::fmt::Display) -> String {
                if self.enabled {
                    format!(concat!("\x1b[", $code, "m{}\x1b[0m"), text)
                } else {
                    text.to_string()
                }
            }
        )*
    };
}

impl Palette {
    /// With colours or without.
    pub const fn new(enabled: bool) -> Self {
        Self { enabled }
    }

    /// Without colours.
    pub const fn plain() -> Self {
        Self::new(false)
    }

    /// Whether there are colours.
    pub const fn is_enabled(self) -> bool {
        self.enabled
    }

    styles! {
        bold, "1", "Headings and names.";
        dim, "2", "What is only for completeness.";
        red, "31;1", "Failures and critical findings.";
        green, "32;1", "What is proven.";
        yellow, "33;1", "Warnings and what is unproven.";
        cyan, "36", "Hints and commands to paste.";
    }
}

/// Standard output of a command.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// What it is for.
    pub format: OutputFormat,
    /// Its colours.
    pub palette: Palette,
}

impl Output {
    /// Standard output in this format.
    pub fn new(format: OutputFormat, color: ColorChoice) -> Self {
        Self {
            format,
            palette: Palette::new(color.wanted(io::stdout().is_terminal())),
        }
    }

    /// Whether programs read it.
    pub fn is_json(self) -> bool {
        self.format == OutputFormat::Json
    }

    /// What a report may be drawn with.
    pub fn style(self) -> Style {
        Style {
            color: self.palette.is_enabled(),
            ..Style::of_stdout()
        }
    }

    /// The width for drawings, in columns: what `COLUMNS` says, else 100.
    pub fn width() -> usize {
        std::env::var("COLUMNS")
            .ok()
            .and_then(|columns| columns.parse().ok())
            .filter(|columns| (40..=400).contains(columns))
            .unwrap_or(100)
    }

    /// Writes text.
    pub fn text(self, text: &str) -> Result<(), Failure> {
        write(harmless(text).as_bytes())
    }

    /// Writes a line.
    pub fn line(self, text: impl std::fmt::Display) -> Result<(), Failure> {
        self.text(&format!("{text}\n"))
    }

    /// Writes one JSON document, indented.
    pub fn json(self, document: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_vec_pretty(document)
            .map_err(|error| Failure::unproven(format_args!("write the report: {error}")))?;
        text.push(b'\n');
        write(&text)
    }
}

/// The text without what could make a terminal do more than show it in colours: much of
/// what is shown was written by others.
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, letter) in text.char_indices() {
        let rest = text.get(at..).unwrap_or_default();
        if letter.is_control() && !matches!(letter, '\n' | '\t') && !is_colour(rest) {
            shown.push(char::REPLACEMENT_CHARACTER);
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Whether the text begins with the sequence that sets a colour.
fn is_colour(text: &str) -> bool {
    text.strip_prefix("\x1b[")
        .and_then(|rest| rest.split_once('m'))
        .is_some_and(|(code, _)| code.bytes().all(|b| b.is_ascii_digit() || b == b';'))
}

/// A reader that went away (`| head`) is no failure; the exit code stays the verdict's.
fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::unproven(
            format_args!("write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_shown_and_nothing_else_is_done() {
        let ours = format!("a\tb\n{}", Palette::new(true).green("proven"));
        assert_eq!(harmless(&ours), ours);
        assert_eq!(
            harmless("\x1b[2J\x1b]0;x\x07\r\u{9b}2J\x1b[1;31"),
            "\u{fffd}[2J\u{fffd}]0;x\u{fffd}\u{fffd}\u{fffd}2J\u{fffd}[1;31"
        );
    }
}
