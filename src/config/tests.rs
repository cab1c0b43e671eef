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
fn what_the_daemon_runs() {
    let clusters = "clusters:\n- name: orders\n  tier: gold\n  primary: {url: 's3://b/orders'}\n  replicas: [{name: far, url: 's3://far/orders'}]\n- name: billing\n  primary: {url: 's3://b/billing'}\n";
    let right = format!(
        r#"
version: 1
time_zone: Europe/Berlin
tiers:
  gold: {{due: {{verify: 1h, drill: 1d}}}}
{clusters}
schedules:
- {{name: often, job: verify, cron: "*/15 * * * *", tiers: [gold], depth: sampled, jitter: 10m, deadline: 6h}}
- {{name: copy, job: replicate, cron: "@hourly", copies: [far], blackout: ["Mon-Fri 08:00-18:00", 2026-12-24 00:00 - 2026-12-27 00:00]}}
- {{name: nightly, job: drill, cron: 0 3 * * 0, time_zone: America/New_York, clusters: [orders], drill: nightly, catch_up: none, priority: 9}}
- {{name: weekly, job: report, cron: "@weekly", period: 7d}}
daemon: {{listen: "127.0.0.1:0", jobs: 2, drills: 2, per_cluster: 1, per_bucket: 8, bandwidth: 200MiB/s, scratch: 200GiB, windows: ["20:00-08:00"], blackout: [Sat], lease: 30s, stop_within: 2m, reload: 5s}}
"#
    );
    let drill = ("drills/d.yaml", "version: 1\nname: nightly\n");
    let config = load_files(&[("walproof.yaml", &right), drill]).unwrap();
    assert_eq!(config.time_zone.to_string(), "Europe/Berlin");
    assert_eq!(config.daemon.jobs(), 2);
    let priorities: Vec<u8> = config
        .schedules
        .iter()
        .map(crate::config::Schedule::priority)
        .collect();
    assert_eq!(priorities, [5, 6, 9, 2]);
    assert!(config.schedules[0].selects("orders", Some("gold")));
    assert!(!config.schedules[0].selects("billing", None));
    assert!(config.schedules[1].selects("billing", None));
    let due = config.tiers["gold"].due.unwrap();
    assert_eq!(
        (due.drill, due.replicate),
        (Some("1d".parse().unwrap()), None)
    );

    let wrong = format!(
        r"
version: 1
tiers: {{gold: }}
{clusters}
schedules:
- {{name: often, job: verify, cron: 0 3 * * *, tiers: [glod], drill: nightly, copies: [near]}}
- {{name: often, job: report, cron: 0 3 * * *, clusters: [orders, ordres]}}
- {{name: drill, job: drill, cron: 0 3 * * *, drill: nihgtly}}
daemon: {{lease: 2s}}
"
    );
    insta::assert_snapshot!(load_files(&[("walproof.yaml", &wrong), drill]).unwrap_err());
    let wrong = format!(
        r#"
version: 1
time_zone: Berlin
{clusters}
schedules:
- {{name: a/b, job: verfy, cron: 0 3 L * *, jitter: soon, blackout: [Monday], catch_up: all, priority: 10}}
- {{job: verify}}
daemon: {{listen: "9188", jobs: 0, windows: always}}
"#
    );
    insta::assert_snapshot!(errors(&wrong));
}

#[test]
fn notifications_are_read_with_paths_beside_the_file() {
    let text = r#"
version: 1
tiers: {gold: {rpo: 5m}}
clusters:
- name: orders
  owner: team-orders
  tier: gold
  raci: {responsible: [on-call], accountable: head, consulted: [team-orders], informed: [support]}
  primary: {url: 's3://b/orders'}
notifications:
  receivers:
    pager: {webhook: {url: {env: PAGER_URL}, secret: {file: pager.key}, template: '{"text": "{{summary}}"}', headers: {Authorization: {env: PAGER_TOKEN}}, ca_file: ca.pem}}
    chat: {slack: {url: {file: chat.url}}}
    mail: {email: {host: localhost, tls: none, from: walproof <walproof@example.com>, to: [dbre@example.com]}}
    am: {alertmanager: {url: 'http://127.0.0.1:9093', labels: {team: dba}}}
  people: {on-call: [pager, chat], head: [pager], team-orders: [chat], support: []}
  routes:
  - {severity: critical, tiers: [gold], kinds: [drill], to: [accountable, owner, 'person:on-call', 'receiver:am'], continue: true}
  - {to: [informed]}
  otherwise: [mail]
  repeat: 6h
  runbooks: https://wiki.example/walproof
telemetry:
  otlp: {endpoint: 'http://127.0.0.1:4318', headers: {authorization: {file: otlp.token}}, attributes: {deployment.environment.name: test}, sample: 10%}
"#;
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "walproof.yaml", text);
    let config = load(&directory.path().join("walproof.yaml")).unwrap();
    let notifications = config.notifications.unwrap();
    assert_eq!(notifications.repeat().to_string(), "6h");
    assert_eq!(notifications.give_up().to_string(), "1d");
    let webhook = notifications.receivers["pager"].webhook.clone().unwrap();
    assert_eq!(webhook.ca_file, Some(directory.path().join("ca.pem")));
    assert_eq!(
        webhook.secret.unwrap().file,
        Some(directory.path().join("pager.key"))
    );
    let mail = notifications.receivers["mail"].email.clone().unwrap();
    assert_eq!(mail.port(), 25);
    let routes = notifications.routes.unwrap();
    assert!(routes[0].goes_on && !routes[1].goes_on);
    assert_eq!(routes[0].to[2].to_string(), "person:on-call");
    let otlp = config.telemetry.otlp.unwrap();
    assert_eq!(
        otlp.headers["authorization"].file,
        Some(directory.path().join("otlp.token"))
    );
}

#[test]
fn mistakes_in_notifications_are_named_at_once() {
    let shape = r#"
version: 1
notifications:
  receivers:
    pager: {webhook: {url: https://hush.example/T0/hush, secret: hush}}
    chat: {slack: {url: {env: 'https://hush'}, chanel: x}}
    mail: {email: {host: '', port: 0, tls: maybe, from: nobody, to: [], password: hush}}
    page: {webhook: {url: {env: A}, template: 'text {{summary}}'}}
    place: {webhook: {url: {env: A}, template: '{"a": "{{sumary}}"}'}}
    am: {alertmanager: {url: 'http://me:hush@127.0.0.1', bearer: hush}}
  routes:
  - {severity: fatal, to: [everybody], kinds: [verfy]}
  - {severity: warning}
  repeat: daily
telemetry: {otlp: {endpoint: collector, headers: {authorization: Bearer hush}}}
"#;
    let shape = errors(shape);
    assert!(!shape.contains("hush"), "{shape}");
    insta::assert_snapshot!("notifications_of_wrong_shape", shape);

    let sense = r"
version: 1
tiers: {gold: {rpo: 5m}}
clusters:
- name: orders
  owner: team-orders
  raci: {responsible: [on-cal], accountable: haed, consulted: [x], informed: [support]}
  primary: {url: 's3://b/orders'}
notifications:
  receivers:
    pager: {webhook: {url: {}, secret: {env: A, file: b}, headers: {'a b': {env: A}, Content-Type: {env: A}}}}
    chat: {}
    -bad: {slack: {url: {env: A}}, alertmanager: {url: 'http://127.0.0.1:9093'}}
    mail: {email: {host: smtp.example.com, tls: none, from: a@example.com, to: [b@example.com], username: me}}
    am: {alertmanager: {url: 'http://127.0.0.1:9093', username: me, bearer: {env: A}, labels: {cluster: x, 1x: y}}}
  people: {on-call: [pagr], head: [pager], support: []}
  routes:
  - {tiers: [glod], clusters: [ordres], to: [owner, 'person:support-team', 'receiver:mial']}
  otherwise: [nobody]
telemetry: {otlp: {endpoint: 'http://127.0.0.1:4318', headers: {Host: {env: A}}}}
";
    insta::assert_snapshot!("notifications_that_contradict_themselves", errors(sense));
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
    let missing = cluster
        .primary
        .storage_options(&super::NoSecretReader)
        .unwrap_err()
        .to_string();
    let secret = directory.path().join("secret");
    assert!(missing.contains(secret.to_str().unwrap()), "{missing}");
    std::fs::write(secret, "hush").unwrap();
    let options = cluster
        .primary
        .storage_options(&super::NoSecretReader)
        .unwrap();
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
            .all(|byte| byte.is_ascii_lowercase() || b"_-".contains(&byte));
    is_key && (value.is_empty() || value.starts_with(' '))
}

fn assert_committed(name: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("WALPROOF_WRITE_SCHEMAS").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
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
