//! One repository to a second bucket, and what is to be said of the two.

pub mod expire;
pub mod lock_trial;
pub mod posture;
