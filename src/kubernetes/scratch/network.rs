//! Who the other sides of a scratch namespace's connections are.
//!
//! NetworkPolicies know pods and addresses, not names: a Service becomes the pods behind it,
//! with the ports that they listen on, because policies apply after a Service's address was
//! replaced. The Service's own address is allowed too, for what answers on the node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};

use super::{NetworkPlan, Peer, Port, Protocol, Side};
use crate::kubernetes::cnpg::Operator;
use crate::kubernetes::{Kube, KubeError, KubeErrorKind};

/// Where the instance manager tells the operator its state (`pkg/management/url/url.go`).
const STATUS_PORT: u16 = 8000;
/// PostgreSQL's, for walproof as a pod.
const POSTGRES_PORT: u16 = 5432;
/// The Services that answer for names, by distribution.
const DNS: [(&str, &str); 3] = [
    ("kube-system", "kube-dns"),
    ("kube-system", "coredns"),
    ("openshift-dns", "dns-default"),
];
/// Where NodeLocal DNSCache listens, when pods are told to ask it.
const NODE_LOCAL_DNS: &str = "169.254.20.10/32";

/// The whole plan: names, the API server, the object store at `endpoint`, the operator.
/// `blocks` are address blocks of the object store that a person gives, instead of what its
/// name says now. walproof itself reaches the pods through the API server.
///
/// # Errors
///
/// A Service cannot be found or read, or the endpoint's name has no address.
pub async fn plan(
    kube: &Kube,
    endpoint: &str,
    blocks: &[String],
    operator: &Operator,
) -> Result<NetworkPlan, KubeError> {
    Ok(NetworkPlan {
        store: resolve(kube, endpoint, blocks).await?,
        api_server: api_server(kube).await?,
        dns: dns(kube).await?,
        operator: Some(operator_peer(operator)),
        walproof: None,
    })
}

/// The object store. A Service of the cluster becomes its pods; any other host, the address
/// blocks that are given, else its addresses of this moment. Addresses of the large clouds
/// change: give their blocks.
///
/// # Errors
///
/// The endpoint is no URL, its name has no address, or its Service cannot be read.
pub async fn resolve(
    kube: &Kube,
    endpoint: &str,
    blocks: &[String],
) -> Result<Vec<Peer>, KubeError> {
    let action = format!("find the addresses of {endpoint}");
    let wrong = |message: String| KubeError::new(KubeErrorKind::Other, action.clone(), message);
    let url = url::Url::parse(endpoint).map_err(|error| wrong(error.to_string()))?;
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default();
    let (false, Some(port)) = (host.is_empty(), port) else {
        return Err(wrong("it names no host or no port".to_owned()));
    };
    if !blocks.is_empty() {
        return Ok(vec![addresses(blocks.to_vec(), vec![Port::tcp(port)])]);
    }
    if let Some((service, namespace)) = service_of(host) {
        return of_service(kube, namespace, service, Some(port)).await;
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found: BTreeSet<IpAddr> = match bare.parse::<IpAddr>() {
        Ok(address) => BTreeSet::from([address]),
        Err(_) => tokio::net::lookup_host((bare, port))
            .await
            .map_err(|error| wrong(error.to_string()))?
            .map(|address| address.ip())
            .collect(),
    };
    if found.is_empty() {
        return Err(wrong("its name has no address".to_owned()));
    }
    let found = found.into_iter().map(block).collect();
    Ok(vec![addresses(found, vec![Port::tcp(port)])])
}

/// The API server, by the endpoints of the Service `kubernetes`.
///
/// # Errors
///
/// They cannot be read.
pub async fn api_server(kube: &Kube) -> Result<Vec<Peer>, KubeError> {
    of_service(kube, "default", "kubernetes", None).await
}

/// The servers for names.
///
/// # Errors
///
/// None of the usual Services is there.
pub async fn dns(kube: &Kube) -> Result<Vec<Peer>, KubeError> {
    let mut last = None;
    for (namespace, name) in DNS {
        match of_service(kube, namespace, name, None).await {
            Ok(mut peers) => {
                peers.push(addresses(
                    vec![NODE_LOCAL_DNS.to_owned()],
                    vec![Port::udp(53), Port::tcp(53)],
                ));
                return Ok(peers);
            }
            Err(error) if error.kind == KubeErrorKind::NotFound => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        KubeError::new(
            KubeErrorKind::NotFound,
            "find the DNS Service",
            "none is known",
        )
    }))
}

/// The operator: it asks the instance for its state, and without an answer the Cluster never
/// becomes ready.
pub fn operator_peer(operator: &Operator) -> Peer {
    Peer {
        side: Side::Pods {
            namespace: operator.namespace.clone(),
            labels: operator.pod_labels.clone(),
        },
        ports: vec![Port::tcp(STATUS_PORT)],
    }
}

/// A pod as the side that asks the recovered server, by its name.
///
/// # Errors
///
/// The pod cannot be read.
pub async fn walproof_pod(kube: &Kube, namespace: &str, name: &str) -> Result<Peer, KubeError> {
    let pods: Api<Pod> = Api::namespaced(kube.client(), namespace);
    let action = format!("get Pod {namespace}/{name}");
    let pod = kube.call(action, pods.get(name)).await?;
    let mut labels = pod.metadata.labels.unwrap_or_default();
    // They change with every rollout, and a drill may outlive one.
    labels.retain(|key, _| !key.ends_with("-hash") && !key.ends_with("controller-uid"));
    Ok(Peer {
        side: Side::Pods {
            namespace: namespace.to_owned(),
            labels,
        },
        ports: vec![Port::tcp(POSTGRES_PORT)],
    })
}

/// Service and namespace of a name inside the cluster.
fn service_of(host: &str) -> Option<(&str, &str)> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut parts = host.split('.');
    let service = parts.next()?;
    let namespace = parts.next()?;
    (parts.next() == Some("svc")).then_some((service, namespace))
}

/// The pods behind a Service and its own addresses; of one of its ports, or of all.
async fn of_service(
    kube: &Kube,
    namespace: &str,
    name: &str,
    port: Option<u16>,
) -> Result<Vec<Peer>, KubeError> {
    let action = format!("get Service {namespace}/{name}");
    let services: Api<Service> = Api::namespaced(kube.client(), namespace);
    let service = kube.call(action.as_str(), services.get(name)).await?;
    let action_slices = format!("list EndpointSlices of {namespace}/{name}");
    let slices: Api<EndpointSlice> = Api::namespaced(kube.client(), namespace);
    let parameters = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
    let slices = kube.call(action_slices, slices.list(&parameters)).await?;
    let peers = behind(&service, &slices.items, namespace, port);
    if peers.is_empty() {
        let message = "nothing answers behind it";
        return Err(KubeError::new(KubeErrorKind::Other, action, message));
    }
    Ok(peers)
}

/// What lies behind a Service.
fn behind(
    service: &Service,
    slices: &[EndpointSlice],
    namespace: &str,
    port: Option<u16>,
) -> Vec<Peer> {
    let spec = service.spec.clone().unwrap_or_default();
    let wanted: Vec<_> = spec
        .ports
        .unwrap_or_default()
        .into_iter()
        .filter(|one| port.is_none_or(|port| i32::from(port) == one.port))
        .collect();
    let names: BTreeSet<Option<String>> =
        wanted.iter().map(|one| named(one.name.as_ref())).collect();
    let own: Vec<Port> = wanted
        .iter()
        .filter_map(|one| numbered(one.protocol.as_deref(), one.port))
        .collect();
    let mut peers = Vec::new();
    let mut ports = BTreeSet::new();
    let mut ends = BTreeSet::new();
    for slice in slices {
        for one in slice.ports.iter().flatten() {
            if names.contains(&named(one.name.as_ref()))
                && let Some(number) = one.port
                && let Some(port) = numbered(one.protocol.as_deref(), number)
            {
                ports.insert(port);
            }
        }
        for endpoint in &slice.endpoints {
            let parsed = endpoint
                .addresses
                .iter()
                .filter_map(|text| text.parse().ok());
            ends.extend(parsed.map(block));
        }
    }
    let ports: Vec<Port> = ports.into_iter().collect();
    let selector: BTreeMap<String, String> = spec.selector.unwrap_or_default();
    if !ports.is_empty() && !selector.is_empty() {
        peers.push(Peer {
            side: Side::Pods {
                namespace: namespace.to_owned(),
                labels: selector,
            },
            ports,
        });
    } else if !ports.is_empty() && !ends.is_empty() {
        // Without a selector: servers outside of pods.
        peers.push(addresses(ends.into_iter().collect(), ports));
    }
    let addressed = spec.cluster_ips.unwrap_or_default();
    let addressed: Vec<String> = addressed
        .iter()
        .filter_map(|text| text.parse().ok())
        .map(block)
        .collect();
    if !addressed.is_empty() && !own.is_empty() && !peers.is_empty() {
        peers.push(addresses(addressed, own));
    }
    peers
}

/// A port's name; an unnamed one has an empty name in slices and none in Services.
fn named(name: Option<&String>) -> Option<String> {
    name.filter(|name| !name.is_empty()).cloned()
}

fn numbered(protocol: Option<&str>, number: i32) -> Option<Port> {
    let number = u16::try_from(number).ok()?;
    let protocol = match protocol.unwrap_or("TCP") {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => return None,
    };
    Some(Port { protocol, number })
}

fn addresses(blocks: Vec<String>, ports: Vec<Port>) -> Peer {
    Peer {
        side: Side::Addresses(blocks),
        ports,
    }
}

/// The block of one address.
fn block(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("{address}/32"),
        IpAddr::V6(address) => format!("{address}/128"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_services_are_known_from_those_outside() {
        for (host, service) in [
            ("s3.lab-s3.svc", Some(("s3", "lab-s3"))),
            ("s3.lab-s3.svc.cluster.local", Some(("s3", "lab-s3"))),
            ("s3.lab-s3.svc.cluster.local.", Some(("s3", "lab-s3"))),
            ("s3.lab-s3.svc.corp.example", Some(("s3", "lab-s3"))),
            ("s3.eu-west-1.amazonaws.com", None),
            ("minio", None),
            ("minio.example", None),
        ] {
            assert_eq!(service_of(host), service, "{host}");
        }
    }

    fn service(value: &serde_json::Value) -> Service {
        serde_json::from_value(json!({ "spec": value })).unwrap()
    }

    fn slice(value: serde_json::Value) -> EndpointSlice {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_service_becomes_its_pods_with_the_ports_they_listen_on() {
        let service = service(&json!({
            "clusterIPs": ["10.0.0.7"],
            "selector": {"app": "s3"},
            "ports": [
                {"name": "api", "port": 80, "targetPort": "http"},
                {"name": "console", "port": 81, "targetPort": 9001},
            ],
        }));
        let slices = [slice(json!({
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.1.0.5"]}],
            "ports": [{"name": "api", "port": 9000}, {"name": "console", "port": 9001}],
        }))];
        let peers = behind(&service, &slices, "store", Some(80));
        assert_eq!(
            peers,
            [
                Peer {
                    side: Side::Pods {
                        namespace: "store".to_owned(),
                        labels: BTreeMap::from([("app".to_owned(), "s3".to_owned())]),
                    },
                    ports: vec![Port::tcp(9000)],
                },
                addresses(vec!["10.0.0.7/32".to_owned()], vec![Port::tcp(80)]),
            ]
        );
        assert!(behind(&service, &slices, "store", Some(443)).is_empty());
    }

    #[test]
    fn a_service_without_pods_becomes_its_addresses() {
        let service = service(&json!({
            "clusterIPs": ["10.0.0.1"],
            "ports": [{"name": "https", "port": 443}],
        }));
        let slices = [slice(json!({
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["192.0.2.1"]}, {"addresses": ["192.0.2.2"]}],
            "ports": [{"name": "https", "port": 6443}],
        }))];
        assert_eq!(
            behind(&service, &slices, "default", None),
            [
                addresses(
                    vec!["192.0.2.1/32".to_owned(), "192.0.2.2/32".to_owned()],
                    vec![Port::tcp(6443)]
                ),
                addresses(vec!["10.0.0.1/32".to_owned()], vec![Port::tcp(443)]),
            ]
        );
        assert!(behind(&service, &[], "default", None).is_empty());
    }
}
