//! A real Kubernetes cluster with CloudNativePG, for tests: the one of `KUBECONFIG`, else
//! the lab of this machine, else none, which is shouted about.
//!
//! All that a test makes lies in namespaces of its own, which carry [`RUN`]. They go when
//! the test binary ends, however it ends (see [`Lab::find`]), and what is left of a binary
//! that is no more goes at the next start.

use std::io::Write as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use serde_json::{Value, json};

use super::process;

pub mod source;
pub mod store;

/// Label of every namespace of the tests: the process that made it, `<pid>-<start>-<boot>`.
pub const RUN: &str = "walproof.dev/test-run";

/// How the tests find a cluster: `no` leaves them out, `required` makes its absence a
/// failure; anything else, or nothing, leaves them out loudly where there is none.
const WISH: &str = "WALPROOF_KUBERNETES";

static PEACE: RwLock<()> = RwLock::new(());

/// The cluster.
#[derive(Debug)]
pub struct Lab {
    /// The kubeconfig with which the tests, and walproof under test, work.
    pub kubeconfig: PathBuf,
    /// kubectl.
    pub kubectl: PathBuf,
    /// An image of PostgreSQL that the nodes can run.
    pub postgres_image: String,
    /// An image of versitygw that the nodes can run.
    pub s3_image: String,
    /// walproof's own image, where the nodes have one; see [`Self::walproof_image`].
    walproof_image: Option<String>,
    /// A storage class whose volumes can be copied by snapshots, and the class of these.
    pub snapshots: Option<(String, String)>,
    /// Whether the operator still has the in-tree form (CloudNativePG before 1.31).
    pub in_tree: bool,
    /// The names of this process's namespaces begin so.
    pub prefix: String,
    /// Holds the undertaker's standard input open.
    _undertaker: Child,
}

impl Lab {
    /// The cluster, looked for once in a process. `None` is told past the test runner's
    /// capture and noted for `make test-kubernetes` to repeat.
    pub fn find() -> Option<&'static Self> {
        static LAB: OnceLock<Result<Lab, String>> = OnceLock::new();
        match LAB.get_or_init(Self::look) {
            Ok(lab) => Some(lab),
            Err(why) => {
                let test = std::thread::current().name().unwrap_or("test").to_owned();
                let wish = std::env::var(WISH).unwrap_or_default();
                let message = format!("{test}: NOT RUN, no Kubernetes: {why}");
                assert!(
                    wish != "required",
                    "{message}; {WISH}=required makes that a failure"
                );
                if wish != "no" {
                    shout(&message);
                }
                None
            }
        }
    }

    fn look() -> Result<Self, String> {
        if std::env::var(WISH).as_deref() == Ok("no") {
            return Err(format!("{WISH}=no"));
        }
        let (kubeconfig, home) = kubeconfig()?;
        let kubectl = kubectl(home.as_deref())?;
        let ask = |arguments: &[&str]| {
            process::try_run(
                Command::new(&kubectl)
                    .arg("--kubeconfig")
                    .arg(&kubeconfig)
                    .args(["--request-timeout", "20s"])
                    .args(arguments),
            )
        };
        ask(&["get", "--raw", "/readyz"]).map_err(|words| {
            format!(
                "the API of {} does not answer: {words}",
                kubeconfig.display()
            )
        })?;
        ask(&["get", "crd", "clusters.postgresql.cnpg.io", "-o", "name"])
            .map_err(|_| "it has no CloudNativePG".to_owned())?;
        let images = ask(&[
            "get",
            "nodes",
            "-o",
            "jsonpath={.items[*].status.images[*].names[*]}",
        ])?;
        let image = |variable: &str, beginning: &str, else_: &str| {
            std::env::var(variable).ok().unwrap_or_else(|| {
                images
                    .split_whitespace()
                    .find(|name| name.starts_with(beginning))
                    .unwrap_or(else_)
                    .to_owned()
            })
        };
        let classes = ask(&["get", "storageclass", "-o", "json"])?;
        let snapshot_classes = ask(&["get", "volumesnapshotclass", "-o", "json"]).ok();
        let prefix = format!("wpt-{}", std::process::id());
        let lab = Self {
            postgres_image: image(
                "WALPROOF_KUBERNETES_POSTGRES_IMAGE",
                "lab.local/postgresql:",
                "ghcr.io/cloudnative-pg/postgresql:17",
            ),
            s3_image: image(
                "WALPROOF_KUBERNETES_S3_IMAGE",
                "lab.local/versitygw:",
                "versity/versitygw:v1.8.0",
            ),
            walproof_image: Some(image(
                "WALPROOF_KUBERNETES_IMAGE",
                "lab.local/walproof:",
                "",
            ))
            .filter(|name| !name.is_empty()),
            snapshots: snapshots(&classes, snapshot_classes.as_deref()),
            in_tree: in_tree(&ask(&[
                "get",
                "crd",
                "clusters.postgresql.cnpg.io",
                "-o",
                "json",
            ])?),
            _undertaker: undertaker(&kubectl, &kubeconfig, &prefix),
            kubeconfig,
            kubectl,
            prefix,
        };
        lab.sweep();
        Ok(lab)
    }

    /// walproof's own image as the nodes know it. `scripts/test-kubernetes` loads it into a
    /// lab; elsewhere it is up to who runs the tests.
    #[track_caller]
    pub fn walproof_image(&self) -> &str {
        self.walproof_image.as_deref().expect(
            "the nodes have no image of walproof: in a lab run `scripts/image --dev --load-lab`; \
             elsewhere push what scripts/image makes and name it in WALPROOF_KUBERNETES_IMAGE",
        )
    }

    /// For a test that needs the operator, the plugin and the stores as they are. Others
    /// run beside it, but no [`Self::alone`].
    #[expect(clippy::unused_self, reason = "who asks has a lab")]
    pub fn beside(&self) -> RwLockReadGuard<'static, ()> {
        PEACE.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a test that stops what others need: the operator, a shared store.
    #[expect(clippy::unused_self, reason = "who asks has a lab")]
    pub fn alone(&self) -> RwLockWriteGuard<'static, ()> {
        PEACE.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A command line of kubectl.
    pub fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments);
        command
    }

    /// What kubectl prints; it must succeed.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> String {
        process::run(&mut self.kubectl(arguments))
    }

    /// What kubectl prints, or how it failed.
    pub fn try_ask(&self, arguments: &[&str]) -> Result<String, String> {
        process::try_run(&mut self.kubectl(arguments))
    }

    /// An object, such as `cluster/orders`; `None` when it is not there.
    pub fn get(&self, namespace: &str, object: &str) -> Option<Value> {
        let text = self.ask(&[
            "-n",
            namespace,
            "get",
            object,
            "--ignore-not-found",
            "-o",
            "json",
        ]);
        (!text.is_empty()).then(|| serde_json::from_str(&text).unwrap())
    }

    /// The objects of a kind in a namespace (`""` for a kind without one, or for all).
    pub fn list(&self, namespace: &str, kind: &str, selector: &str) -> Vec<Value> {
        let mut arguments = vec!["get", kind, "-o", "json", "-l", selector];
        if namespace.is_empty() {
            arguments.push("-A");
        } else {
            arguments.extend(["-n", namespace]);
        }
        let list: Value = serde_json::from_str(&self.ask(&arguments)).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Makes or changes objects.
    #[track_caller]
    pub fn apply(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        process::run_with_input(&mut self.kubectl(&["apply", "-f", "-"]), &list.to_string());
    }

    /// Waits as `kubectl wait` does: `condition` is `condition=Ready`,
    /// `jsonpath={.status.phase}=completed`, `delete`.
    #[track_caller]
    pub fn wait(&self, namespace: &str, object: &str, condition: &str, limit: Duration) {
        let (wanted, timeout) = (
            format!("--for={condition}"),
            format!("--timeout={}s", limit.as_secs()),
        );
        if let Err(words) = self.try_ask(&["-n", namespace, "wait", object, &wanted, &timeout]) {
            let kind = object.split('/').next().unwrap_or(object);
            let state = self
                .try_ask(&[
                    "-n",
                    namespace,
                    "get",
                    &format!("{kind},pods,events"),
                    "-o",
                    "wide",
                ])
                .unwrap_or_else(|words| words);
            panic!("waited {limit:?} in vain for {condition} of {object}: {words}\n{state}");
        }
    }

    /// A namespace of this process, `wpt-<pid>-<n>-<name>`, removed when the value is
    /// dropped; nothing waits for its end.
    pub fn namespace(&'static self, name: &str) -> Namespace {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}-{name}", self.prefix);
        let labels = json!({"app.kubernetes.io/part-of": "walproof-tests", RUN: run()});
        self.apply(&[json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": labels}})]);
        Namespace { lab: self, name }
    }

    /// The namespaces that exist and whose names begin so, with those that are ending.
    pub fn namespaces(&self, beginning: &str) -> Vec<String> {
        self.ask(&[
            "get",
            "namespaces",
            "-o",
            "jsonpath={.items[*].metadata.name}",
        ])
        .split_whitespace()
        .filter(|name| name.starts_with(beginning))
        .map(str::to_owned)
        .collect()
    }

    /// Begins a namespace's end. Its pods are not given the time to archive what they have.
    pub fn remove_namespace(&self, name: &str) {
        remove(&self.kubectl, &self.kubeconfig, name);
    }

    /// What kubectl's user sees of a Service: a URL that works from this machine. A cluster
    /// whose Service addresses cannot be reached from here is reached through kubectl.
    pub fn reach(
        &self,
        namespace: &str,
        service: &str,
        port: u16,
    ) -> (String, Option<process::Server>) {
        let address = self.ask(&[
            "-n",
            namespace,
            "get",
            "service",
            service,
            "-o",
            "jsonpath={.spec.clusterIP}",
        ]);
        let direct = format!("{address}:{port}");
        let reachable = direct.to_socket_addrs().ok().and_then(|mut all| all.next());
        if let Some(socket) = reachable
            && TcpStream::connect_timeout(&socket, Duration::from_secs(2)).is_ok()
        {
            return (format!("http://{direct}"), None);
        }
        let (local, server) = self.forward(namespace, service, port, None);
        (format!("http://127.0.0.1:{local}"), Some(server))
    }

    /// kubectl's way to a Service, from a port of this machine. It ends with the pod that it
    /// leads to.
    pub fn forward(
        &self,
        namespace: &str,
        service: &str,
        port: u16,
        here: Option<u16>,
    ) -> (u16, process::Server) {
        let log = std::env::temp_dir().join(format!("{}-forward.log", self.prefix));
        process::listening(here, "kubectl port-forward", &log, |local| {
            let ports = format!("{local}:{port}");
            let (target, kubeconfig) = (
                format!("service/{service}"),
                self.kubeconfig.to_str().unwrap(),
            );
            process::Server::start(
                &self.kubectl,
                &[
                    "--kubeconfig",
                    kubeconfig,
                    "-n",
                    namespace,
                    "port-forward",
                    &target,
                    &ports,
                ],
                &[],
                false,
                "KILL",
                &log,
            )
        })
    }

    /// Gives the cluster a kind that it lacks, such as `podmonitors`, with the definition that
    /// `scripts/install --deploy` took from the module of its makers. It goes with the test
    /// binary; a definition that was there is left as it is.
    #[track_caller]
    pub fn kind(&self, name: &str) {
        let file = super::require::cache().join(format!("kinds/{name}.yaml"));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| {
            panic!("{}: {error}: scripts/install --deploy", file.display())
        });
        let kind: Value = serde_saphyr::from_str(&text).unwrap();
        let name = kind["metadata"]["name"].as_str().unwrap();
        let object = format!("crd/{name}");
        if self.get("default", &object).is_none() {
            // Applied from the client's side, some are too large for the annotation.
            self.ask(&["create", "-f", file.to_str().unwrap()]);
            self.ask(&["label", &object, &format!("{RUN}={}", run())]);
        }
        self.wait(
            "default",
            &object,
            "condition=Established",
            Duration::from_mins(1),
        );
    }

    /// Removes what processes left that are no more.
    fn sweep(&self) {
        for kind in self.list("", "crd", RUN) {
            if over(kind["metadata"]["labels"][RUN].as_str().unwrap()) {
                let name = kind["metadata"]["name"].as_str().unwrap();
                self.ask(&["delete", "crd", name, "--wait=false"]);
            }
        }
        for namespace in self.list("", "namespaces", RUN) {
            let name = namespace["metadata"]["name"].as_str().unwrap();
            let run = namespace["metadata"]["labels"][RUN].as_str().unwrap();
            let ending = !namespace["metadata"]["deletionTimestamp"].is_null();
            if ending || !over(run) {
                continue;
            }
            self.remove_namespace(name);
            // The scratch namespaces of its drills have names of the same beginning.
            let owner = name.split('-').take(2).collect::<Vec<_>>().join("-");
            for scratch in self.namespaces(&format!("{owner}-")) {
                self.remove_namespace(&scratch);
            }
        }
    }
}

/// A namespace of a test.
#[derive(Debug)]
pub struct Namespace {
    lab: &'static Lab,
    /// Its name.
    pub name: String,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.lab.remove_namespace(&self.name);
    }
}

/// Says something past the test runner's capture, and notes it for the end of `make test`.
fn shout(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "\n*** {message}\n");
    let note = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("skipped.txt");
    if let Ok(mut file) = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(note)
    {
        let _ = writeln!(file, "{message}");
    }
}

/// The kubeconfig, and the folder of the lab where it is the lab's.
fn kubeconfig() -> Result<(PathBuf, Option<PathBuf>), String> {
    if let Some(file) = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
        let file = PathBuf::from(file);
        let home = file
            .parent()
            .and_then(Path::parent)
            .filter(|home| home.join("bin/kubectl").exists())
            .map(Path::to_path_buf);
        return Ok((file, home));
    }
    let folder = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let home = folder("WALPROOF_LAB")
        .or_else(|| folder("LAB_HOME"))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/walproof-lab")))
        .ok_or("HOME is not set")?;
    let file = home.join("etc/admin.kubeconfig");
    if file.is_file() {
        Ok((file, Some(home)))
    } else {
        Err(format!(
            "KUBECONFIG is not set, and there is no lab in {}",
            home.display()
        ))
    }
}

fn kubectl(home: Option<&Path>) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(home.map(|home| home.join("bin")))
        .map(|directory| directory.join("kubectl"))
        .find(|file| file.is_file())
        .ok_or_else(|| "kubectl is not on the PATH".to_owned())
}

/// A storage class with a driver that a class of snapshots names.
fn snapshots(classes: &str, snapshot_classes: Option<&str>) -> Option<(String, String)> {
    let classes: Value = serde_json::from_str(classes).unwrap();
    let snapshots: Value = serde_json::from_str(snapshot_classes?).unwrap();
    snapshots["items"].as_array()?.iter().find_map(|snapshot| {
        let class = classes["items"]
            .as_array()?
            .iter()
            .find(|class| class["provisioner"] == snapshot["driver"])?;
        let name = |object: &Value| object["metadata"]["name"].as_str().map(str::to_owned);
        Some((name(class)?, name(snapshot)?))
    })
}

/// Whether the Cluster's kind knows `spec.backup.barmanObjectStore`.
fn in_tree(kind: &str) -> bool {
    let kind: Value = serde_json::from_str(kind).unwrap();
    let path =
        "/schema/openAPIV3Schema/properties/spec/properties/backup/properties/barmanObjectStore";
    kind["spec"]["versions"].as_array().is_some_and(|versions| {
        versions
            .iter()
            .any(|version| version.pointer(path).is_some())
    })
}

/// This process, and no other that is given the same id later, here or elsewhere.
fn run() -> String {
    let pid = std::process::id();
    format!("{pid}-{}-{}", started(pid).unwrap(), boot())
}

/// The machine's run, shortened.
fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    id.chars().take(8).collect()
}

/// When a process of this machine started, in clock ticks after boot (proc(5)).
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Whether a [`RUN`] is over: its process was one of this machine's, and is no more.
fn over(run: &str) -> bool {
    let parts: Vec<&str> = run.split('-').collect();
    let [pid, start, machine] = parts[..] else {
        return false;
    };
    let now = pid
        .parse()
        .ok()
        .and_then(started)
        .map(|now| now.to_string());
    machine == boot() && now.as_deref() != Some(start)
}

fn remove(kubectl: &Path, kubeconfig: &Path, name: &str) {
    for arguments in [
        // Nothing can be made in it from here on.
        &[
            "delete",
            "namespace",
            name,
            "--ignore-not-found",
            "--wait=false",
        ][..],
        // An instance would wait for minutes for its last WAL to be archived.
        &[
            "-n",
            name,
            "delete",
            "pods",
            "--all",
            "--grace-period=1",
            "--wait=false",
        ][..],
    ] {
        let _ = process::try_run(
            Command::new(kubectl)
                .arg("--kubeconfig")
                .arg(kubeconfig)
                .args(arguments),
        );
    }
}

/// A process that waits for the end of this one, by the end of its standard input, and then
/// removes its namespaces: values of statics are never dropped, and tests may be killed.
fn undertaker(kubectl: &Path, kubeconfig: &Path, prefix: &str) -> Child {
    let script = r#"
        trap "" INT HUP TERM
        read -r _
        k() { "$1" --kubeconfig "$2" "${@:4}"; }
        for name in $(k "$@" get namespaces -o name | grep "^namespace/$3-"); do
            k "$@" delete "$name" --ignore-not-found --wait=false
            k "$@" -n "${name#namespace/}" delete pods --all --grace-period=1 --wait=false
        done
        k "$@" delete crd -l "walproof.dev/test-run=$OF_RUN" --wait=false
        k "$@" get volumesnapshotcontents -o name 2>/dev/null | grep "/$3-" | xargs -r "$1" --kubeconfig "$2" delete --wait=false
    "#;
    Command::new("setsid")
        .args(["bash", "-c", script, "undertaker"])
        .arg(kubectl)
        .arg(kubeconfig)
        .arg(prefix)
        .env("OF_RUN", run())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("cannot run setsid")
}

/// `let lab = cluster!();` at the head of a test: returns from it when there is no cluster
/// (see [`Lab::find`]).
macro_rules! cluster {
    () => {
        match $crate::common::kubernetes::Lab::find() {
            Some(lab) => lab,
            None => return,
        }
    };
}
pub(crate) use cluster;
