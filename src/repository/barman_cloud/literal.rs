//! Python literals, read without evaluating anything.
//!
//! Barman writes some `backup.info` values with Python's `repr` and reads them with
//! `ast.literal_eval` (`barman/infofile.py`). This reads the same subset: `str`, `bytes`,
//! `int`, `float`, `None`, `True`, `False`, `tuple`, `list` and `dict`, on one line. It
//! never recurses deeper than [`MAX_DEPTH`] and never makes more than [`MAX_VALUES`].

use std::fmt::Write as _;

/// How deep literals may be nested.
pub const MAX_DEPTH: usize = 32;

/// How many values one literal may hold; bounds the memory at some 10 MiB.
pub const MAX_VALUES: usize = 100_000;

/// A Python value.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An `int`, or a `long` of Python 2.
    Int(i128),
    /// A `float`.
    Float(f64),
    /// A `str`. Lone surrogates, which stand for bytes that are not UTF-8, become U+FFFD.
    Str(String),
    /// A `bytes`.
    Bytes(Vec<u8>),
    /// A `tuple`.
    Tuple(Vec<Literal>),
    /// A `list`.
    List(Vec<Literal>),
    /// A `dict`, in the order written.
    Dict(Vec<(Literal, Literal)>),
}

/// Why a text is not a literal that this parser reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a Python literal: {reason} at byte {position}")]
pub struct LiteralError {
    /// What was wrong.
    pub reason: &'static str,
    /// Where, in bytes from the beginning.
    pub position: usize,
}

impl Literal {
    /// Reads one literal; nothing but blanks may surround it.
    pub fn parse(text: &str) -> Result<Self, LiteralError> {
        let mut parser = Parser {
            text,
            position: 0,
            values: 0,
        };
        let value = parser.value(0)?;
        parser.skip_blanks();
        if parser.peek().is_some() {
            return Err(parser.error("something follows the literal"));
        }
        Ok(value)
    }

    /// The text of a `str`.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a `tuple` or `list`.
    pub fn as_items(&self) -> Option<&[Self]> {
        match self {
            Self::Tuple(items) | Self::List(items) => Some(items),
            _ => None,
        }
    }
}

/// Writes a string as Python's `repr` does, but with everything outside ASCII escaped.
pub fn quote(text: &str) -> String {
    let delimiter = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(delimiter);
    for character in text.chars() {
        let code = u32::from(character);
        // Writing to a String cannot fail.
        let _ = match character {
            '\\' => write!(quoted, "\\\\"),
            '\n' => write!(quoted, "\\n"),
            '\r' => write!(quoted, "\\r"),
            '\t' => write!(quoted, "\\t"),
            c if c == delimiter => write!(quoted, "\\{c}"),
            ' '..='~' => write!(quoted, "{character}"),
            _ if code <= 0xFF => write!(quoted, "\\x{code:02x}"),
            _ if code <= 0xFFFF => write!(quoted, "\\u{code:04x}"),
            _ => write!(quoted, "\\U{code:08x}"),
        };
    }
    quoted.push(delimiter);
    quoted
}

struct Parser<'a> {
    text: &'a str,
    position: usize,
    values: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, reason: &'static str) -> LiteralError {
        LiteralError {
            reason,
            position: self.position,
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.position += character.len_utf8();
        Some(character)
    }

    fn accept(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.position += wanted.len_utf8();
        }
        found
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\x0C')) {
            self.position += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Literal, LiteralError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deep"));
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.error("too many values"));
        }
        self.skip_blanks();
        match self.peek() {
            Some('\'' | '"') => self.string().map(Literal::Str),
            Some('[') => {
                self.next();
                Ok(Literal::List(self.items(']', depth)?.0))
            }
            Some('(') => {
                self.next();
                let (mut items, comma) = self.items(')', depth)?;
                match (items.len(), comma) {
                    (1, false) => items.pop().ok_or_else(|| self.error("empty group")),
                    _ => Ok(Literal::Tuple(items)),
                }
            }
            Some('{') => {
                self.next();
                self.dict(depth)
            }
            Some('0'..='9' | '+' | '-' | '.') => self.number(),
            Some(_) => self.word(),
            None => Err(self.error("a value is missing")),
        }
    }

    /// Items up to `close`, and whether a comma followed the last.
    fn items(&mut self, close: char, depth: usize) -> Result<(Vec<Literal>, bool), LiteralError> {
        let mut items = Vec::new();
        let mut comma = false;
        loop {
            self.skip_blanks();
            if self.accept(close) {
                return Ok((items, comma));
            }
            if !items.is_empty() && !comma {
                return Err(self.error("a comma is missing"));
            }
            items.push(self.value(depth + 1)?);
            self.skip_blanks();
            comma = self.accept(',');
        }
    }

    fn dict(&mut self, depth: usize) -> Result<Literal, LiteralError> {
        let mut entries = Vec::new();
        let mut comma = true;
        loop {
            self.skip_blanks();
            if self.accept('}') {
                return Ok(Literal::Dict(entries));
            }
            if !comma {
                return Err(self.error("a comma is missing"));
            }
            let key = self.value(depth + 1)?;
            self.skip_blanks();
            if !self.accept(':') {
                return Err(self.error("a colon is missing"));
            }
            entries.push((key, self.value(depth + 1)?));
            self.skip_blanks();
            comma = self.accept(',');
        }
    }

    fn number(&mut self) -> Result<Literal, LiteralError> {
        let rest = self.rest();
        let mut previous = ' ';
        let end = rest
            .char_indices()
            .find(|(index, c)| {
                let sign = matches!(c, '+' | '-') && (*index == 0 || matches!(previous, 'e' | 'E'));
                previous = *c;
                !(c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E') || sign)
            })
            .map_or(rest.len(), |(index, _)| index);
        let digits = rest.get(..end).unwrap_or_default();
        let value = if digits.contains(['.', 'e', 'E']) {
            digits.parse().ok().map(Literal::Float)
        } else {
            digits.parse().ok().map(Literal::Int)
        };
        let value = value.ok_or_else(|| self.error("not a number"))?;
        self.position += end;
        // Python 2 wrote long integers, such as oids, with this suffix.
        if matches!(value, Literal::Int(_)) {
            self.accept('L');
        }
        Ok(value)
    }

    fn word(&mut self) -> Result<Literal, LiteralError> {
        let rest = self.rest();
        if let Some('b' | 'B') = self.peek()
            && matches!(rest.chars().nth(1), Some('\'' | '"'))
        {
            self.next();
            return self.bytes().map(Literal::Bytes);
        }
        if let Some('u' | 'U') = self.peek()
            && matches!(rest.chars().nth(1), Some('\'' | '"'))
        {
            self.next();
            return self.string().map(Literal::Str);
        }
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        let value = match rest.get(..end) {
            Some("None") => Literal::None,
            Some("True") => Literal::Bool(true),
            Some("False") => Literal::Bool(false),
            _ => return Err(self.error("a name, call or operator is not a literal")),
        };
        self.position += end;
        Ok(value)
    }

    fn string(&mut self) -> Result<String, LiteralError> {
        let mut text = String::new();
        self.quoted(true, &mut |unit| {
            text.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
            Ok(())
        })?;
        Ok(text)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, LiteralError> {
        let mut bytes = Vec::new();
        self.quoted(false, &mut |unit| {
            bytes.push(u8::try_from(unit).map_err(|_| "a byte above 255")?);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Reads a quoted text, handing out code points (or bytes).
    fn quoted(
        &mut self,
        unicode: bool,
        emit: &mut dyn FnMut(u32) -> Result<(), &'static str>,
    ) -> Result<(), LiteralError> {
        let delimiter = self.next();
        loop {
            let Some(character) = self.next() else {
                return Err(self.error("the closing quote is missing"));
            };
            if Some(character) == delimiter {
                // Adjacent strings and triple quotes are never written by `repr`.
                return if matches!(self.peek(), Some('\'' | '"')) {
                    Err(self.error("two strings side by side"))
                } else {
                    Ok(())
                };
            }
            let unit = match character {
                '\n' | '\r' => return Err(self.error("a line break inside quotes")),
                '\\' => match self.escape(unicode)? {
                    Some(unit) => unit,
                    None => u32::from('\\'),
                },
                _ => u32::from(character),
            };
            emit(unit).map_err(|reason| self.error(reason))?;
        }
    }

    /// The code point behind a backslash; `None` for an escape that Python leaves alone.
    fn escape(&mut self, unicode: bool) -> Result<Option<u32>, LiteralError> {
        let Some(character) = self.peek() else {
            return Err(self.error("the closing quote is missing"));
        };
        let simple = match character {
            '\\' | '\'' | '"' => u32::from(character),
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '0'..='7' => {
                let rest = self.rest();
                let end = rest
                    .char_indices()
                    .take(3)
                    .take_while(|(_, c)| matches!(c, '0'..='7'))
                    .count();
                let value = u32::from_str_radix(rest.get(..end).unwrap_or_default(), 8);
                self.position += end;
                return value.map(Some).map_err(|_| self.error("bad octal escape"));
            }
            'x' => return self.hexadecimal(2).map(Some),
            'u' if unicode => return self.hexadecimal(4).map(Some),
            'U' if unicode => return self.hexadecimal(8).map(Some),
            'N' if unicode => return Err(self.error("a named character is not supported")),
            _ => return Ok(None),
        };
        self.next();
        Ok(Some(simple))
    }

    fn hexadecimal(&mut self, digits: usize) -> Result<u32, LiteralError> {
        self.next();
        let value = self
            .rest()
            .get(..digits)
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|text| u32::from_str_radix(text, 16).ok())
            .filter(|value| *value <= 0x10_FFFF)
            .ok_or_else(|| self.error("bad hexadecimal escape"))?;
        self.position += digits;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: &str) -> Literal {
        Literal::Str(value.to_owned())
    }

    #[test]
    fn reads_what_repr_writes() {
        let cases = [
            ("None", Literal::None),
            ("True", Literal::Bool(true)),
            (" 16384 ", Literal::Int(16384)),
            ("16384L", Literal::Int(16384)),
            ("-7", Literal::Int(-7)),
            ("1.5e-05", Literal::Float(1.5e-5)),
            (r#""it's""#, text("it's")),
            (r"'it\'s'", text("it's")),
            (r"'a\nb\t\\\x41\u00e9\U0001F600\101'", text("a\nb\t\\Aé😀A")),
            (r"'\d'", text(r"\d")),
            (r"u'old'", text("old")),
            (r"'\udcff'", text("\u{FFFD}")),
            (r"b'\x00\xff'", Literal::Bytes(vec![0, 255])),
            ("()", Literal::Tuple(vec![])),
            ("(1)", Literal::Int(1)),
            ("(1,)", Literal::Tuple(vec![Literal::Int(1)])),
            (
                "[('tbs1', 16384, '/srv/tbs1')]",
                Literal::List(vec![Literal::Tuple(vec![
                    text("tbs1"),
                    Literal::Int(16384),
                    text("/srv/tbs1"),
                ])]),
            ),
            (
                "{'a': {}, 'b': [1, 2,]}",
                Literal::Dict(vec![
                    (text("a"), Literal::Dict(vec![])),
                    (
                        text("b"),
                        Literal::List(vec![Literal::Int(1), Literal::Int(2)]),
                    ),
                ]),
            ),
        ];
        for (written, value) in cases {
            assert_eq!(Literal::parse(written), Ok(value), "{written}");
        }
    }

    #[test]
    fn refuses_everything_that_would_need_evaluating() {
        for written in [
            "",
            "[",
            "[1 2]",
            "{1}",
            "{1: 2 3: 4}",
            "'open",
            "'a' 'b' +",
            "'''x'''",
            "__import__('os').system('true')",
            "1 + 1",
            "nan",
            "x",
            "lambda: 0",
            r"'\N{BULLET}'",
            r"'\x4'",
            r"'\U00110000'",
            "b'\u{e9}\u{1F600}'",
            "f'{1}'",
            "1.2.3",
            "None None",
        ] {
            assert!(Literal::parse(written).is_err(), "{written}");
        }
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Literal::parse(&deep).unwrap_err().reason, "nested too deep");
        let many = format!("[{}]", "0,".repeat(MAX_VALUES + 1));
        assert_eq!(Literal::parse(&many).unwrap_err().reason, "too many values");
        let just = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(Literal::parse(&just).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_answered(written: String) {
            let _ = Literal::parse(&written);
        }

        #[test]
        fn any_likely_text_is_answered(written in r#"[\[\](){}'"\\xuUNb0-9a-f,:. +-]{0,60}"#) {
            let _ = Literal::parse(&written);
        }

        #[test]
        fn quoting_and_reading_are_inverse(value: String) {
            let quoted = quote(&value);
            prop_assert!(quoted.is_ascii() && !quoted.contains('\n'));
            prop_assert_eq!(Literal::parse(&quoted), Ok(Literal::Str(value)));
        }
    }
}
