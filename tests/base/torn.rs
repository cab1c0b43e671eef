//! Torn pages.
