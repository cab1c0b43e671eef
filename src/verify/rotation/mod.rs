//! Rotation: what is read tonight, so that everything is read again within a stated time.

mod selection;

pub use selection::Selection;
