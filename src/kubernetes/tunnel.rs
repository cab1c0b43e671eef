//! Services of the cluster, from outside of it.
//!
//! A repository's endpoint is often a Service (`http://minio.storage.svc:9000`), whose name
//! only the cluster's own DNS knows. From a laptop it is reached as kubectl would: through
//! the API server, to one of the pods behind the Service.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use url::Url;

use super::forward::{PAUSE, PodStream, Target};
use super::{Kube, KubeError, KubeErrorKind, bridge};

/// How long this machine's resolver may think about a name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Address {
    namespace: String,
    service: String,
    port: u16,
}

/// The listeners of this process, by API server and Service. One per Service: repositories
/// are opened many times.
static OPEN: LazyLock<Mutex<BTreeMap<(String, Address), SocketAddr>>> =
    LazyLock::new(Mutex::default);

/// A URL by which a Service of the cluster can be reached from here, for an endpoint whose
/// host is one (`*.svc`, `*.svc.cluster.local`) and does not resolve here; none for any
/// other. A listener on the loopback address carries the connections and lives as long as
/// the process.
///
/// Only `http`: behind another address, the certificate of an `https` endpoint names
/// somebody else.
pub async fn reach(kube: &Kube, endpoint: &str) -> Result<Option<String>, KubeError> {
    let Ok(mut url) = Url::parse(endpoint) else {
        // Not ours to complain about: who uses it will.
        return Ok(None);
    };
    let Some(address) = address_of(&url) else {
        return Ok(None);
    };
    let host = url.host_str().unwrap_or_default().to_owned();
    if resolves(&host, address.port).await {
        return Ok(None);
    }
    let action = format!("reach {host} through the API server");
    if url.scheme() != "http" {
        return Err(KubeError::new(
            KubeErrorKind::Configuration,
            action,
            format!(
                "{host} does not resolve here, and an {} endpoint cannot be reached through a tunnel: its \
                 certificate would not be that of the tunnel's address; run walproof in the cluster, or give \
                 an endpoint that resolves here",
                url.scheme()
            ),
        ));
    }
    let local = listener(kube, address).await?;
    let changed = url.set_ip_host(local.ip()).is_ok() && url.set_port(Some(local.port())).is_ok();
    if !changed {
        return Err(KubeError::new(
            KubeErrorKind::Configuration,
            action,
            "the endpoint cannot be given another address",
        ));
    }
    let mut text = url.to_string();
    if !endpoint.ends_with('/') && text.ends_with('/') {
        text.pop();
    }
    Ok(Some(text))
}

/// The Service that a URL names, when it does: `NAME.NAMESPACE.svc[.cluster.local]`.
fn address_of(url: &Url) -> Option<Address> {
    let host = url.host_str()?.trim_end_matches('.');
    let name = host
        .strip_suffix(".svc.cluster.local")
        .or_else(|| host.strip_suffix(".svc"))?;
    let (service, namespace) = name.split_once('.')?;
    // A pod's own name in a headless Service has one label more: it is not a Service.
    let plain = !service.is_empty() && !namespace.is_empty() && !namespace.contains('.');
    plain.then_some(Address {
        namespace: namespace.to_owned(),
        service: service.to_owned(),
        port: url.port_or_known_default()?,
    })
}

async fn resolves(host: &str, port: u16) -> bool {
    let looked = tokio::net::lookup_host((host, port));
    match tokio::time::timeout(RESOLVE_TIMEOUT, looked).await {
        Ok(Ok(mut addresses)) => addresses.next().is_some(),
        Ok(Err(_)) | Err(_) => false,
    }
}

/// The listener for a Service, begun when there is none.
async fn listener(kube: &Kube, address: Address) -> Result<SocketAddr, KubeError> {
    let mut open = OPEN.lock().await;
    let key = (kube.server().to_owned(), address.clone());
    if let Some(local) = open.get(&key) {
        return Ok(*local);
    }
    // Asked before anybody connects: a Service that is not there must be told of now.
    find(kube, &address).await?;
    let action = format!("open a tunnel to {}", address.name());
    let failed = move |words: String| KubeError::new(KubeErrorKind::Other, action.clone(), words);
    let kube = kube.clone();
    let begun = bridge::runtime()?.spawn(async move {
        let kube = kube.again().await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|error| failed(error.to_string()))?;
        let local = listener
            .local_addr()
            .map_err(|error| failed(error.to_string()))?;
        tokio::spawn(serve(listener, kube, address));
        Ok(local)
    });
    let local = begun.await.map_err(|error| {
        KubeError::new(
            KubeErrorKind::Other,
            "open a tunnel",
            format!("the work ended: {error}"),
        )
    })??;
    open.insert(key, local);
    Ok(local)
}

impl Address {
    fn name(&self) -> String {
        format!("{}.{}.svc:{}", self.service, self.namespace, self.port)
    }
}

async fn serve(listener: TcpListener, kube: Kube, address: Address) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                tokio::spawn(carry(connection, kube.clone(), address.clone()));
            }
            Err(error) => {
                tracing::debug!(%error, "accept a connection for {}", address.name());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Carries one connection. The pods behind a Service come and go, so they are looked up for
/// each: a client keeps its connections.
async fn carry(connection: TcpStream, kube: Kube, address: Address) {
    let carried = match open(&kube, &address).await {
        Ok(stream) => stream.carry(connection).await,
        Err(error) => Err(error),
    };
    if let Err(error) = carried {
        tracing::warn!("{error}");
    }
}

async fn open(kube: &Kube, address: &Address) -> Result<PodStream, KubeError> {
    let (pod, port) = find(kube, address).await?;
    Target::new(kube, &address.namespace, &pod, port)
        .open()
        .await
}

/// A ready pod behind a Service, and the port in it.
async fn find(kube: &Kube, address: &Address) -> Result<(String, u16), KubeError> {
    let action = format!("look up {}", address.name());
    let services: Api<Service> = Api::namespaced(kube.client(), &address.namespace);
    let service = kube
        .call(action.clone(), services.get(&address.service))
        .await?;
    let missing = |words: &str| KubeError::new(KubeErrorKind::NotFound, action.clone(), words);
    let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
    let port = ports
        .iter()
        .find(|port| port.port == i32::from(address.port))
        .ok_or_else(|| missing("the Service has no such port"))?;
    let name = port.name.as_deref().unwrap_or_default();
    let slices: Api<EndpointSlice> = Api::namespaced(kube.client(), &address.namespace);
    let of_service = format!("kubernetes.io/service-name={}", address.service);
    let parameters = ListParams::default().labels(&of_service);
    let slices = kube.call(action.clone(), slices.list(&parameters)).await?;
    slices
        .items
        .iter()
        .find_map(|slice| ready(slice, name))
        .ok_or_else(|| missing("no ready pod is behind the Service"))
}

/// A ready pod of a slice, and its port of this name. The port of an endpoint is the pod's
/// own, whatever the Service calls it.
fn ready(slice: &EndpointSlice, name: &str) -> Option<(String, u16)> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    let port = ports
        .iter()
        .find(|port| port.name.as_deref().unwrap_or_default() == name)?;
    let port = u16::try_from(port.port?).ok()?;
    let pod = slice.endpoints.iter().find_map(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        // Absent means unknown, which counts as ready (discovery/v1 EndpointConditions).
        let ready = conditions.and_then(|conditions| conditions.ready) != Some(false);
        let target = endpoint.target_ref.as_ref()?;
        let is_pod = target.kind.as_deref() == Some("Pod");
        (ready && is_pod).then(|| target.name.clone()).flatten()
    })?;
    Some((pod, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Option<String> {
        address_of(&Url::parse(url).unwrap()).map(|address| address.name())
    }

    #[test]
    fn only_services_are_tunnelled() {
        for (url, name) in [
            ("http://s3.lab-s3.svc:7070", Some("s3.lab-s3.svc:7070")),
            (
                "http://s3.lab-s3.svc.cluster.local:7070/x",
                Some("s3.lab-s3.svc:7070"),
            ),
            (
                "http://s3.lab-s3.svc.cluster.local./",
                Some("s3.lab-s3.svc:80"),
            ),
            ("https://s3.lab-s3.svc", Some("s3.lab-s3.svc:443")),
            ("http://pod-0.s3.lab-s3.svc:7070", None),
            ("http://s3.example.com", None),
            ("http://svc", None),
            ("http://s3.svc", None),
            ("http://127.0.0.1:9000", None),
        ] {
            assert_eq!(address(url).as_deref(), name, "{url}");
        }
    }

    #[test]
    fn a_pod_that_is_not_ready_is_passed_over() {
        let slice: EndpointSlice = serde_json::from_value(serde_json::json!({
            "addressType": "IPv4",
            "ports": [{"name": "metrics", "port": 1}, {"name": "", "port": 9000}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": false},
                 "targetRef": {"kind": "Pod", "name": "starting"}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.3"], "targetRef": {"kind": "Pod", "name": "minio-1"}},
            ],
        }))
        .unwrap();
        assert_eq!(ready(&slice, ""), Some(("minio-1".to_owned(), 9000)));
        assert_eq!(ready(&slice, "metrics"), Some(("minio-1".to_owned(), 1)));
        assert_eq!(ready(&slice, "other"), None);
    }
}
