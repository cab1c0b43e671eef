//! Runs as people read them.
