//! Renderings for people. The same reports are written as JSON for programs.

pub mod drill;
pub mod history;
