//! walproof as a pod: no kubeconfig, a ServiceAccount with the printed role and nothing else.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::access::{Roles, grant};
use crate::common::kubernetes::source::Source;
use crate::common::kubernetes::{Lab, Namespace, cluster};
use crate::common::process::{run_with_input, wait_until};
use crate::common::walproof::{self, Run};
use crate::kit::Drilled;

/// A pod with walproof in it.
pub(crate) struct Inside {
    lab: &'static Lab,
    pub(crate) namespace: Namespace,
}

impl Inside {
    pub(crate) const ACCOUNT: &'static str = "walproof";
    /// Where the calls are written down that walproof makes there.
    const CALLS: &'static str = "/work/calls.jsonl";

    fn new(lab: &'static Lab) -> Self {
        let namespace = lab.namespace("inside");
        let metadata = json!({"name": Self::ACCOUNT, "namespace": namespace.name});
        lab.apply(&[json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})]);
        Self::with_account(lab, namespace)
    }

    /// In a namespace in which there is an account [`Self::ACCOUNT`].
    pub(crate) fn with_account(lab: &'static Lab, namespace: Namespace) -> Self {
        let metadata = |name: &str| json!({"name": name, "namespace": namespace.name});
        lab.apply(&[
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata("walproof"), "spec": {
                "serviceAccountName": Self::ACCOUNT,
                "automountServiceAccountToken": true,
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "walproof", "image": lab.postgres_image,
                    "command": ["sleep", "86400"],
                    "env": [{"name": "HOME", "value": "/work"},
                        {"name": "TMPDIR", "value": "/work"},
                        {"name": "WALPROOF_KUBERNETES_CALLS", "value": Self::CALLS}],
                    "volumeMounts": [{"name": "work", "mountPath": "/work"}],
                }],
                "volumes": [{"name": "work", "emptyDir": {}}],
            }}),
        ]);
        let inside = Self { lab, namespace };
        let limit = Duration::from_mins(2);
        lab.wait(inside.name(), "pod/walproof", "condition=Ready", limit);
        // An image that has neither tar nor a newer libc shows here, by its own words.
        let program = File::open(walproof::program()).unwrap();
        let copied = lab
            .kubectl(&inside.exec(
                true,
                &[
                    "sh",
                    "-c",
                    "cat > /work/walproof && chmod 755 /work/walproof",
                ],
            ))
            .stdin(Stdio::from(program))
            .status()
            .unwrap();
        assert!(copied.success());
        inside.run(&["--version"]).expect_code(0);
        inside
    }

    pub(crate) fn name(&self) -> &str {
        &self.namespace.name
    }

    pub(crate) fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.name(), Self::ACCOUNT)
    }

    fn exec<'a>(&'a self, input: bool, words: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["-n", self.name(), "exec"];
        all.extend(input.then_some("-i"));
        all.extend(["walproof", "--"]);
        all.extend(words);
        all
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let script = format!("cat > /work/{file}");
        let words = self.exec(true, &["sh", "-c", &script]);
        run_with_input(&mut self.lab.kubectl(&words), text);
    }

    /// The calls of walproof, one by one, since the pod began.
    pub(crate) fn calls(&self) -> Vec<Value> {
        let text = self.lab.ask(&self.exec(false, &["cat", Self::CALLS]));
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Starts walproof and leaves it running, with these variables; [`Self::end`] ends it.
    pub(crate) fn begin(&self, variables: &str, words: &[&str]) {
        let script = format!(
            "cd /work; {variables} nohup ./walproof {} >begun.log 2>&1 </dev/null & echo $! >begun.pid",
            words.join(" ")
        );
        self.lab.ask(&self.exec(false, &["sh", "-c", &script]));
    }

    /// Asks what was begun to end, and gives what it said.
    pub(crate) fn end(&self) -> String {
        // The pod's first process reaps nobody: what has ended stays as a zombie.
        let script = "cd /work; stat=/proc/$(cat begun.pid)/stat; kill $(cat begun.pid); \
            while [ -e $stat ] && ! grep -q ') Z' $stat; do sleep 0.2; done; cat begun.log";
        self.lab.ask(&self.exec(false, &["sh", "-c", script]))
    }

    pub(crate) fn run(&self, words: &[&str]) -> Run {
        let all = [&["/work/walproof"][..], words].concat();
        walproof::run_command(self.lab.kubectl(&self.exec(false, &all)))
    }
}

/// The check says what is missing, the printed role gives it, and a drill is proven with it.
#[test]
fn a_pod_checks_and_drills_with_the_printed_role() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let inside = Inside::new(lab);
    let place = ["--namespace", source.name(), "--secret", Source::READER];
    let check = [&["kubernetes", "check", "--output", "json"][..], &place].concat();

    let before = inside.run(&check).expect_code(3).json();
    assert_eq!(before["in_cluster"], true);
    assert_eq!(before["context"], Value::Null);
    assert_eq!(before["username"], inside.user());
    assert!(before["missing"].as_u64().unwrap() > 10);

    let role = format!("{}-drills", inside.name());
    let user = inside.user();
    let printed = [
        &["kubernetes", "check"][..],
        &place,
        &["--as", &user, "--print-role", "--role-name", &role],
    ]
    .concat();
    let environment = [(
        "KUBECONFIG".to_owned(),
        lab.kubeconfig.display().to_string(),
    )];
    let _roles = Roles(lab, role.clone());
    grant(lab, &printed, &environment);
    let mut last = None;
    wait_until(Duration::from_mins(1), "the permissions", || {
        let run = inside.run(&check);
        let ready = run.code == Some(0);
        last = Some(run);
        ready
    });
    let report = last.unwrap().json();
    assert_eq!(
        (&report["missing"], &report["refused"]),
        (&json!(0), &json!(0))
    );

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
    inside.write(
        "walproof.yaml",
        &format!(
            "version: 1\nstate: sqlite:///work/state.sqlite\nclusters:\n\
             - name: orders\n  kubernetes: {resource}\n  primary: {primary}\n"
        ),
    );
    // Its scratch namespaces are known by the pod's own name.
    let prefix = format!("{}-d", lab.prefix);
    inside.write(
        "inside.yaml",
        &format!(
            "version: 1\nname: inside\nenvironment: cnpg\ncnpg: {{namespace_prefix: {prefix}}}\n\
             checks:\n- {{name: rows, database: {}, sql: 'select count(*) from history', expect: '> 0'}}\n",
            Source::DATABASE
        ),
    );
    let config = ["--config", "/work/walproof.yaml"];
    let drill = [
        "drill",
        "run",
        "orders",
        "--environment",
        "cnpg",
        "--definition",
        "/work/inside.yaml",
        "--output",
        "json",
    ];
    let drilled = Drilled::of(inside.run(&[&config[..], &drill].concat())).expect(0);
    assert_eq!(drilled.report["verdict"], "proven", "{:#}", drilled.report);
    let point = &drilled.report["measurements"]["recovery_point"]["time"];
    let point: chrono::DateTime<chrono::Utc> = point.as_str().unwrap().parse().unwrap();
    let expected = source
        .history()
        .iter()
        .filter(|row| row.committed <= point)
        .count();
    assert_eq!(drilled.check("rows")["observed"], expected.to_string());
    drilled.print_phases();
    drilled.assert_nothing_left(lab);

    // No other Secret was within its reach, also not those beside the one that it reads with.
    let writer = format!("secret/{}", Source::WRITER);
    let asked = lab.try_ask(&["-n", source.name(), "get", &writer, "--as", &inside.user()]);
    assert!(asked.unwrap_err().contains("orbidden"));
}
