//! The kinds of damage, in the order of the table.

mod archive;
mod base;
mod codecs;
mod metadata;
mod objects;
mod wal;

use crate::ground::Ground;
use crate::matrix::{Expect, Hit, Kind, On};

/// Every kind.
pub(crate) fn all() -> Vec<Kind> {
    let mut kinds = wal::kinds();
    kinds.extend(objects::kinds());
    kinds.extend(codecs::kinds());
    kinds.extend(base::kinds());
    kinds.extend(archive::kinds());
    kinds.extend(metadata::kinds());
    kinds
}

/// Damage that is found with `code`, whatever the codec.
fn found(
    part: &'static str,
    name: &'static str,
    code: &'static str,
    damage: fn(&Ground) -> Hit,
) -> Kind {
    Kind {
        part,
        name,
        on: On::AnyCodec,
        damage,
        expect: Expect::Finding(code),
    }
}

/// What looks like damage and is none.
fn harmless(part: &'static str, name: &'static str, damage: fn(&Ground) -> Hit) -> Kind {
    Kind {
        part,
        name,
        on: On::AnyCodec,
        damage,
        expect: Expect::Harmless,
    }
}
