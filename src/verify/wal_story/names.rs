//! Which relation is meant, and what a number is called.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::postgres::wal::RelationLocator;

/// A relation as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelationSelector {
    /// By its file's number, in any database or in one (`24601`, `16384/24601`).
    File {
        /// OID of the database; `None` for any.
        database: Option<u32>,
        /// The file's number, `pg_class.relfilenode`.
        relation: u32,
    },
    /// By its name, with or without schema; a catalog must tell which file that is.
    Name(String),
}

/// A text that names no relation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a relation: {0:?} (expected a name such as public.invoices, a file number such as 24601, or DATABASE_OID/FILE such as 16384/24601)"
)]
pub struct SelectorError(String);

impl FromStr for RelationSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || SelectorError(text.to_owned());
        let text = text.trim();
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(error());
        }
        let Some((database, relation)) = text.split_once('/') else {
            return Ok(match text.parse() {
                Ok(relation) => Self::File {
                    database: None,
                    relation,
                },
                Err(_) => Self::Name(text.to_owned()),
            });
        };
        Ok(Self::File {
            database: Some(database.parse().map_err(|_| error())?),
            relation: relation.parse().map_err(|_| error())?,
        })
    }
}

/// Names of relations, read from a catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelationNames {
    names: BTreeMap<(u32, u32), String>,
}

impl RelationNames {
    /// Learns that `relation` in `database` (0 for shared relations) has this name.
    pub fn learn(&mut self, database: u32, relation: u32, name: String) {
        self.names.insert((database, relation), name);
    }

    /// The name of a relation, if it is known.
    pub fn of(&self, relation: RelationLocator) -> Option<&str> {
        self.names
            .get(&(relation.database, relation.relation))
            .map(String::as_str)
    }

    /// The files that a name means: `schema.name` exactly, a bare name in every schema.
    pub fn files(&self, wanted: &str) -> Vec<(u32, u32)> {
        let bare = !wanted.contains('.');
        self.names
            .iter()
            .filter(|(_, name)| {
                name.as_str() == wanted
                    || (bare && name.rsplit_once('.').is_some_and(|(_, own)| own == wanted))
            })
            .map(|(file, _)| *file)
            .collect()
    }

    /// How many relations are known.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_named_by_number_or_name() {
        for (text, selector) in [
            (
                "24601",
                RelationSelector::File {
                    database: None,
                    relation: 24601,
                },
            ),
            (
                "16384/24601",
                RelationSelector::File {
                    database: Some(16384),
                    relation: 24601,
                },
            ),
            (
                "public.invoices",
                RelationSelector::Name("public.invoices".to_owned()),
            ),
        ] {
            assert_eq!(text.parse(), Ok(selector), "{text}");
        }
        for text in ["", "a/b", "1/2/3", "a\nb", "/"] {
            assert!(text.parse::<RelationSelector>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_bare_name_is_looked_for_in_every_schema() {
        let mut names = RelationNames::default();
        names.learn(5, 10, "public.orders".to_owned());
        names.learn(5, 11, "archive.orders".to_owned());
        names.learn(5, 12, "public.orders_old".to_owned());
        assert_eq!(names.files("orders"), [(5, 10), (5, 11)]);
        assert_eq!(names.files("archive.orders"), [(5, 11)]);
        assert_eq!(names.files("invoices"), []);
    }
}
