//! A server's folder on a real S3 server, as walproof opens it.

use walproof::storage::{StorageOptions, Store};

use crate::common::s3::S3Server;

/// Opens `s3://backups/<server>`.
pub(crate) fn store(s3: &S3Server, server: &str) -> Store {
    // What the walproof command does first of all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let location = format!("s3://{}/{server}", S3Server::BUCKET);
    let options = StorageOptions {
        endpoint: Some(s3.endpoint()),
        region: Some("us-east-1".to_owned()),
        allow_http: true,
        environment: s3.environment(),
        ..StorageOptions::default()
    };
    Store::open(&location.parse().unwrap(), &options).unwrap()
}
