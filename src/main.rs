//! The walproof command.
fn main() {}
