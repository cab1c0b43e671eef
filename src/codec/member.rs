//! Formats that are sequences of members: gzip, bzip2, lz4, zstd. The readers of single
//! members stop silently after the first one; this goes on to the clean end of the source.

use std::io::{self, BufRead, BufReader, Read};

use super::CodecFault;
use super::decode::{Input, SourceReader};
use super::lz4::Lz4Frame;

/// A reader of one member. At its end it has consumed exactly that member.
pub(super) trait Member<'a>: Read + Sized {
    /// The first byte of every member, as far as it tells members from other bytes.
    fn may_begin_with(byte: u8) -> bool;
    /// Begins to read a member.
    fn begin(source: Input<'a>) -> io::Result<Self>;
    /// Gives the source back.
    fn into_source(self) -> Input<'a>;
}

/// All members, one after the other.
pub(super) struct Members<'a, M> {
    place: Place<'a, M>,
    /// Whether one member was read to its end.
    any: bool,
    /// Whether the present member has given bytes.
    gave: bool,
}

enum Place<'a, M> {
    Between(Input<'a>),
    Inside(M),
    End,
}

impl<'a, M: Member<'a>> Members<'a, M> {
    pub(super) const fn new(source: Input<'a>) -> Self {
        Self {
            place: Place::Between(source),
            any: false,
            gave: false,
        }
    }

    /// An error at the very beginning of a further member means that it is none.
    fn judge(&self, error: io::Error) -> io::Error {
        if self.any && !self.gave && error.kind() != io::ErrorKind::UnexpectedEof {
            trailing()
        } else {
            error
        }
    }
}

fn trailing() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, CodecFault::TrailingBytes)
}

impl<'a, M: Member<'a>> Read for Members<'a, M> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.place, Place::End) {
                Place::End => return Ok(0),
                Place::Between(mut source) => {
                    let Some(&byte) = source.fill_buf()?.first() else {
                        return Ok(0);
                    };
                    if self.any && !M::may_begin_with(byte) {
                        return Err(trailing());
                    }
                    self.gave = false;
                    let member = M::begin(source).map_err(|error| self.judge(error))?;
                    self.place = Place::Inside(member);
                }
                Place::Inside(mut member) => match member.read(into) {
                    Ok(0) => {
                        self.any = true;
                        self.place = Place::Between(member.into_source());
                    }
                    Ok(count) => {
                        self.gave = true;
                        self.place = Place::Inside(member);
                        return Ok(count);
                    }
                    Err(error) => return Err(self.judge(error)),
                },
            }
        }
    }
}

impl<'a> Member<'a> for flate2::bufread::GzDecoder<Input<'a>> {
    fn may_begin_with(byte: u8) -> bool {
        byte == 0x1f
    }

    fn begin(source: Input<'a>) -> io::Result<Self> {
        Ok(Self::new(source))
    }

    fn into_source(self) -> Input<'a> {
        self.into_inner()
    }
}

impl<'a> Member<'a> for bzip2::bufread::BzDecoder<Input<'a>> {
    fn may_begin_with(byte: u8) -> bool {
        byte == b'B'
    }

    fn begin(source: Input<'a>) -> io::Result<Self> {
        Ok(Self::new(source))
    }

    fn into_source(self) -> Input<'a> {
        self.into_inner()
    }
}

impl<'a> Member<'a> for zstd::stream::read::Decoder<'static, BufReader<SourceReader<'a>>> {
    /// A frame, or a skippable frame (`0x184D2A5?`, little-endian).
    fn may_begin_with(byte: u8) -> bool {
        byte == 0x28 || byte & 0xf0 == 0x50
    }

    fn begin(source: Input<'a>) -> io::Result<Self> {
        Ok(Self::with_buffer(source)?.single_frame())
    }

    fn into_source(self) -> Input<'a> {
        self.finish()
    }
}

impl<'a> Member<'a> for Lz4Frame<Input<'a>> {
    /// A frame, or a skippable frame (`0x184D2A5?`, little-endian).
    fn may_begin_with(byte: u8) -> bool {
        byte == 0x04 || byte & 0xf0 == 0x50
    }

    fn begin(source: Input<'a>) -> io::Result<Self> {
        Self::new(source)
    }

    fn into_source(self) -> Input<'a> {
        self.into_inner()
    }
}
