//! S3 servers as pods.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Lab, Namespace};
use crate::common::process::{self, Server};
use crate::common::s3::{ADMIN, Credentials, READER, STRANGER};
use crate::common::s3_api::S3Api;

/// The port of the Service.
const PORT: u16 = 7070;

/// versitygw in a namespace of its own, with [`ADMIN`], [`READER`] and [`STRANGER`].
#[derive(Debug)]
pub struct Store {
    lab: &'static Lab,
    namespace: Namespace,
    here: String,
    forward: Mutex<Option<Server>>,
}

impl Store {
    /// The bucket into which the shared sources archive.
    pub const BUCKET: &'static str = "backups";

    /// The server of the shared sources.
    pub fn first(lab: &'static Lab) -> &'static Self {
        static FIRST: OnceLock<Store> = OnceLock::new();
        FIRST.get_or_init(|| Self::start(lab, "s3"))
    }

    /// Another server, with an empty bucket of the same name.
    pub fn second(lab: &'static Lab) -> &'static Self {
        static SECOND: OnceLock<Store> = OnceLock::new();
        SECOND.get_or_init(|| Self::start(lab, "s3-second"))
    }

    /// Starts a server with one bucket, which the reader may read.
    pub fn start(lab: &'static Lab, name: &str) -> Self {
        let namespace = lab.namespace(name);
        lab.apply(&objects(&namespace.name, &lab.s3_image));
        let limit = Duration::from_mins(3);
        lab.wait(
            &namespace.name,
            "deployment/s3",
            "condition=Available",
            limit,
        );
        let (here, forward) = lab.reach(&namespace.name, "s3", PORT);
        let store = Self {
            lab,
            namespace,
            here,
            forward: Mutex::new(forward),
        };
        store.bucket(Self::BUCKET);
        store
    }

    /// Makes a bucket, which the reader may read.
    pub fn bucket(&self, name: &str) {
        let api = self.api();
        // The pod is ready when its port is; the Service's way to it may come a little later.
        process::wait_until(Duration::from_mins(1), "the S3 server", || {
            api.try_request("GET", "/", &[], &[], b"")
                .is_ok_and(|answer| answer.status == 200)
        });
        api.create_bucket(name, false);
        api.policy(
            name,
            &json!({"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow",
                "Principal": {"AWS": [READER.key]},
                "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"],
                "Resource": [format!("arn:aws:s3:::{name}"), format!("arn:aws:s3:::{name}/*")],
            }]}),
        );
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace.name
    }

    /// The endpoint as pods say it.
    pub fn endpoint(&self) -> String {
        format!("http://s3.{}.svc:{PORT}", self.namespace.name)
    }

    /// The endpoint from this machine.
    pub fn endpoint_here(&self) -> &str {
        &self.here
    }

    /// Asks as the administrator, from this machine.
    pub fn api(&self) -> S3Api {
        S3Api::new(&self.here, ADMIN)
    }

    /// What S3 clients on this machine read from their environment.
    pub fn environment(&self, credentials: Credentials) -> Vec<(String, String)> {
        crate::common::s3::environment(&self.here, credentials)
    }

    /// The keys of a bucket that begin with `prefix`, sorted; at most a thousand.
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let query = [("list-type", "2"), ("prefix", prefix)];
        let answer = self
            .api()
            .request("GET", &format!("/{bucket}"), &query, &[], b"")
            .expect_success();
        let mut keys = answer.elements("Key");
        keys.sort();
        keys
    }

    /// Ends the server; what it holds stays. For a test that is [`Lab::alone`].
    pub fn stop(&self) {
        self.scale(0);
        let limit = Duration::from_mins(1);
        let namespace = self.namespace();
        let pods = [
            "-n",
            namespace,
            "wait",
            "pods",
            "-l",
            "app=s3",
            "--for=delete",
        ];
        let timeout = format!("--timeout={}s", limit.as_secs());
        let _ = self.lab.try_ask(&[&pods[..], &[&timeout]].concat());
        process::wait_until(limit, "the end of the S3 server", || {
            self.lab.list(namespace, "pods", "app=s3").is_empty()
        });
    }

    /// Starts it again.
    pub fn resume(&self) {
        self.scale(1);
        let limit = Duration::from_mins(2);
        self.lab.wait(
            self.namespace(),
            "deployment/s3",
            "condition=Available",
            limit,
        );
        let mut forward = self.forward.lock().unwrap_or_else(PoisonError::into_inner);
        if forward.take().is_some() {
            let here = self.here.rsplit(':').next().unwrap().parse().unwrap();
            let (_, again) = self.lab.forward(self.namespace(), "s3", PORT, Some(here));
            *forward = Some(again);
        }
        drop(forward);
        let api = self.api();
        process::wait_until(limit, "the S3 server", || {
            api.try_request("GET", "/", &[], &[], b"")
                .is_ok_and(|answer| answer.status == 200)
        });
    }

    fn scale(&self, replicas: u32) {
        let replicas = format!("--replicas={replicas}");
        self.lab
            .ask(&["-n", self.namespace(), "scale", "deployment/s3", &replicas]);
    }
}

/// A Secret with S3 credentials.
pub fn secret(namespace: &str, name: &str, credentials: Credentials) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {"ACCESS_KEY_ID": credentials.key, "SECRET_ACCESS_KEY": credentials.secret}})
}

fn objects(namespace: &str, image: &str) -> Vec<Value> {
    let user = |who: Credentials| {
        json!({"access": who.key, "secret": who.secret, "role": "user",
            "userID": 0, "groupID": 0, "projectID": 0})
    };
    let users = json!({"accessAccounts": {
        READER.key: user(READER), STRANGER.key: user(STRANGER)}});
    let metadata = |name: &str| json!({"name": name, "namespace": namespace});
    let port = format!(":{PORT}");
    let pod = json!({
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "s3",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "args": ["--port", port, "--iam-dir", "/iam", "--quiet", "posix", "/data"],
            "env": [
                {"name": "ROOT_ACCESS_KEY", "value": ADMIN.key},
                {"name": "ROOT_SECRET_KEY", "value": ADMIN.secret},
            ],
            "ports": [{"containerPort": PORT}],
            "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
            "volumeMounts": [
                {"name": "data", "mountPath": "/data"},
                {"name": "iam", "mountPath": "/iam"},
            ],
        }],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "objects"}},
            {"name": "iam", "configMap": {"name": "iam"}},
        ],
    });
    vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("iam"),
            "data": {"users.json": users.to_string()}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": metadata("objects"),
            "spec": {"accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "2Gi"}}}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("s3"),
            "spec": {"replicas": 1, "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": {"app": "s3"}},
                "template": {"metadata": {"labels": {"app": "s3"}}, "spec": pod}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata("s3"),
            "spec": {"selector": {"app": "s3"}, "ports": [{"port": PORT}]}}),
    ]
}
