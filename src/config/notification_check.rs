//! Checks of notifications and telemetry that no schema can express.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::cross::{check_source, mistake_at};
use super::error::Mistake;
use super::load::Document;
use super::name::check_name;
use super::suggest;
use super::tree::Step;
use super::{
    Addressee, Alertmanager, ConfigFile, Email, MailTls, Means, Notifications, Receiver, Role,
    SecretSource,
};

/// Headers that are ours to set.
const OUR_HEADERS: [&str; 6] = [
    "content-type",
    "content-length",
    "host",
    "user-agent",
    "idempotency-key",
    "walproof-signature",
];

/// Labels of alerts that are ours to set.
const OUR_LABELS: [&str; 8] = [
    "alertname",
    "severity",
    "cluster",
    "tier",
    "copy",
    "code",
    "kind",
    "incident",
];

/// Checks what notifications and telemetry say, and what clusters ask of them.
pub(super) fn check(main: &Document<ConfigFile>, mistakes: &mut Vec<Mistake>) {
    let mut walk = Walk { main, mistakes };
    if let Some(notifications) = &main.content.notifications {
        walk.receivers(notifications);
        walk.people(notifications);
        walk.routes(notifications);
        walk.clusters(notifications);
    }
    let telemetry = main.content.telemetry.as_ref();
    if let Some(otlp) = telemetry.and_then(|telemetry| telemetry.otlp.as_ref()) {
        let at = [
            Step::Key("telemetry"),
            Step::Key("otlp"),
            Step::Key("headers"),
        ];
        walk.headers(&at, "telemetry.otlp", &otlp.headers);
    }
}

struct Walk<'a> {
    main: &'a Document<ConfigFile>,
    mistakes: &'a mut Vec<Mistake>,
}

impl Walk<'_> {
    fn add(&mut self, path: &[Step<'_>], message: impl Into<String>, help: Option<String>) {
        let mut mistake = mistake_at(self.main, path, message);
        mistake.help = help;
        self.mistakes.push(mistake);
    }

    fn source(&mut self, path: &[Step<'_>], this: &str, key: &str, source: &SecretSource) {
        if let Some(message) = check_source(source) {
            self.add(path, format!("{this}: `{key}` {message}"), None);
        }
    }

    fn headers(&mut self, path: &[Step<'_>], this: &str, headers: &BTreeMap<String, SecretSource>) {
        for (name, source) in headers {
            let mut at = path.to_vec();
            at.push(Step::Key(name));
            self.source(&at, this, name, source);
            if reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
                self.add(
                    &at,
                    format!("{this}: {name:?} is no name of a header"),
                    None,
                );
            } else if OUR_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                self.add(
                    &at,
                    format!("{this}: the header `{name}` is set by walproof itself"),
                    Some("remove it".to_owned()),
                );
            }
        }
    }

    fn receivers(&mut self, notifications: &Notifications) {
        for (name, receiver) in &notifications.receivers {
            let at = [
                Step::Key("notifications"),
                Step::Key("receivers"),
                Step::Key(name),
            ];
            if let Err(message) = check_name(name) {
                self.add(&at, format!("`notifications.receivers`: {message}"), None);
            }
            self.receiver(&at, name, receiver);
        }
    }

    fn receiver(&mut self, at: &[Step<'_>], name: &str, receiver: &Receiver) {
        let this = format!("receiver `{name}`");
        let keys: Vec<&str> = receiver.all().map(Means::as_str).collect();
        if keys.len() != 1 {
            let found = match keys.as_slice() {
                [] => "has no means".to_owned(),
                several => format!("has several means ({})", several.join(", ")),
            };
            self.add(
                at,
                format!("{this} {found}"),
                Some("exactly one of webhook, slack, email, alertmanager".to_owned()),
            );
        }
        for means in receiver.all() {
            let below = |key| {
                let mut path = at.to_vec();
                path.extend([Step::Key(means.as_str()), Step::Key(key)]);
                path
            };
            match means {
                Means::Webhook(webhook) => {
                    self.source(&below("url"), &this, "url", &webhook.url);
                    if let Some(secret) = &webhook.secret {
                        self.source(&below("secret"), &this, "secret", secret);
                    }
                    self.headers(&below("headers"), &this, &webhook.headers);
                }
                Means::Slack(slack) => self.source(&below("url"), &this, "url", &slack.url),
                Means::Email(email) => self.email(&below, &this, email),
                Means::Alertmanager(alertmanager) => {
                    self.alertmanager(&below, &this, alertmanager);
                }
            }
        }
    }

    fn email<'s>(&mut self, below: &impl Fn(&'s str) -> Vec<Step<'s>>, this: &str, email: &Email) {
        if let Some(password) = &email.password {
            self.source(&below("password"), this, "password", password);
        }
        if email.protection() == MailTls::None && !is_loopback(&email.host) {
            self.add(
                &below("tls"),
                format!(
                    "{this}: without TLS mail goes to this machine only, and {} is another",
                    email.host
                ),
                Some("use `implicit` or `starttls`".to_owned()),
            );
        }
        let lacking = match (&email.username, &email.password) {
            (Some(_), None) => Some(("username", "password")),
            (None, Some(_)) => Some(("password", "username")),
            _ => None,
        };
        if let Some((given, lacking)) = lacking {
            self.add(
                &below(given),
                format!("{this}: there is a `{given}` and no `{lacking}`"),
                None,
            );
        }
    }

    fn alertmanager<'s>(
        &mut self,
        below: &impl Fn(&'s str) -> Vec<Step<'s>>,
        this: &str,
        alertmanager: &'s Alertmanager,
    ) {
        for (key, source) in [
            ("password", &alertmanager.password),
            ("bearer", &alertmanager.bearer),
        ] {
            if let Some(source) = source {
                self.source(&below(key), this, key, source);
            }
        }
        if alertmanager.username.is_some() != alertmanager.password.is_some() {
            self.add(
                &below("username"),
                format!("{this}: `username` and `password` go together"),
                None,
            );
        }
        if alertmanager.bearer.is_some() && alertmanager.username.is_some() {
            self.add(
                &below("bearer"),
                format!("{this}: there is a `bearer` and a `username`; one of them is enough"),
                None,
            );
        }
        for label in alertmanager.labels.keys() {
            let mut path = below("labels");
            path.push(Step::Key(label));
            if !is_label(label) {
                self.add(
                    &path,
                    format!("{this}: {label:?} is no name of a label"),
                    Some("letters, digits and `_`, not beginning with a digit".to_owned()),
                );
            } else if OUR_LABELS.contains(&label.as_str()) {
                self.add(
                    &path,
                    format!("{this}: the label `{label}` is set by walproof itself"),
                    Some("choose another name".to_owned()),
                );
            }
        }
    }

    fn people(&mut self, notifications: &Notifications) {
        for (person, receivers) in &notifications.people {
            for (index, receiver) in receivers.iter().enumerate() {
                let at = [
                    Step::Key("notifications"),
                    Step::Key("people"),
                    Step::Key(person),
                    Step::Index(index),
                ];
                self.known_receiver(&at, &format!("`{person}`"), receiver, notifications);
            }
        }
        for (index, receiver) in notifications.otherwise.iter().enumerate() {
            let at = [
                Step::Key("notifications"),
                Step::Key("otherwise"),
                Step::Index(index),
            ];
            self.known_receiver(&at, "`otherwise`", receiver, notifications);
        }
    }

    fn known_receiver(
        &mut self,
        at: &[Step<'_>],
        this: &str,
        name: &str,
        notifications: &Notifications,
    ) {
        if notifications.receivers.contains_key(name) {
            return;
        }
        let known: Vec<&str> = notifications.receivers.keys().map(String::as_str).collect();
        self.add(
            at,
            format!("{this}: there is no receiver `{name}`"),
            Some(suggest::help(name, "receivers", &known)),
        );
    }

    fn known_person(
        &mut self,
        at: &[Step<'_>],
        this: &str,
        name: &str,
        notifications: &Notifications,
    ) {
        if notifications.people.contains_key(name) {
            return;
        }
        let known: Vec<&str> = notifications.people.keys().map(String::as_str).collect();
        self.add(
            at,
            format!("{this}: `{name}` is not among `notifications.people`"),
            Some(format!(
                "{}; write `{name}: []` for somebody who is told by other means",
                suggest::help(name, "people", &known)
            )),
        );
    }

    fn routes(&mut self, notifications: &Notifications) {
        let tiers: Vec<&str> = self.main.content.tiers.keys().map(String::as_str).collect();
        let clusters: Vec<&str> = self
            .main
            .content
            .clusters
            .iter()
            .map(|cluster| cluster.name.as_str())
            .collect();
        for (number, route) in notifications.routes.iter().flatten().enumerate() {
            let at = |key, index| {
                [
                    Step::Key("notifications"),
                    Step::Key("routes"),
                    Step::Index(number),
                    Step::Key(key),
                    Step::Index(index),
                ]
            };
            for (key, what, names, known) in [
                ("tiers", "tier", &route.tiers, &tiers),
                ("clusters", "cluster", &route.clusters, &clusters),
            ] {
                for (index, name) in names.iter().enumerate() {
                    if !known.contains(&name.as_str()) {
                        self.add(
                            &at(key, index),
                            format!(
                                "`notifications.routes[{number}]`: there is no {what} `{name}`"
                            ),
                            Some(suggest::help(name, key, known)),
                        );
                    }
                }
            }
            let this = format!("`notifications.routes[{number}]`");
            for (index, addressee) in route.to.iter().enumerate() {
                match addressee {
                    Addressee::Role(_) => {}
                    Addressee::Person(name) => {
                        self.known_person(&at("to", index), &this, name, notifications);
                    }
                    Addressee::Receiver(name) => {
                        self.known_receiver(&at("to", index), &this, name, notifications);
                    }
                }
            }
        }
    }

    /// Whoever a cluster names can be told.
    fn clusters(&mut self, notifications: &Notifications) {
        let tells_owners = notifications
            .routes
            .iter()
            .flatten()
            .any(|route| route.to.contains(&Addressee::Role(Role::Owner)));
        let main = self.main;
        for (number, cluster) in main.content.clusters.iter().enumerate() {
            let this = format!("cluster `{}`", cluster.name);
            let of_cluster = [Step::Key("clusters"), Step::Index(number)];
            if let Some(owner) = cluster.owner.as_ref().filter(|_| tells_owners) {
                let mut at = of_cluster.to_vec();
                at.push(Step::Key("owner"));
                self.known_person(&at, &this, owner, notifications);
            }
            let Some(raci) = &cluster.raci else { continue };
            for (key, names) in [
                ("responsible", &raci.responsible),
                ("consulted", &raci.consulted),
                ("informed", &raci.informed),
            ] {
                for (index, name) in names.iter().enumerate() {
                    let mut at = of_cluster.to_vec();
                    at.extend([Step::Key("raci"), Step::Key(key), Step::Index(index)]);
                    self.known_person(&at, &this, name, notifications);
                }
            }
            if let Some(name) = &raci.accountable {
                let mut at = of_cluster.to_vec();
                at.extend([Step::Key("raci"), Step::Key("accountable")]);
                self.known_person(&at, &this, name, notifications);
            }
        }
    }
}

/// Whether a mail server's name means this machine.
fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Whether Prometheus takes it for a label's name.
fn is_label(text: &str) -> bool {
    text.bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
