//! Evidence: what a drill proved, as data that outlives it.

mod verdict;

pub use verdict::Verdict;
