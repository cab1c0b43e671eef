//! Who walproof is at the API, and what it may do there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::walproof::kubernetes::access::{self, DrillForm, Source, for_drill, for_scan};
use ::walproof::kubernetes::{Access, Kube, KubeError, KubeErrorKind};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::common::kubernetes::{Lab, cluster};
use crate::common::process::{run_with_input, wait_until};
use crate::common::scratch;
use crate::common::walproof;

/// The lab's kubeconfig with another cluster or user.
fn kubeconfig(lab: &Lab, directory: &Path, change: impl FnOnce(&mut Value)) -> PathBuf {
    let text = lab.ask(&["config", "view", "--raw", "--minify", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&text).unwrap();
    change(&mut config);
    let file = directory.join("kubeconfig");
    std::fs::write(&file, config.to_string()).unwrap();
    file
}

pub(crate) fn with_token(lab: &Lab, directory: &Path, token: &str) -> PathBuf {
    kubeconfig(lab, directory, |config| {
        config["users"][0]["user"] = json!({ "token": token });
    })
}

async fn connect(file: &Path) -> Result<Kube, KubeError> {
    let access = Access {
        kubeconfig: Some(file.to_owned()),
        context: None,
    };
    Kube::connect(&access).await
}

async fn ask(file: &Path) -> Result<String, KubeError> {
    let kube = connect(file).await?;
    Ok(kube.whoami().await?.username)
}

pub(crate) fn account(lab: &Lab, namespace: &str, name: &str) -> String {
    lab.ask(&["-n", namespace, "create", "serviceaccount", name]);
    lab.ask(&["-n", namespace, "create", "token", name])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_says_who_we_are() {
    let lab = cluster!();
    let kube = connect(&lab.kubeconfig).await.unwrap();
    assert!(kube.version().await.unwrap().starts_with("v1."));
    assert!(!kube.whoami().await.unwrap().username.is_empty());
    assert!(kube.server().starts_with("https://") && !kube.server().ends_with('/'));
    assert!(!kube.in_cluster());

    let namespace = lab.namespace("who");
    let directory = scratch::directory();
    let token = account(lab, &namespace.name, "poor");
    let file = with_token(lab, directory.path(), &token);
    let kube = connect(&file).await.unwrap();
    let identity = kube.whoami().await.unwrap();
    let name = format!("system:serviceaccount:{}:poor", namespace.name);
    assert_eq!(identity.username, name);
    assert!(
        identity
            .groups
            .contains(&"system:serviceaccounts".to_owned())
    );
    assert!(!format!("{kube:?}").contains(&token));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_not_good_are_unauthorized() {
    let lab = cluster!();
    let directory = scratch::directory();
    let file = with_token(lab, directory.path(), "s3cr3t-and-wrong");
    let error = ask(&file).await.unwrap_err();
    assert_eq!(error.kind, KubeErrorKind::Unauthorized, "{error}");
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");

    // A token that was good: its account is gone.
    let namespace = lab.namespace("gone");
    let token = account(lab, &namespace.name, "poor");
    let file = with_token(lab, directory.path(), &token);
    ask(&file).await.unwrap();
    lab.ask(&["-n", &namespace.name, "delete", "serviceaccount", "poor"]);
    // The API server remembers a good token for some seconds.
    let mut error = None;
    let limit = std::time::Instant::now() + Duration::from_mins(1);
    while error.is_none() && std::time::Instant::now() < limit {
        error = ask(&file).await.err();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(error.unwrap().kind, KubeErrorKind::Unauthorized);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_the_one_is_said() {
    let lab = cluster!();
    let directory = scratch::directory();
    let closed = kubeconfig(lab, directory.path(), |config| {
        config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
    });
    let error = ask(&closed).await.unwrap_err();
    assert_eq!(error.kind, KubeErrorKind::Unreachable, "{error}");

    // The name does not exist (RFC 6761).
    let nowhere = kubeconfig(lab, directory.path(), |config| {
        config["clusters"][0]["cluster"]["server"] = json!("https://nowhere.invalid");
    });
    let error = ask(&nowhere).await.unwrap_err();
    assert_eq!(error.kind, KubeErrorKind::Unreachable, "{error}");

    // Without the CA the certificate is a stranger's.
    let stranger = kubeconfig(lab, directory.path(), |config| {
        let cluster = config["clusters"][0]["cluster"].as_object_mut().unwrap();
        cluster.remove("certificate-authority-data");
        cluster.remove("certificate-authority");
    });
    let error = ask(&stranger).await.unwrap_err();
    assert_eq!(error.kind, KubeErrorKind::Configuration, "{error}");
    assert!(error.message.contains("certificate"), "{error}");
}

/// Gives the account what `walproof kubernetes check --print-role` prints.
pub(crate) fn grant(lab: &Lab, arguments: &[&str], environment: &[(String, String)]) {
    let role = walproof::run(arguments, environment).expect_code(0).stdout;
    run_with_input(&mut lab.kubectl(&["apply", "-f", "-"]), &role);
    let role = serde_json::to_value(role).unwrap();
    assert!(role.as_str().unwrap().contains("kind: ClusterRole"));
}

/// Cluster-wide roles do not go with a namespace.
pub(crate) struct Roles<'a>(pub(crate) &'a Lab, pub(crate) String);

impl Drop for Roles<'_> {
    fn drop(&mut self) {
        for kind in ["clusterrole", "clusterrolebinding"] {
            let _ = self
                .0
                .try_ask(&["delete", kind, &self.1, "--ignore-not-found"]);
        }
    }
}

/// An account without rights, then with the printed role: nothing missing, a dry run that
/// passes, and still nobody else's Secrets.
#[tokio::test(flavor = "multi_thread")]
async fn the_printed_role_is_enough_and_not_more() {
    let lab = cluster!();
    let _peace = lab.beside();
    let namespace = lab.namespace("rights");
    let name = namespace.name.as_str();
    let directory = scratch::directory();
    let token = account(lab, name, "drills");
    let file = with_token(lab, directory.path(), &token);
    let environment = [("KUBECONFIG".to_owned(), file.display().to_string())];
    let check = [
        "kubernetes",
        "check",
        "--for",
        "drill",
        "--namespace",
        name,
        "--secret",
        "store",
    ];

    let before = walproof::run(&check, &environment).expect_code(3);
    assert!(before.stdout.contains("--print-role"), "{}", before.stdout);
    assert!(before.stdout.contains("No dry run"), "{}", before.stdout);
    let user = format!("system:serviceaccount:{name}:drills");

    // The roles of this test have names of their own beside those of people.
    let mut role = check.to_vec();
    let role_name = format!("{name}-drills");
    role.extend(["--print-role", "--role-name", &role_name]);
    let _roles = Roles(lab, role_name.clone());
    grant(lab, &role, &environment);

    // The authorizer learns of it within moments.
    let mut last = None;
    wait_until(Duration::from_secs(30), "the permissions", || {
        let run = walproof::run(&[&check[..], &["--output", "json"]].concat(), &environment);
        let ready = run.code == Some(0);
        last = Some(run);
        ready
    });
    let report = last.unwrap().json();
    assert_eq!(report["schema"], "walproof.kubernetes-check/v1");
    assert_eq!(report["username"], user.as_str());
    assert_eq!(report["missing"], 0);
    let trials = report["trials"].as_array().unwrap();
    assert!(
        trials.iter().all(|trial| trial["ok"] == true),
        "{trials:#?}"
    );
    assert!(trials.iter().any(|trial| trial["kind"] == "Cluster"));

    // Nothing was made by the dry run.
    assert!(lab.list(name, "clusters.postgresql.cnpg.io,objectstores,secrets,resourcequotas,limitranges,networkpolicies", "app.kubernetes.io/managed-by=walproof").is_empty());

    let kube = connect(&file).await.unwrap();
    let source = Source {
        namespace: Some(name.to_owned()),
        secrets: vec!["store".to_owned()],
    };
    let answers = access::check(&kube, &for_drill(DrillForm::Plugin, &source)).await;
    assert!(answers.unwrap().iter().all(|answer| answer.allowed));
    let secrets: Api<Secret> = Api::all(kube.client());
    let parameters = ListParams::default();
    let all = kube.call("list secrets", secrets.list(&parameters)).await;
    assert_eq!(all.unwrap_err().kind, KubeErrorKind::Forbidden);
    lab.ask(&[
        "-n",
        name,
        "create",
        "secret",
        "generic",
        "payroll",
        "--from-literal=a=b",
    ]);
    let secrets: Api<Secret> = Api::namespaced(kube.client(), name);
    let other = kube
        .call("read secret payroll", secrets.get("payroll"))
        .await;
    assert_eq!(other.unwrap_err().kind, KubeErrorKind::Forbidden);
    // What is granted by name passes the authorizer.
    let granted = kube.call("read secret store", secrets.get("store")).await;
    assert_eq!(granted.unwrap_err().kind, KubeErrorKind::NotFound);
}

/// Asking for another identity, without any role printed or given.
#[tokio::test(flavor = "multi_thread")]
async fn another_identity_can_be_asked_for() {
    let lab = cluster!();
    let namespace = lab.namespace("as");
    let name = namespace.name.as_str();
    lab.ask(&["-n", name, "create", "serviceaccount", "scanner"]);
    let user = format!("system:serviceaccount:{name}:scanner");
    let access = Access {
        kubeconfig: Some(lab.kubeconfig.clone()),
        context: None,
    };
    let kube = Kube::connect_as(&access, &user).await.unwrap();
    assert_eq!(kube.whoami().await.unwrap().username, user);
    let needs = for_scan(&Source::default());
    let answers = access::check(&kube, &needs).await.unwrap();
    assert!(answers.iter().all(|answer| !answer.allowed));
    assert!(
        answers
            .iter()
            .any(::walproof::kubernetes::access::Answer::is_missing)
    );
    let ours = Kube::connect(&access).await.unwrap();
    let answers = access::check(&ours, &needs).await.unwrap();
    assert!(answers.iter().all(|answer| answer.allowed), "{answers:#?}");

    let environment = [(
        "KUBECONFIG".to_owned(),
        lab.kubeconfig.display().to_string(),
    )];
    let check = ["kubernetes", "check", "--for", "scan"];
    walproof::run(&check, &environment).expect_code(0);
    let other = [&check[..], &["--as", &user]].concat();
    let run = walproof::run(&other, &environment).expect_code(3);
    assert!(run.stdout.contains(&user), "{}", run.stdout);
}
