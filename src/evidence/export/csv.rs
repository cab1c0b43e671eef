//! Tables for spreadsheets (RFC 4180), without letting a name become a formula.

use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat, Utc};

/// One cell.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell<'a> {
    /// Words, which may come from anywhere.
    Text(&'a str),
    /// A number.
    Number(u64),
    /// A number, or nothing when it is not known.
    Known(Option<u64>),
    /// A moment, or nothing.
    Moment(Option<DateTime<Utc>>),
}

/// Writes a row.
pub(super) fn row(out: &mut impl Write, cells: &[Cell<'_>]) -> io::Result<()> {
    for (position, cell) in cells.iter().enumerate() {
        if position > 0 {
            out.write_all(b",")?;
        }
        match cell {
            Cell::Text(text) => out.write_all(words(text).as_bytes())?,
            Cell::Number(number) | Cell::Known(Some(number)) => write!(out, "{number}")?,
            Cell::Moment(Some(at)) => {
                let text = at.to_rfc3339_opts(SecondsFormat::Millis, true);
                out.write_all(text.as_bytes())?;
            }
            Cell::Known(None) | Cell::Moment(None) => {}
        }
    }
    out.write_all(b"\r\n")
}

/// A row of names of columns.
pub(super) fn headings(out: &mut impl Write, names: &[&str]) -> io::Result<()> {
    let cells: Vec<Cell<'_>> = names.iter().map(|name| Cell::Text(name)).collect();
    row(out, &cells)
}

/// Words as a cell. A spreadsheet takes what begins with `=`, `+`, `-`, `@`, a tab or a
/// carriage return for a formula; an apostrophe before it makes it words again.
fn words(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quoted = text.contains(['"', ',', '\n', '\r']) || text.starts_with(' ') || formula;
    let mark = if formula { "'" } else { "" };
    if quoted {
        format!("\"{mark}{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(cells: &[Cell<'_>]) -> String {
        let mut out = Vec::new();
        row(&mut out, cells).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cells_are_quoted_where_the_standard_asks_for_it() {
        assert_eq!(
            written(&[
                Cell::Text("orders"),
                Cell::Text("a,b \"c\"\nd"),
                Cell::Number(7),
                Cell::Known(None),
                Cell::Moment(None),
            ]),
            "orders,\"a,b \"\"c\"\"\nd\",7,,\r\n"
        );
    }

    #[test]
    fn names_do_not_become_formulas() {
        for hostile in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "=HYPERLINK(\"x\")",
        ] {
            let cell = written(&[Cell::Text(hostile)]);
            assert!(cell.starts_with("\"'"), "{cell}");
        }
        assert_eq!(written(&[Cell::Text("a=1")]), "a=1\r\n");
    }
}
