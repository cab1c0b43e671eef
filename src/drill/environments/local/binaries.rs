//! Finding PostgreSQL of the right major version on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A PostgreSQL installation whose version was asked of the program itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The directory of `postgres` and its companions.
    pub directory: PathBuf,
    /// The major version, such as 15.
    pub major: u32,
    /// What `postgres --version` said, without the program's name.
    pub version: String,
    /// Where loadable libraries lie, where it could be found out.
    pub library_directory: Option<PathBuf>,
}

/// Why no installation can be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BinariesError {
    /// No installation of this major version.
    #[error("no PostgreSQL {wanted} on this machine ({found}); {hint}")]
    Missing {
        /// The major version that the backup needs.
        wanted: u32,
        /// What was found instead, in words.
        found: String,
        /// What to install.
        hint: String,
    },
    /// The directory that was named holds another version, or none.
    #[error("{directory} does not hold PostgreSQL {wanted}: {reason}; {hint}")]
    WrongDirectory {
        /// The directory that was named.
        directory: PathBuf,
        /// The major version that the backup needs.
        wanted: u32,
        /// What was found there.
        reason: String,
        /// What to do.
        hint: String,
    },
}

fn hint(wanted: u32) -> String {
    format!(
        "install postgresql-{wanted} (Debian, Ubuntu) or postgresql{wanted}-server (Red Hat, \
         SUSE), or name the directory of its programs with --pg-bin"
    )
}

/// Reads the version out of `postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`. Also
/// understands development names such as `19devel`, `19beta2`.
fn parse_version(output: &str) -> Option<(u32, String)> {
    let version = output.trim().split_once("(PostgreSQL)")?.1.trim();
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, version.to_owned()))
}

fn ask_version(directory: &Path) -> Result<(u32, String), String> {
    let program = directory.join("postgres");
    if !program.is_file() {
        return Err("there is no program `postgres` in it".to_owned());
    }
    let output = Command::new(&program)
        .arg("--version")
        .env_clear()
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "`postgres --version` failed: {}",
            words.lines().next().unwrap_or("no words")
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text).ok_or_else(|| format!("`postgres --version` said {:?}", text.trim()))
}

fn ask_library_directory(directory: &Path) -> Option<PathBuf> {
    let asked = Command::new(directory.join("pg_config"))
        .arg("--pkglibdir")
        .env_clear()
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let beside = || {
        ["../lib/postgresql", "../lib"]
            .iter()
            .map(|below| directory.join(below))
            .find(|candidate| candidate.join("plpgsql.so").exists())
    };
    asked.filter(|path| path.is_dir()).or_else(beside)
}

impl Binaries {
    /// The program `name` of this installation, if it is there.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        Some(self.directory.join(name)).filter(|path| path.is_file())
    }

    /// Whether a library of this name can be loaded from the library directory. `None`
    /// where that directory is unknown.
    pub fn has_library(&self, name: &str) -> Option<bool> {
        let directory = self.library_directory.as_ref()?;
        Some(
            ["so", "dylib"]
                .iter()
                .any(|extension| directory.join(format!("{name}.{extension}")).exists()),
        )
    }

    fn at(directory: &Path) -> Result<Self, String> {
        // Where the program itself lies, its companions lie too; a link in some directory
        // of the path may stand alone.
        let program = directory
            .join("postgres")
            .canonicalize()
            .map_err(|_| "there is no program `postgres` in it".to_owned())?;
        let directory = program.parent().unwrap_or(directory).to_owned();
        let (major, version) = ask_version(&directory)?;
        Ok(Self {
            library_directory: ask_library_directory(&directory),
            directory,
            major,
            version,
        })
    }
}

/// The numbered sub-directories `<parent>/<prefix>N<suffix>`.
fn numbered(parent: &str, prefix: &str, below: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| {
            entry.file_name().to_str().is_some_and(|name| {
                name.strip_prefix(prefix).is_some_and(|rest| {
                    !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())
                })
            })
        })
        .map(|entry| entry.path().join(below))
        .collect();
    found.sort();
    found
}

/// Where installations usually lie, nearest to the user's intent first.
fn usual_places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    let path = std::env::var_os("PATH").unwrap_or_default();
    for directory in std::env::split_paths(&path) {
        if directory.join("postgres").is_file() {
            places.push(directory.clone());
        }
        let config = directory.join("pg_config");
        if config.is_file()
            && let Ok(output) = Command::new(config).arg("--bindir").output()
            && output.status.success()
        {
            let text = String::from_utf8_lossy(&output.stdout);
            places.push(PathBuf::from(text.trim()));
        }
    }
    places.extend(numbered("/usr/lib/postgresql", "", "bin")); // Debian, Ubuntu
    places.extend(numbered("/usr", "pgsql-", "bin")); // Red Hat
    places.extend(numbered("/usr/lib", "postgresql", "bin")); // SUSE
    places.extend(numbered("/usr/libexec", "postgresql", "")); // Alpine
    places.extend(numbered("/opt/homebrew/opt", "postgresql@", "bin"));
    places.extend(numbered("/usr/local/opt", "postgresql@", "bin"));
    places.push(PathBuf::from("/usr/local/pgsql/bin"));
    places
}

/// Finds PostgreSQL of major version `wanted`: only in `explicit` if that is given, else
/// in the places where packages put it. Runs `postgres --version`; blocking.
pub fn find(wanted: u32, explicit: Option<&Path>) -> Result<Binaries, BinariesError> {
    if let Some(directory) = explicit {
        let wrong = |reason| BinariesError::WrongDirectory {
            directory: directory.to_owned(),
            wanted,
            reason,
            hint: hint(wanted),
        };
        let binaries = Binaries::at(directory).map_err(wrong)?;
        if binaries.major != wanted {
            return Err(wrong(format!("it holds version {}", binaries.version)));
        }
        return Ok(binaries);
    }
    find_among(wanted, &usual_places())
}

/// Whether there is any PostgreSQL in the places where packages put it. Blocking.
pub fn any() -> bool {
    usual_places()
        .iter()
        .any(|place| place.join("postgres").is_file())
}

fn find_among(wanted: u32, places: &[PathBuf]) -> Result<Binaries, BinariesError> {
    let mut found: BTreeMap<u32, PathBuf> = BTreeMap::new();
    for place in places {
        if let Ok(binaries) = Binaries::at(place) {
            if binaries.major == wanted {
                return Ok(binaries);
            }
            found.entry(binaries.major).or_insert(binaries.directory);
        }
    }
    let words: Vec<String> = found
        .iter()
        .map(|(major, directory)| format!("{major} in {}", directory.display()))
        .collect();
    Err(BinariesError::Missing {
        wanted,
        found: if words.is_empty() {
            "none was found".to_owned()
        } else {
            format!("found {}", words.join(", "))
        },
        hint: hint(wanted),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A directory with a program `postgres` that says it has this version.
    fn installation(parent: &Path, name: &str, says: &str) -> PathBuf {
        let directory = parent.join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let program = directory.join("postgres");
        std::fs::write(&program, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        directory.canonicalize().unwrap()
    }

    #[test]
    fn versions_of_releases_and_previews_are_read() {
        for (output, major) in [
            (
                "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n",
                Some(15),
            ),
            ("postgres (PostgreSQL) 18.4\n", Some(18)),
            ("postgres (PostgreSQL) 19beta4\n", Some(19)),
            ("postgres 15.20", None),
            ("", None),
        ] {
            assert_eq!(parse_version(output).map(|v| v.0), major, "{output}");
        }
    }

    #[test]
    fn the_right_major_is_taken_wherever_it_stands() {
        let place = tempfile::tempdir().unwrap();
        let old = installation(place.path(), "a", "postgres (PostgreSQL) 14.1");
        let right = installation(place.path(), "b", "postgres (PostgreSQL) 15.2");
        let found = find_among(15, &[old, right.clone()]).unwrap();
        assert_eq!((found.major, found.directory), (15, right));
    }

    #[test]
    fn a_missing_major_names_what_is_there_and_what_to_install() {
        let place = tempfile::tempdir().unwrap();
        let old = installation(place.path(), "a", "postgres (PostgreSQL) 14.1");
        let words = find_among(17, std::slice::from_ref(&old))
            .unwrap_err()
            .to_string();
        assert!(words.contains("no PostgreSQL 17"), "{words}");
        assert!(
            words.contains(&format!("14 in {}", old.display())),
            "{words}"
        );
        assert!(words.contains("install postgresql-17"), "{words}");
        let none = find_among(17, &[]).unwrap_err().to_string();
        assert!(none.contains("none was found"), "{none}");
    }

    #[test]
    fn a_named_directory_is_the_only_one_looked_at() {
        let place = tempfile::tempdir().unwrap();
        let old = installation(place.path(), "a", "postgres (PostgreSQL) 14.1");
        let words = find(15, Some(&old)).unwrap_err().to_string();
        assert!(words.contains("it holds version 14.1"), "{words}");
        let empty = place.path().join("nothing");
        std::fs::create_dir(&empty).unwrap();
        let words = find(15, Some(&empty)).unwrap_err().to_string();
        assert!(words.contains("no program `postgres`"), "{words}");
    }
}
