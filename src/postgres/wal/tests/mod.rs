//! WAL made by hand, byte by byte, so that each fault can be made alone.

mod builder;
mod damage;
mod files;
mod framing;
mod pieces;
mod properties;
mod versions;

use std::ops::ControlFlow;

use builder::Builder;

use super::*;
use crate::postgres::{Lsn, SegmentSize, SystemId, TimelineHistory};

/// The smallest segments keep the tests quick.
const MIB: u64 = 1 << 20;

/// Where every builder's WAL begins.
fn begin() -> Lsn {
    Lsn::new(builder::BEGIN)
}

fn mib() -> SegmentSize {
    SegmentSize::new(MIB).unwrap()
}

const SYSTEM: SystemId = SystemId(7_300_000_000_000_000_001);

/// What a stream made of segments.
struct Read {
    starts: Vec<Lsn>,
    ends: Vec<Lsn>,
    events: Vec<WalEvent>,
    position: WalPosition,
    fault: Option<WalFault>,
}

fn options(start: Lsn) -> WalStreamOptions {
    WalStreamOptions {
        segment_size: mib(),
        system_id: Some(SYSTEM),
        history: TimelineHistory::first(),
        start,
    }
}

/// Reads segments in order until the first fault.
fn read_with(options: WalStreamOptions, segments: &[Vec<u8>]) -> Read {
    let mut stream = WalStream::new(options);
    let mut read = Read {
        starts: Vec::new(),
        ends: Vec::new(),
        events: Vec::new(),
        position: stream.position(),
        fault: None,
    };
    for segment in segments {
        let number = stream.next_segment();
        let result = stream.push_segment(number, segment, &mut |record| {
            read.starts.push(record.start);
            read.ends.push(record.end);
            read.events.extend(record.event());
            ControlFlow::Continue(())
        });
        if let Err(fault) = result {
            let again = stream.push_segment(stream.next_segment(), segment, &mut |_| {
                panic!("a faulty stream hands out nothing")
            });
            assert_eq!(again, Err(fault.clone()), "a fault stays");
            read.fault = Some(fault);
            break;
        }
    }
    read.position = stream.position();
    read
}

/// Reads what a builder made, from its first record.
fn read(builder: &Builder) -> Read {
    read_with(options(begin()), &builder.segments())
}
