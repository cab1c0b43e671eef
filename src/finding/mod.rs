//! Findings: typed statements of what is wrong with a repository, a backup or a restore.
//!
//! A finding is data, never an `Err`: an error means "could not check". Codes are stable,
//! kebab-case, and each has a page of the same name in `runbooks/`.

mod code;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use code::Code;

use crate::postgres::{Lsn, TimelineId};

/// How much a finding matters.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; recoverability is as good as without it.
    Info,
    /// Recoverability is reduced or at risk; what the windows show still holds.
    Warning,
    /// Something that should be recoverable is not.
    Critical,
}

impl Severity {
    /// The word used in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A stretch of WAL, `begin` inclusive, `end` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LsnRange {
    /// The timeline on which the stretch lies.
    pub timeline: TimelineId,
    /// The first byte.
    pub begin: Lsn,
    /// The byte after the last.
    pub end: Lsn,
}

/// A stretch of time, both ends inclusive. `None` where the bytes that would tell are
/// themselves missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimeRange {
    /// The earliest moment concerned.
    pub begin: Option<DateTime<Utc>>,
    /// The latest moment concerned.
    pub end: Option<DateTime<Utc>>,
}

/// One typed thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// The object (key relative to the repository, backup id or setting) it concerns.
    pub object: String,
    /// The stretch of WAL it concerns.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wal: Option<LsnRange>,
    /// The moments it concerns.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time: Option<TimeRange>,
    /// What was seen, in one sentence.
    pub message: String,
    /// What it means for recovery, in plain words.
    pub consequence: String,
    /// What to do about it.
    pub action: String,
}

impl Finding {
    /// A finding with the code's default severity, consequence and action. Names and
    /// words may come from whoever writes to the bucket: control characters in them, which
    /// could make a terminal show another verdict, are escaped (`\\n`, `\\u{1b}`).
    pub fn new(code: Code, object: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            object: visible(object.into()),
            wal: None,
            time: None,
            message: visible(message.into()),
            consequence: code.consequence().to_owned(),
            action: code.action().to_owned(),
        }
    }

    /// With the stretch of WAL it concerns.
    #[must_use]
    pub fn with_wal(mut self, timeline: TimelineId, begin: Lsn, end: Lsn) -> Self {
        self.wal = Some(LsnRange {
            timeline,
            begin,
            end,
        });
        self
    }

    /// With the moments it concerns.
    #[must_use]
    pub fn with_time(mut self, begin: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>) -> Self {
        self.time = Some(TimeRange { begin, end });
        self
    }

    /// With another severity than the code's default.
    #[must_use]
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// With a consequence that is more exact than the code's default.
    #[must_use]
    pub fn with_consequence(mut self, consequence: impl Into<String>) -> Self {
        self.consequence = consequence.into();
        self
    }

    /// With an action that is more exact than the code's default.
    #[must_use]
    pub fn with_action(mut self, action: impl Into<String>) -> Self {
        self.action = action.into();
        self
    }
}

/// The text with its control characters escaped.
fn visible(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let mut seen = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            seen.extend(letter.escape_default());
        } else {
            seen.push(letter);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_a_bucket_cannot_steer_a_terminal() {
        let finding = Finding::new(Code::ObjectUnknown, "a\u{1b}[2J\nb", "größer\u{9b}2J");
        assert_eq!(finding.object, "a\\u{1b}[2J\\nb");
        assert_eq!(finding.message, "größer\\u{9b}2J");
    }
}
