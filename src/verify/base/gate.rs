//! Which members of an archive are let in, and under what name.

use std::path::PathBuf;

use super::placement::{Placement, place_data, place_tablespace};
use crate::codec::archive::{Member, MemberKind, SafePath};

/// The most links that an archive may have: one per tablespace, and a handful more.
const MAX_LINKS: usize = 4_096;

/// The most characters of a member's name that are shown.
const SHOWN: usize = 200;

/// A member that may be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// The directory that the archive is of.
    Itself,
    /// A directory inside.
    Directory(SafePath),
    /// A file of the cluster.
    File(SafePath),
    /// Configuration, kept under this name and not in force.
    SetAside(PathBuf),
    /// What a restore never writes: WAL, slots, transient state, known links.
    LeftOut,
}

/// Judges the members of one archive, one after the other.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Tablespaces that have archives of their own; `None` in such an archive.
    separate: Option<Vec<u32>>,
    /// Links of this archive (a handful of known names).
    links: Vec<PathBuf>,
}

impl Gate {
    /// For the data directory, of whose tablespaces `separate` have archives of their own.
    pub(crate) const fn data(separate: Vec<u32>) -> Self {
        Self {
            separate: Some(separate),
            links: Vec::new(),
        }
    }

    /// For a tablespace.
    pub(crate) const fn tablespace() -> Self {
        Self {
            separate: None,
            links: Vec::new(),
        }
    }

    /// Lets a member in, or says why it is refused.
    pub(crate) fn admit(&mut self, member: &Member) -> Result<Admitted, String> {
        let path = match SafePath::check(&member.name) {
            Ok(Some(path)) => path,
            Ok(None) if member.kind == MemberKind::Directory => return Ok(Admitted::Itself),
            Ok(None) => return Err("it names the directory itself".to_owned()),
            Err(reason) => return Err(reason.to_string()),
        };
        if self
            .links
            .iter()
            .any(|link| path.as_path().starts_with(link))
        {
            return Err("it lies behind a link of the same archive".to_owned());
        }
        let placement = match &self.separate {
            Some(separate) => place_data(&path, member.kind, separate),
            None => place_tablespace(member.kind),
        };
        match placement {
            Placement::Refuse(reason) => Err(reason.to_owned()),
            Placement::SetAside(name) => Ok(Admitted::SetAside(name)),
            Placement::LeaveOut => {
                if member.kind == MemberKind::SymbolicLink {
                    if self.links.len() >= MAX_LINKS {
                        return Err("the archive holds too many links".to_owned());
                    }
                    self.links.push(path.as_path().to_owned());
                }
                Ok(Admitted::LeftOut)
            }
            Placement::Write if member.kind == MemberKind::Directory => {
                Ok(Admitted::Directory(path))
            }
            Placement::Write => Ok(Admitted::File(path)),
        }
    }
}

/// A member's name for people: lossily as text, at most 200 characters.
pub(crate) fn shown(member: &Member) -> String {
    String::from_utf8_lossy(&member.name)
        .chars()
        .take(SHOWN)
        .collect()
}
