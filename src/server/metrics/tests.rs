//! What is written is what is listed, and its size is bounded.
