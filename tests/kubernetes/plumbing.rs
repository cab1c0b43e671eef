//! Commands, logs, ports and Services through the API server.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use ::walproof::kubernetes::exec::{ExecOutput, exec};
use ::walproof::kubernetes::forward::Forward;
use ::walproof::kubernetes::logs::{self, LogLine, MAX_LINE};
use ::walproof::kubernetes::{Access, Kube, KubeError, KubeErrorKind, PodRef, tunnel};
use futures::StreamExt as _;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::common::kubernetes::store::Store;
use crate::common::kubernetes::{Lab, cluster};
use crate::common::process::wait_until;
use crate::common::scratch;

const LIMIT: Duration = Duration::from_mins(2);

async fn connect(lab: &Lab) -> Kube {
    let access = Access {
        kubeconfig: Some(lab.kubeconfig.clone()),
        context: None,
    };
    Kube::connect(&access).await.unwrap()
}

/// A pod with a shell.
fn pod(lab: &Lab, namespace: &str, name: &str, script: &str) -> PodRef {
    lab.apply(&[json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "shell", "image": lab.postgres_image,
                "command": ["sh", "-c", script],
            }],
        },
    })]);
    PodRef::new(namespace, name).container("shell")
}

async fn shell(kube: &Kube, pod: &PodRef, script: &str, max: usize) -> ExecOutput {
    exec(kube, pod, &["sh", "-c", script], LIMIT, max)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_its_output_and_its_exit_code() {
    let lab = cluster!();
    let namespace = lab.namespace("exec");
    let name = namespace.name.as_str();
    let pod = pod(lab, name, "shell", "exec sleep 86400");
    lab.wait(name, "pod/shell", "condition=Ready", LIMIT);
    let kube = connect(lab).await;

    let done = shell(&kube, &pod, "echo out; echo err >&2", 100).await;
    assert!(done.succeeded() && !done.truncated);
    assert_eq!(
        (&*done.stdout, &*done.stderr),
        (&b"out\n"[..], &b"err\n"[..])
    );
    let failed = shell(&kube, &pod, "printf 'a\\377'; exit 7", 100).await;
    assert_eq!((failed.code, &*failed.stdout), (Some(7), &b"a\xff"[..]));
    assert!(!failed.succeeded());

    // A megabyte on each output, of which little is kept; the code is still there.
    let much = "head -c 1048576 /dev/zero; head -c 1048576 /dev/zero >&2; exit 3";
    let cut = shell(&kube, &pod, much, 1000).await;
    assert_eq!((cut.code, cut.truncated), (Some(3), true));
    assert_eq!((cut.stdout.len(), cut.stderr.len()), (1000, 1000));
    let whole = shell(&kube, &pod, much, 1 << 20).await;
    assert_eq!((whole.code, whole.truncated), (Some(3), false));
    assert_eq!((whole.stdout.len(), whole.stderr.len()), (1 << 20, 1 << 20));

    let kind = async |pod: &PodRef, command: &[&str], limit| {
        exec(&kube, pod, command, limit, 100).await.unwrap_err()
    };
    let missing = kind(&pod, &["no-such-program"], LIMIT).await;
    assert_eq!(missing.kind, KubeErrorKind::Other);
    assert!(missing.message.contains("no-such-program"), "{missing}");
    let short = Duration::from_secs(1);
    let slow = kind(&pod, &["sleep", "600"], short).await;
    assert_eq!(slow.kind, KubeErrorKind::Timeout);
    let nobody = kind(&PodRef::new(name, "nobody"), &["true"], LIMIT).await;
    assert_eq!(nobody.kind, KubeErrorKind::NotFound);
    let other = PodRef::new(name, "shell").container("other");
    let other = kind(&other, &["true"], LIMIT).await;
    assert!(other.message.contains("container other"), "{other}");

    // The pod goes away while the command runs.
    let (ended, ()) = tokio::join!(
        exec(
            &kube,
            &pod,
            &["sh", "-c", "echo begun; sleep 600"],
            LIMIT,
            100
        ),
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            lab.ask(&["-n", name, "delete", "pod", "shell", "--now"]);
        }
    );
    let ended = ended.unwrap();
    assert!(!ended.succeeded(), "{ended:?}");
    assert_eq!(ended.stdout, b"begun\n");
}

async fn followed(kube: &Kube, pod: &PodRef) -> Result<Vec<LogLine>, KubeError> {
    let mut lines = logs::follow(kube, pod, None).await?;
    let mut all = Vec::new();
    while let Some(line) = lines.next().await {
        all.push(line?);
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_to_its_end() {
    let lab = cluster!();
    let namespace = lab.namespace("logs");
    let name = namespace.name.as_str();
    let kube = connect(lab).await;
    // An image that cannot be pulled: the container waits.
    lab.apply(&[json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "waits", "namespace": name},
        "spec": {"containers": [{"name": "shell", "image": "nowhere.invalid/none:1"}]},
    })]);
    let waiting = PodRef::new(name, "waits");
    let mut error = None;
    wait_until(LIMIT, "a container that waits", || {
        let asked = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(logs::read(&kube, &waiting, 10, false))
        });
        error = asked.err();
        error.as_ref().is_some_and(KubeError::is_not_started)
    });

    let script = format!(
        "for i in 1 2 3; do echo line $i; sleep 1; done; \
         head -c {} /dev/zero | tr '\\0' x; echo; printf 'last without an end'",
        MAX_LINE + 5
    );
    let talks = pod(lab, name, "talks", &script);
    let mut lines = None;
    let limit = std::time::Instant::now() + LIMIT;
    while lines.is_none() && std::time::Instant::now() < limit {
        match followed(&kube, &talks).await {
            Ok(all) => lines = Some(all),
            Err(error) => {
                assert!(
                    error.is_not_started() || error.kind == KubeErrorKind::NotFound,
                    "{error}"
                );
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    let lines = lines.unwrap();
    let begin: Vec<&str> = lines.iter().take(3).map(|line| &*line.text).collect();
    assert_eq!(begin, ["line 1", "line 2", "line 3"]);
    assert!(lines.iter().all(|line| line.at.is_some()));
    let moments: Vec<_> = lines.iter().take(3).map(|line| line.at.unwrap()).collect();
    assert!(
        moments[2] - moments[0] >= chrono::Duration::seconds(2),
        "{moments:?}"
    );
    assert!(lines[3].cut && lines[3].text.starts_with("xxx"));
    assert_eq!(lines.last().unwrap().text, "last without an end");
    assert_eq!(lines.len(), 5);

    // The pod has ended: the same lines, or the last of them, can still be read.
    let again = logs::read(&kube, &talks, 1000, false).await.unwrap();
    assert_eq!(again, lines);
    let tail = logs::read(&kube, &talks, 1, false).await.unwrap();
    assert_eq!(tail.len(), 1);
    let since = followed_since(&kube, &talks, moments[2]).await;
    assert!(since.iter().any(|line| line.text == "line 3"));
    assert!(since.iter().all(|line| line.text != "line 1"), "{since:?}");
    let nobody = logs::read(&kube, &PodRef::new(name, "nobody"), 1, false).await;
    assert_eq!(nobody.unwrap_err().kind, KubeErrorKind::NotFound);
}

async fn followed_since(
    kube: &Kube,
    pod: &PodRef,
    since: chrono::DateTime<chrono::Utc>,
) -> Vec<LogLine> {
    let lines = logs::follow(kube, pod, Some(since)).await.unwrap();
    lines.map(Result::unwrap).collect().await
}

/// A CloudNativePG cluster of one instance, reached from here as a drill's will be: through
/// a Unix socket, over TLS, with the operator's CA and the Service's name.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_reached_through_a_socket_with_its_certificate_verified() {
    let lab = cluster!();
    let _peace = lab.beside();
    let namespace = lab.namespace("forward");
    let name = namespace.name.as_str();
    lab.apply(&[json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
        "metadata": {"name": "drill", "namespace": name},
        "spec": {
            "instances": 1, "imageName": lab.postgres_image, "storage": {"size": "1Gi"},
            "enableSuperuserAccess": true,
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        },
    })]);
    lab.wait(
        name,
        "cluster/drill",
        "condition=Ready",
        Duration::from_mins(5),
    );
    let secret = |secret: &str, key: &str| {
        let object = lab.get(name, &format!("secret/{secret}")).unwrap();
        decode(object["data"][key].as_str().unwrap())
    };
    let kube = connect(lab).await;
    let directory = scratch::directory();
    let sockets = directory.path().join("sockets");
    std::fs::create_dir(&sockets).unwrap();
    let socket = sockets.join(".s.PGSQL.5432");
    let forward = Forward::open(&kube, name, "drill-1", 5432, &socket)
        .await
        .unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&sockets), mode(&socket)), (0o700, 0o600));

    let options = |host: &str, ca: Vec<u8>| {
        PgConnectOptions::new_without_pgpass()
            .host(host)
            .socket(&sockets)
            .port(5432)
            .username("postgres")
            .password(&String::from_utf8(secret("drill-superuser", "password")).unwrap())
            .database("postgres")
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert_from_pem(ca)
    };
    let host = format!("drill-rw.{name}.svc");
    let good = options(&host, secret("drill-ca", "ca.crt"));
    let mut connection = good.connect().await.unwrap();
    let row = sqlx::query("select ssl, version from pg_stat_ssl where pid = pg_backend_pid()")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(row.get::<bool, _>("ssl"));
    let text: String = sqlx::query_scalar("select repeat('x', 20000000)")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(text.len(), 20_000_000);
    connection.close().await.unwrap();

    let many = futures::future::join_all((0..8).map(|number| {
        let options = good.clone();
        async move {
            let mut connection = options.connect().await.unwrap();
            let answer: i32 = sqlx::query_scalar("select $1 + 0 * length(pg_sleep(0.3)::text)")
                .bind(number)
                .fetch_one(&mut connection)
                .await
                .unwrap();
            answer == number
        }
    }));
    assert!(many.await.into_iter().all(|right| right));
    assert_eq!(forward.trouble(), None);

    // Another name than the certificate's, and another CA, are refused.
    let wrong = options(
        &format!("other-rw.{name}.svc"),
        secret("drill-ca", "ca.crt"),
    );
    let error = wrong.connect().await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    let strange = options(&host, api_ca(lab));
    let error = strange.connect().await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");

    drop(forward);
    assert!(!socket.exists());
    assert!(good.connect().await.is_err());
}

/// The CA of the API server: a good one of somebody else.
fn api_ca(lab: &Lab) -> Vec<u8> {
    let config = lab.ask(&["get", "configmap", "kube-root-ca.crt", "-o", "json"]);
    let config: Value = serde_json::from_str(&config).unwrap();
    config["data"]["ca.crt"]
        .as_str()
        .unwrap()
        .as_bytes()
        .to_vec()
}

/// Base64, as the API writes bytes.
fn decode(text: &str) -> Vec<u8> {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(json!(text)).unwrap();
    bytes.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_cannot_be_reached_is_said() {
    let lab = cluster!();
    let namespace = lab.namespace("ports");
    let name = namespace.name.as_str();
    pod(lab, name, "shell", "exec sleep 86400");
    lab.wait(name, "pod/shell", "condition=Ready", LIMIT);
    let kube = connect(lab).await;
    let directory = scratch::directory();
    for (pod, kind) in [
        ("shell", KubeErrorKind::Unreachable),
        ("nobody", KubeErrorKind::NotFound),
    ] {
        let socket = directory.path().join(pod);
        let forward = Forward::open(&kube, name, pod, 5432, &socket)
            .await
            .unwrap();
        let mut trouble = None;
        wait_until(LIMIT, "the pod's refusal", || {
            // Who connects sees an end.
            let mut connection = std::os::unix::net::UnixStream::connect(&socket).unwrap();
            let mut answer = Vec::new();
            let _ = connection.read_to_end(&mut answer);
            assert!(answer.is_empty());
            trouble = forward.trouble();
            trouble.is_some()
        });
        let trouble = trouble.unwrap();
        assert_eq!(trouble.kind, kind, "{trouble}");
    }
    let long = directory.path().join("x".repeat(200));
    let error = Forward::open(&kube, name, "shell", 5432, &long)
        .await
        .unwrap_err();
    assert_eq!(error.kind, KubeErrorKind::Configuration, "{error}");
}

fn get(url: &str) -> String {
    let address = url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    connection
        .write_all(b"GET / HTTP/1.1\r\nHost: s3\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_reached_from_outside() {
    let lab = cluster!();
    let store = Store::first(lab);
    let kube = connect(lab).await;
    let endpoint = store.endpoint();
    let url = tunnel::reach(&kube, &endpoint).await.unwrap().unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    for _ in 0..3 {
        assert!(get(&url).starts_with("HTTP/1.1 "), "{}", get(&url));
    }
    // The same for every user of the same Service.
    assert_eq!(
        tunnel::reach(&kube, &endpoint).await.unwrap(),
        Some(url.clone())
    );
    // It is not the runtime's that asked first.
    let other = std::thread::spawn(move || get(&url));
    assert!(other.join().unwrap().starts_with("HTTP/1.1 "));

    assert_eq!(
        tunnel::reach(&kube, "http://127.0.0.1:9").await.unwrap(),
        None
    );
    assert_eq!(
        tunnel::reach(&kube, "https://localhost").await.unwrap(),
        None
    );
    let kind = async |endpoint: &str| tunnel::reach(&kube, endpoint).await.unwrap_err().kind;
    let namespace = store.namespace();
    let missing = format!("http://nobody.{namespace}.svc:7070");
    assert_eq!(kind(&missing).await, KubeErrorKind::NotFound);
    let port = format!("http://s3.{namespace}.svc:1");
    assert_eq!(kind(&port).await, KubeErrorKind::NotFound);
    let https = format!("https://s3.{namespace}.svc:7070");
    assert_eq!(kind(&https).await, KubeErrorKind::Configuration);
}

/// Objects of some size through a tunnel are the same bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_carries_objects_whole() {
    let lab = cluster!();
    let store = Store::first(lab);
    let kube = connect(lab).await;
    let url = tunnel::reach(&kube, &store.endpoint())
        .await
        .unwrap()
        .unwrap();
    let api = crate::common::s3_api::S3Api::new(&url, crate::common::s3::ADMIN);
    let body: Vec<u8> = (0..8_u32 << 20)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let key = format!("/{}/tunnel/object", Store::BUCKET);
    api.request("PUT", &key, &[], &[], &body).expect_success();
    let answer = api.request("GET", &key, &[], &[], b"").expect_success();
    assert!(answer.body == body, "{} bytes came back", answer.body.len());
}
