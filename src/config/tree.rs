//! A YAML document as a tree in which everything knows its place.

use std::path::Path;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};

use super::Mistake;
use super::error::Place;

/// Deeper than any legal document.
const DEPTH: usize = 24;

/// One value and where it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    /// Text as written. Only unquoted (`plain`) text can be a number, a truth value or null.
    Scalar { text: String, plain: bool },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys with values, in the order of the file, duplicates included.
    Mapping(Vec<(Key, Node)>),
}

/// A key and where it begins.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) text: String,
}

/// One step down in a tree.
#[derive(Clone, Debug)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl Node {
    /// Whether nothing is written here.
    pub(super) fn is_null(&self) -> bool {
        // YAML 1.2.2, section 10.3.2 (core schema).
        matches!(&self.kind, Kind::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// In words, for "expected …, found …".
    pub(super) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
            Kind::Scalar { .. } if self.is_null() => "nothing",
            Kind::Scalar { text, plain: true } if parse_bool(text).is_some() => "a truth value",
            Kind::Scalar { text, plain: true } if text.parse::<f64>().is_ok() => "a number",
            Kind::Scalar { .. } => "text",
        }
    }

    /// The place of a value below this one, or of the last step that exists.
    pub(super) fn place_of(&self, path: &[Step<'_>]) -> Place {
        let Some((step, rest)) = path.split_first() else {
            return self.place;
        };
        let below = match (step, &self.kind) {
            (Step::Key(wanted), Kind::Mapping(entries)) => entries
                .iter()
                .find(|(key, _)| key.text == *wanted)
                .map(|(_, node)| node),
            (Step::Index(index), Kind::Sequence(items)) => items.get(*index),
            _ => None,
        };
        below.map_or(self.place, |node| node.place_of(rest))
    }
}

/// `true` and `false` as the core schema of YAML 1.2 writes them; `yes` and `no` are text.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A collection that is being filled.
enum Open {
    Sequence(Place, Vec<Node>),
    Mapping(Place, Vec<(Key, Node)>, Option<Key>),
}

/// Reads one document. Stops at the first error of syntax, because what follows it cannot
/// be understood.
pub(super) fn parse(file: &Path, text: &str) -> Result<Node, Mistake> {
    let mut open: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    let mut documents = 0_usize;
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| {
            let marker = error.marker();
            let place = place(marker.line(), marker.col());
            Mistake::new(file, Some(place), format!("not YAML: {}", error.info()))
                .with_help("nothing after this place was checked")
        })?;
        let here = start(&span);
        let refuse = |message: &str| Err(Mistake::new(file, Some(here), message));
        if event.tag().is_some() {
            return refuse("tags (`!`) have no meaning here");
        }
        let node = match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return refuse("only one document (`---`) per file");
                }
                continue;
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                return refuse("aliases (`*`) have no meaning here; write the value out");
            }
            Event::Scalar(text, style, ..) => Node {
                place: here,
                kind: Kind::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                },
            },
            Event::SequenceStart(..) => {
                open.push(Open::Sequence(here, Vec::new()));
                if open.len() > DEPTH {
                    return refuse("nested too deeply");
                }
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping(here, Vec::new(), None));
                if open.len() > DEPTH {
                    return refuse("nested too deeply");
                }
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::Sequence(place, items)) => Node {
                    place,
                    kind: Kind::Sequence(items),
                },
                Some(Open::Mapping(place, entries, _)) => Node {
                    place,
                    kind: Kind::Mapping(entries),
                },
                None => continue,
            },
            _ => continue,
        };
        match open.last_mut() {
            None => root = Some(node),
            Some(Open::Sequence(_, items)) => items.push(node),
            Some(Open::Mapping(_, entries, key)) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => match node.kind {
                    Kind::Scalar { text, .. } => {
                        *key = Some(Key {
                            place: node.place,
                            text,
                        });
                    }
                    _ => {
                        return Err(Mistake::new(
                            file,
                            Some(node.place),
                            "a key must be a word, not a list or mapping",
                        ));
                    }
                },
            },
        }
    }
    Ok(root.unwrap_or(Node {
        place: place(1, 0),
        kind: Kind::Scalar {
            text: String::new(),
            plain: true,
        },
    }))
}

/// The parser counts lines from 1 and columns from 0.
fn place(line: usize, column: usize) -> Place {
    Place {
        line: line.max(1),
        column: column + 1,
    }
}

fn start(span: &Span) -> Place {
    place(span.start.line(), span.start.col())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(text: &str) -> Result<Node, Mistake> {
        parse(Path::new("x.yaml"), text)
    }

    #[test]
    fn everything_knows_its_place() {
        let node = tree("# first\na: 1\nb:\n  - x\n  - {c: 'true'}\n").unwrap();
        let at = |path: &[Step<'_>]| {
            let place = node.place_of(path);
            (place.line, place.column)
        };
        assert_eq!(at(&[Step::Key("a")]), (2, 4));
        assert_eq!(
            at(&[Step::Key("b"), Step::Index(1), Step::Key("c")]),
            (5, 9)
        );
        assert_eq!(at(&[Step::Key("b"), Step::Index(7)]), (4, 3));
    }

    #[test]
    fn what_is_not_plain_data_is_refused() {
        for (text, words) in [
            ("a: &x 1\nb: *x\n", "aliases"),
            ("a: !!binary aGk=\n", "tags"),
            ("a: 1\n---\nb: 2\n", "only one document"),
            ("[a, b]: 1\n", "a key must be a word"),
            ("a: [1, 2\nb: 3\n", "not YAML"),
            (
                &format!("{}{}", "[".repeat(40), "]".repeat(40)),
                "nested too deeply",
            ),
        ] {
            let error = tree(text).unwrap_err();
            assert!(error.message.contains(words), "{text}: {}", error.message);
            assert!(error.place.is_some());
        }
    }

    #[test]
    fn nothing_is_null() {
        assert!(tree("").unwrap().is_null());
        assert!(tree("# only a comment\n").unwrap().is_null());
        assert!(!tree("''").unwrap().is_null());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text: String) {
            let _ = tree(&text);
        }
    }
}
