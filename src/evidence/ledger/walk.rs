//! Whether entries are still what was appended: the first place where they are not, and in
//! what way.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{EntryContent, FIRST_PREVIOUS, LEDGER_ENTRY_SCHEMA, LedgerEntry, canonical_json};
use crate::evidence::sha256_hex;

/// An entry's number and digest: all that is needed to hold everything up to it fast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    /// The number.
    pub sequence: u64,
    /// The digest, lower-case hexadecimal.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: String,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.sha256)
    }
}

/// Text that is no head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a head: {0:?} (a number, a colon and 64 hexadecimal digits, as `walproof evidence head` prints it)"
)]
pub struct ParseHeadError(String);

impl FromStr for Head {
    type Err = ParseHeadError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseHeadError(text.to_owned());
        let (sequence, sha256) = text.trim().split_once(':').ok_or_else(refused)?;
        let sequence = sequence.parse().map_err(|_| refused())?;
        let hexadecimal = sha256.bytes().all(|digit| digit.is_ascii_hexdigit());
        if sequence == 0 || sha256.len() != 64 || !hexadecimal {
            return Err(refused());
        }
        Ok(Self {
            sequence,
            sha256: sha256.to_ascii_lowercase(),
        })
    }
}

/// In what way the ledger is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BreakKind {
    /// Entries are missing before this one.
    Gap,
    /// This number was seen before, or belongs further up.
    OutOfOrder,
    /// The text does not have the digest that is kept beside it.
    Altered,
    /// The text is no entry in canonical form.
    NotCanonical,
    /// The number or the link kept beside the text are not those in it.
    Mislabelled,
    /// It names another digest as that of the entry before it.
    WrongPrevious,
    /// The entry that was noted elsewhere has another digest now.
    HeadDiffers,
    /// The ledger ends before the entry that was noted elsewhere.
    HeadMissing,
    /// A drill record that an entry vouches for is gone.
    RecordMissing,
    /// A drill record does not have the digest that its entry vouches for.
    RecordAltered,
}

impl BreakKind {
    /// The word used in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::OutOfOrder => "out-of-order",
            Self::Altered => "altered",
            Self::NotCanonical => "not-canonical",
            Self::Mislabelled => "mislabelled",
            Self::WrongPrevious => "wrong-previous",
            Self::HeadDiffers => "head-differs",
            Self::HeadMissing => "head-missing",
            Self::RecordMissing => "record-missing",
            Self::RecordAltered => "record-altered",
        }
    }

    /// What it means, in one sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Gap => "entries were removed before this one",
            Self::OutOfOrder => "entries were swapped, inserted or appended twice",
            Self::Altered => "the entry was changed after it was written",
            Self::NotCanonical => "the entry was written or changed by another program",
            Self::Mislabelled => {
                "the entry was put in the place of another, or what is kept beside it was changed"
            }
            Self::WrongPrevious => {
                "the entry before this one was replaced by another, or this one was inserted"
            }
            Self::HeadDiffers => {
                "the ledger was written anew, from the noted entry or from before it"
            }
            Self::HeadMissing => {
                "entries were removed from the end, or an older state was restored"
            }
            Self::RecordMissing => "the drill record that the entry vouches for was removed",
            Self::RecordAltered => {
                "the drill record was changed after the entry that vouches for it was written"
            }
        }
    }
}

/// The first place where the ledger is not what was appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Break {
    /// In what way.
    pub kind: BreakKind,
    /// The number at which it shows: what is before it holds.
    pub sequence: u64,
    /// What was expected and what was found, in one sentence.
    pub message: String,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "entry {}: {} ({})",
            self.sequence,
            self.message,
            self.kind.meaning()
        )
    }
}

/// What a database keeps beside an entry's text, to find it by. It must say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Its kind.
    pub kind: String,
    /// The cluster.
    pub cluster: Option<String>,
    /// The copy.
    pub copy: Option<String>,
    /// The run.
    pub run_id: Option<Uuid>,
}

impl Labels {
    /// The first label that says something else than the text.
    fn differing(&self, content: &EntryContent) -> Option<&'static str> {
        [
            ("time", self.at == content.at),
            ("kind", self.kind == content.kind.as_str()),
            ("cluster", self.cluster == content.cluster),
            ("copy", self.copy == content.copy),
            ("run", self.run_id == content.run_id),
        ]
        .into_iter()
        .find_map(|(name, same)| (!same).then_some(name))
    }
}

/// Follows a ledger entry by entry. Memory: one digest.
#[derive(Clone, Debug)]
pub struct Walk {
    next: u64,
    last: String,
    count: u64,
    /// Heads that were noted elsewhere, and whether they were met.
    noted: Vec<(Head, bool)>,
    gaps: bool,
}

impl Default for Walk {
    fn default() -> Self {
        Self::new()
    }
}

impl Walk {
    /// From the first entry on.
    pub fn new() -> Self {
        Self::from(1, FIRST_PREVIOUS)
    }

    /// From the entry `sequence` on, whose predecessor has the digest `previous`.
    pub fn from(sequence: u64, previous: &str) -> Self {
        Self {
            next: sequence,
            last: previous.to_owned(),
            count: 0,
            noted: Vec::new(),
            gaps: false,
        }
    }

    /// An extract: entries may be missing in between. Then only links between neighbours can
    /// be followed.
    #[must_use]
    pub const fn with_gaps(mut self) -> Self {
        self.gaps = true;
        self
    }

    /// Compares with heads that were noted elsewhere.
    #[must_use]
    pub fn against(mut self, noted: impl IntoIterator<Item = Head>) -> Self {
        self.noted
            .extend(noted.into_iter().map(|head| (head, false)));
        self
    }

    /// The next entry as a database keeps it, with its labels; gives what it says. After a
    /// break nothing that follows can be relied on: stop.
    pub fn step_labelled(
        &mut self,
        entry: &LedgerEntry,
        labels: &Labels,
    ) -> Result<EntryContent, Break> {
        // The walk must not go on when the labels do not hold.
        let mut ahead = self.clone();
        ahead.step(entry)?;
        let broken = |kind, message: String| Break {
            kind,
            sequence: entry.sequence,
            message,
        };
        let content = entry.content().map_err(|error| {
            broken(
                BreakKind::NotCanonical,
                format!("its text is no entry: {error}"),
            )
        })?;
        if let Some(label) = labels.differing(&content) {
            return Err(broken(
                BreakKind::Mislabelled,
                format!("the {label} beside its text is not the one in it"),
            ));
        }
        *self = ahead;
        Ok(content)
    }

    /// The next entry. After a break nothing that follows can be relied on: stop.
    pub fn step(&mut self, entry: &LedgerEntry) -> Result<(), Break> {
        let broken = |kind, message: String| {
            Err(Break {
                kind,
                sequence: entry.sequence,
                message,
            })
        };
        let jump = entry.sequence > self.next;
        if jump && !self.gaps {
            let last = entry.sequence - 1;
            return broken(
                BreakKind::Gap,
                if last == self.next {
                    format!("entry {last} is missing")
                } else {
                    format!("entries {} to {last} are missing", self.next)
                },
            );
        }
        if entry.sequence < self.next {
            return broken(
                BreakKind::OutOfOrder,
                format!("it stands where entry {} belongs", self.next),
            );
        }
        let digest = sha256_hex(entry.text.as_bytes());
        if digest != entry.sha256 {
            return broken(
                BreakKind::Altered,
                format!(
                    "its text has the SHA-256 {digest}, beside it stands {}",
                    entry.sha256
                ),
            );
        }
        let value = match canonical(&entry.text) {
            Ok(value) => value,
            Err(message) => return broken(BreakKind::NotCanonical, message),
        };
        let number = value.get("sequence").and_then(Value::as_u64);
        if number != Some(entry.sequence) {
            let number = number.map_or_else(|| "none".to_owned(), |number| number.to_string());
            return broken(
                BreakKind::Mislabelled,
                format!("its text bears the number {number}"),
            );
        }
        let previous = value.get("previous").and_then(Value::as_str);
        if previous != Some(entry.previous.as_str()) {
            return broken(
                BreakKind::Mislabelled,
                "the link beside its text is not the one in it".to_owned(),
            );
        }
        if entry.previous != self.last && !jump {
            return broken(
                BreakKind::WrongPrevious,
                format!(
                    "it follows {}, but before it stands {}",
                    entry.previous, self.last
                ),
            );
        }
        for (noted, met) in &mut self.noted {
            if noted.sequence != entry.sequence {
                continue;
            }
            if noted.sha256 != entry.sha256 {
                return broken(
                    BreakKind::HeadDiffers,
                    format!(
                        "it has the SHA-256 {}, noted was {}",
                        entry.sha256, noted.sha256
                    ),
                );
            }
            *met = true;
        }
        self.next = entry.sequence.saturating_add(1);
        self.last.clone_from(&entry.sha256);
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// The end: whether the noted heads were reached.
    pub fn finish(&self) -> Result<(), Break> {
        let ahead = self.noted.iter().map(|(noted, _)| noted.sequence).max();
        match ahead {
            Some(sequence) if sequence >= self.next => Err(Break {
                kind: BreakKind::HeadMissing,
                sequence,
                message: match self.next.saturating_sub(1) {
                    0 => "there is no entry at all".to_owned(),
                    last => format!("the last entry is {last}"),
                },
            }),
            _ => Ok(()),
        }
    }

    /// Whether a noted head was met and holds.
    pub fn met(&self, noted: &Head) -> bool {
        self.noted.iter().any(|(head, met)| *met && head == noted)
    }

    /// The number that the next entry must have.
    pub const fn next_sequence(&self) -> u64 {
        self.next
    }

    /// How many entries hold.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The last entry that holds; `None` before the first.
    pub fn head(&self) -> Option<Head> {
        (self.count > 0).then(|| Head {
            sequence: self.next.saturating_sub(1),
            sha256: self.last.clone(),
        })
    }
}

/// The text as a value, when it is an entry's canonical text.
fn canonical(text: &str) -> Result<Value, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    match canonical_json(&value) {
        Ok(again) if again == text => {}
        Ok(_) => return Err("its text is not in canonical form".to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    let schema = value.get("schema").and_then(Value::as_str);
    if schema != Some(LEDGER_ENTRY_SCHEMA) {
        return Err(format!(
            "it names the schema {:?} instead of {LEDGER_ENTRY_SCHEMA}",
            schema.unwrap_or_default()
        ));
    }
    Ok(value)
}
