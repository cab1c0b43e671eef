//! PostgreSQL's configuration syntax (`src/backend/utils/misc/guc-file.l`).

/// One assignment of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfSetting {
    /// The name, lower case. `include`, `include_dir` and `include_if_exists` are
    /// directives, reported like settings.
    pub name: String,
    /// The value without quotes and escapes.
    pub value: String,
    /// The line, from 1.
    pub line: usize,
}

/// Reads the assignments of a configuration file, in order. Lines that are none are
/// skipped: nothing of this file will be in force, so nothing depends on them.
pub fn parse_conf(text: &str) -> Vec<ConfSetting> {
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let (name, value) = parse_line(line)?;
            Some(ConfSetting {
                name,
                value,
                line: index + 1,
            })
        })
        .collect()
}

fn parse_line(line: &str) -> Option<(String, String)> {
    let line = line.trim_start();
    let end = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
        .unwrap_or(line.len());
    let (name, rest) = line.split_at_checked(end)?;
    if name.is_empty() || !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return None;
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let value = match rest.strip_prefix('\'') {
        Some(quoted) => unquote(quoted)?,
        None => rest
            .split(|c: char| c.is_whitespace() || c == '#')
            .next()
            .filter(|word| !word.is_empty())?
            .to_owned(),
    };
    Some((name.to_ascii_lowercase(), value))
}

/// The text behind an opening quote up to its closing one. `''` and `\'` are quotes; the
/// other backslash escapes are those of C (`GUC_scanstr`).
fn unquote(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut chars = text.chars().peekable();
    loop {
        match chars.next()? {
            '\'' if chars.peek() == Some(&'\'') => {
                chars.next();
                value.push('\'');
            }
            '\'' => return Some(value),
            '\\' => match chars.next()? {
                'b' => value.push('\u{8}'),
                'f' => value.push('\u{c}'),
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                digit @ '0'..='7' => {
                    let mut code = digit.to_digit(8)?;
                    for _ in 0..2 {
                        match chars.peek().and_then(|c| c.to_digit(8)) {
                            Some(next) => {
                                code = code * 8 + next;
                                chars.next();
                            }
                            None => break,
                        }
                    }
                    value.push(char::from_u32(code & 0xFF)?);
                }
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

/// A value as it may stand in a configuration file: quoted, on one line. Control
/// characters, which no value of ours has, become spaces so that none can begin a line.
pub fn quote_value(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('\'');
    for c in value.chars() {
        match c {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> Option<(String, String)> {
        parse_line(line)
    }

    #[test]
    fn every_way_to_write_an_assignment_is_read() {
        for (line, name, value) in [
            ("max_connections = 100", "max_connections", "100"),
            ("max_connections=100 # more", "max_connections", "100"),
            ("  Max_Connections 100", "max_connections", "100"),
            (
                "archive_command = 'cp %p ''/x y''/%f'",
                "archive_command",
                "cp %p '/x y'/%f",
            ),
            (r"a = 'b\'c\\d\n\101'", "a", "b'c\\d\nA"),
            ("pg_stat_statements.max = 1", "pg_stat_statements.max", "1"),
            ("include_dir 'conf.d'", "include_dir", "conf.d"),
            ("empty = ''", "empty", ""),
        ] {
            assert_eq!(
                one(line),
                Some((name.to_owned(), value.to_owned())),
                "{line}"
            );
        }
        for line in [
            "",
            "# max_connections = 1",
            "= 3",
            "name",
            "a = 'open",
            "1a = 2",
        ] {
            assert_eq!(one(line), None, "{line}");
        }
        let both = parse_conf("a = 1\n\n# b\na = 2");
        assert_eq!((both[0].line, both[1].line), (1, 4));
    }

    proptest! {
        #[test]
        fn a_quoted_value_is_read_back(value in "[^\\p{Cc}]*") {
            let line = format!("name = {}", quote_value(&value));
            prop_assert_eq!(one(&line), Some(("name".to_owned(), value)));
        }

        #[test]
        fn a_quoted_value_never_leaves_its_line(value: String) {
            let quoted = quote_value(&value);
            prop_assert!(!quoted.chars().any(char::is_control));
        }

        #[test]
        fn any_text_is_answered(text: String) {
            let _ = parse_conf(&text);
        }
    }
}
