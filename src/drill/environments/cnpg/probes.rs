//! What the restored server can reach, by trying from its own pod, and what its
//! ServiceAccount may do.
//!
//! A policy that is only written is no fence: some network plugins do not enforce any.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::PostParams;

use super::server::PodServer;
use crate::drill::proof::ProofItem;
use crate::kubernetes::Kube;
use crate::kubernetes::cnpg::SourceCluster;
use crate::kubernetes::names::SCRATCH_CLUSTER;

/// A connection that is not made within this time counts as refused.
const PATIENCE: Duration = Duration::from_secs(3);
/// Addresses of the internet that answer on these ports, were there a way to them.
const INTERNET: [(&str, u16); 2] = [("1.1.1.1", 443), ("8.8.8.8", 53)];

/// What was tried.
#[derive(Debug)]
pub(super) struct Probed {
    /// What must not be possible and is comes first, as an item that does not hold; what
    /// could not be tried has no answer.
    pub items: Vec<ProofItem>,
    /// Whether no connection could be made, of those tried; `None` when one of them could
    /// not be tried and the others were refused.
    pub network_isolated: Option<bool>,
}

/// Tries everything.
pub(super) async fn probe(
    kube: &Kube,
    server: &PodServer,
    namespace: &str,
    source: &SourceCluster,
    live: bool,
) -> Probed {
    let mut items = Vec::new();
    // A bash without /dev/tcp refuses everything; what must be possible tells the difference.
    let can_try = connects(server, "127.0.0.1", 5432).await == Some(true);
    for (address, port) in INTERNET {
        let name = format!("connection to the internet ({address}:{port})");
        let reached = if can_try {
            connects(server, address, port).await
        } else {
            None
        };
        items.push(refused(&name, reached));
    }
    if live {
        let service = format!("{}-rw", source.name);
        let address = cluster_ip(kube, &source.namespace, &service).await;
        let name = format!(
            "connection to the source ({service}.{}:5432)",
            source.namespace
        );
        let reached = match address {
            Some(address) if can_try => connects(server, &address, 5432).await,
            _ => None,
        };
        items.push(refused(&name, reached));
    }
    let network_isolated = all_refused(&items);
    let who = format!("system:serviceaccount:{namespace}:{SCRATCH_CLUSTER}");
    for (verb, group, resource, place) in [
        ("get", "", "secrets", source.namespace.as_str()),
        ("list", "", "secrets", ""),
        ("create", "", "pods", namespace),
        (
            "update",
            "postgresql.cnpg.io",
            "clusters",
            source.namespace.as_str(),
        ),
    ] {
        let place_words = if place.is_empty() {
            "everywhere".to_owned()
        } else {
            format!("in {place}")
        };
        let name = format!("its ServiceAccount may {verb} {resource} {place_words}");
        let allowed = may(kube, &who, (verb, group, resource, place)).await;
        items.push(ProofItem {
            name,
            expected: "no".to_owned(),
            observed: allowed.map(|allowed| if allowed { "yes" } else { "no" }.to_owned()),
            holds: allowed.map(|allowed| !allowed),
        });
    }
    items.sort_by_key(|item| item.holds != Some(false));
    Probed {
        items,
        network_isolated,
    }
}

fn all_refused(connections: &[ProofItem]) -> Option<bool> {
    let answers = || connections.iter().map(|item| item.holds);
    if answers().any(|holds| holds == Some(false)) {
        Some(false)
    } else if answers().all(|holds| holds == Some(true)) {
        Some(true)
    } else {
        None
    }
}

fn refused(name: &str, reached: Option<bool>) -> ProofItem {
    let words = |reached| if reached { "made" } else { "not made" };
    ProofItem {
        name: name.to_owned(),
        expected: words(false).to_owned(),
        observed: reached.map(|reached| words(reached).to_owned()),
        holds: reached.map(|reached| !reached),
    }
}

/// Whether the pod can open a connection. `None` when it cannot be tried there.
async fn connects(server: &PodServer, address: &str, port: u16) -> Option<bool> {
    let target = format!("exec 3<>/dev/tcp/{address}/{port}");
    let limit = PATIENCE.as_secs().to_string();
    let command = ["timeout", limit.as_str(), "bash", "-c", target.as_str()];
    let output = server
        .run(&command, PATIENCE + Duration::from_secs(20))
        .await;
    match output.ok()?.code? {
        0 => Some(true),
        // bash says 1, timeout 124. Anything else, such as 127 where there is no such program
        // in the image, is no answer.
        1 | 124 => Some(false),
        _ => None,
    }
}

async fn cluster_ip(kube: &Kube, namespace: &str, service: &str) -> Option<String> {
    let services: Api<Service> = Api::namespaced(kube.client(), namespace);
    let action = format!("get service {namespace}/{service}");
    let found = kube.call(action, services.get_opt(service)).await.ok()??;
    found
        .spec?
        .cluster_ip
        .filter(|address| address != "None" && !address.is_empty())
}

async fn may(
    kube: &Kube,
    who: &str,
    (verb, group, resource, namespace): (&str, &str, &str, &str),
) -> Option<bool> {
    let text = |text: &str| Some(text.to_owned());
    let own = who.rsplit(':').nth(1).unwrap_or_default();
    let groups = vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{own}"),
        "system:authenticated".to_owned(),
    ];
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: text(who),
            groups: Some(groups),
            resource_attributes: Some(ResourceAttributes {
                verb: text(verb),
                group: text(group),
                resource: text(resource),
                namespace: text(namespace).filter(|place| !place.is_empty()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(kube.client());
    let params = PostParams::default();
    let asking = kube.call("ask what a pod may", reviews.create(&params, &review));
    let answer = asking.await.ok()?;
    Some(answer.status?.allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_that_is_made_is_enough() {
        let tried = |answers: &[Option<bool>]| {
            let items: Vec<ProofItem> = answers
                .iter()
                .map(|reached| refused("somewhere", *reached))
                .collect();
            all_refused(&items)
        };
        assert_eq!(tried(&[Some(false), Some(false)]), Some(true));
        assert_eq!(tried(&[Some(false), Some(true), None]), Some(false));
        // Without bash in the image nothing can be said.
        assert_eq!(tried(&[Some(false), None]), None);
    }
}
