//! Where the tablespaces of a restored server lie. Never where production has them.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Serialize;

use super::error::RestoreError;
use crate::repository::Tablespace;

/// `OID_OR_NAME=PATH`, as given by a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablespaceOverride {
    /// The oid or the name.
    pub tablespace: String,
    /// The directory to put it in.
    pub path: PathBuf,
}

impl FromStr for TablespaceOverride {
    type Err = RestoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((tablespace, path)) if !tablespace.is_empty() && path.starts_with('/') => {
                Ok(Self {
                    tablespace: tablespace.to_owned(),
                    path: PathBuf::from(path),
                })
            }
            _ => Err(RestoreError::Tablespace {
                name: text.to_owned(),
                reason: "expected OID_OR_NAME=/absolute/directory".to_owned(),
            }),
        }
    }
}

/// Where tablespaces are put. The default is a directory beside the restored one,
/// `<destination>_tblspc/<oid>`: the source's locations are never used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TablespaceMap {
    /// What a person chose.
    pub overrides: Vec<TablespaceOverride>,
}

/// One tablespace with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlacedTablespace {
    /// Its oid.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Where it lay on the source.
    pub source_location: String,
    /// Where it is put.
    pub path: PathBuf,
}

impl TablespaceMap {
    /// The place of each tablespace for a data directory at `destination` (absolute).
    /// Refuses overrides of unknown tablespaces, places within the data directory, within
    /// each other, or where the source has one.
    pub fn place(
        &self,
        destination: &Path,
        tablespaces: &[Tablespace],
    ) -> Result<Vec<PlacedTablespace>, RestoreError> {
        let wrong = |name: &str, reason: String| RestoreError::Tablespace {
            name: name.to_owned(),
            reason,
        };
        for chosen in &self.overrides {
            let count = tablespaces
                .iter()
                .filter(|tablespace| matches(chosen, tablespace))
                .count();
            if count != 1 {
                let known: Vec<String> = tablespaces
                    .iter()
                    .map(|tablespace| format!("{} ({})", tablespace.oid, tablespace.name))
                    .collect();
                return Err(wrong(
                    &chosen.tablespace,
                    format!("the backup has: {}", list_or_none(&known)),
                ));
            }
        }
        let mut placed: Vec<PlacedTablespace> = Vec::new();
        for tablespace in tablespaces {
            let path = self
                .overrides
                .iter()
                .find(|chosen| matches(chosen, tablespace))
                .map_or_else(
                    || default_parent(destination).join(tablespace.oid.to_string()),
                    |chosen| chosen.path.clone(),
                );
            let plain = path.is_absolute()
                && path
                    .components()
                    .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
            if !plain {
                return Err(wrong(
                    &tablespace.name,
                    format!("{} is not a plain absolute path", path.display()),
                ));
            }
            if path.starts_with(destination) || destination.starts_with(&path) {
                return Err(wrong(
                    &tablespace.name,
                    format!(
                        "{} lies within the data directory or around it; choose a place beside it",
                        path.display()
                    ),
                ));
            }
            let source = Path::new(&tablespace.location);
            if path.starts_with(source) {
                return Err(wrong(
                    &tablespace.name,
                    format!(
                        "{} is where the source has it; choose another place",
                        path.display()
                    ),
                ));
            }
            if let Some(other) = placed
                .iter()
                .find(|other| path.starts_with(&other.path) || other.path.starts_with(&path))
            {
                return Err(wrong(
                    &tablespace.name,
                    format!("{} collides with tablespace {}", path.display(), other.name),
                ));
            }
            placed.push(PlacedTablespace {
                oid: tablespace.oid,
                name: tablespace.name.clone(),
                source_location: tablespace.location.clone(),
                path,
            });
        }
        Ok(placed)
    }
}

/// The directory beside `destination` that holds its tablespaces by default.
pub fn default_parent(destination: &Path) -> PathBuf {
    let mut name = destination.file_name().unwrap_or_default().to_owned();
    name.push("_tblspc");
    destination.with_file_name(name)
}

fn matches(chosen: &TablespaceOverride, tablespace: &Tablespace) -> bool {
    chosen.tablespace == tablespace.name || chosen.tablespace == tablespace.oid.to_string()
}

fn list_or_none(names: &[String]) -> String {
    if names.is_empty() {
        "no tablespaces".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<Tablespace> {
        vec![
            Tablespace {
                oid: 16384,
                name: "fast".into(),
                location: "/srv/fast".into(),
            },
            Tablespace {
                oid: 16385,
                name: "slow".into(),
                location: "/srv/slow".into(),
            },
        ]
    }

    fn map(texts: &[&str]) -> TablespaceMap {
        TablespaceMap {
            overrides: texts.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn the_default_is_beside_the_data_directory() {
        let placed = TablespaceMap::default()
            .place(Path::new("/restore/orders"), &two())
            .unwrap();
        assert_eq!(placed[0].path, Path::new("/restore/orders_tblspc/16384"));
        assert_eq!(placed[1].path, Path::new("/restore/orders_tblspc/16385"));
    }

    #[test]
    fn a_person_may_choose_by_oid_or_name() {
        let placed = map(&["16384=/a/b", "slow=/c"])
            .place(Path::new("/restore/orders"), &two())
            .unwrap();
        assert_eq!(placed[0].path, Path::new("/a/b"));
        assert_eq!(placed[1].path, Path::new("/c"));
    }

    #[test]
    fn bad_places_are_refused() {
        let destination = Path::new("/restore/orders");
        for (choice, word) in [
            ("unknown=/a", "the backup has"),
            ("fast=/restore/orders/ts", "within the data directory"),
            ("fast=/restore", "within the data directory"),
            ("fast=/srv/fast", "where the source has it"),
            ("fast=/srv/fast/deeper", "where the source has it"),
            ("fast=/x/../y", "not a plain absolute path"),
        ] {
            let error = map(&[choice]).place(destination, &two()).unwrap_err();
            assert!(error.to_string().contains(word), "{choice}: {error}");
            assert!(error.is_usage());
        }
        let error = map(&["fast=/a", "slow=/a/b"])
            .place(destination, &two())
            .unwrap_err();
        assert!(error.to_string().contains("collides"), "{error}");
        for text in ["fast", "=/a", "fast=relative"] {
            assert!(text.parse::<TablespaceOverride>().is_err(), "{text}");
        }
    }
}
