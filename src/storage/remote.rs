//! A bucket behind HTTP: the client library's view of it, and what our own requests need.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8};

use object_store::ObjectStore;
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::azure::{AzureAuthorizer, AzureCredentialProvider};
use object_store::client::{HttpClient, HttpRequest};
use object_store::gcp::GcpCredentialProvider;
use reqwest::header::{AUTHORIZATION, HeaderValue};

/// A bucket.
pub(super) struct Remote {
    /// Reads and lists.
    pub(super) inner: Arc<dyn ObjectStore>,
    /// Where it is asked, if that is not the vendor's own.
    pub(super) endpoint: Option<String>,
    /// For our own requests: writes, deletions, settings.
    pub(super) client: HttpClient,
    /// How they are written.
    pub(super) dialect: Dialect,
}

/// Which protocol a bucket speaks.
pub(super) enum Dialect {
    S3(Box<S3>),
    Gcs(Gcs),
    Azure(Azure),
}

/// Amazon S3 and what speaks it.
pub(super) struct S3 {
    /// The bucket's URL, without a slash at the end.
    pub(super) bucket: String,
    /// `None`: requests are not signed.
    pub(super) credentials: Option<AwsCredentialProvider>,
    pub(super) region: String,
    pub(super) requester_pays: bool,
    /// S3 Express, whose requests are signed by sessions.
    pub(super) directory_bucket: bool,
    /// Whether it is Amazon's own.
    pub(super) known_server: bool,
    /// Whether it was seen to refuse a write because of its condition.
    pub(super) conditions_seen: AtomicBool,
    /// Whether it refused the checksum of a whole object.
    pub(super) no_checksums: AtomicBool,
    /// What it knows of checksums of objects in parts, see `write_once::s3`.
    pub(super) part_checksums: AtomicU8,
}

/// Google Cloud Storage, by its JSON API.
pub(super) struct Gcs {
    /// Without a slash at the end.
    pub(super) base: String,
    pub(super) bucket: String,
    pub(super) credentials: Option<GcpCredentialProvider>,
}

/// Azure Blob Storage.
pub(super) struct Azure {
    /// The container's URL, without a slash at the end.
    pub(super) container: String,
    pub(super) account: String,
    pub(super) credentials: Option<AzureCredentialProvider>,
}

impl S3 {
    /// One that signs nothing and has learnt nothing yet.
    pub(super) fn new(bucket: String) -> Self {
        Self {
            bucket,
            credentials: None,
            region: String::new(),
            requester_pays: false,
            directory_bucket: false,
            known_server: false,
            conditions_seen: AtomicBool::new(false),
            no_checksums: AtomicBool::new(false),
            part_checksums: AtomicU8::new(0),
        }
    }
}

impl Dialect {
    /// Signs a request. `sha256` is the digest of its body; without one the signature does
    /// not cover the body (S3 only: the others' never do).
    pub(super) async fn sign(
        &self,
        request: &mut HttpRequest,
        sha256: Option<&[u8; 32]>,
    ) -> object_store::Result<()> {
        match self {
            Self::S3(s3) => {
                let Some(credentials) = &s3.credentials else {
                    return Ok(());
                };
                let credential = credentials.get_credential().await?;
                AwsAuthorizer::new(&credential, "s3", &s3.region)
                    .with_sign_payload(sha256.is_some())
                    .with_request_payer(s3.requester_pays)
                    .try_authorize(request, sha256.map(<[u8; 32]>::as_slice))
            }
            Self::Gcs(gcs) => {
                let Some(credentials) = &gcs.credentials else {
                    return Ok(());
                };
                let credential = credentials.get_credential().await?;
                // A token that no header can hold is no token.
                if let Ok(mut value) =
                    HeaderValue::from_str(&format!("Bearer {}", credential.bearer))
                {
                    value.set_sensitive(true);
                    request.headers_mut().insert(AUTHORIZATION, value);
                }
                Ok(())
            }
            Self::Azure(azure) => {
                let Some(credentials) = &azure.credentials else {
                    return Ok(());
                };
                let credential = credentials.get_credential().await?;
                AzureAuthorizer::new(&credential, &azure.account).try_authorize(request)
            }
        }
    }
}
