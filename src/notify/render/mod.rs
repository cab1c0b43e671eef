//! A notice in the form that each means wants.

mod alert;
mod json;
mod plain;
mod slack;

pub(super) use alert::alerts;
pub use json::NoticeDocument;
pub(super) use json::{document, from_template};
pub use plain::{plain, subject};
pub(super) use slack::message;

use chrono::{DateTime, TimeDelta, Utc};

/// A moment for people: `2026-11-21 02:40 UTC`.
fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// A stretch of time for people: `3 d 4 h`, `12 min`.
fn stretch(length: TimeDelta) -> String {
    let minutes = length.num_minutes().max(0);
    let (days, hours, rest) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    match (days, hours, rest) {
        (0, 0, 0) => "less than a minute".to_owned(),
        (0, 0, rest) => format!("{rest} min"),
        (0, hours, rest) => format!("{hours} h {rest} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
