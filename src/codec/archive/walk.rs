//! A strict walk over the members of a tar archive.
//!
//! The usual readers take an archive that is cut between two members for a whole one, and
//! keep extension headers of any size in memory. This walk demands the end-of-archive
//! marker, correct header checksums and whole bodies, and bounds what it keeps: one
//! member's name and extensions, at most [`MAX_EXTENSION`] bytes each.

use std::io::{self, BufRead, Read};

use tar::{EntryType, Header};

const BLOCK: usize = 512;

/// The most bytes that one extension header (PAX or GNU long name) may have.
pub(crate) const MAX_EXTENSION: u64 = 1 << 20;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    SymbolicLink,
    /// A second name of another member.
    HardLink,
    /// A character or block device, a FIFO, a sparse file or an unknown type.
    Special(&'static str),
}

/// One member's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// The name as written.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: MemberKind,
    /// The size of its body in bytes, as claimed.
    pub size: u64,
}

/// Why an archive cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WalkError {
    /// The bytes are not a whole archive.
    #[error("{what} (at byte {at} of the decoded archive)")]
    Damaged {
        /// Where, in decoded bytes from the archive's beginning.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// The reader below failed.
    #[error(transparent)]
    Read(io::Error),
}

/// A walk over an archive.
pub(crate) struct ArchiveWalk<R> {
    inner: R,
    position: u64,
    body_left: u64,
    padding: u64,
    ended: bool,
}

/// What extension headers said about the next member.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl<R: Read> ArchiveWalk<R> {
    /// A walk from an archive's first byte.
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            position: 0,
            body_left: 0,
            padding: 0,
            ended: false,
        }
    }

    /// The reader below.
    pub(crate) const fn get_ref(&self) -> &R {
        &self.inner
    }

    /// How many decoded bytes were read so far.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// The next member, or `None` after a correct end of the archive. What is left of the
    /// current member's body is skipped.
    pub(crate) fn next_member(&mut self) -> Result<Option<Member>, WalkError> {
        if self.ended {
            return Ok(None);
        }
        self.skip_rest()?;
        let mut extensions = Extensions::default();
        loop {
            let block = self.block("header")?;
            if block.iter().all(|byte| *byte == 0) {
                self.finish(&extensions)?;
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            self.check_header(header, &block)?;
            let claimed = header
                .entry_size()
                .map_err(|_| self.damaged("a header's size is not a number"))?;
            match header.entry_type() {
                EntryType::XHeader => {
                    let body = self.extension_body(claimed)?;
                    self.read_pax(&body, &mut extensions)?;
                }
                EntryType::XGlobalHeader => {
                    let body = self.extension_body(claimed)?;
                    let mut global = Extensions::default();
                    self.read_pax(&body, &mut global)?;
                    if global.name.is_some() || global.size.is_some() || global.sparse {
                        return Err(
                            self.damaged("a global header sets the name or size of all members")
                        );
                    }
                }
                EntryType::GNULongName => {
                    let mut body = self.extension_body(claimed)?;
                    while body.last() == Some(&0) {
                        body.pop();
                    }
                    extensions.name = Some(body);
                }
                // Where a link points does not matter: no link is ever created.
                EntryType::GNULongLink => {
                    self.extension_body(claimed)?;
                }
                kind => return Ok(Some(self.begin_member(header, kind, claimed, extensions))),
            }
        }
    }

    fn begin_member(
        &mut self,
        header: &Header,
        kind: EntryType,
        claimed: u64,
        extensions: Extensions,
    ) -> Member {
        let size = extensions.size.unwrap_or(claimed);
        let name = extensions
            .name
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = match kind {
            _ if extensions.sparse => MemberKind::Special("a sparse file"),
            // Old archives mark directories only by a slash.
            EntryType::Regular if name.ends_with(b"/") => MemberKind::Directory,
            EntryType::Regular | EntryType::Continuous => MemberKind::File,
            EntryType::Directory => MemberKind::Directory,
            EntryType::Symlink => MemberKind::SymbolicLink,
            EntryType::Link => MemberKind::HardLink,
            EntryType::Char => MemberKind::Special("a character device"),
            EntryType::Block => MemberKind::Special("a block device"),
            EntryType::Fifo => MemberKind::Special("a FIFO"),
            EntryType::GNUSparse => MemberKind::Special("a sparse file"),
            _ => MemberKind::Special("of an unknown type"),
        };
        self.body_left = size;
        self.padding = padding_of(size);
        Member { name, kind, size }
    }

    /// Reads the current member's body. 0 is its true end: a cut body is an error.
    pub(crate) fn read_body(&mut self, buffer: &mut [u8]) -> Result<usize, WalkError> {
        if self.body_left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let want = usize::try_from(self.body_left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let target = buffer.get_mut(..want).unwrap_or_default();
        let got = read_some(&mut self.inner, target)?;
        if got == 0 {
            return Err(self.cut_body());
        }
        self.position += got as u64;
        self.body_left = self.body_left.saturating_sub(got as u64);
        Ok(got)
    }

    /// Skips the rest of the current member with its padding.
    fn skip_rest(&mut self) -> Result<(), WalkError> {
        let mut buffer = [0_u8; 16 * 1024];
        while self.read_body(&mut buffer)? > 0 {}
        let padding = usize::try_from(std::mem::take(&mut self.padding)).unwrap_or(0);
        let target = buffer.get_mut(..padding).unwrap_or_default();
        self.fill(target, "padding")
    }

    fn extension_body(&mut self, size: u64) -> Result<Vec<u8>, WalkError> {
        let length = match usize::try_from(size) {
            Ok(length) if size <= MAX_EXTENSION => length,
            _ => {
                return Err(self.damaged(&format!(
                    "an extension header claims {size} bytes; {MAX_EXTENSION} is the most that is read"
                )));
            }
        };
        self.body_left = size;
        self.padding = padding_of(size);
        let mut body = vec![0_u8; length];
        let mut filled = 0;
        while let Some(rest) = body.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            filled += self.read_body(rest)?;
        }
        self.skip_rest()?;
        Ok(body)
    }

    /// PAX records: `<length> <key>=<value>\n`, the length counting the whole record.
    fn read_pax(&self, body: &[u8], into: &mut Extensions) -> Result<(), WalkError> {
        let bad = || self.damaged("a PAX header cannot be read");
        let mut rest = body;
        while !rest.is_empty() {
            let space = rest.iter().position(|b| *b == b' ').ok_or_else(bad)?;
            let length: usize = rest
                .get(..space)
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(bad)?;
            let record = rest.get(space + 1..length).ok_or_else(bad)?;
            let (&end, record) = record.split_last().ok_or_else(bad)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            let (key, value) = record.split_at_checked(equals).ok_or_else(bad)?;
            let value = value.get(1..).unwrap_or_default();
            if end != b'\n' {
                return Err(bad());
            }
            match key {
                b"path" => into.name = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value)
                        .ok()
                        .and_then(|digits| digits.parse().ok())
                        .ok_or_else(bad)?;
                    into.size = Some(size);
                }
                key if key.starts_with(b"GNU.sparse.") => into.sparse = true,
                _ => {}
            }
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(())
    }

    fn check_header(&self, header: &Header, block: &[u8; BLOCK]) -> Result<(), WalkError> {
        let written = header
            .cksum()
            .map_err(|_| self.damaged("a header's checksum is not a number"))?;
        // The checksum field itself counts as eight spaces (POSIX pax, ustar header).
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(index, byte)| {
                u32::from(if (148..156).contains(&index) {
                    b' '
                } else {
                    *byte
                })
            })
            .sum();
        if sum == written {
            Ok(())
        } else {
            Err(self.damaged("a header's checksum is wrong"))
        }
    }

    /// After the first zero block: a second one, then nothing but zeros.
    fn finish(&mut self, extensions: &Extensions) -> Result<(), WalkError> {
        if extensions.name.is_some() || extensions.size.is_some() {
            return Err(self.damaged("an extension header stands before the end of the archive"));
        }
        let second = self.block("end-of-archive marker")?;
        if second.iter().any(|byte| *byte != 0) {
            return Err(self.damaged("a single zero block stands between members"));
        }
        let mut buffer = [0_u8; 16 * 1024];
        loop {
            let got = read_some(&mut self.inner, &mut buffer)?;
            if got == 0 {
                self.ended = true;
                return Ok(());
            }
            self.position += got as u64;
            if buffer.iter().take(got).any(|byte| *byte != 0) {
                return Err(self.damaged("there are bytes behind the end of the archive"));
            }
        }
    }

    fn block(&mut self, what: &str) -> Result<[u8; BLOCK], WalkError> {
        let mut block = [0_u8; BLOCK];
        self.fill(&mut block, what)?;
        Ok(block)
    }

    fn fill(&mut self, target: &mut [u8], what: &str) -> Result<(), WalkError> {
        let mut filled = 0;
        while let Some(rest) = target.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let got = read_some(&mut self.inner, rest)?;
            if got == 0 {
                return Err(if what == "header" && filled == 0 {
                    self.damaged("the archive ends without its end-of-archive marker: it is cut")
                } else {
                    self.damaged(&format!("the archive ends within a {what}: it is cut"))
                });
            }
            self.position += got as u64;
            filled += got;
        }
        Ok(())
    }

    fn cut_body(&self) -> WalkError {
        let left = self.body_left;
        self.damaged(&format!(
            "the archive ends within a member, {left} bytes short"
        ))
    }

    fn damaged(&self, what: &str) -> WalkError {
        WalkError::Damaged {
            at: self.position,
            what: what.to_owned(),
        }
    }
}

impl<R: BufRead> ArchiveWalk<R> {
    /// The next bytes of the current member's body where they lie in the reader's buffer.
    /// Empty is its true end: a cut body is an error. [`Self::consume`] moves on.
    pub(crate) fn body(&mut self) -> Result<&[u8], WalkError> {
        if self.body_left == 0 {
            return Ok(&[]);
        }
        let there = loop {
            match self.inner.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(WalkError::Read)?.len(),
            }
        };
        if there == 0 {
            return Err(self.cut_body());
        }
        let want = usize::try_from(self.body_left).unwrap_or(usize::MAX);
        let buffer = self.inner.fill_buf().map_err(WalkError::Read)?;
        Ok(buffer.get(..want.min(there)).unwrap_or(buffer))
    }

    /// Moves past `count` bytes that [`Self::body`] gave.
    pub(crate) fn consume(&mut self, count: usize) {
        self.inner.consume(count);
        self.position += count as u64;
        self.body_left = self.body_left.saturating_sub(count as u64);
    }
}

fn padding_of(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, WalkError> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(WalkError::Read),
        }
    }
}
