//! Objects and bytes counted.

use schemars::JsonSchema;
use serde::Serialize;

/// Objects and the sum of their sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tally {
    /// How many objects.
    pub objects: u64,
    /// The sum of their sizes in bytes, as stored.
    pub bytes: u64,
}

impl Tally {
    /// Adds one object.
    pub(super) const fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }

    /// Adds others.
    pub(super) const fn absorb(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.objects == 0
    }
}
