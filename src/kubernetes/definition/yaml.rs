//! YAML that is the same for the same value, whatever library and version: what is stored
//! under a digest must not change with a dependency.
//!
//! A small part of YAML, which readers of 1.1 (kubectl) and 1.2 read alike: every text that is
//! not plainly a word is quoted as JSON quotes it, and texts of several lines are literal
//! blocks where nothing of them could be lost.

use std::fmt::Write as _;

use serde_json::Value;

/// Words that some version of YAML takes for something else than a text.
const WORDS: [&str; 10] = [
    "true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan",
];

/// The value as a YAML document, without `---` before it.
pub fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(members) if !members.is_empty() => write(&mut text, value, 0),
        Value::Array(items) if !items.is_empty() => write(&mut text, value, 0),
        scalar => {
            inline(&mut text, scalar, 0);
            text.push('\n');
        }
    }
    text
}

/// Writes what takes lines of its own, each indented by `depth`.
fn write(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                indent(text, depth);
                entry(text, key, value, depth);
            }
        }
        Value::Array(items) => {
            for item in items {
                indent(text, depth);
                text.push('-');
                match item {
                    // The first key stands beside the dash, the others below it.
                    Value::Object(members) if !members.is_empty() => {
                        for (index, (key, value)) in members.iter().enumerate() {
                            if index == 0 {
                                text.push(' ');
                            } else {
                                indent(text, depth + 2);
                            }
                            entry(text, key, value, depth + 2);
                        }
                    }
                    Value::Array(inner) if !inner.is_empty() => {
                        text.push('\n');
                        write(text, item, depth + 2);
                    }
                    scalar => {
                        text.push(' ');
                        inline(text, scalar, depth);
                        text.push('\n');
                    }
                }
            }
        }
        _ => {}
    }
}

fn entry(text: &mut String, key: &str, value: &Value, depth: usize) {
    text.push_str(&scalar(key));
    text.push(':');
    match value {
        Value::Object(members) if !members.is_empty() => {
            text.push('\n');
            write(text, value, depth + 2);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            write(text, value, depth);
        }
        scalar => {
            text.push(' ');
            inline(text, scalar, depth);
            text.push('\n');
        }
    }
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n(' ', depth));
}

fn inline(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::String(words) if fits_block(words) => {
            let chomp = if words.ends_with('\n') { "" } else { "-" };
            let _ = write!(text, "|{chomp}");
            for line in words.lines() {
                text.push('\n');
                if !line.is_empty() {
                    indent(text, depth + 2);
                    text.push_str(line);
                }
            }
        }
        Value::String(words) => text.push_str(&scalar(words)),
        // Numbers, booleans, null, and what is empty are written as JSON writes them.
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

/// Whether a literal block gives back exactly this text.
fn fits_block(words: &str) -> bool {
    let body = words.strip_suffix('\n').unwrap_or(words);
    body.contains('\n')
        && !body.ends_with('\n')
        && !body.starts_with([' ', '\n'])
        && body
            .lines()
            .all(|line| line.is_empty() || line.chars().any(|c| c != ' '))
        && !body
            .chars()
            .any(|c| (c.is_control() && c != '\n') || is_odd(c))
}

/// Characters that break lines or mark the order of bytes in some readers.
const fn is_odd(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// A text on one line: bare when it is plainly a word, else quoted.
fn scalar(words: &str) -> String {
    let lower = words.to_ascii_lowercase();
    let plain = words.starts_with(|c: char| c.is_ascii_alphabetic())
        && words
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && !WORDS.contains(&lower.as_str());
    if plain {
        return words.to_owned();
    }
    // A JSON text is a YAML text; what only YAML takes for a break is escaped.
    let mut quoted = Value::String(words.to_owned()).to_string();
    for odd in ['\u{85}', '\u{2028}', '\u{2029}', '\u{feff}', '\u{7f}'] {
        if quoted.contains(odd) {
            quoted = quoted.replace(odd, &format!("\\u{:04x}", u32::from(odd)));
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_read_back_as_it_was() {
        for value in [
            json!({"a": 1, "b": -2, "c": 1.5, "d": true, "e": null, "f": {}, "g": [], "h": ""}),
            json!({"hot_standby": "on", "no": "no", "version": "17", "e": "1e3", "x": "0x1", "~": "~"}),
            json!({"list": [1, "two", [3, [4]], {"k": "v", "l": [{"m": 1}]}, {}, []]}),
            json!({"sql": "SELECT 1;\nSELECT 2;\n", "end": "a\nb", "more": "a\n\n", "lead": " a\nb",
                   "blank": "a\n\nb\n", "tab": "a\tb\nc", "space": "a \nb ", "cr": "a\r\nb", "s": "a\n  \nb"}),
            json!({"deep": {"q": [{"text": "x: y\n  - z\n"}]}}),
            json!({"odd": "\u{2028}\u{feff}\u{7f}\u{0}\"\\", "ä": "ö: #", "- x": "- y", "t": "2026-01-01"}),
            json!([{"a": 1}, {"a": 2}]),
            json!("alone"),
        ] {
            let text = to_yaml(&value);
            let back: Value =
                serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(back, value, "{text}");
        }
    }

    #[test]
    fn people_can_read_it() {
        let value = json!({
            "kind": "ConfigMap",
            "data": {"queries": "a:\n  b\n"},
            "items": [{"name": "x", "on": "off"}],
        });
        assert_eq!(
            to_yaml(&crate::kubernetes::definition::canonical(&value)),
            "data:\n  queries: |\n    a:\n      b\nitems:\n- name: x\n  \"on\": \"off\"\nkind: ConfigMap\n"
        );
    }
}
