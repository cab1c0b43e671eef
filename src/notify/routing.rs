//! Who is told of what. Decides from the configuration alone.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::{Addressee, Config, NoticeKind, Notifications, Raci, Role, Route};
use crate::finding::Severity;

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// Of which cluster.
    pub cluster: &'a str,
    /// Found by what kind of work.
    pub kind: NoticeKind,
    /// How much it matters.
    pub severity: Severity,
}

/// A receiver that is told, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Told {
    /// The receiver's name.
    pub receiver: String,
    /// Who is reached by it: `accountable head-of-platform`, or `otherwise`.
    pub because: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Place {
    tier: Option<String>,
    owner: Option<String>,
    raci: Raci,
}

/// The routes with everything that they refer to.
#[derive(Clone, Debug, Default)]
pub struct Routing {
    people: BTreeMap<String, Vec<String>>,
    routes: Vec<Route>,
    otherwise: Vec<String>,
    clusters: BTreeMap<String, Place>,
}

/// Routes where the configuration has none: the accountable and the responsible hear of what
/// is critical, the consulted of warnings too, the informed of everything.
fn usual() -> Vec<Route> {
    let route = |severity, roles: &[Role]| Route {
        severity,
        to: roles.iter().copied().map(Addressee::Role).collect(),
        goes_on: true,
        ..Route::default()
    };
    vec![
        route(
            Some(Severity::Critical),
            &[Role::Accountable, Role::Responsible],
        ),
        route(Some(Severity::Warning), &[Role::Consulted]),
        route(None, &[Role::Informed]),
    ]
}

impl Routing {
    /// By this configuration; nobody is told where it has no notifications.
    pub fn of(config: &Config) -> Self {
        let Some(notifications) = &config.notifications else {
            return Self::default();
        };
        let Notifications {
            people,
            routes,
            otherwise,
            ..
        } = notifications;
        Self {
            people: people.clone(),
            routes: routes.clone().unwrap_or_else(usual),
            otherwise: otherwise.clone(),
            clusters: config
                .clusters
                .iter()
                .map(|cluster| {
                    let place = Place {
                        tier: cluster.tier.clone(),
                        owner: cluster.owner.clone(),
                        raci: cluster.raci.clone().unwrap_or_default(),
                    };
                    (cluster.name.clone(), place)
                })
                .collect(),
        }
    }

    /// Who is told, in the order of the routes, each receiver once.
    pub fn told(&self, question: &Question<'_>) -> Vec<Told> {
        let nowhere = Place::default();
        let place = self.clusters.get(question.cluster).unwrap_or(&nowhere);
        let mut told: Vec<Told> = Vec::new();
        let mut add = |receiver: &str, because: String| match told
            .iter_mut()
            .find(|told| told.receiver == receiver)
        {
            Some(told) if told.because.contains(&because) => {}
            Some(told) => told.because.push(because),
            None => told.push(Told {
                receiver: receiver.to_owned(),
                because: vec![because],
            }),
        };
        // A route that says "nobody" is a decision; only what no route knows goes otherwise.
        let mut silenced = false;
        let mut reached = false;
        for route in &self.routes {
            if !matches(route, question, place) {
                continue;
            }
            silenced |= route.to.is_empty();
            for addressee in &route.to {
                for (receiver, because) in self.receivers(addressee, place) {
                    add(receiver, because);
                    reached = true;
                }
            }
            if !route.goes_on {
                break;
            }
        }
        if !reached && !silenced {
            for receiver in &self.otherwise {
                add(receiver, "otherwise".to_owned());
            }
        }
        told
    }

    /// The receivers that reach an addressee, and in what capacity.
    fn receivers<'a>(
        &'a self,
        addressee: &'a Addressee,
        place: &'a Place,
    ) -> Vec<(&'a str, String)> {
        let names: Vec<(&str, &str)> = match addressee {
            Addressee::Receiver(name) => return vec![(name, format!("receiver {name}"))],
            Addressee::Person(name) => vec![("person", name)],
            Addressee::Role(role) => {
                let raci = &place.raci;
                let names: Vec<&String> = match role {
                    Role::Responsible => raci.responsible.iter().collect(),
                    Role::Accountable => raci.accountable.iter().collect(),
                    Role::Consulted => raci.consulted.iter().collect(),
                    Role::Informed => raci.informed.iter().collect(),
                    Role::Owner => place.owner.iter().collect(),
                };
                names
                    .into_iter()
                    .map(|name| (role.as_str(), name.as_str()))
                    .collect()
            }
        };
        names
            .into_iter()
            .flat_map(|(role, name)| {
                let receivers = self.people.get(name).map(Vec::as_slice).unwrap_or_default();
                receivers
                    .iter()
                    .map(move |receiver| (receiver.as_str(), format!("{role} {name}")))
            })
            .collect()
    }
}

fn matches(route: &Route, question: &Question<'_>, place: &Place) -> bool {
    route
        .severity
        .is_none_or(|least| question.severity >= least)
        && (route.tiers.is_empty()
            || place
                .tier
                .as_ref()
                .is_some_and(|tier| route.tiers.contains(tier)))
        && (route.clusters.is_empty() || route.clusters.iter().any(|name| name == question.cluster))
        && (route.kinds.is_empty() || route.kinds.contains(&question.kind))
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::*;

    fn told(routing: &Routing, cluster: &str, kind: NoticeKind, severity: Severity) -> String {
        let question = Question {
            cluster,
            kind,
            severity,
        };
        let told = routing.told(&question);
        let words: Vec<String> = told
            .iter()
            .map(|told| format!("{} ({})", told.receiver, told.because.join(", ")))
            .collect();
        words.join("; ")
    }

    const HEAD: &str = "
version: 1
tiers: {gold: {rpo: 5m}, bronze: {rpo: 1d}}
clusters:
- name: orders
  owner: team-orders
  tier: gold
  raci: {responsible: [on-call], accountable: head, consulted: [team-orders], informed: [support]}
  primary: {url: 's3://b/orders'}
- name: wiki
  tier: bronze
  raci: {informed: [silent]}
  primary: {url: 's3://b/wiki'}
notifications:
  receivers:
    pager: {webhook: {url: {env: A}}}
    chat: {slack: {url: {env: A}}}
    mail: {slack: {url: {env: A}}}
  people: {on-call: [pager, chat], head: [pager], team-orders: [chat], support: [mail], silent: []}
";

    #[test]
    fn the_usual_routes_follow_raci() {
        let routing = Routing::of(&config(HEAD));
        for (severity, expected) in [
            (
                Severity::Critical,
                "pager (accountable head, responsible on-call); chat (responsible on-call, consulted team-orders); mail (informed support)",
            ),
            (
                Severity::Warning,
                "chat (consulted team-orders); mail (informed support)",
            ),
            (Severity::Info, "mail (informed support)"),
        ] {
            assert_eq!(
                told(&routing, "orders", NoticeKind::Drill, severity),
                expected
            );
        }
        assert_eq!(
            told(&routing, "wiki", NoticeKind::Drill, Severity::Critical),
            ""
        );
        assert_eq!(
            told(&routing, "gone", NoticeKind::Drill, Severity::Critical),
            ""
        );
    }

    #[test]
    fn the_first_route_that_matches_decides() {
        use NoticeKind::{Drill, Expire, Schedule, Verify};
        use Severity::{Critical, Info, Warning};

        let routes = "
  otherwise: [mail]
  routes:
  - {kinds: [expire], to: []}
  - {severity: warning, tiers: [bronze], to: ['receiver:chat'], continue: true}
  - {severity: critical, to: [accountable]}
  - {clusters: [orders], kinds: [schedule], to: [owner, 'person:on-call']}
  - {severity: critical, to: ['receiver:mail']}
";
        let routing = Routing::of(&config(&format!("{HEAD}{routes}")));
        for (cluster, kind, severity, expected) in [
            // Silenced on purpose: not even `otherwise`.
            ("orders", Expire, Critical, ""),
            ("orders", Drill, Critical, "pager (accountable head)"),
            ("orders", Drill, Warning, "mail (otherwise)"),
            (
                "orders",
                Schedule,
                Warning,
                "chat (owner team-orders, person on-call); pager (person on-call)",
            ),
            // Goes on to the route below, which reaches nobody of this cluster.
            ("wiki", Verify, Critical, "chat (receiver chat)"),
            ("wiki", Verify, Warning, "chat (receiver chat)"),
            ("wiki", Verify, Info, "mail (otherwise)"),
            ("gone", Verify, Critical, "mail (otherwise)"),
        ] {
            assert_eq!(
                told(&routing, cluster, kind, severity),
                expected,
                "{cluster} {kind:?} {severity:?}"
            );
        }
    }

    #[test]
    fn without_notifications_nobody_is_told() {
        let routing = Routing::of(&Config::default());
        assert_eq!(
            told(&routing, "orders", NoticeKind::Drill, Severity::Critical),
            ""
        );
    }
}
