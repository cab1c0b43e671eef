//! What a rebuild of a Cluster needs besides its data: the Cluster and what goes with it, as
//! people and charts declared it.
//!
//! [`mod@collect`] asks the API, [`mod@clean`] takes away what servers and operators wrote, and a
//! [`Content`] has a digest that stays the same as long as the declaration does. Secrets are
//! named, with the names of their keys; no value of one is ever kept. What could not be read
//! is part of the content, so that nothing is left out silently.

mod clean;
mod collect;
mod content;
mod diff;
mod file;
mod references;
mod suspicion;
mod yaml;

pub use clean::{canonical, clean};
pub use collect::{collect, secret_keys};
pub use content::{CapturedObject, Content, Facts, SecretNames, Suspicion, Unread};
pub use diff::{Change, ChangeKind, diff};
pub use file::{ContentError, Manifest, Stamp, StoredFile, files, manifest_of, restored};
pub use references::{References, SecretReference};
pub use yaml::to_yaml;
