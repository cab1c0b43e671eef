//! Taking backups without any other tool: `walproof backup take` and `walproof wal push`.
//!
//! Both write the Barman Cloud layout, so that its tools and CloudNativePG can restore
//! what walproof wrote. This is the only room that writes to a repository.

mod archive;
mod archived;
mod copy;
mod error;
mod exclude;
mod id;
mod options;
mod push;
mod report;
mod server;
mod take;
mod walk;

pub use error::TakeError;
pub use options::{TakeOptions, TakeProgress};
pub use push::{PushError, PushOutcome, push};
pub use report::{StoredArchive, TakeReport};
pub use server::ServerAddress;
pub use take::take;
