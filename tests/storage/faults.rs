//! The wire itself: each fault does to the store what it says.
