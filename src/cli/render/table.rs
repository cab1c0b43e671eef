//! Columns that fit, with every cell in its tone.

use super::style::{Style, Tone};

/// One cell.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) tone: Tone,
    pub(super) text: String,
}

impl Cell {
    pub(super) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self {
            tone,
            text: text.into(),
        }
    }

    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::new(Tone::Plain, text)
    }

    /// Nothing to say.
    pub(super) fn none() -> Self {
        Self::new(Tone::Quiet, "-")
    }
}

/// How wide a text is. Names are ASCII by the configuration's rules, so that characters are
/// columns.
pub(super) fn width(text: &str) -> usize {
    text.chars().count()
}

/// Cuts a text to a width, and shows that it was cut.
pub(super) fn cut(text: &str, columns: usize, style: Style) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(columns.saturating_sub(1)).collect();
    cut.push_str(style.pick("…", "~"));
    cut
}

/// Rows below a heading, aligned; columns are two spaces apart and no line ends in spaces.
/// The cells of column `elastic` are cut as far as the width demands, to eight columns at
/// least.
pub(super) fn table(
    heading: &[&str],
    rows: &[Vec<Cell>],
    elastic: usize,
    style: Style,
) -> Vec<String> {
    let mut widths: Vec<usize> = heading.iter().map(|name| width(name)).collect();
    for row in rows {
        for (column, cell) in widths.iter_mut().zip(row) {
            *column = (*column).max(width(&cell.text));
        }
    }
    let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    if let Some(column) = widths.get_mut(elastic) {
        let over = total.saturating_sub(style.width);
        *column = column.saturating_sub(over).max(8.min(*column));
    }
    let heading: Vec<Cell> = heading
        .iter()
        .map(|name| Cell::new(Tone::Quiet, *name))
        .collect();
    std::iter::once(&heading)
        .chain(rows)
        .map(|row| line(row, &widths, style))
        .collect()
}

fn line(row: &[Cell], widths: &[usize], style: Style) -> String {
    let mut line = String::new();
    let mut behind = 0;
    for (cell, &columns) in row.iter().zip(widths) {
        let text = cut(&cell.text, columns, style);
        if !text.is_empty() {
            line.push_str(&" ".repeat(behind));
            behind = 0;
            line.push_str(&style.paint(cell.tone, &text));
        }
        behind += columns.saturating_sub(width(&text)) + 2;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_one_gives_way() {
        let style = Style {
            width: 40,
            ..Style::PLAIN
        };
        let row = |name: &str, value: &str| vec![Cell::plain(name), Cell::plain(value)];
        let lines = table(
            &["NAME", "VALUE"],
            &[row("a", "1"), row(&"n".repeat(60), "22")],
            0,
            style,
        );
        assert_eq!(lines[0].find("VALUE"), lines[1].find('1'));
        assert!(lines.iter().all(|line| line.len() <= 40), "{lines:?}");
        assert!(lines[2].contains("n~  22"), "{}", lines[2]);
        assert!(lines.iter().all(|line| line.trim_end() == line));
    }
}
