//! Writing to Azure Blob Storage: Put Blob, Put Block, Put Block List.
//!
//! Blocks that were not yet listed are shared by all who write to the same name; each upload
//! numbers its own ("block ids" begin with a UUID). What is never listed is removed by Azure
//! after a week.

use std::fmt::Write as _;

use reqwest::Method;
use uuid::Uuid;

use super::{Acknowledged, Body, Condition, LockMode, Put, Stored, WriteOptions};
use crate::storage::remote::{Azure, Remote};
use crate::storage::wire::{Answer, Ask, base64, percent, percent_path};
use crate::storage::{Operation, StorageError, Store};

const VERSION: &str = "x-ms-version-id";
const MD5: &str = "content-md5";

impl Store {
    fn azure_url(&self, azure: &Azure, key: &str) -> Result<String, StorageError> {
        let path = self.path(Operation::Write, key)?;
        Ok(format!(
            "{}/{}",
            azure.container,
            percent_path(path.as_ref())
        ))
    }
}

fn condition(ask: Ask, condition: Condition<'_>) -> Ask {
    match condition {
        Condition::Absent => ask.header("if-none-match", "*"),
        Condition::Is(etag) => ask.header("if-match", &format!("\"{etag}\"")),
        Condition::None => ask,
    }
}

fn retention(ask: Ask, options: &WriteOptions) -> Ask {
    let Some(retention) = options.retention else {
        return ask;
    };
    let mode = match retention.mode {
        LockMode::Governance => "unlocked",
        LockMode::Compliance => "locked",
    };
    let until = retention
        .until
        .format("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    ask.header("x-ms-immutability-policy-mode", mode)
        .header("x-ms-immutability-policy-until-date", &until)
}

fn judged(
    store: &Store,
    key: &str,
    answer: &Answer,
    acknowledged: Option<Acknowledged>,
) -> Result<Put, StorageError> {
    let there = answer.status == 412
        || answer.status == 409 && answer.refusal().code == "BlobAlreadyExists"
        // Our blocks are gone: another writer has listed his.
        || answer.status == 400 && answer.refusal().code == "InvalidBlockList";
    if answer.ok() {
        Ok(Put::Done(Stored::of(answer, VERSION, acknowledged)))
    } else if there {
        Ok(Put::Exists {
            unsure: answer.unsure,
        })
    } else {
        Err(store.refused(Operation::Write, key, answer))
    }
}

/// Whether the store gave our MD5 back; an error if it gave another one.
fn confirmed(store: &Store, key: &str, answer: &Answer, ours: &str) -> Result<bool, StorageError> {
    match answer.header(MD5) {
        Some(theirs) if theirs != ours => Err(store.differs(key, "the MD5", ours, theirs)),
        theirs => Ok(theirs.is_some()),
    }
}

/// Writes a whole object.
pub(super) async fn put(
    store: &Store,
    remote: &Remote,
    azure: &Azure,
    key: &str,
    body: &Body,
    when: Condition<'_>,
    options: &WriteOptions,
) -> Result<Put, StorageError> {
    let md5 = body.digests.last_md5().filter(|_| options.checksums);
    let ask = Ask::new(Method::PUT, store.azure_url(azure, key)?)
        .header("x-ms-blob-type", "BlockBlob")
        .header_if(MD5, md5)
        .body(body.payload.clone(), None);
    let ask = retention(condition(ask, when), options);
    let answer = store.ask(Operation::Write, key, remote, &ask).await?;
    let acknowledged = match md5.filter(|_| answer.ok()) {
        Some(md5) => confirmed(store, key, &answer, md5)?.then_some(Acknowledged::Md5),
        None => None,
    };
    judged(store, key, &answer, acknowledged)
}

/// An object in parts that has been begun.
pub(super) struct Session {
    id: Uuid,
}

/// A part that the store has taken.
pub(super) struct Part {
    id: String,
    confirmed: bool,
}

/// Begins an object in parts.
pub(super) fn begin() -> Session {
    Session { id: Uuid::now_v7() }
}

/// Writes the part of a number.
pub(super) async fn part(
    store: &Store,
    remote: &Remote,
    azure: &Azure,
    key: &str,
    (session, number): (&Session, u32),
    body: &Body,
    options: &WriteOptions,
) -> Result<Part, StorageError> {
    let mut id = session.id.into_bytes().to_vec();
    id.extend(number.to_be_bytes());
    let id = base64(&id);
    let url = store.azure_url(azure, key)? + "?comp=block&blockid=" + &percent(&id);
    let md5 = body.digests.last_md5().filter(|_| options.checksums);
    let ask = Ask::new(Method::PUT, url)
        .header_if(MD5, md5)
        .body(body.payload.clone(), None);
    let answer = store.ask(Operation::Write, key, remote, &ask).await?;
    if !answer.ok() {
        return Err(store.refused(Operation::Write, key, &answer));
    }
    let confirmed = match md5 {
        Some(md5) => confirmed(store, key, &answer, md5)?,
        None => false,
    };
    Ok(Part { id, confirmed })
}

/// Makes an object visible whose parts are all there.
pub(super) async fn complete(
    store: &Store,
    remote: &Remote,
    azure: &Azure,
    key: &str,
    parts: &[&Part],
    options: &WriteOptions,
) -> Result<Put, StorageError> {
    let url = store.azure_url(azure, key)? + "?comp=blocklist";
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
    for part in parts {
        // Writing to a string does not fail.
        let _ = write!(xml, "<Uncommitted>{}</Uncommitted>", part.id);
    }
    xml.push_str("</BlockList>");
    let ask = Ask::new(Method::PUT, url).text(xml);
    let ask = retention(condition(ask, Condition::Absent), options);
    let answer = store.ask(Operation::Write, key, remote, &ask).await?;
    let acknowledged = parts
        .iter()
        .all(|part| part.confirmed)
        .then_some(Acknowledged::Parts);
    judged(store, key, &answer, acknowledged)
}
