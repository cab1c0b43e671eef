//! One archive of a base backup, member by member.

use std::path::PathBuf;
use std::sync::Arc;

use super::PageCounts;
use super::context::{BaseContext, NameClash};
use super::gate::{Admitted, Gate, shown};
use super::limited::Limited;
use super::manifest::ManifestFiles;
use super::relation_reader::{RelationReader, SEGMENT_BLOCKS};
use super::relations::Relations;
use super::small_files::{SmallFile, SmallFiles};
use super::status_files::{ReadStatusFile, StatusReader};
use crate::codec::archive::Member;
use crate::finding::{Code, Finding};
use crate::postgres::relation_file::{Fork, RelationFile};
use crate::repository::{Archive, ArchiveContents};

/// Judges the members of one archive as they pass: [`begin`](Self::begin) one,
/// [`push`](Self::push) its bytes in pieces of any size, [`end`](Self::end) it. Whoever
/// decodes an archive, to verify or to restore it, can drive this.
///
/// Memory: one block, the small files that recovery needs, and what is wrong.
#[derive(Debug)]
pub(crate) struct ArchiveCheck {
    context: Arc<BaseContext>,
    /// The archive's place in the catalog.
    index: u16,
    key: String,
    contents: ArchiveContents,
    gate: Gate,
    known_parent: PathBuf,
    carry: Vec<u8>,
    current: Current,
    pub(super) done: ArchiveFound,
}

/// What an archive held.
#[derive(Debug, Default)]
pub(super) struct ArchiveFound {
    pub(super) members: u64,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) counts: PageCounts,
    pub(super) compared: u64,
    pub(super) relations: Relations,
    pub(super) small: SmallFiles,
    pub(super) status: Vec<ReadStatusFile>,
    pub(super) manifest: Option<ManifestFiles>,
    /// OIDs of the tablespaces that the archive links to.
    pub(super) links: Vec<u32>,
    pub(super) findings: Limited,
    /// Whether a member was refused, so that not all of it was read.
    pub(super) refused: bool,
}

/// What is done with the bytes of the current member.
#[derive(Debug)]
enum Current {
    /// Counted only: nothing is known of what they should be.
    Passing,
    Relation(Box<RelationReader>),
    Small(SmallFile),
    Status(StatusReader),
    Manifest(Box<ManifestFiles>),
}

impl ArchiveCheck {
    pub(super) fn new(context: Arc<BaseContext>, index: u16, archive: &Archive) -> Self {
        let gate = match archive.contents {
            ArchiveContents::Data => Gate::data(context.separate.clone()),
            ArchiveContents::Tablespace(_) => Gate::tablespace(),
        };
        Self {
            context,
            index,
            key: archive.key.clone(),
            contents: archive.contents,
            gate,
            known_parent: PathBuf::new(),
            carry: Vec::new(),
            current: Current::Passing,
            done: ArchiveFound {
                findings: Limited::new(&archive.key),
                ..ArchiveFound::default()
            },
        }
    }

    /// Begins a member.
    pub(crate) fn begin(&mut self, member: &Member) {
        self.done.members += 1;
        self.current = Current::Passing;
        let admitted = match self.gate.admit(member) {
            Ok(admitted) => admitted,
            Err(reason) => return self.refuse(member, &reason),
        };
        match admitted {
            Admitted::Itself => {}
            Admitted::LeftOut => self.left_out(member),
            Admitted::SetAside(name) => {
                self.done.files += 1;
                if let Some(name) = name.to_str() {
                    self.take_small(name, member);
                }
            }
            Admitted::Directory(path) => {
                let path = self.contents.root().join(path.as_path());
                if let Err(clash) = self.context.enter_directory(&path, self.index) {
                    self.clash(member, &clash);
                }
            }
            Admitted::File(path) => {
                self.done.files += 1;
                let whole = self.contents.root().join(path.as_path());
                let entered = self.context.enter_file(
                    &whole,
                    member.size,
                    self.index,
                    &mut self.known_parent,
                );
                if let Err(clash) = entered {
                    return self.clash(member, &clash);
                }
                if let Some(path) = path.as_path().to_str() {
                    self.file(path, member);
                }
            }
        }
    }

    /// Takes the member's next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.done.bytes += bytes.len() as u64;
        match &mut self.current {
            Current::Passing => {}
            Current::Relation(reader) => reader.push(bytes),
            Current::Small(file) => file.push(bytes),
            Current::Status(reader) => reader.push(bytes),
            Current::Manifest(files) => files.push(bytes),
        }
    }

    /// Ends the member, whose every byte was taken.
    pub(crate) fn end(&mut self) {
        match std::mem::replace(&mut self.current, Current::Passing) {
            Current::Passing => {}
            Current::Relation(reader) => {
                let (file, blocks, mut found, carry) = reader.end();
                self.carry = carry;
                self.done.counts.add(found.counts);
                self.done.compared += found.compared;
                found.counts = PageCounts::default();
                if file.fork == Fork::Main
                    && let Some(touched) = &self.context.touched
                    && let Some(first) = file.first_block(SEGMENT_BLOCKS)
                {
                    touched.saw(file.locator, first, blocks);
                }
                self.done.relations.add(file, self.index, blocks, found);
            }
            Current::Small(file) => self.done.small.add(file, self.index),
            Current::Status(reader) => self.done.status.push(reader.end()),
            Current::Manifest(files) => self.done.manifest = Some(*files),
        }
    }

    fn file(&mut self, path: &str, member: &Member) {
        let relation = match self.contents {
            ArchiveContents::Data => RelationFile::parse(path),
            ArchiveContents::Tablespace(oid) => RelationFile::parse_in_tablespace(path, oid),
        };
        match relation {
            // Nobody reads a temporary relation of a server that is gone.
            Some(file) if file.is_temporary() => {}
            Some(file) => {
                let carry = std::mem::take(&mut self.carry);
                let reader =
                    RelationReader::new(Arc::clone(&self.context), file, self.index, carry);
                self.current = Current::Relation(Box::new(reader));
            }
            None => {
                if self.contents == ArchiveContents::Data && path == "backup_manifest" {
                    self.current = Current::Manifest(Box::new(ManifestFiles::new(self.index)));
                } else if self.contents == ArchiveContents::Data
                    && let Some(reader) = StatusReader::of(path, self.index)
                {
                    self.current = Current::Status(reader);
                } else {
                    self.take_small(path, member);
                }
            }
        }
    }

    fn take_small(&mut self, path: &str, member: &Member) {
        let path = match self.contents {
            ArchiveContents::Data => path.to_owned(),
            ArchiveContents::Tablespace(oid) => format!("pg_tblspc/{oid}/{path}"),
        };
        if let Some(file) = SmallFile::wanted(path, member.size) {
            self.current = Current::Small(file);
        }
    }

    fn left_out(&mut self, member: &Member) {
        if let Ok(name) = std::str::from_utf8(&member.name)
            && let Some((_, oid)) = name.trim_end_matches('/').rsplit_once("pg_tblspc/")
            && let Ok(oid) = oid.parse()
            && member.kind == crate::codec::archive::MemberKind::SymbolicLink
        {
            self.done.links.push(oid);
        }
    }

    fn clash(&mut self, member: &Member, clash: &NameClash) {
        if clash.archive == self.index {
            self.refuse(member, clash.reason);
            return;
        }
        // Which of two archives comes first must not depend on which is read faster.
        let key = self.context.key(clash.archive).to_owned();
        self.report(member, clash.reason, &key);
    }

    fn refuse(&mut self, member: &Member, reason: &str) {
        let key = self.key.clone();
        self.report(member, reason, &key);
    }

    fn report(&mut self, member: &Member, reason: &str, key: &str) {
        self.done.refused = true;
        self.done.findings.push(Finding::new(
            Code::BackupMemberUnsafe,
            key,
            format!("member {:?}: {reason}", shown(member)),
        ));
    }
}

impl ArchiveContents {
    /// Where the archive's contents belong, relative to the data directory.
    fn root(self) -> PathBuf {
        match self {
            Self::Data => PathBuf::new(),
            Self::Tablespace(oid) => PathBuf::from(format!("pg_tblspc/{oid}")),
        }
    }
}
