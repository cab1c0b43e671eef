//! What an administrator asks of an S3 server: buckets with versioning, object lock and
//! lifecycle rules, and whatever else a test wants to put to it, signed.

use super::http::{self, Answer};
use super::s3::Credentials;
use super::sign;

/// Speaks to a server as somebody, over plain HTTP, with the bucket in the path.
#[derive(Clone, Debug)]
pub struct S3Api {
    /// `127.0.0.1:port`
    pub host: String,
    /// Who asks.
    pub credentials: Credentials,
}

/// Namespace of S3's documents.
const NAMESPACE: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

impl S3Api {
    /// For an endpoint's URL.
    pub fn new(endpoint: &str, credentials: Credentials) -> Self {
        Self {
            host: endpoint.trim_start_matches("http://").to_owned(),
            credentials,
        }
    }

    /// One request. `path` is `/bucket/key` as it is, the query's names and values too;
    /// header names are lower case.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.try_request(method, path, query, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path} at {}: {error}", self.host))
    }

    /// The same, when there may be no answer.
    pub fn try_request(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let path = http::encode(path, "/");
        let mut pairs: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{}={}", http::encode(name, ""), http::encode(value, "")))
            .collect();
        pairs.sort();
        let query = pairs.join("&");
        let mut headers: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        if !body.is_empty() {
            // Some of the bucket's settings are only taken with one.
            let checksum = sign::base64(&sign::sha256(body));
            headers.push(("x-amz-checksum-sha256".to_owned(), checksum));
        }
        let who = (self.credentials.key, self.credentials.secret);
        let signed = sign::aws(who, &self.host, method, (&path, &query), &headers, body);
        let target = if query.is_empty() {
            path
        } else {
            format!("{path}?{query}")
        };
        http::request(&self.host, method, &target, &signed, body)
    }

    /// Makes a bucket. One with object lock has versioning, too.
    pub fn create_bucket(&self, name: &str, object_lock: bool) {
        let headers: &[(&str, &str)] = if object_lock {
            &[("x-amz-bucket-object-lock-enabled", "true")]
        } else {
            &[]
        };
        self.request("PUT", &format!("/{name}"), &[], headers, b"")
            .expect_success();
    }

    fn configure(&self, bucket: &str, what: &str, document: &str) {
        let path = format!("/{bucket}");
        self.request("PUT", &path, &[(what, "")], &[], document.as_bytes())
            .expect_success();
    }

    /// Lets a bucket keep every version.
    pub fn enable_versioning(&self, bucket: &str) {
        let document = format!(
            "<VersioningConfiguration {NAMESPACE}><Status>Enabled</Status></VersioningConfiguration>"
        );
        self.configure(bucket, "versioning", &document);
    }

    /// Locks what is written from now on for so many days. `mode` is `COMPLIANCE` or
    /// `GOVERNANCE`; the bucket was made with object lock.
    pub fn default_retention(&self, bucket: &str, mode: &str, days: u32) {
        let document = format!(
            "<ObjectLockConfiguration {NAMESPACE}><ObjectLockEnabled>Enabled</ObjectLockEnabled>\
             <Rule><DefaultRetention><Mode>{mode}</Mode><Days>{days}</Days></DefaultRetention>\
             </Rule></ObjectLockConfiguration>"
        );
        self.configure(bucket, "object-lock", &document);
    }

    /// Sets the lifecycle rules: the `<Rule>` elements.
    pub fn lifecycle(&self, bucket: &str, rules: &str) {
        let document =
            format!("<LifecycleConfiguration {NAMESPACE}>{rules}</LifecycleConfiguration>");
        self.configure(bucket, "lifecycle", &document);
    }

    /// Sets who may do what.
    pub fn policy(&self, bucket: &str, policy: &serde_json::Value) {
        self.configure(bucket, "policy", &policy.to_string());
    }

    /// Writes an object, over what is there.
    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8]) {
        self.request("PUT", &format!("/{bucket}/{key}"), &[], &[], bytes)
            .expect_success();
    }

    /// The versions of the objects whose keys begin with `prefix`, newest first for each
    /// key, without delete markers; at most a thousand.
    pub fn versions(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let answer = self
            .request(
                "GET",
                &format!("/{bucket}"),
                &[("versions", ""), ("prefix", prefix)],
                &[],
                b"",
            )
            .expect_success();
        answer
            .elements("Version")
            .iter()
            .filter_map(|version| {
                let (_, rest) = version.split_once("<VersionId>")?;
                Some(rest.split_once("</VersionId>")?.0.to_owned())
            })
            .collect()
    }

    /// Deletes one version for good, or sets a delete marker.
    pub fn delete(&self, bucket: &str, key: &str, version: Option<&str>) -> Answer {
        let query = version.map(|version| ("versionId", version));
        let path = format!("/{bucket}/{key}");
        self.request("DELETE", &path, query.as_slice(), &[], b"")
    }
}
