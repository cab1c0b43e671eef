//! Telling people: what is wrong, what it costs and what to do, to whom it concerns.
//!
//! A [`Notice`] is made from an incident and says nothing that a secret or a row of data
//! could hide in. [`Routing`] decides who is told, by severity, tier and RACI, without asking
//! anybody. [`Senders`] are the means: webhook, Slack-compatible, e-mail, Alertmanager. The
//! [`Dispatcher`] takes what is due from the outbox in the state and sends it, so that
//! nothing is lost when walproof is killed and nothing is told twice by two of them.

mod backoff;
mod dispatch;
mod error;
mod http;
mod mail;
mod notice;
mod redact;
mod render;
mod routing;
mod send;
mod sign;
#[cfg(test)]
mod testing;

pub use dispatch::{Dispatched, Dispatcher, run};
pub use error::Refusal;
pub use notice::{Facts, Notice, NoticeEvent, NoticeStatus, Setting};
pub use redact::Redactor;
pub use render::{NoticeDocument, plain, subject};
pub use routing::{Question, Routing, Told};
pub use send::{Senders, Sent};
pub use sign::{SIGNATURE_HEADER, signature};
