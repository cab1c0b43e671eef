//! From a request's method and path to what the API server's authorizer makes of it
//! (`k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`).

use http::{Method, Uri};

/// One request, as RBAC names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// The API group; empty for the core group and for what is no object.
    pub group: String,
    /// The resource; of what is no object the first part of its path, such as `/version`.
    pub resource: String,
    /// The subresource.
    pub subresource: Option<String>,
    /// The object's namespace.
    pub namespace: Option<String>,
    /// The object's name, where one is asked for.
    pub name: Option<String>,
    /// Whether nothing is to be changed (`dryRun=All`).
    pub dry_run: bool,
}

impl Call {
    /// Reads a request.
    pub fn read(method: &Method, uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let asks = |what: &str| query.split('&').any(|part| part == what);
        let path = uri.path();
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let group = match parts.next() {
            Some("api") => Some(""),
            Some("apis") => parts.next(),
            _ => None,
        };
        let mut call = Self {
            dry_run: asks("dryRun=All"),
            ..Self::default()
        };
        let rest: Vec<&str> = parts.skip(1).collect();
        let object = group.and_then(|group| Some((group, split(&rest)?)));
        let Some((group, object)) = object else {
            let first = path.split('/').find(|part| !part.is_empty());
            call.resource = format!("/{}", first.unwrap_or_default());
            call.verb = verb(method, true, false);
            return call;
        };
        group.clone_into(&mut call.group);
        object.resource.clone_into(&mut call.resource);
        call.subresource = object.subresource.map(str::to_owned);
        call.namespace = object.namespace.map(str::to_owned);
        call.name = object.name.map(str::to_owned);
        call.verb = verb(method, call.name.is_some(), asks("watch=true"));
        call
    }

    /// The resource as RBAC writes it: `pods/log`.
    pub fn object(&self) -> String {
        match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.resource),
            None => self.resource.clone(),
        }
    }
}

struct Object<'a> {
    namespace: Option<&'a str>,
    resource: &'a str,
    name: Option<&'a str>,
    subresource: Option<&'a str>,
}

/// What follows `/api/v1` or `/apis/GROUP/VERSION`.
fn split<'a>(parts: &[&'a str]) -> Option<Object<'a>> {
    let (namespace, rest) = match parts {
        // `namespaces/NAME/status` is about the namespace itself.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, parts),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        _ => (None, parts),
    };
    let (resource, rest) = rest.split_first()?;
    Some(Object {
        namespace,
        resource,
        name: rest.first().copied(),
        subresource: rest.get(1).copied(),
    })
}

fn verb(method: &Method, named: bool, watch: bool) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ if watch => "watch",
        _ if named => "get",
        _ => "list",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_the_authorizer_reads_it() {
        for (method, path, expected) in [
            ("GET", "/api/v1/namespaces", "list namespaces"),
            ("GET", "/api/v1/namespaces/shop", "get namespaces shop"),
            (
                "PATCH",
                "/api/v1/namespaces/shop/status",
                "patch namespaces/status shop",
            ),
            (
                "POST",
                "/api/v1/namespaces/shop/secrets?dryRun=All",
                "create secrets in shop, dry",
            ),
            (
                "GET",
                "/api/v1/namespaces/shop/secrets/s3?",
                "get secrets s3 in shop",
            ),
            (
                "GET",
                "/api/v1/namespaces/shop/pods/p/exec?command=true",
                "get pods/exec p in shop",
            ),
            ("GET", "/api/v1/pods?limit=500&watch=true", "watch pods"),
            (
                "GET",
                "/apis/postgresql.cnpg.io/v1/namespaces/shop/clusters?watch=true&x=y",
                "watch clusters.postgresql.cnpg.io in shop",
            ),
            (
                "DELETE",
                "/apis/batch/v1/namespaces/shop/jobs/j",
                "delete jobs.batch j in shop",
            ),
            (
                "DELETE",
                "/apis/batch/v1/namespaces/shop/jobs",
                "deletecollection jobs.batch in shop",
            ),
            (
                "PUT",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/r",
                "update clusterroles.rbac.authorization.k8s.io r",
            ),
            ("GET", "/version", "get /version"),
            ("GET", "/apis", "get /apis"),
            ("GET", "/apis/apps/v1", "get /apis"),
            ("GET", "/api/v1", "get /api"),
            ("GET", "/", "get /"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let call = Call::read(&method, &path.parse().unwrap());
            let mut said = format!("{} {}", call.verb, call.object());
            if !call.group.is_empty() {
                said.push('.');
                said.push_str(&call.group);
            }
            if let Some(name) = &call.name {
                said.push(' ');
                said.push_str(name);
            }
            if let Some(namespace) = &call.namespace {
                said.push_str(" in ");
                said.push_str(namespace);
            }
            if call.dry_run {
                said.push_str(", dry");
            }
            assert_eq!(said, expected, "{method} {path}");
        }
    }
}
