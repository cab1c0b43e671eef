//! Proof from the second copy alone: two real S3 servers, one of them gone.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ::walproof::storage::{Location, PutOutcome, StorageOptions, Store};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use serde_json::{Value, json};

use crate::common::json_schema::assert_valid;
use crate::common::repository::{Facts, Fixture, PREFIX, RepositoryOptions, SERVER};
use crate::common::require;
use crate::common::s3::{ADMIN, Credentials, READER, S3Server};
use crate::common::walproof::{self, Run};
use crate::kit::{Place, reason_codes};

const SECOND: &str = "second-region";

/// A cluster with its primary on one server and a copy on another, each with credentials of
/// its own: the key in a variable, the secret in a file.
struct Two {
    facts: Facts,
    place: Place,
    primary: S3Server,
    second: S3Server,
    config: PathBuf,
}

fn url() -> String {
    format!("s3://{}/{PREFIX}/{SERVER}", S3Server::BUCKET)
}

fn store(server: &S3Server, credentials: Credentials) -> Store {
    let environment = [
        ("AWS_ACCESS_KEY_ID", credentials.key),
        ("AWS_SECRET_ACCESS_KEY", credentials.secret),
    ];
    let options = StorageOptions {
        endpoint: Some(server.endpoint()),
        environment: environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        ..StorageOptions::default()
    };
    Store::open(&url().parse::<Location>().unwrap(), &options).unwrap()
}

/// Every object under the same key.
#[tokio::main]
async fn copy(from: &Store, to: &Store) -> usize {
    let entries: Vec<_> = from.list("").try_collect().await.unwrap();
    for entry in &entries {
        let bytes: Bytes = from.read_small(&entry.key, 1 << 30).await.unwrap();
        let outcome = to.put_new(&entry.key, bytes).await.unwrap();
        assert_eq!(outcome, PutOutcome::Created);
    }
    entries.len()
}

impl Two {
    fn new() -> Self {
        let fixture = Fixture::get(&RepositoryOptions::default());
        let (primary, _) = fixture.s3();
        let second = S3Server::start();
        let objects = copy(&store(&primary, ADMIN), &store(&second, ADMIN));
        assert!(objects > 10, "{objects}");
        let place = Place::new();
        let config = place.path().join("walproof.yaml");
        let two = Self {
            facts: fixture.facts.clone(),
            place,
            primary,
            second,
            config,
        };
        std::fs::write(two.file("primary-secret"), ADMIN.secret).unwrap();
        std::fs::write(two.file("second-secret"), READER.secret).unwrap();
        two.configure(&two.primary.endpoint());
        two
    }

    /// The configuration, with the primary at `endpoint`.
    fn configure(&self, endpoint: &str) {
        let copy = |name: &str, endpoint: &str, variable: &str, file: &str| {
            format!(
                "{{name: {name}, url: '{}', endpoint: '{endpoint}', path_style: true, \
                 credentials: {{access_key_id: {{env: {variable}}}, \
                 secret_access_key: {{file: {file}}}}}}}",
                url()
            )
        };
        let text = format!(
            "version: 1\nclusters:\n- name: orders\n  primary: {}\n  replicas:\n  - {}\n",
            copy("primary", endpoint, "PRIMARY_KEY", "primary-secret"),
            copy(
                SECOND,
                &self.second.endpoint(),
                "SECOND_KEY",
                "second-secret"
            )
        );
        std::fs::write(&self.config, text).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The primary's server is gone, and with it everything that would let one in.
    fn lose_primary(&mut self) {
        self.primary.interrupt();
        std::fs::remove_file(self.file("primary-secret")).unwrap();
    }

    fn second_key() -> (String, String) {
        ("SECOND_KEY".to_owned(), READER.key.to_owned())
    }

    fn both_keys() -> Vec<(String, String)> {
        let primary = ("PRIMARY_KEY".to_owned(), ADMIN.key.to_owned());
        vec![Self::second_key(), primary]
    }

    fn drill(&self, more: &[&str], environment: &[(String, String)]) -> Run {
        let config = ["--config", self.config.to_str().unwrap()];
        self.place
            .drill_in("orders", &[&config[..], more].concat(), environment)
    }

    fn verify(&self, more: &[&str], environment: &[(String, String)]) -> Run {
        let state = format!("sqlite://{}/state.sqlite", self.place.path().display());
        let words = [
            "verify",
            "orders",
            "--config",
            self.config.to_str().unwrap(),
            "--state",
            &state,
        ];
        walproof::run(&[&words[..], more].concat(), environment)
    }

    /// The newest drill's record, and how it shows as text.
    fn record(&self) -> (Value, String) {
        let state = format!("sqlite://{}/state.sqlite", self.place.path().display());
        let words = ["drill", "show", "last", "--state", &state];
        let json = walproof::run(&[&words[..], &["--output", "json"]].concat(), &[]);
        let text = walproof::run(&words, &[]).expect_code(0).stdout;
        (json.expect_code(0).json()["record"].clone(), text)
    }
}

fn schema(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

/// What the second copy's files take as they lie there: base backups' archives, and WAL.
fn stored(two: &Two, folder: &str) -> u64 {
    fn size(path: &Path) -> u64 {
        let meta = path.metadata().unwrap();
        if !meta.is_dir() {
            return meta.len();
        }
        let entries = std::fs::read_dir(path).unwrap();
        entries.map(|entry| size(&entry.unwrap().path())).sum()
    }
    size(&two.second.object(&format!("{PREFIX}/{SERVER}/{folder}")))
}

#[test]
fn the_second_copy_is_proven_while_the_primary_is_gone() {
    require!(Postgres, S3, Barman);
    let mut two = Two::new();
    let definition = two.place.definition_of_tip(&two.facts);
    two.lose_primary();
    let alone = ["--copy", SECOND, "--alone", "--definition", &definition];
    let report = two
        .drill(&alone, &[Two::second_key()])
        .expect_code(0)
        .json();
    assert_eq!(report["verdict"], "proven");
    assert_eq!(report["copy"], SECOND);
    assert_valid(&schema("docs/schema/drill-report.v1.schema.json"), &report);

    let told = &report["alone"];
    assert_eq!(told["asked"], "required");
    assert_eq!(told["holds"], true);
    let others = told["others"].as_array().unwrap();
    assert_eq!(others.len(), 1);
    assert_eq!(others[0]["copy"], "primary");
    assert_eq!(others[0]["location"], url());
    assert_eq!(others[0]["endpoint"], two.primary.endpoint());
    let probes = others[0]["probes"].as_array().unwrap();
    assert_eq!(probes.len(), 2);
    for probe in probes {
        assert_eq!(probe["reachable"], false, "{probe:#}");
        assert_eq!(probe["error"]["kind"], "network");
        let text = probe["error"]["text"].as_str().unwrap();
        // The store was silent, which is more than that the way in is lost.
        assert!(text.contains("connection refused"), "{text}");
        assert!(text.contains("PRIMARY_KEY is not set"), "{text}");
    }
    assert!(time(&probes[0]["at"]) <= time(&report["started_at"]));
    let last = report["phases"].as_array().unwrap().last().unwrap();
    assert!(time(&probes[1]["at"]) >= time(&last["started_at"]));

    let read = told["read"].as_array().unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0]["location"], url());
    assert_eq!(read[0]["endpoint"], two.second.endpoint());
    let bytes = read[0]["bytes"].as_u64().unwrap();
    let requests = read[0]["requests"].as_u64().unwrap();
    let base = report["measurements"]["base_bytes_fetched"]
        .as_u64()
        .unwrap();
    let wal = wal_of_drill(&two, &report);
    println!("{bytes} bytes in {requests} requests; base {base}, WAL {wal}");
    // The plan reads the WAL to the tip, and recovery is served all of it again.
    assert!(bytes >= base + 2 * wal, "{bytes} of {base} + 2 * {wal}");
    assert!(bytes < 2 * (stored(&two, "base") + stored(&two, "wals")));
    assert!(requests > report["measurements"]["wal_files_served"].as_u64().unwrap());

    let (record, text) = two.record();
    assert_valid(&schema("evidence/drill-record.v1.schema.json"), &record);
    assert_eq!(record["alone"], *told);
    assert_eq!(record["source"]["copy"], SECOND);
    assert!(
        text.contains("primary did not answer") && text.contains("and from nowhere else"),
        "{text}"
    );
    two.place.assert_clean();
}

/// The stored bytes of the WAL that recovery was served.
fn wal_of_drill(two: &Two, report: &Value) -> u64 {
    let served = report["wal"]["served"].as_array().unwrap();
    let mut names: Vec<&str> = served
        .iter()
        .map(|file| file["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() > 3, "{names:?}");
    let size = |name: &&str| {
        let folder = name.get(..16).unwrap();
        let key = format!("{PREFIX}/{SERVER}/wals/{folder}/{name}.gz");
        two.second.object(&key).metadata().unwrap().len()
    };
    names.iter().map(size).sum()
}

#[test]
fn a_primary_that_answers_leaves_it_unproven() {
    require!(Postgres, S3, Barman);
    let two = Two::new();
    let ear = Ear::on(&two.primary.endpoint());
    two.configure(&ear.endpoint);
    let definition = two.place.definition("alone: true\n");
    let alone = ["--copy", SECOND, "--definition", &definition];
    let report = two.drill(&alone, &Two::both_keys()).expect_code(3).json();
    assert_eq!(report["verdict"], "unproven");
    assert_eq!(report["ending"], "complete");
    assert_eq!(
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["severity"] != "info")
            .count(),
        0
    );
    let reasons = report["reasons"].as_array().unwrap();
    assert_eq!(reasons.len(), 1, "{reasons:#?}");
    let text = reasons[0]["text"].as_str().unwrap();
    assert!(
        text.contains("copy `primary`") && text.contains("answered at"),
        "{text}"
    );
    assert_eq!(report["alone"]["holds"], false);
    assert_eq!(two.record().0["verdict"], "unproven");
    // The primary was there for the asking, and was only asked for the begin of its listing.
    let requests = ear.requests();
    assert_eq!(requests.len(), 2, "{requests:#?}");
    for request in &requests {
        assert!(request.contains("list-type=2"), "{request}");
    }

    // The command line wins over the definition. The same, only told.
    let report = [&alone[..], &["--alone=report"]].concat();
    let report = two.drill(&report, &Two::both_keys()).expect_code(0).json();
    assert_eq!(report["verdict"], "proven");
    assert_eq!(report["alone"]["asked"], "report");
    assert_eq!(report["alone"]["holds"], false);
    assert_eq!(report["alone"]["others"][0]["probes"][1]["reachable"], true);

    // Nobody asked: nobody is asked, and still it is told what was read.
    let before = ear.requests().len();
    let report = [&alone[..], &["--alone=no"]].concat();
    let report = two
        .drill(&report, &[Two::second_key()])
        .expect_code(0)
        .json();
    assert_eq!(report["alone"]["asked"], "no");
    assert_eq!(report["alone"]["holds"], Value::Null);
    assert_eq!(report["alone"]["others"], json!([]));
    assert_eq!(
        report["alone"]["read"][0]["endpoint"],
        two.second.endpoint()
    );
    assert_eq!(ear.requests().len(), before);
    two.place.assert_clean();
}

#[test]
fn to_have_lost_the_key_is_not_to_have_lost_the_store() {
    require!(Postgres, S3, Barman);
    let two = Two::new();
    std::fs::remove_file(two.file("primary-secret")).unwrap();
    let alone = ["--copy", SECOND, "--alone"];
    let run = two.drill(&alone, &[Two::second_key()]).expect_code(3);
    let report = run.json();
    let probe = &report["alone"]["others"][0]["probes"][0];
    assert_eq!(probe["reachable"], true, "{probe:#}");
    let text = probe["error"]["text"].as_str().unwrap();
    assert!(text.contains("PRIMARY_KEY is not set"), "{text}");
    let reason = report["reasons"][0]["text"].as_str().unwrap();
    assert!(reason.contains("refusal"), "{reason}");
    // Said at once, not only when an hour is over.
    assert!(
        run.stderr.contains("note: copy `primary`"),
        "{}",
        run.stderr
    );
    for text in [&run.stdout, &run.stderr] {
        assert!(!text.contains(ADMIN.secret) && !text.contains(READER.secret));
    }
}

#[test]
fn a_segment_missing_from_the_copy_alone_fails_the_copy_and_not_the_primary() {
    require!(Postgres, S3, Barman);
    let mut two = Two::new();
    let tip = two.facts.backups.last().unwrap().end_wal.clone();
    // The first segment behind the newest base backup; there are more behind it.
    let number = u32::from_str_radix(&tip[16..], 16).unwrap() + 1;
    let missing = format!("{}{number:08X}", &tip[..16]);
    let key = format!("{PREFIX}/{SERVER}/wals/{}/{missing}.gz", &missing[..16]);
    std::fs::remove_file(two.second.object(&key)).unwrap();
    two.primary.interrupt();

    let alone = ["--copy", SECOND, "--alone"];
    let report = two.drill(&alone, &Two::both_keys()).expect_code(1).json();
    assert_eq!(report["verdict"], "failed");
    assert_eq!(reason_codes(&report), ["wal-gap"]);
    let findings = report["findings"].to_string();
    assert!(findings.contains(&missing), "{findings}");
    assert_eq!(report["alone"]["holds"], true);
    assert_eq!(
        report["alone"]["read"][0]["endpoint"],
        two.second.endpoint()
    );

    // The other way round: the primary alone, with its own copy away.
    two.primary.resume();
    two.second.interrupt();
    let alone = ["--copy", "primary", "--alone"];
    let report = two.drill(&alone, &Two::both_keys()).expect_code(0).json();
    assert_eq!(report["verdict"], "proven");
    assert_eq!(report["alone"]["others"][0]["copy"], SECOND);
    assert_eq!(
        report["alone"]["read"][0]["endpoint"],
        two.primary.endpoint()
    );
    two.place.assert_clean();
}

#[test]
fn a_verification_of_the_second_copy_alone() {
    require!(Postgres, S3, Barman);
    let mut two = Two::new();
    let words = ["--copy", SECOND, "--alone", "--depth", "read"];
    let json = [&words[..], &["--output", "json"]].concat();

    // Both answer: what was verified stands, but not for this copy alone.
    let run = two.verify(&json, &Two::both_keys()).expect_code(3);
    assert_eq!(run.json()["alone"]["holds"], false);
    let text = two.verify(&words, &Two::both_keys()).expect_code(3).stdout;
    assert!(text.contains("unproven: copy `primary`"), "{text}");
    let report = [&json[..], &["--alone=report"]].concat();
    let clash = two.verify(&report, &Two::both_keys()).expect_code(2);
    assert!(clash.stderr.contains("--alone"), "{}", clash.stderr);

    two.lose_primary();
    let run = two.verify(&json, &[Two::second_key()]).expect_code(0);
    let report = run.json();
    assert_valid(&schema("docs/schema/verify-report.v1.schema.json"), &report);
    assert_eq!(report["alone"]["holds"], true);
    let probes = report["alone"]["others"][0]["probes"].as_array().unwrap();
    assert_eq!(probes.len(), 2);
    let read = report["alone"]["read"].as_array().unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0]["endpoint"], two.second.endpoint());
    let all = stored(&two, "base") + stored(&two, "wals");
    let bytes = read[0]["bytes"].as_u64().unwrap();
    assert!(bytes >= all, "{bytes} of {all}");
    let text = two.verify(&words, &[Two::second_key()]).expect_code(0);
    assert!(
        text.stdout.contains("From this copy alone") && text.stdout.contains("did not answer"),
        "{}",
        text.stdout
    );

    // Without --alone the copy is read all the same, though the primary's secrets are gone,
    // and of the primary it is said that it could not be looked at.
    let plain = ["--copy", SECOND, "--output", "json"];
    let report = two
        .verify(&plain, &[Two::second_key()])
        .expect_code(0)
        .json();
    assert_eq!(report["alone"]["asked"], "no");
    assert_eq!(report["alone"]["read"][0]["location"], url());
    let primary = two.verify(&[], &[Two::second_key()]);
    assert_eq!(primary.code, Some(3), "{}", primary.stderr);
    assert!(
        primary.stderr.contains("PRIMARY_KEY is not set"),
        "{}",
        primary.stderr
    );
}

#[test]
fn what_cannot_be_meant_is_refused() {
    require!(Postgres, S3, Barman);
    let two = Two::new();
    let keys = Two::both_keys();
    let which = two.verify(&["--alone"], &keys).expect_code(2);
    assert!(which.stderr.contains("--copy NAME"), "{}", which.stderr);
    let environment = two.second.environment_for(READER);
    let bare = two
        .place
        .drill_in(&url(), &["--alone"], &environment)
        .expect_code(2);
    assert!(bare.stdout.contains("not a URL"), "{}", bare.stdout);

    // One copy only, on the command line and in a definition.
    let tree = Fixture::get(&RepositoryOptions::default()).tree();
    let single = format!(
        "version: 1\nclusters:\n- {{name: orders, primary: {{url: '{}'}}}}\n",
        tree.url()
    );
    std::fs::write(&two.config, single).unwrap();
    let only = two.drill(&["--alone"], &keys).expect_code(2);
    assert!(only.stdout.contains("no other copy"), "{}", only.stdout);
    let drills = two.file("drills");
    std::fs::create_dir(&drills).unwrap();
    for (value, words) in [
        ("true", "no other copy that could be away"),
        ("maybe", "neither true, false nor report"),
    ] {
        let text = format!("version: 1\nname: apart\nclusters: [orders]\nalone: {value}\n");
        std::fs::write(drills.join("apart.yaml"), text).unwrap();
        let config = two.config.to_str().unwrap();
        let check = walproof::run(&["config", "check", "--config", config], &[]).expect_code(2);
        assert!(check.stderr.contains(words), "{}", check.stderr);
    }
}

/// Between a client and a server: passes everything on and notes what is asked.
struct Ear {
    endpoint: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Ear {
    fn on(endpoint: &str) -> Self {
        let to = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heard);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&to).unwrap();
                let ends = (client.try_clone().unwrap(), server.try_clone().unwrap());
                pass(client, server, Some(Arc::clone(&noted)));
                pass(ends.1, ends.0, None);
            }
        });
        Self { endpoint, heard }
    }

    /// The first lines of all requests so far.
    fn requests(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        String::from_utf8_lossy(&heard)
            .lines()
            .filter(|line| line.ends_with(" HTTP/1.1"))
            .map(str::to_owned)
            .collect()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, noted: Option<Arc<Mutex<Vec<u8>>>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if let Some(noted) = &noted {
                noted.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}
