use super::*;

fn kind(json: &str) -> KubeErrorKind {
    let status: Status = serde_json::from_str(json).unwrap();
    KubeError::of("try", kube::Error::Api(status.boxed())).kind
}

#[test]
fn a_denied_wish_is_forbidden() {
    assert_eq!(
        kind(
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"secrets is forbidden: User \"x\" cannot list resource \"secrets\" in API group \"\" at the cluster scope","reason":"Forbidden","details":{"kind":"secrets"},"code":403}"#
        ),
        KubeErrorKind::Forbidden
    );
}
