//! What an export consists of, with digests: what a stranger checks first.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::ledger::{Break, Head};
use crate::evidence::{Digest, Tool};

/// The schema's name, first in every manifest.
pub const EXPORT_SCHEMA: &str = "walproof.dev/evidence-export/v1";

/// The manifest's file name.
pub const MANIFEST_FILE: &str = "manifest.json";

/// What an export consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// `walproof.dev/evidence-export/v1`.
    #[schemars(extend("const" = EXPORT_SCHEMA))]
    pub schema: String,
    /// When it was made.
    pub made_at: DateTime<Utc>,
    /// What made it.
    pub tool: Tool,
    /// The first moment that it covers.
    pub from: DateTime<Utc>,
    /// The moment at which it ends.
    pub to: DateTime<Utc>,
    /// The cluster, when it is about one alone.
    pub cluster: Option<String>,
    /// The entries in `entries.jsonl`.
    pub entries: EntriesManifest,
    /// The ledger that they were taken from, as it was followed from its first entry on.
    pub ledger: LedgerManifest,
    /// The other files, with their digests.
    pub files: Vec<Digest>,
}

/// The entries of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntriesManifest {
    /// Whether they are all entries from the first to the last. Of one cluster alone they are
    /// an extract: each entry can be checked, the links between them only where neighbours
    /// are there.
    pub complete: bool,
    /// How many.
    pub count: u64,
    /// The first one's number.
    pub first: Option<u64>,
    /// SHA-256 of the entry before the first.
    pub previous: Option<String>,
    /// The last one.
    pub head: Option<Head>,
}

/// The ledger at the time of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerManifest {
    /// How many entries were followed.
    pub entries: u64,
    /// The last one.
    pub head: Option<Head>,
    /// The first place where it is not what was appended.
    pub first_break: Option<Break>,
}
