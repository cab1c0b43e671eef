//! The command line: one thin file per command, and the renderings for people.

pub mod render;
