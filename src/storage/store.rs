//! A place in a store, opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart,
};

use super::{ErrorKind, Location, Operation, Scheme, StorageError};

/// How to reach a store. Everything has a default; credentials come from the environment,
/// from files or from the platform, never from a configuration's text.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// The endpoint's URL, for S3-compatible servers and emulators.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Whether the bucket is part of the host name instead of the path.
    pub virtual_hosted: Option<bool>,
    /// Whether plain http is allowed.
    pub allow_http: bool,
    /// A file with additional CA certificates, PEM.
    pub ca_file: Option<PathBuf>,
    /// Credentials and settings by the store's usual environment names
    /// (`AWS_ACCESS_KEY_ID`, …), already resolved; they win over the process environment.
    pub environment: Vec<(String, String)>,
    /// How long a connection may stay silent while a body is read.
    pub read_timeout: Duration,
    /// How many requests may be under way at once.
    pub concurrency: usize,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            virtual_hosted: None,
            allow_http: false,
            ca_file: None,
            environment: Vec::new(),
            read_timeout: Duration::from_mins(1),
            concurrency: 16,
        }
    }
}

/// One object as a listing shows it. Keys are relative to the store's location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// The key, relative to the store's location.
    pub key: String,
    /// The size in bytes.
    pub size: u64,
    /// When it was last written.
    pub last_modified: DateTime<Utc>,
    /// The store's entity tag.
    pub etag: Option<String>,
    /// The store's version id.
    pub version: Option<String>,
}

/// An object being read.
pub struct ObjectRead {
    /// What is read.
    pub entry: ObjectEntry,
    /// Its bytes, in order.
    pub stream: BoxStream<'static, Result<Bytes, StorageError>>,
}

/// What a create-only write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is new.
    Created,
    /// There already was an object; nothing was written.
    Exists,
}

/// A place in a store, opened. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    location: Location,
    base: Path,
}

impl Store {
    /// Opens a place. Nothing is asked of the store yet.
    pub fn open(location: &Location, options: &StorageOptions) -> Result<Self, StorageError> {
        let inner = super::open::open(location, options)?;
        let prefix = if location.scheme() == Scheme::File {
            ""
        } else {
            location.prefix()
        };
        let base = Path::parse(prefix).map_err(|error| {
            StorageError::new(
                Operation::Open,
                location.to_string(),
                ErrorKind::Settings,
                error.to_string(),
            )
        })?;
        Ok(Self {
            inner,
            location: location.clone(),
            base,
        })
    }

    /// Where it lies.
    pub const fn location(&self) -> &Location {
        &self.location
    }

    /// The place below this one.
    #[must_use]
    pub fn at(&self, below: &str) -> Self {
        let base = below
            .split('/')
            .filter(|part| !part.is_empty())
            .fold(self.base.clone(), object_store::path::Path::join);
        Self {
            inner: Arc::clone(&self.inner),
            location: self.location.join(below),
            base,
        }
    }

    fn url(&self, key: &str) -> String {
        self.location.join(key).to_string()
    }

    fn path(&self, operation: Operation, key: &str) -> Result<Path, StorageError> {
        let full = if self.base.as_ref().is_empty() {
            key.to_owned()
        } else {
            format!("{}/{key}", self.base)
        };
        Path::parse(full).map_err(|error| {
            StorageError::new(
                operation,
                self.url(key),
                ErrorKind::Settings,
                error.to_string(),
            )
        })
    }

    fn entry(&self, meta: object_store::ObjectMeta) -> ObjectEntry {
        let full: String = meta.location.into();
        let key = match full.strip_prefix(self.base.as_ref()) {
            Some(rest) => rest.trim_start_matches('/').to_owned(),
            None => full,
        };
        ObjectEntry {
            key,
            size: meta.size,
            last_modified: meta.last_modified,
            etag: meta.e_tag,
            version: meta.version,
        }
    }

    fn error(&self, operation: Operation, key: &str, error: &object_store::Error) -> StorageError {
        super::classify::classify(operation, self.url(key), error)
    }

    /// Lists everything below `prefix` (a folder, without trailing slash; empty for all),
    /// in the store's own order: by key on S3, unordered for local files.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<ObjectEntry, StorageError>> {
        let store = self.clone();
        let prefix = prefix.to_owned();
        let path = match self.path(Operation::List, &prefix) {
            Ok(path) => path,
            Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
        };
        self.inner
            .list(Some(&path))
            .map(move |result| match result {
                Ok(meta) => Ok(store.entry(meta)),
                Err(error) => Err(store.error(Operation::List, &prefix, &error)),
            })
            .boxed()
    }

    /// The names of the folders directly below `prefix`, sorted.
    pub async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let path = self.path(Operation::List, prefix)?;
        let listing = self
            .inner
            .list_with_delimiter(Some(&path))
            .await
            .map_err(|error| self.error(Operation::List, prefix, &error))?;
        let mut names: Vec<String> = listing
            .common_prefixes
            .iter()
            .filter_map(|path| path.filename().map(str::to_owned))
            .collect();
        names.sort();
        Ok(names)
    }

    /// What the store knows of one object; `None` when it does not exist.
    pub async fn head(&self, key: &str) -> Result<Option<ObjectEntry>, StorageError> {
        let path = self.path(Operation::Head, key)?;
        match self.inner.head(&path).await {
            Ok(meta) => Ok(Some(self.entry(meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error(Operation::Head, key, &error)),
        }
    }

    /// A whole small object. More than `limit` bytes is an error, so that a hostile object
    /// cannot fill the memory.
    pub async fn read_small(&self, key: &str, limit: u64) -> Result<Bytes, StorageError> {
        let mut read = self.read(key).await?;
        let too_large = || {
            StorageError::new(
                Operation::Read,
                self.url(key),
                ErrorKind::TooLarge,
                format!("larger than {limit} bytes"),
            )
        };
        if read.entry.size > limit {
            return Err(too_large());
        }
        let mut all = Vec::new();
        while let Some(chunk) = read.stream.try_next().await? {
            if (all.len() + chunk.len()) as u64 > limit {
                return Err(too_large());
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }

    /// Opens an object for reading from its beginning. A broken connection is resumed; an
    /// object that changes meanwhile is an error.
    pub async fn read(&self, key: &str) -> Result<ObjectRead, StorageError> {
        let path = self.path(Operation::Read, key)?;
        let result = self
            .inner
            .get_opts(&path, GetOptions::default())
            .await
            .map_err(|error| self.error(Operation::Read, key, &error))?;
        let entry = self.entry(result.meta.clone());
        let store = self.clone();
        let name = key.to_owned();
        let stream = result
            .into_stream()
            .map_err(move |error| store.error(Operation::Read, &name, &error))
            .boxed();
        Ok(ObjectRead { entry, stream })
    }

    /// Writes an object only if there is none of this key.
    pub async fn put_new(&self, key: &str, bytes: Bytes) -> Result<PutOutcome, StorageError> {
        let path = self.path(Operation::Write, key)?;
        let options = PutOptions::from(PutMode::Create);
        match self
            .inner
            .put_opts(&path, PutPayload::from(bytes), options)
            .await
        {
            Ok(_) => Ok(PutOutcome::Created),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(PutOutcome::Exists),
            Err(error) => Err(self.error(Operation::Write, key, &error)),
        }
    }

    /// Writes an object, replacing what is there. Only for descriptions whose status
    /// changes, such as `backup.info`.
    pub async fn put_replace(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        let path = self.path(Operation::Write, key)?;
        self.inner
            .put(&path, PutPayload::from(bytes))
            .await
            .map(|_| ())
            .map_err(|error| self.error(Operation::Write, key, &error))
    }

    /// Begins writing a large object in parts. Nothing is visible before
    /// [`Upload::finish`].
    pub async fn upload(&self, key: &str) -> Result<Upload, StorageError> {
        let path = self.path(Operation::Write, key)?;
        let upload = self
            .inner
            .put_multipart(&path)
            .await
            .map_err(|error| self.error(Operation::Write, key, &error))?;
        Ok(Upload {
            store: self.clone(),
            key: key.to_owned(),
            writer: WriteMultipart::new_with_chunk_size(upload, 16 << 20),
        })
    }
}

/// A large object being written.
pub struct Upload {
    store: Store,
    key: String,
    writer: WriteMultipart,
}

impl Upload {
    /// At most this many parts are in flight; with 16 MiB parts that bounds the memory.
    const IN_FLIGHT: usize = 4;

    /// Adds bytes.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        self.writer
            .wait_for_capacity(Self::IN_FLIGHT)
            .await
            .map_err(|error| self.store.error(Operation::Write, &self.key, &error))?;
        self.writer.put(bytes);
        Ok(())
    }

    /// Makes the object visible.
    pub async fn finish(self) -> Result<(), StorageError> {
        let Self { store, key, writer } = self;
        writer
            .finish()
            .await
            .map(|_| ())
            .map_err(|error| store.error(Operation::Write, &key, &error))
    }

    /// Gives up; nothing stays.
    pub async fn abort(self) -> Result<(), StorageError> {
        let Self { store, key, writer } = self;
        writer
            .abort()
            .await
            .map_err(|error| store.error(Operation::Write, &key, &error))
    }
}
