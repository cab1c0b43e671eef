//! Every decoder of foreign bytes, fed with damaged ones: the functions of the fuzz targets
//! over their seeds, changed in ways that are the same in every run. No clock, no chance: what
//! fails once fails always. How many inputs each decoder gets is `WALPROOF_MUTATIONS` (default
//! 300); the fuzz targets themselves go on from there, see `make fuzz`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[allow(
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "the targets belong to a crate of their own"
)]
#[path = "../fuzz/targets.rs"]
mod targets;

use std::path::Path;

/// Numbers that look random and are not (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `limit`, which is not zero; small ones more often, because headers stand in front.
    fn place(&mut self, limit: usize) -> usize {
        let limit = if self.next().is_multiple_of(2) {
            limit
        } else {
            limit.min(64)
        };
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}

const TELLING: [u64; 8] = [
    0,
    1,
    0x7F,
    0xFF,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF,
    u64::MAX,
];

fn mutate(bytes: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    for _ in 0..=numbers.next() % 4 {
        if bytes.is_empty() {
            bytes.extend_from_slice(other);
        }
        if bytes.is_empty() {
            return;
        }
        let at = numbers.place(bytes.len());
        match numbers.next() % 8 {
            0 | 1 => bytes[at] ^= 1 << (numbers.next() % 8),
            2 => bytes[at] = numbers.next().to_le_bytes()[0],
            3 => {
                // A number that lengths and counts stumble over, of one to eight bytes.
                let number = TELLING[numbers.place(TELLING.len())].to_le_bytes();
                let size = 1_usize << (numbers.next() % 4);
                for (to, from) in bytes[at..].iter_mut().zip(&number[..size]) {
                    *to = *from;
                }
            }
            4 => bytes.truncate(at),
            5 => {
                let end = (at + numbers.place(64) + 1).min(bytes.len());
                bytes.drain(at..end);
            }
            6 => {
                let end = (at + numbers.place(64) + 1).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = numbers.place(bytes.len());
                bytes.splice(to..to, copy);
            }
            _ => {
                // The end of another seed.
                let from = numbers.place(other.len().max(1)).min(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut paths: Vec<_> = std::fs::read_dir(directory.join(name))
        .unwrap_or_else(|error| panic!("fuzz/seeds/{name}: {error}; run scripts/fuzz-seeds"))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

#[test]
fn no_decoder_is_upset_by_damage() {
    let per_target: u64 =
        std::env::var("WALPROOF_MUTATIONS").map_or(300, |text| text.parse().unwrap());
    let mut inputs = 0;
    for (name, target) in targets::ALL {
        let seeds = seeds(name);
        // The seeds are what they should be: whole.
        for seed in &seeds {
            assert!(target(seed), "a seed of {name} is not accepted");
        }
        let mut numbers = Numbers(u64::from(crc32c::crc32c(name.as_bytes())));
        let mut accepted = 0;
        for at in 0..per_target {
            let seed = &seeds[usize::try_from(at).unwrap() % seeds.len()];
            let other = &seeds[numbers.place(seeds.len())];
            let mut bytes = seed.clone();
            mutate(&mut bytes, other, &mut numbers);
            let outcome = std::panic::catch_unwind(|| target(&bytes));
            let Ok(outcome) = outcome else {
                let path = format!("{}/mutation-{name}", env!("CARGO_TARGET_TMPDIR"));
                std::fs::write(&path, &bytes).unwrap();
                panic!("{name} panics over input {at}, which is kept in {path}");
            };
            accepted += u64::from(outcome);
            inputs += 1;
        }
        println!("{name}: {per_target} inputs, {accepted} accepted");
        // Not everything may pass: then the damage would not arrive.
        assert!(accepted < per_target, "{name}");
    }
    assert_eq!(inputs, per_target * targets::ALL.len() as u64);
}
