//! From `OpenMetrics` to the older text format (0.0.4), for whoever does not ask for
//! `OpenMetrics`: `curl`, `promtool check metrics`, agents of other makers.
//!
//! The formats differ in a family's name (a counter's and an info's is its sample's here), in
//! the kind `info`, and in the lines `# UNIT` and `# EOF`, which mean nothing here.

use std::fmt;

/// Takes `OpenMetrics`, gives the older format to the writer behind it. Holds two lines.
#[derive(Debug)]
pub(super) struct PlainText<W> {
    to: W,
    line: String,
    help: String,
}

impl<W: fmt::Write> PlainText<W> {
    pub(super) const fn new(to: W) -> Self {
        Self {
            to,
            line: String::new(),
            help: String::new(),
        }
    }

    fn end_of_line(&mut self) -> fmt::Result {
        let line = std::mem::take(&mut self.line);
        if let Some(help) = line.strip_prefix("# HELP ") {
            help.clone_into(&mut self.help);
        } else if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').ok_or(fmt::Error)?;
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            if let Some((_, help)) = self.help.split_once(' ') {
                writeln!(self.to, "# HELP {name}{suffix} {help}")?;
            }
            writeln!(self.to, "# TYPE {name}{suffix} {kind}")?;
        } else if !line.starts_with('#') {
            self.to.write_str(&line)?;
            self.to.write_char('\n')?;
        }
        self.line = line;
        self.line.clear();
        Ok(())
    }
}

impl<W: fmt::Write> fmt::Write for PlainText<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            if let Some(end) = part.strip_suffix('\n') {
                self.line.push_str(end);
                self.end_of_line()?;
            } else {
                self.line.push_str(part);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn names_kinds_and_comments_become_those_of_the_older_format() {
        let open = "# HELP a_seconds Time.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                    a_seconds_total{x=\"#\"} 1\n# HELP b What.\n# TYPE b info\nb_info{v=\"1\"} 1\n\
                    # HELP c Now.\n# TYPE c gauge\nc 2\n# EOF\n";
        let plain = "# HELP a_seconds_total Time.\n# TYPE a_seconds_total counter\n\
                     a_seconds_total{x=\"#\"} 1\n# HELP b_info What.\n# TYPE b_info gauge\n\
                     b_info{v=\"1\"} 1\n# HELP c Now.\n# TYPE c gauge\nc 2\n";
        let mut whole = PlainText::new(String::new());
        whole.write_str(open).unwrap();
        assert_eq!(whole.to, plain);
        let mut bitwise = PlainText::new(String::new());
        for character in open.chars() {
            bitwise.write_char(character).unwrap();
        }
        assert_eq!(bitwise.to, plain);
    }
}
