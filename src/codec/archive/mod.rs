//! Tar archives, read strictly: members, and names that are no paths until checked.

mod safe_path;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use safe_path::SafePath;
#[cfg(test)]
pub(crate) use walk::MAX_EXTENSION;
pub(crate) use walk::{ArchiveWalk, Member, MemberKind, WalkError};
