//! Whole files: every mistake at once, the starter, the committed schemas.

use std::path::Path;

use super::{Config, ConfigErrors, load, load_drill, schema};

fn write(directory: &Path, name: &str, text: &str) {
    let file = directory.join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

/// Loads `walproof.yaml` with other files beside it; the directory's own name does not
/// appear in what is given back.
fn load_files(files: &[(&str, &str)]) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(directory.path(), name, text);
    }
    load(&directory.path().join("walproof.yaml")).map_err(|errors| {
        let prefix = format!("{}/", directory.path().display());
        errors
            .to_string()
            .replace(&prefix, "")
            .replace(&directory.path().display().to_string(), ".")
    })
}

fn errors(text: &str) -> String {
    load_files(&[("walproof.yaml", text)]).unwrap_err()
}

#[test]
fn every_mistake_of_shape_is_named_at_once() {
    let text = r"
version: 2
stat: sqlite:///x
tiers:
  gold:
    rpo: 5 minutes
    rto: 1h30
    retenton: 30d
    rpo: 5m
  silver: high
clusters:
  - name: or/ders
    ownr: team-orders
    tier: [gold]
    raci:
      accountable: [a, b]
      informed: support
    primary:
      url: s3//backups/orders
      endpoint: minio:9000
      path_style: yes
      secret_access_key: hush-hush
      credentials:
        access_key_id: AKIAHUSH
        secret_access_key: {env: wJalr/hush}
        session_token: {var: X}
  - tier: gold
    primary:
      url: s3://AKIA:hush@backups/billing
drills: drills/*.yaml
";
    // A drill's mistakes are named although the main file has some.
    let drill = "version: 1\nname: d\nchekcs: []\n";
    let errors = load_files(&[("walproof.yaml", text), ("drills/d.yaml", drill)]).unwrap_err();
    for secret in ["hush-hush", "AKIAHUSH", "wJalr", "AKIA:"] {
        assert!(!errors.contains(secret), "{secret} was repeated:\n{errors}");
    }
    insta::assert_snapshot!(errors);
}

#[test]
fn what_contradicts_itself_is_named_at_once() {
    let main = r"
version: 1
tiers:
  gold: {rpo: 5m}
clusters:
  - name: orders
    tier: glod
    primary:
      url: s3://backups/orders
      endpoint: https://minio.example:9000
      credentials:
        access_key_id: {env: A, file: b}
        secret_access_key: {}
    replicas:
      - url: s3://backups/orders/
        endpoint: https://minio.example:9000/
      - name: far
        url: file:///srv/orders
        region: eu-west-1
      - name: far
        url: gs://far/orders
        path_style: true
  - name: orders
    primary: {url: gs://far/orders, replication: {parallel: 4}}
    replicas:
      - url: gs://further/orders
        replication: {retention: {mode: compliance, period: 30d}}
drills: [drills/*.yaml, other.yaml]
";
    let nightly = r"
version: 1
name: nightly
clusters: [ordres, orders]
copy: near
target: yesterday
checks:
  - {name: a, database: orders, sql: SELECT 1}
";
    let weekly = r#"
version: 1
name: weekly
clusters: [ordres, orders]
copy: near
checks:
  - {name: a, database: orders, sql: SELECT 1}
  - {name: a, database: orders, sql: SELECT 1, expect: "> 0", rows: [[1]]}
  - {name: b, database: orders, sql: SELECT 1, expect: "= 1"}
"#;
    let again = "version: 1\nname: weekly\n";
    let errors = load_files(&[
        ("walproof.yaml", main),
        ("drills/nightly.yaml", nightly),
        ("drills/weekly.yaml", weekly),
        ("drills/weekly-2.yaml", again),
    ])
    .unwrap_err();
    insta::assert_snapshot!(errors);
}

#[test]
fn how_a_replica_is_kept() {
    let text = "version: 1\nclusters:\n- name: orders\n  primary: {url: 's3://b/orders', place: eu-central-1}\n  replicas:\n  - url: s3://far/orders\n    place: eu-west-1\n    media: object storage\n    replication: {parallel: 16, bandwidth: 50MiB/s, window: 22:00-06:00 UTC, read_back: 0.5%, retention: {mode: governance, period: 30d}, keep: 90d, minimum_redundancy: 3, lag: 15m}\n";
    let config = load_files(&[("walproof.yaml", text)]).unwrap();
    let replica = &config.clusters[0].replicas[0];
    let replication = replica.replication.as_ref().unwrap();
    assert_eq!(replica.place.as_deref(), Some("eu-west-1"));
    assert_eq!(replication.parallel, Some(16));
    assert_eq!(
        replication
            .bandwidth
            .map(crate::config::Bandwidth::bytes_per_second),
        Some(50 << 20)
    );
    assert_eq!(replication.lag, Some("15m".parse().unwrap()));
    let wrong = "version: 1\nclusters:\n- name: orders\n  primary: {url: 's3://b/orders'}\n  replicas:\n  - url: s3://far/orders\n    replication: {parallel: 0, bandwidth: 50MiB, window: 22-6, read_back: 2, retention: {mode: strict}, minimum_redundancy: none}\n";
    let errors = errors(wrong);
    for part in [
        "`clusters[0].replicas[0].replication.parallel` cannot be 0",
        "`/s` is missing",
        "is not a time of day",
        "is not a share",
        "cannot be \"strict\"",
        "lacks the key `period`",
        "replication.minimum_redundancy",
    ] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
}

#[test]
fn files_that_are_no_configuration_are_named() {
    assert!(errors("").contains("walproof.yaml:1:1: the file must be a mapping"));
    assert!(errors("- a\n").contains("must be a mapping (`key: value`), found a list"));
    assert!(errors("version: 1\n  x: [\n").contains("not YAML"));
    assert!(errors("clusters: []\n").contains("the file lacks the key `version`"));
    let missing = load(Path::new("/nowhere/walproof.yaml")).unwrap_err();
    assert!(missing.to_string().contains("there is no such file"));
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("walproof.yaml");
    std::fs::write(&binary, [0xFF, 0xFE, 0x00]).unwrap();
    let binary: ConfigErrors = load(&binary).unwrap_err();
    assert!(binary.to_string().contains("not text (UTF-8)"));
}

#[test]
fn a_right_file_is_read_with_paths_beside_it() {
    let main = r"
version: 1
state: sqlite://state/walproof.sqlite
tiers:
  gold: {rpo: 5m, rto: 90m, retention: 30d, max_backup_age: 26h, started_backup_age: 12h}
  none:
clusters:
  - name: orders
    tier: gold
    replicas:
    primary:
      url: s3://backups/orders
      ca_file: ca.pem
      credentials: {secret_access_key: {file: secret}}
    heartbeat: {database: orders, table: heartbeat, column: at}
";
    let drill = r#"
version: 1
name: 007
clusters: [orders]
target: time:-1h
preload: [pg_stat_statements]
settings: {shared_buffers: 256MB, max_connections: 200, jit: off, fsync: true}
amcheck: {jobs: 2, heapallindexed: true}
checks:
  - name: rows
    database: orders
    sql: |
      SELECT id, price, sold FROM plan
    rows: [[1, 1.50, true], [2, ~, "null"]]
"#;
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "walproof.yaml", main);
    write(directory.path(), "drills/x.yaml", drill);
    write(directory.path(), "drills/.ignored.yaml", "nonsense");
    let config = load(&directory.path().join("walproof.yaml")).unwrap();
    assert_eq!(
        config.state,
        super::StateUrl::sqlite(directory.path().join("state/walproof.sqlite"))
    );
    let cluster = config.cluster("orders").unwrap();
    assert_eq!(config.tier_of(cluster).rto, Some("1h30m".parse().unwrap()));
    assert_eq!(
        cluster.primary.ca_file.as_deref(),
        Some(directory.path().join("ca.pem").as_path())
    );
    let missing = cluster.primary.storage_options().unwrap_err().to_string();
    let secret = directory.path().join("secret");
    assert!(missing.contains(secret.to_str().unwrap()), "{missing}");
    std::fs::write(secret, "hush").unwrap();
    let options = cluster.primary.storage_options().unwrap();
    assert_eq!(
        options.environment,
        [("AWS_SECRET_ACCESS_KEY".to_owned(), "hush".to_owned())]
    );

    assert_eq!(config.drills.len(), 1);
    let drill = &config.drill("007").unwrap().definition;
    let settings: Vec<(&str, &str)> = drill
        .settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.0.as_str()))
        .collect();
    assert_eq!(
        settings,
        [
            ("fsync", "true"),
            ("jit", "off"),
            ("max_connections", "200"),
            ("shared_buffers", "256MB")
        ]
    );
    let rows = drill.checks[0].rows.as_ref().unwrap();
    let cells: Vec<Option<&str>> = rows
        .iter()
        .flatten()
        .map(|cell| cell.0.as_deref())
        .collect();
    assert_eq!(
        cells,
        [
            Some("1"),
            Some("1.50"),
            Some("t"),
            Some("2"),
            None,
            Some("null")
        ]
    );
    assert_eq!(config.drills_of("orders").count(), 1);
}

#[test]
fn a_drill_file_is_checked_on_its_own() {
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        "d.yaml",
        "version: 1\nname: d\nenvironment: locale\nchecks: [{name: a, database: x, sql: y, expect: many}]\namcheck: {jobs: 0}\n",
    );
    let errors = load_drill(&directory.path().join("d.yaml")).unwrap_err();
    let text = errors.to_string();
    for words in [
        "`environment` cannot be \"locale\"",
        "did you mean `local`?",
        "\"many\" is not an expectation",
        "`amcheck.jobs` cannot be 0",
        "allowed: 1 to 64",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(errors.mistakes().len(), 3);
}

#[test]
fn the_starter_is_right() {
    let config = load_files(&[
        ("walproof.yaml", super::STARTER_CONFIG),
        ("drills/nightly.yaml", super::STARTER_DRILL),
    ])
    .unwrap();
    assert_eq!(config.clusters.len(), 1);
    assert_eq!(config.drills.len(), 1);
}

/// Everything that stands in the starters as a comment is right too.
#[test]
fn the_starter_with_its_comments_taken_in_is_right() {
    let uncomment = |text: &str| -> String {
        text.lines()
            .filter(|line| *line != "checks: []")
            .filter_map(|line| {
                let bare = line.trim_start();
                let indent = &line[..line.len() - bare.len()];
                match bare.strip_prefix("# ") {
                    Some(code) if looks_like_yaml(code) => Some(format!("{indent}{code}\n")),
                    Some(_) => None,
                    None => Some(format!("{line}\n")),
                }
            })
            .collect()
    };
    let main = uncomment(super::STARTER_CONFIG);
    assert!(
        main.contains("\nstate: ") && main.contains("      credentials:"),
        "{main}"
    );
    assert!(main.contains("\n    heartbeat: "), "{main}");
    let drill = uncomment(super::STARTER_DRILL);
    assert!(
        drill.contains("\namcheck:") && drill.contains("\nscratch:"),
        "{drill}"
    );
    let config = load_files(&[("walproof.yaml", &main), ("drills/nightly.yaml", &drill)]).unwrap();
    assert_eq!(config.clusters[0].replicas.len(), 1);
    assert_eq!(config.drills[0].definition.checks.len(), 3);
}

/// A comment that is a line of the file put out of action: a key that begins in lower case
/// with its value behind it, or an entry of a list.
fn looks_like_yaml(comment: &str) -> bool {
    let code = comment.trim_start();
    if code.starts_with("- ") {
        return true;
    }
    let Some((key, value)) = code.split_once(':') else {
        return false;
    };
    let is_key = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_key && (value.is_empty() || value.starts_with(' '))
}

fn assert_committed(name: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "{name} is not what the types give; run `walproof config schema [drill] > {name}`"
    );
}

#[test]
fn the_committed_schemas_are_those_of_the_types() {
    assert_committed(
        "docs/schema/walproof.schema.json",
        &schema::to_text(&schema::config()),
    );
    assert_committed(
        "docs/schema/drill.schema.json",
        &schema::to_text(&schema::drill()),
    );
}
