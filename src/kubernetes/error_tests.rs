//! The statuses are what a Kubernetes 1.34 API server answered.

use super::*;

fn of(json: &str) -> KubeError {
    let status: Status = serde_json::from_str(json).unwrap();
    KubeError::of("try it", kube::Error::Api(status.boxed()))
}

fn failure(code: u16, reason: &str, message: &str) -> KubeError {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    of(&status.to_string())
}

#[test]
fn every_refusal_has_the_kind_that_says_what_to_do() {
    use KubeErrorKind as Kind;
    for (kind, code, reason, message) in [
        (
            Kind::Forbidden,
            403,
            "Forbidden",
            r#"secrets is forbidden: User "system:serviceaccount:k1-a:poor" cannot list resource "secrets" in API group "" at the cluster scope"#,
        ),
        (Kind::Unauthorized, 401, "Unauthorized", "Unauthorized"),
        (
            Kind::Quota,
            403,
            "Forbidden",
            r#"configmaps "x" is forbidden: exceeded quota: tight, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=0"#,
        ),
        (
            Kind::Quota,
            403,
            "Forbidden",
            r#"pods "x" is forbidden: failed quota: tight: must specify requests.cpu for: a"#,
        ),
        (
            Kind::Invalid,
            403,
            "Forbidden",
            r#"pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false)"#,
        ),
        (
            Kind::Conflict,
            403,
            "Forbidden",
            r#"secrets "y" is forbidden: unable to create new content in namespace k1-stuck because it is being terminated"#,
        ),
        (
            Kind::AlreadyExists,
            409,
            "AlreadyExists",
            r#"namespaces "k1-a" already exists"#,
        ),
        (
            Kind::Conflict,
            409,
            "Conflict",
            r#"Operation cannot be fulfilled on namespaces "k1-a": the object has been modified; please apply your changes to the latest version and try again"#,
        ),
        (
            Kind::Invalid,
            422,
            "Invalid",
            r#"Cluster.postgresql.cnpg.io "x" is invalid: spec.instances: Invalid value: 0: spec.instances in body should be greater than or equal to 1"#,
        ),
        (
            Kind::Invalid,
            422,
            "Invalid",
            r#"admission webhook "vcluster.cnpg.io" denied the request: Cluster.postgresql.cnpg.io "x" is invalid: [spec.bootstrap: Forbidden: Only one bootstrap method can be specified at a time]"#,
        ),
        (
            // A webhook chooses its own code.
            Kind::Invalid,
            403,
            "Forbidden",
            r#"admission webhook "validate.kyverno.svc-fail" denied the request: resource Cluster/x was blocked due to the following policies"#,
        ),
        (
            Kind::Invalid,
            422,
            "Invalid",
            "serviceaccounts \"x\" is forbidden: ValidatingAdmissionPolicy 'k1-never' with binding 'k1-never' denied request: no more accounts here",
        ),
        (
            Kind::Unreachable,
            500,
            "InternalError",
            r#"Internal error occurred: failed calling webhook "mcluster.cnpg.io": failed to call webhook: Post "https://cnpg-webhook-service.cnpg-system.svc:443/mutate?timeout=10s": no endpoints available for service "cnpg-webhook-service""#,
        ),
        (
            Kind::NotFound,
            404,
            "NotFound",
            r#"namespaces "k1-none" not found"#,
        ),
        (
            Kind::Timeout,
            504,
            "Timeout",
            "Timeout: Too large resource version: 99999999999, current: 11455",
        ),
        (
            Kind::Unreachable,
            429,
            "TooManyRequests",
            "too many requests, please try again later",
        ),
        (
            Kind::Other,
            410,
            "Expired",
            "too old resource version: 1 (9815)",
        ),
        (
            Kind::Other,
            400,
            "BadRequest",
            "container zz is not valid for pod tools",
        ),
    ] {
        let error = failure(code, reason, message);
        assert_eq!(error.kind, kind, "{message}");
        assert_eq!(error.to_string(), format!("try it: {message}"));
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn a_kind_that_is_not_installed_is_not_found() {
    // The answer is plain text; the client makes a status of it.
    let status = Status::failure("404 page not found", "Failed to parse error data");
    let error = KubeError::of_status("list things", &status.with_code(404));
    assert_eq!(error.kind, KubeErrorKind::NotFound);
}

#[test]
fn a_container_that_waits_is_known() {
    let waits = r#"container "a" in pod "waits" is waiting to start: image can't be pulled"#;
    assert!(failure(400, "BadRequest", waits).is_not_started());
    assert!(!failure(400, "BadRequest", "container zz is not valid for pod x").is_not_started());
}

#[test]
fn only_what_passes_by_itself_is_transient() {
    for kind in KubeErrorKind::ALL {
        let transient = matches!(
            kind,
            KubeErrorKind::Unreachable | KubeErrorKind::Timeout | KubeErrorKind::Conflict
        );
        assert_eq!(KubeError::new(kind, "x", "y").is_transient(), transient);
    }
}

#[test]
fn what_others_say_is_repeated_in_part() {
    let error = failure(500, "InternalError", &"é".repeat(5000));
    assert_eq!(error.message.chars().count(), 1003);
}

/// The errors of a client that reads this kubeconfig.
fn connect(text: &str) -> KubeError {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    std::fs::write(&file, text).unwrap();
    let access = crate::kubernetes::Access {
        kubeconfig: Some(file),
        context: None,
    };
    crate::kubernetes::bridge::wait(async move {
        let kube = crate::kubernetes::Kube::connect(&access).await?;
        kube.version().await.map(|_| ())
    })
    .unwrap_err()
}

fn kubeconfig(server: &str, user: &str) -> String {
    format!(
        r"{{apiVersion: v1, kind: Config, current-context: c,
            contexts: [{{name: c, context: {{cluster: k, user: u}}}}],
            clusters: [{{name: k, cluster: {{server: '{server}'}}}}],
            users: [{{name: u, user: {user}}}]}}"
    )
}

#[test]
fn a_kubeconfig_that_cannot_be_read_is_not_repeated() {
    for text in [
        "users: [{name: u, user: {token: s3cr3t-token, }}]]]",
        "users:\n- name: u\n  user:\n    token: [s3cr3t-token]\n",
        "s3cr3t-token",
    ] {
        let error = connect(text);
        assert_eq!(error.kind, KubeErrorKind::Configuration, "{error}");
        assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
    }
}

#[test]
fn a_context_that_is_not_there_is_named() {
    let error = connect("{apiVersion: v1, kind: Config, current-context: production}");
    assert_eq!(error.kind, KubeErrorKind::Configuration);
    assert!(error.message.contains("production"), "{error}");
}

#[test]
fn a_credential_plugin_is_not_quoted() {
    let missing = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: /no/such/plugin, interactiveMode: Never}}";
    let error = connect(&kubeconfig("http://127.0.0.1:1", missing));
    assert_eq!(error.kind, KubeErrorKind::Configuration, "{error}");
    // What it prints and its environment may be secret.
    let failing = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, \
        args: [-c, 'echo s3cr3t; echo $TOKEN; echo s3cr3t >&2; exit 3'], \
        env: [{name: TOKEN, value: s3cr3t}], interactiveMode: Never}}";
    let error = connect(&kubeconfig("http://127.0.0.1:1", failing));
    assert_eq!(error.kind, KubeErrorKind::Unauthorized, "{error}");
    assert!(error.message.contains("exit status: 3"), "{error}");
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
    let babbling = failing.replace("exit 3", "exit 0");
    let error = connect(&kubeconfig("http://127.0.0.1:1", &babbling));
    assert_eq!(error.kind, KubeErrorKind::Unauthorized, "{error}");
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
}

#[test]
fn a_port_that_nobody_listens_on_is_unreachable() {
    let error = connect(&kubeconfig("http://127.0.0.1:1", "{}"));
    assert_eq!(error.kind, KubeErrorKind::Unreachable, "{error}");
    assert!(error.message.contains("refused"), "{error}");
    assert!(error.is_transient());
}
