//! Writing to S3 and what speaks it, by requests of our own: with checksums, retention and
//! conditions on both ways to make an object visible.
//!
//! The signature of a whole object covers its body. That of a part does not ("unsigned
//! payload"), because a second SHA-256 of every byte would be needed: its CRC32C, which is
//! signed, stands for it, and that of the whole in the end. Servers that do not know checksums
//! get signed parts instead.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use chrono::SecondsFormat;
use object_store::PutPayload;
use reqwest::Method;

use super::digest::Digests;
use super::{Acknowledged, Body, Condition, LockMode, Put, Stored, WriteOptions};
use crate::storage::classify::element;
use crate::storage::read::pause;
use crate::storage::remote::{Remote, S3};
use crate::storage::wire::{Answer, Ask, percent, percent_path};
use crate::storage::{ErrorKind, Operation, StorageError, Store};

const VERSION: &str = "x-amz-version-id";
const SHA256: &str = "x-amz-checksum-sha256";
const CRC32C: &str = "x-amz-checksum-crc32c";
/// How often a write is tried again that met another one of the same key.
const CONFLICTS: u32 = 4;

/// What a server knows of the checksums of an object in parts. The numbers go into
/// [`S3::part_checksums`]: the first that is worth trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartChecksums {
    /// Those of parts, and that of the whole.
    Whole = 0,
    /// Those of parts.
    Composite = 1,
    /// None.
    Unknown = 2,
}

/// An object in parts that has been begun.
pub(super) struct Session {
    id: String,
    checksums: PartChecksums,
}

/// A part that the store has taken.
pub(super) struct Part {
    etag: String,
    crc32c: String,
    confirmed: bool,
}

impl Store {
    fn s3_url(&self, s3: &S3, key: &str) -> Result<String, StorageError> {
        if s3.directory_bucket {
            let cause = "directory buckets (S3 Express) can be read, not written to";
            let url = self.url(key);
            return Err(StorageError::new(
                Operation::Write,
                url,
                ErrorKind::Settings,
                cause,
            ));
        }
        let path = self.path(Operation::Write, key)?;
        Ok(format!("{}/{}", s3.bucket, percent_path(path.as_ref())))
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
        LockMode::Governance => "GOVERNANCE",
        LockMode::Compliance => "COMPLIANCE",
    };
    let until = retention.until.to_rfc3339_opts(SecondsFormat::Secs, true);
    ask.header("x-amz-object-lock-mode", mode)
        .header("x-amz-object-lock-retain-until-date", &until)
}

/// Whether a refusal may be one of a header that the server does not know.
fn may_be_about_headers(answer: &Answer) -> bool {
    let code = answer.refusal().code;
    answer.status == 501
        || answer.status == 400
            && matches!(
                code.as_str(),
                "" | "NotImplemented"
                    | "XNotImplemented"
                    | "InvalidArgument"
                    | "InvalidRequest"
                    | "InvalidHeader"
                    | "UnsupportedHeader"
            )
}

/// Whether two conditional writes met, and this one should be tried again.
fn conflict(answer: &Answer) -> bool {
    answer.status == 409
        && matches!(
            answer.refusal().code.as_str(),
            "ConditionalRequestConflict" | "OperationAborted"
        )
}

/// Writes a whole object.
pub(super) async fn put(
    store: &Store,
    remote: &Remote,
    s3: &S3,
    key: &str,
    body: &Body,
    when: Condition<'_>,
    options: &WriteOptions,
) -> Result<Put, StorageError> {
    let url = store.s3_url(s3, key)?;
    let sha256 = body.digests.sha256();
    let ours = crate::storage::wire::base64(sha256.as_bytes());
    let mut checksum = options.checksums && !s3.no_checksums.load(Ordering::Relaxed);
    let mut unsure = false;
    let mut conflicts = 0;
    let mut first = None;
    loop {
        let ask = Ask::new(Method::PUT, url.clone())
            .header_if(SHA256, checksum.then_some(ours.as_str()))
            .body(body.payload.clone(), Some(*sha256.as_bytes()));
        let ask = retention(condition(ask, when), options);
        let answer = store.ask(Operation::Write, key, remote, &ask).await?;
        unsure |= answer.unsure;
        if answer.ok() {
            if options.checksums && !checksum {
                s3.no_checksums.store(true, Ordering::Relaxed);
            }
            let acknowledged = match answer.header(SHA256).filter(|_| checksum) {
                Some(theirs) if theirs == ours => Some(Acknowledged::Sha256),
                Some(theirs) => return Err(store.differs(key, "the SHA-256", &ours, theirs)),
                None => None,
            };
            return Ok(Put::Done(Stored::of(&answer, VERSION, acknowledged)));
        }
        // Without checksums it is no better: then they were not what the server refused. (It
        // may have kept the object all the same: versitygw does for a retention it cannot give.)
        if let Some(first) = first.filter(|_| !conflict(&answer)) {
            return Err(first);
        }
        first = None;
        if answer.status == 412 {
            s3.conditions_seen.store(true, Ordering::Relaxed);
            return Ok(Put::Exists { unsure });
        }
        if conflict(&answer) && conflicts < CONFLICTS {
            tokio::time::sleep(pause(conflicts)).await;
            conflicts += 1;
        } else if checksum && may_be_about_headers(&answer) {
            checksum = false;
            first = Some(store.refused(Operation::Write, key, &answer));
        } else {
            return Err(store.refused(Operation::Write, key, &answer));
        }
    }
}

/// Begins an object in parts.
pub(super) async fn begin(
    store: &Store,
    remote: &Remote,
    s3: &S3,
    key: &str,
    options: &WriteOptions,
) -> Result<Session, StorageError> {
    let url = store.s3_url(s3, key)? + "?uploads=";
    let mut trying = match s3.part_checksums.load(Ordering::Relaxed) {
        _ if !options.checksums => PartChecksums::Unknown,
        0 => PartChecksums::Whole,
        1 => PartChecksums::Composite,
        _ => PartChecksums::Unknown,
    };
    loop {
        let ask = retention(Ask::new(Method::POST, url.clone()), options);
        let ask = match trying {
            PartChecksums::Whole => ask
                .header("x-amz-checksum-algorithm", "CRC32C")
                .header("x-amz-checksum-type", "FULL_OBJECT"),
            PartChecksums::Composite => ask.header("x-amz-checksum-algorithm", "CRC32C"),
            PartChecksums::Unknown => ask,
        };
        let answer = store.ask(Operation::Write, key, remote, &ask).await?;
        if answer.ok() {
            let told = |name, value| {
                answer
                    .header(name)
                    .is_some_and(|told| told.eq_ignore_ascii_case(value))
            };
            // Who does not repeat what was asked for has not understood it.
            let checksums =
                if trying == PartChecksums::Whole && !told("x-amz-checksum-type", "FULL_OBJECT") {
                    if told("x-amz-checksum-algorithm", "CRC32C") {
                        PartChecksums::Composite
                    } else {
                        PartChecksums::Unknown
                    }
                } else {
                    trying
                };
            if options.checksums {
                s3.part_checksums.store(checksums as u8, Ordering::Relaxed);
            }
            let id = element(&answer.text(), "UploadId")
                .filter(|id| !id.is_empty())
                .ok_or_else(|| store.odd(Operation::Write, key, "an upload without an id"))?;
            return Ok(Session { id, checksums });
        }
        trying = match trying {
            PartChecksums::Whole if may_be_about_headers(&answer) => PartChecksums::Composite,
            PartChecksums::Composite if may_be_about_headers(&answer) => PartChecksums::Unknown,
            _ => return Err(store.refused(Operation::Write, key, &answer)),
        };
    }
}

/// Writes the part of a number, from 1. `digests` has it as the last that was added.
pub(super) async fn part(
    store: &Store,
    remote: &Remote,
    s3: &S3,
    key: &str,
    session: &Session,
    number: u32,
    body: &Body,
) -> Result<Part, StorageError> {
    let id = percent(&session.id);
    let url = format!(
        "{}?partNumber={number}&uploadId={id}",
        store.s3_url(s3, key)?
    );
    let crc32c = body.digests.last_crc32c();
    let ask = Ask::new(Method::PUT, url);
    let ask = if session.checksums == PartChecksums::Unknown {
        let payload = body.payload.clone();
        let sha256 = own_sha256(payload.clone()).await;
        ask.body(payload, Some(sha256))
    } else {
        ask.header(CRC32C, &crc32c).body(body.payload.clone(), None)
    };
    let answer = store.ask(Operation::Write, key, remote, &ask).await?;
    if !answer.ok() {
        return Err(store.refused(Operation::Write, key, &answer));
    }
    let confirmed = match answer.header(CRC32C) {
        Some(theirs) if theirs != crc32c => {
            return Err(store.differs(key, "of a part the CRC32C", &crc32c, theirs));
        }
        theirs => theirs.is_some(),
    };
    let etag = answer
        .header("etag")
        .ok_or_else(|| store.odd(Operation::Write, key, "a part without an entity tag"))?
        .to_owned();
    Ok(Part {
        etag,
        crc32c,
        confirmed,
    })
}

/// The SHA-256 of a part alone, for the signature.
async fn own_sha256(payload: PutPayload) -> [u8; 32] {
    let pieces = payload.into_iter().collect();
    let (_, digests) = Digests::new(false).add(pieces).await;
    *digests.sha256().as_bytes()
}

/// Makes an object visible whose parts are all there.
pub(super) async fn complete(
    store: &Store,
    remote: &Remote,
    s3: &S3,
    key: &str,
    session: &Session,
    parts: &[&Part],
    digests: &Digests,
) -> Result<Put, StorageError> {
    let url = format!(
        "{}?uploadId={}",
        store.s3_url(s3, key)?,
        percent(&session.id)
    );
    let mut xml =
        String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (number, part) in (1_u32..).zip(parts) {
        let etag = quick_xml::escape::escape(part.etag.as_str());
        // Writing to a string does not fail.
        let _ = write!(
            xml,
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>"
        );
        // Amazon asks for them only without that of the whole, versitygw always.
        if session.checksums != PartChecksums::Unknown {
            let _ = write!(xml, "<ChecksumCRC32C>{}</ChecksumCRC32C>", part.crc32c);
        }
        xml.push_str("</Part>");
    }
    xml.push_str("</CompleteMultipartUpload>");
    let whole = session.checksums == PartChecksums::Whole;
    let ours = digests.crc32c();
    let ask = Ask::new(Method::POST, url)
        .header_if(CRC32C, whole.then_some(ours.as_str()))
        .header_if("x-amz-checksum-type", whole.then_some("FULL_OBJECT"))
        .text(xml);
    let ask = condition(ask, Condition::Absent);
    let answer = store.ask(Operation::Write, key, remote, &ask).await?;
    let unsure = answer.unsure;
    if !answer.ok() {
        let gone = answer.status == 404 && answer.refusal().code == "NoSuchUpload";
        // After a conflict the parts are lost, and the other writer's object is there.
        return if answer.status == 412 || conflict(&answer) || gone && unsure {
            s3.conditions_seen
                .fetch_or(answer.status == 412, Ordering::Relaxed);
            Ok(Put::Exists { unsure })
        } else {
            Err(store.refused(Operation::Write, key, &answer))
        };
    }
    let text = answer.text();
    let theirs = element(&text, "ChecksumCRC32C").filter(|_| whole);
    let acknowledged = match theirs {
        Some(theirs) if theirs == ours => Some(Acknowledged::Crc32c),
        Some(theirs) => return Err(store.differs(key, "the CRC32C", &ours, &theirs)),
        None => parts
            .iter()
            .all(|part| part.confirmed)
            .then_some(Acknowledged::Parts),
    };
    let mut stored = Stored::of(&answer, VERSION, acknowledged);
    stored.etag = element(&text, "ETag")
        .as_deref()
        .and_then(crate::storage::identity::normal_etag)
        .or(stored.etag);
    Ok(Put::Done(stored))
}

/// Gives an object in parts up.
pub(super) async fn abort(
    store: &Store,
    remote: &Remote,
    s3: &S3,
    key: &str,
    id: &str,
) -> Result<(), StorageError> {
    let url = format!("{}?uploadId={}", store.s3_url(s3, key)?, percent(id));
    let ask = Ask::new(Method::DELETE, url);
    let answer = store.ask(Operation::Remove, key, remote, &ask).await?;
    if answer.ok() || answer.status == 404 {
        return Ok(());
    }
    Err(store.refused(Operation::Remove, key, &answer))
}

impl Session {
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}
