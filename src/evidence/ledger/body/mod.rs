//! What an entry says, by its kind. Bodies are small and bounded: words are cut, lists are
//! by finding code, and nothing in them is a row, the output of a query or a secret.
//!
//! Within version 1 fields may be added; none is taken away or changes its meaning. Lengths
//! of time are whole milliseconds; `null` or a missing field means not measured or not known.

mod daemon;
mod drill;
mod due;
mod incident;
mod request;
mod run;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use daemon::{ConfigurationBody, DaemonBody, NoticedBody, ReportBody};
pub use drill::{DrillBody, PhaseTime, RecordReference};
pub use due::{LateBody, LateReason, MissedBody, MissedReason, SkippedBody, SkippedReason};
pub use incident::{ClosedIncident, OpenedIncident, note_incidents};
pub use request::{RequestBody, RequestEvent};
pub use run::{
    Asked, FoundCount, InterruptedBody, OtherBody, ReplicateBody, RunBody, VerifyBody, tally,
};

use super::EntryKind;

/// The longest text of people's words in a body, in characters.
const MAX_WORDS: usize = 500;

/// The longest list in a body that people's doings could make long.
const MAX_ITEMS: usize = 200;

/// Text cut to what a body may hold, and shown to be cut.
pub fn cut(text: &str) -> String {
    let mut letters = text.chars();
    let mut kept: String = letters.by_ref().take(MAX_WORDS).collect();
    if letters.next().is_some() {
        kept.pop();
        kept.push('…');
    }
    kept
}

macro_rules! bodies {
    ($($kind:ident($body:ty),)*) => {
        /// What an entry says, with its kind.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "kind", content = "body", rename_all = "kebab-case")]
        pub enum Body {
            $(
                #[doc = concat!("What an entry of kind `", stringify!($kind), "` says.")]
                $kind(Box<$body>),
            )*
        }

        impl Body {
            /// The entry's kind.
            pub const fn kind(&self) -> EntryKind {
                match self {
                    $(Self::$kind(_) => EntryKind::$kind,)*
                }
            }

            /// Reads the body of an entry of this kind. Fields that are not known are ignored.
            pub fn read(kind: EntryKind, body: Value) -> Result<Self, serde_json::Error> {
                match kind {
                    $(EntryKind::$kind => serde_json::from_value(body).map(Self::$kind),)*
                }
            }

            /// As it stands in the entry.
            pub fn to_value(&self) -> Result<Value, serde_json::Error> {
                match self {
                    $(Self::$kind(body) => serde_json::to_value(body),)*
                }
            }
        }
    };
}

bodies! {
    Verify(VerifyBody),
    Replicate(ReplicateBody),
    Compare(OtherBody),
    Drill(DrillBody),
    Restore(OtherBody),
    Backup(OtherBody),
    Expire(OtherBody),
    Report(ReportBody),
    Missed(MissedBody),
    Skipped(SkippedBody),
    Late(LateBody),
    Configuration(ConfigurationBody),
    Started(DaemonBody),
    Stopped(DaemonBody),
    Interrupted(InterruptedBody),
    Noticed(NoticedBody),
    Capture(OtherBody),
    Request(RequestBody),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_cut_and_say_so() {
        assert_eq!(cut("short"), "short");
        let long = cut(&"ä".repeat(MAX_WORDS + 1));
        assert_eq!(long.chars().count(), MAX_WORDS);
        assert!(long.ends_with('…'));
        assert_eq!(cut(&"ä".repeat(MAX_WORDS)), "ä".repeat(MAX_WORDS));
    }
}
