//! Writing to Google Cloud Storage by its JSON API: conditions hold for objects of every size
//! (they do not for the XML API's uploads in parts), and every answer tells the CRC32C.
//!
//! A large object is a resumable upload: its parts go one after the other.

use std::borrow::Cow;

use bytes::Bytes;
use object_store::PutPayload;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::digest::Digests;
use super::{Acknowledged, Body, Condition, LockMode, Put, Stored, WriteOptions};
use crate::storage::remote::{Gcs, Remote};
use crate::storage::wire::{Answer, Ask, percent};
use crate::storage::{ErrorKind, Operation, StorageError, Store};

/// How often the same bytes of a part are sent without any of them being taken.
const STUCK: u32 = 5;

/// What the answer tells of an object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    generation: Option<String>,
    crc32c: Option<String>,
    size: Option<String>,
}

/// An upload that has been begun.
pub(super) struct Session {
    /// Its URL. Who knows it may write without credentials.
    url: String,
}

/// The condition in the query, and whether it can be met at all.
async fn condition(
    store: &Store,
    key: &str,
    when: Condition<'_>,
) -> Result<Option<String>, StorageError> {
    let etag = match when {
        Condition::Absent => return Ok(Some("ifGenerationMatch=0".to_owned())),
        Condition::None => return Ok(Some("alt=json".to_owned())),
        Condition::Is(etag) => etag,
    };
    let there = store.head(key).await?.ok_or_else(|| {
        let url = store.url(key);
        StorageError::new(
            Operation::Write,
            url,
            ErrorKind::NotFound,
            "there is no object",
        )
    })?;
    // Generations are versions; the JSON API's own tags are not those that listings show.
    Ok(there
        .version
        .filter(|_| there.etag.as_deref() == Some(etag))
        .map(|generation| format!("ifGenerationMatch={}", percent(&generation))))
}

fn metadata(name: &str, crc32c: Option<&str>, options: &WriteOptions) -> serde_json::Value {
    let mut value = json!({"name": name});
    if let (Some(map), Some(crc32c)) = (value.as_object_mut(), crc32c) {
        map.insert("crc32c".to_owned(), crc32c.into());
    }
    if let (Some(map), Some(retention)) = (value.as_object_mut(), options.retention) {
        let mode = match retention.mode {
            LockMode::Governance => "Unlocked",
            LockMode::Compliance => "Locked",
        };
        let until = retention
            .until
            .to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        map.insert(
            "retention".to_owned(),
            json!({"mode": mode, "retainUntilTime": until}),
        );
    }
    value
}

fn url(store: &Store, gcs: &Gcs, key: &str, kind: &str) -> Result<(String, String), StorageError> {
    let name = store.path(Operation::Write, key)?.to_string();
    let url = format!(
        "{}/upload/storage/v1/b/{}/o?uploadType={kind}&name={}",
        gcs.base,
        percent(&gcs.bucket),
        percent(&name)
    );
    Ok((url, name))
}

/// Reads the answer to the request that makes an object visible.
fn judged(
    store: &Store,
    key: &str,
    answer: &Answer,
    digests: &Digests,
) -> Result<Put, StorageError> {
    if answer.status == 412 {
        return Ok(Put::Exists {
            unsure: answer.unsure,
        });
    }
    if !answer.ok() {
        return Err(store.refused(Operation::Write, key, answer));
    }
    let resource: Resource = serde_json::from_slice(&answer.body)
        .map_err(|_| store.odd(Operation::Write, key, "the answer describes no object"))?;
    let size = resource.size.and_then(|size| size.parse::<u64>().ok());
    let ours = digests.bytes();
    if let Some(theirs) = size.filter(|size| *size != ours) {
        return Err(store.differs(key, "a size of", &ours.to_string(), &theirs.to_string()));
    }
    let ours = digests.crc32c();
    let acknowledged = match resource.crc32c {
        Some(theirs) if theirs == ours => Some(Acknowledged::Crc32c),
        Some(theirs) => return Err(store.differs(key, "the CRC32C", &ours, &theirs)),
        None => None,
    };
    let mut stored = Stored::of(answer, "x-goog-generation", acknowledged);
    stored.version = resource.generation.or(stored.version);
    // The tags of this API are not those of listings. The generation says as much.
    stored.etag = None;
    Ok(Put::Done(stored))
}

/// Writes a whole object, its description before it: so the store verifies the CRC32C before
/// anything is visible.
pub(super) async fn put(
    store: &Store,
    remote: &Remote,
    gcs: &Gcs,
    key: &str,
    body: &Body,
    when: Condition<'_>,
    options: &WriteOptions,
) -> Result<Put, StorageError> {
    let Some(condition) = condition(store, key, when).await? else {
        return Ok(Put::Exists { unsure: false });
    };
    let (url, name) = url(store, gcs, key, "multipart")?;
    let crc32c = body.digests.crc32c();
    let described = metadata(&name, options.checksums.then_some(crc32c.as_str()), options);
    let boundary = format!("walproof-{}", uuid::Uuid::now_v7().simple());
    let head = format!(
        "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{described}\r\n\
         --{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let payload: PutPayload = std::iter::once(Bytes::from(head))
        .chain(body.payload.clone())
        .chain(std::iter::once(Bytes::from(tail)))
        .collect();
    let ask = Ask::new(Method::POST, format!("{url}&{condition}"))
        .header(
            "content-type",
            &format!("multipart/related; boundary={boundary}"),
        )
        .body(payload, None);
    let answer = store.ask(Operation::Write, key, remote, &ask).await?;
    judged(store, key, &answer, &body.digests)
}

/// Begins an upload in parts.
pub(super) async fn begin(
    store: &Store,
    remote: &Remote,
    gcs: &Gcs,
    key: &str,
    options: &WriteOptions,
) -> Result<Option<Session>, StorageError> {
    let (url, name) = url(store, gcs, key, "resumable")?;
    let ask = Ask::new(Method::POST, url + "&ifGenerationMatch=0")
        .header("content-type", "application/json; charset=UTF-8")
        .text(metadata(&name, None, options).to_string());
    let answer = store.ask(Operation::Write, key, remote, &ask).await?;
    if answer.status == 412 {
        return Ok(None);
    }
    if !answer.ok() {
        return Err(store.refused(Operation::Write, key, &answer));
    }
    let url = answer
        .header("location")
        .ok_or_else(|| store.odd(Operation::Write, key, "an upload without an address"))?;
    Ok(Some(Session {
        url: url.to_owned(),
    }))
}

/// Sends the bytes from `at`; with `last`, they are the object's last, and it becomes visible.
pub(super) async fn part(
    store: &Store,
    remote: &Remote,
    key: &str,
    session: &Session,
    at: u64,
    payload: PutPayload,
    last: Option<&Digests>,
) -> Result<Option<Put>, StorageError> {
    let end = at + payload.content_length() as u64;
    let total = last.map_or(Cow::Borrowed("*"), |digests| {
        digests.bytes().to_string().into()
    });
    let (mut payload, mut from, mut stuck) = (payload, at, 0);
    let mut unsure = false;
    loop {
        let range = if from == end {
            format!("bytes */{total}")
        } else {
            format!("bytes {from}-{}/{total}", end - 1)
        };
        let ask = Ask::new(Method::PUT, session.url.clone())
            .header("content-range", &range)
            .body(payload.clone(), None);
        let mut answer = store.ask(Operation::Write, key, remote, &ask).await?;
        unsure |= answer.unsure;
        answer.unsure = unsure;
        // An upload that is done may be forgotten.
        if last.is_some() && unsure && matches!(answer.status, 404 | 410) {
            return Ok(Some(Put::Exists { unsure }));
        }
        if answer.status != 308 {
            return match last {
                Some(digests) => judged(store, key, &answer, digests).map(Some),
                None => Err(store.refused(Operation::Write, key, &answer)),
            };
        }
        // "Resume incomplete": it may have taken less than all.
        let taken = answer
            .header("range")
            .and_then(|range| range.rsplit_once('-')?.1.parse::<u64>().ok())
            .map_or(0, |last| last + 1);
        if taken == end && last.is_none() {
            return Ok(None);
        }
        stuck = if taken > from { 0 } else { stuck + 1 };
        if taken < at || taken > end || stuck > STUCK {
            let words = format!("it has {taken} bytes of an upload of which {end} were sent");
            return Err(store.odd(Operation::Write, key, &words));
        }
        let skip = usize::try_from(taken.saturating_sub(from)).unwrap_or(usize::MAX);
        payload = without(&payload, skip);
        from = from.max(taken);
    }
}

/// What follows the first `skip` bytes.
fn without(payload: &PutPayload, mut skip: usize) -> PutPayload {
    let rest = payload.iter().filter_map(|piece| {
        let gone = skip.min(piece.len());
        skip -= gone;
        Some(piece.slice(gone..)).filter(|piece| !piece.is_empty())
    });
    rest.collect()
}

/// Gives an upload up.
pub(super) async fn abort(
    store: &Store,
    remote: &Remote,
    key: &str,
    session: &Session,
) -> Result<(), StorageError> {
    let ask = Ask::new(Method::DELETE, session.url.clone());
    let answer = store.ask(Operation::Remove, key, remote, &ask).await?;
    // 499 is the answer that Google documents for this.
    if answer.ok() || matches!(answer.status, 404 | 410 | 499) {
        return Ok(());
    }
    Err(store.refused(Operation::Remove, key, &answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_not_sent_again() {
        let payload: PutPayload = ["abc", "def"].into_iter().map(Bytes::from).collect();
        let rest = |skip| Bytes::from(without(&payload, skip));
        assert_eq!(rest(0), "abcdef");
        assert_eq!(rest(2), "cdef");
        assert_eq!(rest(3), "def");
        assert_eq!(rest(9), "");
    }
}
