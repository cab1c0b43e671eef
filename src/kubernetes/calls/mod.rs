//! What is asked of API servers, counted: which verb, of which kind of object, with which
//! answer. A role is least where everything that it grants is asked for, and that can only be
//! said by counting.
//!
//! The counts are the process's, over all clients ([`counts`]). Each single call goes as a line
//! of JSON to the file that [`FILE`] names, if it is set. What the client repeats by itself,
//! when a server is busy, counts once.

mod layer;
mod read;
mod record;

pub(super) use layer::Counting;
pub use read::Call;
pub use record::{Count, FILE, counts};
