//! What an entry is about.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$meta:meta])* $variant:ident = $word:literal,)*) => {
        /// What an entry of the ledger is about.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(rename_all = "kebab-case")]
        pub enum EntryKind {
            $($(#[$meta])* $variant,)*
        }

        impl EntryKind {
            /// Every kind, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word used in the entry's text and in the database.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// The kind of a word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// A verification ended.
    Verify = "verify",
    /// A replication ended.
    Replicate = "replicate",
    /// A comparison of a copy with its source ended.
    Compare = "compare",
    /// A drill ended.
    Drill = "drill",
    /// A restore for use ended.
    Restore = "restore",
    /// A base backup ended.
    Backup = "backup",
    /// A removal of objects by policy ended.
    Expire = "expire",
    /// A report was written.
    Report = "report",
    /// Something that was due did not happen.
    Missed = "missed",
    /// Something that was due was left out, because an earlier one was still under way.
    Skipped = "skipped",
    /// Something that was due happens later than it should.
    Late = "late",
    /// The configuration was taken up, changed or refused.
    Configuration = "configuration",
    /// A daemon began.
    Started = "started",
    /// A daemon ended by itself.
    Stopped = "stopped",
    /// A run was killed, or its machine went down.
    Interrupted = "interrupted",
    /// A daemon saw, apart from any run, that something is wrong or no longer so.
    Noticed = "noticed",
    /// A capture of a cluster's definition ended.
    Capture = "capture",
    /// A person's request ended.
    Request = "request",
}

impl std::fmt::Display for EntryKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_both_ways() {
        for kind in EntryKind::ALL {
            assert_eq!(EntryKind::from_word(kind.as_str()), Some(*kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert_eq!(EntryKind::from_word("green"), None);
    }
}
