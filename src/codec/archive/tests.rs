//! Archives that are damaged in any way, also with their headers' checksums set right
//! afterwards, so that what lies behind that check is reached.

use proptest::prelude::*;

use super::*;

const BLOCK: usize = 512;

/// What the tar crate writes: files, a directory, a link, a GNU long name, PAX headers.
fn archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(700);
    builder
        .append_data(&mut header, "base/5/1259", &[7; 700][..])
        .unwrap();
    header.set_size(3);
    builder
        .append_pax_extensions([("path", b"global/pg_control".as_slice()), ("size", b"3")])
        .unwrap();
    builder
        .append_data(&mut header, "PG_VERSION", &b"15\n"[..])
        .unwrap();
    builder
        .append_data(&mut header, "long/".repeat(40), &b"15\n"[..])
        .unwrap();
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Directory);
    builder
        .append_data(&mut header, "pg_wal", std::io::empty())
        .unwrap();
    header.set_entry_type(tar::EntryType::Symlink);
    builder
        .append_link(&mut header, "pg_tblspc/16400", "/srv")
        .unwrap();
    builder.into_inner().unwrap()
}

/// Sets the checksum of every block that looks like a header right.
fn mend(bytes: &mut [u8]) {
    for block in bytes.as_chunks_mut::<BLOCK>().0 {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            let digits = format!("{sum:06o}\0 ");
            block[148..156].copy_from_slice(digits.as_bytes());
        }
    }
}

/// Walks to the end, and gives the members' number. Bodies are read in full, paths checked.
fn walk(bytes: &[u8]) -> Result<usize, WalkError> {
    let mut walk = ArchiveWalk::new(bytes);
    let mut members = 0;
    let mut buffer = [0; 100];
    while let Some(member) = walk.next_member()? {
        members += 1;
        // Each member has a header of its own: the walk comes forward.
        assert!(members <= bytes.len() / BLOCK);
        let _ = SafePath::check(&member.name);
        let mut body = 0;
        loop {
            match walk.read_body(&mut buffer)? {
                0 => break,
                got => body += got as u64,
            }
        }
        assert_eq!(body, member.size);
    }
    Ok(members)
}

#[test]
fn the_whole_archive_is_walked() {
    let mut bytes = archive();
    assert_eq!(walk(&bytes).unwrap(), 5);
    mend(&mut bytes);
    assert_eq!(walk(&bytes).unwrap(), 5);
}

#[test]
fn every_cut_is_noticed() {
    let bytes = archive();
    // The second block of the end marker is not missed by readers, but by this one.
    for cut in 0..bytes.len() {
        assert!(walk(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

#[derive(Clone, Debug)]
enum Damage {
    Set(usize, u8),
    Flip(usize, u8),
    Cut(usize),
    Drop(usize),
    Swap(usize, usize),
    Text(usize, String),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = 0..archive().len();
    let block = 0..archive().len() / BLOCK;
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (at.clone(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        at.clone().prop_map(Damage::Cut),
        block.clone().prop_map(Damage::Drop),
        (block.clone(), block.clone()).prop_map(|(a, b)| Damage::Swap(a, b)),
        // Sizes and PAX records.
        (at, "[0-7]{1,12}|[0-9]{1,3} (path|size)=[0-9/.]{0,5}\n")
            .prop_map(|(at, text)| Damage::Text(at, text)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_damage_is_answered(list in prop::collection::vec(damage(), 1..5), mended: bool) {
        let mut bytes = archive();
        for one in list {
            match one {
                Damage::Set(at, byte) => if let Some(target) = bytes.get_mut(at) { *target = byte },
                Damage::Flip(at, bit) => if let Some(target) = bytes.get_mut(at) { *target ^= 1 << bit },
                Damage::Cut(at) => bytes.truncate(at),
                Damage::Drop(block) => if bytes.len() >= (block + 1) * BLOCK {
                    bytes.drain(block * BLOCK..(block + 1) * BLOCK);
                },
                Damage::Swap(a, b) => if bytes.len() >= (a.max(b) + 1) * BLOCK {
                    for at in 0..BLOCK {
                        bytes.swap(a * BLOCK + at, b * BLOCK + at);
                    }
                },
                Damage::Text(at, text) => for (to, from) in bytes.iter_mut().skip(at).zip(text.bytes()) {
                    *to = from;
                },
            }
        }
        if mended {
            mend(&mut bytes);
        }
        let _ = walk(&bytes);
    }
}
