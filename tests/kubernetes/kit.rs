//! What the tests on a cluster share: a place of their own, configurations, identities.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::kubernetes::source::Source;
use crate::common::kubernetes::{Lab, Namespace};
use crate::common::scratch;
use crate::common::walproof::{self, Run};

/// A place of a test's own: configuration, state, definitions.
#[derive(Debug)]
pub(crate) struct Place {
    keep: TempDir,
    lab: &'static Lab,
    kubeconfig: PathBuf,
    prefix: String,
}

impl Place {
    pub(crate) fn new(lab: &'static Lab) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            keep: scratch::directory(),
            prefix: format!("{}-d{number}", lab.prefix),
            lab,
            kubeconfig: lab.kubeconfig.clone(),
        }
    }

    /// The same as somebody else.
    pub(crate) fn of(lab: &'static Lab, kubeconfig: &Path) -> Self {
        Self {
            kubeconfig: kubeconfig.to_owned(),
            ..Self::new(lab)
        }
    }

    /// What the names of its scratch namespaces begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn path(&self) -> &Path {
        self.keep.path()
    }

    /// Writes a configuration that knows the source as `orders`, its Secrets by reference.
    /// `more` are further lines of the cluster.
    pub(crate) fn configure(&self, source: &Source, more: &str) {
        let credential = |key: &str| json!({"kubernetes": {"namespace": source.name(), "name": Source::READER, "key": key}});
        let primary = json!({
            "url": source.url(),
            "endpoint": source.store.endpoint(),
            "region": "us-east-1",
            "path_style": true,
            "credentials": {
                "access_key_id": credential("ACCESS_KEY_ID"),
                "secret_access_key": credential("SECRET_ACCESS_KEY"),
            },
        });
        let resource = json!({"namespace": source.name(), "name": Source::CLUSTER});
        self.configure_with(&format!(
            "- name: orders\n  kubernetes: {resource}\n  primary: {primary}\n{more}"
        ));
    }

    /// Writes a configuration with these clusters.
    pub(crate) fn configure_with(&self, clusters: &str) {
        let access = json!({"kubeconfig": self.kubeconfig});
        let state = format!("sqlite://{}/state.sqlite", self.path().display());
        let text = format!(
            "version: 1\nstate: {}\nkubernetes: {access}\nclusters:\n{clusters}",
            json!(state)
        );
        std::fs::write(self.config(), text).unwrap();
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("walproof.yaml")
    }

    /// Writes a drill definition with these lines below its name, for the environment cnpg.
    /// Its scratch namespaces have names by which the tests remove them, should it not.
    pub(crate) fn definition(&self, name: &str, cnpg: &Value, lines: &str) -> String {
        let mut cnpg = cnpg.clone();
        cnpg["namespace_prefix"] = json!(self.prefix);
        let file = self.path().join(format!("{name}.yaml"));
        std::fs::write(
            &file,
            format!("version: 1\nname: {name}\nenvironment: cnpg\ncnpg: {cnpg}\n{lines}"),
        )
        .unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// A definition that ships, as it ships but for the scratch namespaces' names.
    pub(crate) fn shipped(&self, name: &str) -> String {
        let ships = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("drills")
            .join(name);
        let text = std::fs::read_to_string(ships).unwrap();
        let cnpg = json!({"namespace_prefix": self.prefix});
        let file = self.path().join(name);
        std::fs::write(&file, format!("{text}\ncnpg: {cnpg}\n")).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// Runs walproof with this configuration.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Run {
        walproof::run_command(self.command(words))
    }

    /// A command line of walproof with this configuration.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let config = self.config();
        let mut all = vec!["--config", config.to_str().unwrap()];
        all.extend(words);
        let mut command = walproof::command(&all, &[]);
        command.env_remove("KUBECONFIG").current_dir(self.path());
        command
    }

    /// The scratch namespaces of this place's drills that exist.
    pub(crate) fn scratch_namespaces(&self) -> Vec<String> {
        self.lab.namespaces(&format!("{}-", self.prefix))
    }

    /// A drill of `orders`, as JSON.
    pub(crate) fn drill_command(&self, definition: &str, more: &[&str]) -> Command {
        let words = [
            "drill",
            "run",
            "orders",
            "--output",
            "json",
            "--definition",
            definition,
        ];
        self.command(&[&words[..], more].concat())
    }

    /// Runs a drill to its end.
    #[track_caller]
    pub(crate) fn drill(&self, definition: &str, more: &[&str]) -> Drilled {
        Drilled::of(Running::start(self.drill_command(definition, more)).wait())
    }

    /// Starts a drill.
    pub(crate) fn start(&self, definition: &str, more: &[&str]) -> Running {
        Running::start(self.drill_command(definition, more))
    }

    /// Starts the daemon.
    pub(crate) fn start_daemon(&self) -> Running {
        Running::start(self.command(&["daemon"]))
    }

    /// Starts the daemon as one of which more is logged.
    pub(crate) fn start_daemon_logging(&self, level: &str) -> Running {
        Running::start(self.command(&["daemon", "--log-level", level]))
    }

    /// Starts the daemon, which writes each of its calls of the API to a file.
    pub(crate) fn start_daemon_counted(&self, calls: &Path) -> Running {
        let mut command = self.command(&["daemon"]);
        command.env("WALPROOF_KUBERNETES_CALLS", calls);
        Running::start(command)
    }

    /// Starts a drill that tells its phases on standard error.
    pub(crate) fn start_for_people(&self, definition: &str) -> Running {
        Running::start(self.command(&["drill", "run", "orders", "--definition", definition]))
    }
}

/// How long a drill may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(15);

/// A process that does not outlive the test that started it, however that ends.
#[derive(Debug)]
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A walproof that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Kept,
    begin: Instant,
    stdout: JoinHandle<String>,
    lines: Receiver<String>,
    heard: String,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = Kept(
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let mut stdout = child.0.stdout.take().unwrap();
        let stderr: ChildStderr = child.0.stderr.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        Self {
            child,
            begin: Instant::now(),
            stdout,
            lines,
            heard: String::new(),
        }
    }

    /// Waits for a line on standard error with this in it.
    #[track_caller]
    pub(crate) fn wait_for_line(&mut self, part: &str) {
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => {
                    self.heard.push_str(&line);
                    self.heard.push('\n');
                    if line.contains(part) {
                        return;
                    }
                }
                Err(_) => panic!("waited in vain for {part:?}:\n{}", self.heard),
            }
        }
    }

    /// Its resident memory in bytes, by the kernel.
    pub(crate) fn memory(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.0.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes * 1024
    }

    /// Kills it: nothing of it can clean up.
    pub(crate) fn kill(mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
    }

    /// Asks it to stop, and waits for its end.
    #[track_caller]
    pub(crate) fn stop(self) {
        let id = i32::try_from(self.child.0.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::SIGTERM).unwrap();
        self.wait().expect_code(0);
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Run {
        let status = loop {
            if let Some(status) = self.child.0.try_wait().unwrap() {
                break status;
            }
            if self.begin.elapsed() > LIMIT {
                let _ = self.child.0.kill();
                panic!("a drill took more than {LIMIT:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut stderr = self.heard;
        for line in self.lines {
            stderr.push_str(&line);
            stderr.push('\n');
        }
        Run {
            code: status.code(),
            stdout: self.stdout.join().unwrap(),
            stderr,
            took: self.begin.elapsed(),
        }
    }
}

/// A drill that has ended, with its report.
#[derive(Debug)]
pub(crate) struct Drilled {
    pub(crate) code: i32,
    pub(crate) report: Value,
    pub(crate) took: Duration,
    stderr: String,
}

impl Drilled {
    #[track_caller]
    pub(crate) fn of(run: Run) -> Self {
        Self {
            code: run.code.unwrap(),
            report: run.json(),
            took: run.took,
            stderr: run.stderr,
        }
    }

    /// Panics with the reasons unless it ended with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "{:#}\n{:#}\n{:#}\n{:#}\n{}",
            self.report["reasons"],
            self.report["findings"],
            self.report["environment"]["kubernetes"],
            self.report["error"],
            self.stderr
        );
        self
    }

    /// What the report says of the cluster.
    pub(crate) fn kubernetes(&self) -> &Value {
        &self.report["environment"]["kubernetes"]
    }

    /// The check of that name.
    #[track_caller]
    pub(crate) fn check(&self, name: &str) -> &Value {
        let checks = self.report["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("no check {name}: {checks:#?}"))
    }

    /// How long a phase took, in milliseconds; 0 for one that was not reached.
    pub(crate) fn phase(&self, name: &str) -> u64 {
        let phases = self.report["phases"].as_array().unwrap();
        let found = phases.iter().find(|phase| phase["phase"] == name);
        found.map_or(0, |phase| phase["milliseconds"].as_u64().unwrap())
    }

    /// For the log of a test run.
    pub(crate) fn print_phases(&self) {
        let phases = self.report["phases"].as_array().unwrap().iter();
        let words: Vec<String> = phases
            .map(|phase| {
                format!(
                    "{} {} ms",
                    phase["phase"].as_str().unwrap(),
                    phase["milliseconds"]
                )
            })
            .collect();
        println!("{} ms: {}", self.took.as_millis(), words.join(", "));
    }

    /// The namespace, its volumes and what stands outside of namespaces are gone, by the
    /// report's word and by looking.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self, lab: &Lab) {
        assert_eq!(
            self.report["environment"]["removed"],
            json!(true),
            "{:#}",
            self.report["findings"]
        );
        let Some(namespace) = self.kubernetes()["namespace"].as_str() else {
            return;
        };
        if namespace.is_empty() {
            return;
        }
        assert_eq!(lab.get("default", &format!("namespace/{namespace}")), None);
        let volumes = lab.list("", "persistentvolumes", "");
        let held: Vec<&Value> = volumes
            .iter()
            .filter(|volume| volume["spec"]["claimRef"]["namespace"] == json!(namespace))
            .map(|volume| &volume["metadata"]["name"])
            .collect();
        assert_eq!(held, Vec::<&Value>::new());
        if lab.snapshots.is_some() {
            let id = self.report["id"].as_str().unwrap();
            let copies = lab.list(
                "",
                "volumesnapshotcontents",
                &format!("walproof.dev/drill={id}"),
            );
            assert_eq!(copies, Vec::<Value>::new());
        }
    }
}

/// A kubeconfig of a ServiceAccount in `namespace` that may do what `rules` say, there and
/// nowhere else.
pub(crate) fn identity(
    lab: &'static Lab,
    namespace: &Namespace,
    name: &str,
    rules: &Value,
    directory: &Path,
) -> PathBuf {
    let metadata = json!({"name": name, "namespace": namespace.name});
    lab.apply(&[
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": metadata, "rules": rules}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace.name}]}),
    ]);
    kubeconfig_of(lab, &namespace.name, name, directory)
}

/// A kubeconfig with a token of a ServiceAccount that exists.
pub(crate) fn kubeconfig_of(
    lab: &Lab,
    namespace: &str,
    account: &str,
    directory: &Path,
) -> PathBuf {
    let token = lab.ask(&[
        "-n",
        namespace,
        "create",
        "token",
        account,
        "--duration",
        "1h",
    ]);
    let text = lab.ask(&[
        "config",
        "view",
        "--raw",
        "--minify",
        "--flatten",
        "-o",
        "json",
    ]);
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["users"][0]["user"] = json!({"token": token});
    let file = directory.join(format!("{account}.kubeconfig"));
    std::fs::write(&file, config.to_string()).unwrap();
    file
}
