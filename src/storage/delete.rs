//! Removing objects, and what writers left unfinished.

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::open::Backend;
use super::remote::{Dialect, Remote, S3};
use super::wire::{Answer, Ask, percent, percent_path};
use super::{ErrorKind, Operation, StorageError, Store};

/// What a store did when it was asked to delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeleteOutcome {
    /// It is gone. In a bucket with versions, without a version: it is hidden behind a delete
    /// marker.
    Deleted,
    /// The store will not: a lock, a hold, a lease, or a missing permission.
    Refused {
        /// The HTTP status (locked versions: 403 on AWS, 400 on MinIO, 409 on Azure); 0 for a
        /// directory.
        status: u16,
        /// The store's words.
        cause: String,
    },
    /// There was none.
    Absent,
}

/// An upload that was begun and neither finished nor given up. Whose it is, stores do not
/// tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AbandonedUpload {
    /// The key of the object that it was to become; for a directory that of the unfinished
    /// file.
    pub key: String,
    /// The store's id of it; empty for a directory.
    pub id: String,
    /// When it was begun.
    pub begun: DateTime<Utc>,
}

/// A page of unfinished uploads, `ListMultipartUploadsResult`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    #[serde(default, rename = "Upload")]
    uploads: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    key: String,
    upload_id: String,
    initiated: DateTime<Utc>,
}

impl Store {
    /// Removes an object, or one version of it.
    ///
    /// # Errors
    /// Everything but an answer about the object: no network, wrong credentials, no bucket.
    pub async fn delete(
        &self,
        key: &str,
        version: Option<&str>,
    ) -> Result<DeleteOutcome, StorageError> {
        let path = self.path(Operation::Remove, key)?;
        let Backend::Remote(remote) = &self.shared.backend else {
            return self.delete_file(key).await;
        };
        let name = path.as_ref();
        let ask = match &remote.dialect {
            Dialect::S3(s3) => {
                let url = format!("{}/{}", s3.bucket, percent_path(name));
                let version = version.map(|version| format!("?versionId={}", percent(version)));
                let url = url + &version.unwrap_or_default();
                // S3 answers alike whether there was one or not.
                let ask = Ask::new(Method::HEAD, url.clone());
                let there = self.ask(Operation::Remove, key, remote, &ask).await?;
                if there.status == 404 {
                    // It has no words; the first time, it may be about the bucket or the user.
                    if !self.shared.is_confirmed() {
                        self.head(key).await?;
                    }
                    return Ok(DeleteOutcome::Absent);
                }
                Ask::new(Method::DELETE, url)
            }
            Dialect::Gcs(gcs) => {
                let (bucket, name) = (percent(&gcs.bucket), percent(name));
                let version = version.map(|version| format!("?generation={}", percent(version)));
                let url = format!("{}/storage/v1/b/{bucket}/o/{name}", gcs.base);
                Ask::new(Method::DELETE, url + &version.unwrap_or_default())
            }
            Dialect::Azure(azure) => {
                let url = format!("{}/{}", azure.container, percent_path(name));
                let version = version.map(|version| format!("?versionid={}", percent(version)));
                Ask::new(Method::DELETE, url + &version.unwrap_or_default())
            }
        };
        let answer = self.ask(Operation::Remove, key, remote, &ask).await?;
        self.judge_delete(key, &answer)
    }

    fn judge_delete(&self, key: &str, answer: &Answer) -> Result<DeleteOutcome, StorageError> {
        if answer.ok() {
            return Ok(DeleteOutcome::Deleted);
        }
        let refusal = answer.refusal();
        match (answer.status, refusal.kind()) {
            (_, ErrorKind::Credentials | ErrorKind::MissingBucket | ErrorKind::Settings) => {
                Err(self.refused(Operation::Remove, key, answer))
            }
            (404, _) if answer.unsure => Ok(DeleteOutcome::Deleted),
            (404, _) => Ok(DeleteOutcome::Absent),
            (400..=499, _) if answer.status != 429 => Ok(DeleteOutcome::Refused {
                status: answer.status,
                cause: refusal.words(),
            }),
            _ => Err(self.refused(Operation::Remove, key, answer)),
        }
    }

    async fn delete_file(&self, key: &str) -> Result<DeleteOutcome, StorageError> {
        let path = self.path(Operation::Remove, key)?;
        let removed = self
            .on_directory(Operation::Remove, key, move |directory| {
                if directory.head(path.as_ref())?.is_none() {
                    return Ok(DeleteOutcome::Absent);
                }
                match directory.remove(path.as_ref()) {
                    Err(error)
                        if matches!(
                            error.kind(),
                            std::io::ErrorKind::PermissionDenied
                                | std::io::ErrorKind::ReadOnlyFilesystem
                        ) =>
                    {
                        Ok(DeleteOutcome::Refused {
                            status: 0,
                            cause: error.to_string(),
                        })
                    }
                    result => result.map(|()| DeleteOutcome::Deleted),
                }
            })
            .await;
        match removed {
            // Somebody else was quicker.
            Err(error) if error.is_not_found() => Ok(DeleteOutcome::Absent),
            other => other,
        }
    }

    /// The uploads below a folder (empty for all) that were begun before a moment and are
    /// unfinished: parts in a bucket cost money and are in no listing. The store does not tell
    /// whose they are, so ask only where nobody else writes, and for a time that no upload
    /// takes.
    ///
    /// GCS and Azure forget theirs by themselves, after a week: none are told. MinIO tells
    /// those of a single object only.
    pub async fn abandoned_uploads(
        &self,
        prefix: &str,
        begun_before: DateTime<Utc>,
    ) -> Result<Vec<AbandonedUpload>, StorageError> {
        let path = self.path(Operation::List, prefix)?;
        let all = match &self.shared.backend {
            Backend::Local(_) => {
                let found = self.on_directory(Operation::List, prefix, move |directory| {
                    directory.unfinished(path.as_ref())
                });
                let found = found.await?.into_iter().map(|found| {
                    let entry = self.found(found);
                    AbandonedUpload {
                        key: entry.key,
                        id: String::new(),
                        begun: entry.last_modified,
                    }
                });
                found.collect()
            }
            Backend::Remote(remote) => match &remote.dialect {
                Dialect::S3(s3) => self.s3_uploads(remote, s3, path.as_ref()).await?,
                Dialect::Gcs(_) | Dialect::Azure(_) => Vec::new(),
            },
        };
        let old = all.into_iter().filter(|it| it.begun < begun_before);
        Ok(old.collect())
    }

    async fn s3_uploads(
        &self,
        remote: &Remote,
        s3: &S3,
        folder: &str,
    ) -> Result<Vec<AbandonedUpload>, StorageError> {
        let prefix = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        let first = format!("{}/?uploads=&prefix={}", s3.bucket, percent(&prefix));
        let mut url = first.clone();
        let mut all = Vec::new();
        loop {
            let ask = Ask::new(Method::GET, url);
            let answer = self.ask(Operation::List, folder, remote, &ask).await?;
            if !answer.ok() {
                return Err(self.refused(Operation::List, folder, &answer));
            }
            let page: Page = quick_xml::de::from_str(&answer.text()).map_err(|error| {
                let words = format!("no list of uploads: {error}");
                self.odd(Operation::List, folder, &super::classify::one_line(&words))
            })?;
            all.extend(page.uploads.into_iter().map(|listed| AbandonedUpload {
                key: self.relative(listed.key),
                id: listed.upload_id,
                begun: listed.initiated,
            }));
            match (page.next_key_marker, page.next_upload_id_marker) {
                (Some(key), id) if page.is_truncated && !key.is_empty() => {
                    url = format!(
                        "{first}&key-marker={}&upload-id-marker={}",
                        percent(&key),
                        percent(&id.unwrap_or_default())
                    );
                }
                _ => return Ok(all),
            }
        }
    }

    /// Removes what was left of an upload.
    pub async fn abort_abandoned(
        &self,
        upload: &AbandonedUpload,
    ) -> Result<DeleteOutcome, StorageError> {
        let Backend::Remote(remote) = &self.shared.backend else {
            return self.delete_file(&upload.key).await;
        };
        let Dialect::S3(s3) = &remote.dialect else {
            return Ok(DeleteOutcome::Absent);
        };
        let path = self.path(Operation::Remove, &upload.key)?;
        let (name, id) = (percent_path(path.as_ref()), percent(&upload.id));
        let ask = Ask::new(
            Method::DELETE,
            format!("{}/{name}?uploadId={id}", s3.bucket),
        );
        let answer = self
            .ask(Operation::Remove, &upload.key, remote, &ask)
            .await?;
        self.judge_delete(&upload.key, &answer)
    }
}
