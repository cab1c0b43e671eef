//! Cutting a manifest's JSON into pieces without keeping it.

use super::ManifestError;

/// The most bytes that one piece may have: a file's entry, a range, a number. A path has at
/// most 1,023 bytes, written with up to six characters each.
pub(super) const PIECE_MAX: usize = 16 << 10;

/// What the scanner finds, as JSON text of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// `"Key": value`, where the value is no array.
    Member(&'a [u8]),
    /// `"Key":`, before an array begins.
    ArrayBegin(&'a [u8]),
    /// One element of the array that began last.
    Element(&'a [u8]),
}

/// Where the scanner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the outermost brace.
    Before,
    /// Within a member of the outermost object.
    Member,
    /// Within an array that is such a member's value.
    Array {
        /// Whether an element must come: the first may be absent.
        after_comma: bool,
    },
    /// Behind an array.
    Behind,
    /// Behind the outermost brace.
    After,
}

/// Finds the members of the outermost object and the elements of its arrays, however the
/// text is broken into lines: PostgreSQL and other writers of manifests differ there. What a
/// piece holds is for others to read; only the structure around it is checked here.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    place: Place,
    piece: Vec<u8>,
    nesting: u32,
    in_string: bool,
    escaped: bool,
    /// Bytes scanned.
    at: u64,
}

impl Scanner {
    pub(super) const fn new() -> Self {
        Self {
            place: Place::Before,
            piece: Vec::new(),
            nesting: 0,
            in_string: false,
            escaped: false,
            at: 0,
        }
    }

    /// Whether the outermost object has ended.
    pub(super) fn ended(&self) -> bool {
        self.place == Place::After
    }

    /// Scans on, handing out each piece that is complete.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        give: &mut dyn FnMut(Piece<'_>) -> Result<(), ManifestError>,
    ) -> Result<(), ManifestError> {
        for &byte in bytes {
            self.at += 1;
            if self.in_string {
                self.keep(byte)?;
                if self.escaped {
                    self.escaped = false;
                } else if byte == b'\\' {
                    self.escaped = true;
                } else if byte == b'"' {
                    self.in_string = false;
                }
                continue;
            }
            match self.place {
                Place::Before => match byte {
                    b'{' => self.place = Place::Member,
                    _ => self.blank(byte)?,
                },
                Place::Member => self.in_member(byte, give)?,
                Place::Array { after_comma } => self.in_array(byte, after_comma, give)?,
                Place::Behind => match byte {
                    b',' => self.place = Place::Member,
                    b'}' => self.place = Place::After,
                    _ => self.blank(byte)?,
                },
                Place::After => self.blank(byte)?,
            }
        }
        Ok(())
    }

    fn in_member(
        &mut self,
        byte: u8,
        give: &mut dyn FnMut(Piece<'_>) -> Result<(), ManifestError>,
    ) -> Result<(), ManifestError> {
        match byte {
            b',' | b'}' => {
                give(Piece::Member(&self.piece))?;
                self.piece.clear();
                if byte == b'}' {
                    self.place = Place::After;
                }
            }
            b'[' => {
                give(Piece::ArrayBegin(&self.piece))?;
                self.piece.clear();
                self.place = Place::Array { after_comma: false };
            }
            b'{' | b']' => return Err(self.wrong()),
            _ => self.keep(byte)?,
        }
        Ok(())
    }

    fn in_array(
        &mut self,
        byte: u8,
        after_comma: bool,
        give: &mut dyn FnMut(Piece<'_>) -> Result<(), ManifestError>,
    ) -> Result<(), ManifestError> {
        match byte {
            b'{' | b'[' => {
                self.nesting = self.nesting.saturating_add(1);
                self.keep(byte)
            }
            b'}' | b']' if self.nesting > 0 => {
                self.nesting -= 1;
                self.keep(byte)
            }
            b',' if self.nesting > 0 => self.keep(byte),
            b',' | b']' => {
                let empty = self.piece.iter().all(u8::is_ascii_whitespace);
                let last = byte == b']';
                if empty && (after_comma || !last) {
                    return Err(self.wrong());
                }
                if !empty {
                    give(Piece::Element(&self.piece))?;
                }
                self.piece.clear();
                self.place = if last {
                    Place::Behind
                } else {
                    Place::Array { after_comma: true }
                };
                Ok(())
            }
            b'}' => Err(self.wrong()),
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) -> Result<(), ManifestError> {
        if self.piece.len() >= PIECE_MAX {
            return Err(ManifestError::TooLong { at: self.at });
        }
        if byte == b'"' && !self.in_string {
            self.in_string = true;
            self.escaped = false;
        }
        self.piece.push(byte);
        // The closing quote is noticed by `push`, which knows about escapes.
        Ok(())
    }

    fn blank(&self, byte: u8) -> Result<(), ManifestError> {
        if byte.is_ascii_whitespace() {
            Ok(())
        } else {
            Err(self.wrong())
        }
    }

    fn wrong(&self) -> ManifestError {
        ManifestError::BadStructure { at: self.at }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(text: &str, cut: usize) -> Result<(Vec<String>, bool), ManifestError> {
        let mut found = Vec::new();
        let mut scanner = Scanner::new();
        for chunk in text.as_bytes().chunks(cut) {
            scanner.push(chunk, &mut |piece| {
                let (mark, text) = match piece {
                    Piece::Member(text) => ('=', text),
                    Piece::ArrayBegin(text) => ('[', text),
                    Piece::Element(text) => ('-', text),
                };
                let text = String::from_utf8_lossy(text);
                found.push(format!("{mark}{}", text.trim()));
                Ok(())
            })?;
        }
        Ok((found, scanner.ended()))
    }

    #[test]
    fn pieces_are_found_however_the_text_is_broken() {
        let text = "{ \"a\": 1,\n\"b\": [\n{ \"x\": \"],{\\\"\\\\\" },\n{\"y\": [1, 2]}\n],\"c\":[],\n\"d\": \"}\"}\n";
        for cut in [1, 2, 3, 1000] {
            let (found, ended) = pieces(text, cut).unwrap();
            assert_eq!(
                found,
                [
                    "=\"a\": 1",
                    "[\"b\":",
                    "-{ \"x\": \"],{\\\"\\\\\" }",
                    "-{\"y\": [1, 2]}",
                    "[\"c\":",
                    "=\"d\": \"}\""
                ]
            );
            assert!(ended);
        }
        assert!(!pieces("{ \"a\": 1", 10).unwrap().1);
    }

    #[test]
    fn what_is_no_such_object_is_refused() {
        for text in [
            "x",
            "[]",
            "{\"a\": {}}",
            "{]",
            "{\"a\": [1,]}",
            "{\"a\": [,1]}",
            "{\"a\": [}",
            "{\"a\": []x",
            "{\"a\": 1} x",
        ] {
            assert!(
                matches!(pieces(text, 100), Err(ManifestError::BadStructure { .. })),
                "{text}"
            );
        }
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(PIECE_MAX));
        assert!(matches!(
            pieces(&long, 100),
            Err(ManifestError::TooLong { .. })
        ));
    }

    proptest! {
        #[test]
        fn cutting_makes_no_difference(text in "[{}\\[\\],:\"\\\\a1 \n]{0,60}", cut in 1usize..9) {
            let text = format!("{{{text}");
            prop_assert_eq!(pieces(&text, cut), pieces(&text, text.len()));
        }
    }
}
