//! Who is told when something is wrong, and by what means.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::Endpoint;
use super::{Addressee, Mailbox, Period, SecretSource, Template};
use crate::finding::Severity;

/// Who is told when something is wrong, and by what means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notifications {
    /// The means, by name: where notices are sent.
    #[serde(default)]
    pub receivers: BTreeMap<String, Receiver>,
    /// The people and teams that clusters name under `raci` and `owner`, each with the
    /// receivers that reach them. An empty list is somebody who is told by other means.
    #[serde(default)]
    pub people: BTreeMap<String, Vec<String>>,
    /// Who is told of what. The first route that matches decides, unless it says
    /// `continue: true`. Without routes: accountable and responsible of what is critical,
    /// consulted of warnings and what is critical, informed of everything.
    #[serde(default)]
    pub routes: Option<Vec<Route>>,
    /// Receivers of what would otherwise reach nobody.
    #[serde(default)]
    pub otherwise: Vec<String>,
    /// How long until the same is told again while it is still wrong; 12 hours if it is
    /// left out.
    #[serde(default)]
    pub repeat: Option<Period>,
    /// How long a notice that cannot be delivered is tried; 24 hours if it is left out.
    #[serde(default)]
    pub give_up: Option<Period>,
    /// Where people reach this walproof, for links: `https://walproof.example`.
    #[serde(default)]
    pub external_url: Option<Endpoint>,
    /// Where the run books lie; a notice links to `<runbooks>/<code>.md`. Those of the
    /// project if it is left out.
    #[serde(default)]
    pub runbooks: Option<Endpoint>,
}

/// One means by which notices are sent: exactly one of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// An HTTP request with JSON, signed if there is a secret.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// An incoming webhook of Slack, or of what speaks like it (Mattermost, Rocket.Chat).
    #[serde(default)]
    pub slack: Option<Slack>,
    /// E-mail by SMTP.
    #[serde(default)]
    pub email: Option<Email>,
    /// Prometheus Alertmanager, by its API version 2.
    #[serde(default)]
    pub alertmanager: Option<Alertmanager>,
}

/// An HTTP POST with JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where the URL is found. URLs of webhooks are secrets: who has it can send.
    pub url: SecretSource,
    /// Where the key is found with which requests are signed (HMAC-SHA256).
    #[serde(default)]
    pub secret: Option<SecretSource>,
    /// Further headers; their values are treated as secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretSource>,
    /// The body, JSON with places to fill in: `{"text": "{{summary}}"}`. Without it: the
    /// whole notice.
    #[serde(default)]
    pub template: Option<Template>,
    /// A PEM file with further certificate authorities to trust, relative to this file.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// An incoming webhook of Slack, or of what speaks like it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    /// Where the URL is found; it is a secret.
    pub url: SecretSource,
    /// A PEM file with further certificate authorities to trust, relative to this file.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// E-mail by SMTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// The mail server.
    #[schemars(length(min = 1))]
    pub host: String,
    /// Its port; 465 with `implicit`, 587 with `starttls`, 25 with `none` if it is left out.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// How the connection is protected; `starttls` if it is left out.
    #[serde(default)]
    pub tls: Option<MailTls>,
    /// The sender: `walproof@example.com` or `walproof <walproof@example.com>`.
    pub from: Mailbox,
    /// The recipients.
    #[schemars(length(min = 1))]
    pub to: Vec<Mailbox>,
    /// The user's name at the mail server.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub username: Option<String>,
    /// Where the user's password is found.
    #[serde(default)]
    pub password: Option<SecretSource>,
    /// A PEM file with further certificate authorities to trust, relative to this file.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MailTls {
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// Begun plain and raised to TLS before anything else; without TLS nothing is sent.
    #[default]
    Starttls,
    /// Not at all; only to this machine itself.
    None,
}

/// Prometheus Alertmanager, by its API version 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alertmanager {
    /// The server: `http://127.0.0.1:9093`, with a path if it is behind one.
    pub url: Endpoint,
    /// The user's name, for basic authentication.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub username: Option<String>,
    /// Where the user's password is found.
    #[serde(default)]
    pub password: Option<SecretSource>,
    /// Where a bearer token is found.
    #[serde(default)]
    pub bearer: Option<SecretSource>,
    /// Labels that every alert gets.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// A PEM file with further certificate authorities to trust, relative to this file.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// Who is told of what. What is left out matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// At least this severe.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// Clusters of these tiers.
    #[serde(default)]
    pub tiers: Vec<String>,
    /// These clusters.
    #[serde(default)]
    pub clusters: Vec<String>,
    /// Found by this kind of work.
    #[serde(default)]
    pub kinds: Vec<NoticeKind>,
    /// Who is told: `responsible`, `accountable`, `consulted`, `informed`, `owner`,
    /// `person:NAME`, `receiver:NAME`. An empty list tells nobody.
    pub to: Vec<Addressee>,
    /// Whether the routes below are looked at too.
    #[serde(default, rename = "continue")]
    pub goes_on: bool,
}

/// The kind of work that found what is wrong.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// A verification.
    Verify,
    /// A drill.
    Drill,
    /// A repository copied to a second place.
    Replicate,
    /// A copy compared with its source.
    Compare,
    /// Objects removed from a copy by its policy.
    Expire,
    /// A restore for use.
    Restore,
    /// A base backup.
    Backup,
    /// The schedules: a proof that is overdue, a configuration that was refused.
    Schedule,
}

impl NoticeKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 8] = [
        Self::Verify,
        Self::Drill,
        Self::Replicate,
        Self::Compare,
        Self::Expire,
        Self::Restore,
        Self::Backup,
        Self::Schedule,
    ];

    /// The word used in the configuration and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Drill => "drill",
            Self::Replicate => "replicate",
            Self::Compare => "compare",
            Self::Expire => "expire",
            Self::Restore => "restore",
            Self::Backup => "backup",
            Self::Schedule => "schedule",
        }
    }

    /// The kind of this word; what is not the work of a run is [`Self::Schedule`].
    pub fn of_word(word: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .unwrap_or(Self::Schedule)
    }
}

/// The means that a receiver is, one of the keys.
#[derive(Clone, Copy, Debug)]
pub enum Means<'a> {
    /// An HTTP request with JSON.
    Webhook(&'a Webhook),
    /// Slack, or what speaks like it.
    Slack(&'a Slack),
    /// E-mail.
    Email(&'a Email),
    /// Alertmanager.
    Alertmanager(&'a Alertmanager),
}

impl Means<'_> {
    /// The key under which it stands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Slack(_) => "slack",
            Self::Email(_) => "email",
            Self::Alertmanager(_) => "alertmanager",
        }
    }
}

impl Receiver {
    /// The means; `None` unless there is exactly one.
    pub fn means(&self) -> Option<Means<'_>> {
        let mut all = self.all();
        all.next().filter(|_| all.next().is_none())
    }

    /// Every means that is given.
    pub(super) fn all(&self) -> impl Iterator<Item = Means<'_>> {
        [
            self.webhook.as_ref().map(Means::Webhook),
            self.slack.as_ref().map(Means::Slack),
            self.email.as_ref().map(Means::Email),
            self.alertmanager.as_ref().map(Means::Alertmanager),
        ]
        .into_iter()
        .flatten()
    }
}

impl Email {
    /// How the connection is protected.
    pub fn protection(&self) -> MailTls {
        self.tls.unwrap_or_default()
    }

    /// The port, by what is usual where none is given.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.protection() {
            MailTls::Implicit => 465,
            MailTls::Starttls => 587,
            MailTls::None => 25,
        })
    }
}

impl Notifications {
    /// How long until the same is told again.
    pub fn repeat(&self) -> Period {
        self.repeat
            .or_else(|| Period::from_secs(12 * 3600))
            .unwrap_or(Period::MAX)
    }

    /// How long a notice that cannot be delivered is tried.
    pub fn give_up(&self) -> Period {
        self.give_up
            .or_else(|| Period::from_secs(24 * 3600))
            .unwrap_or(Period::MAX)
    }

    /// Where every secret of the receivers is found.
    pub(super) fn secret_sources(&self) -> Vec<&SecretSource> {
        let mut sources = Vec::new();
        for receiver in self.receivers.values() {
            if let Some(webhook) = &receiver.webhook {
                sources.push(&webhook.url);
                sources.extend(&webhook.secret);
                sources.extend(webhook.headers.values());
            }
            sources.extend(receiver.slack.as_ref().map(|slack| &slack.url));
            sources.extend(
                receiver
                    .email
                    .as_ref()
                    .and_then(|email| email.password.as_ref()),
            );
            if let Some(alertmanager) = &receiver.alertmanager {
                sources.extend(&alertmanager.password);
                sources.extend(&alertmanager.bearer);
            }
        }
        sources
    }

    /// Makes the paths of files absolute, below `base`.
    pub(super) fn resolve_paths(&mut self, base: &std::path::Path) {
        for receiver in self.receivers.values_mut() {
            let mut secrets: Vec<&mut SecretSource> = Vec::new();
            let mut authorities: Vec<&mut Option<PathBuf>> = Vec::new();
            if let Some(webhook) = &mut receiver.webhook {
                secrets.push(&mut webhook.url);
                secrets.extend(webhook.secret.as_mut());
                secrets.extend(webhook.headers.values_mut());
                authorities.push(&mut webhook.ca_file);
            }
            if let Some(slack) = &mut receiver.slack {
                secrets.push(&mut slack.url);
                authorities.push(&mut slack.ca_file);
            }
            if let Some(email) = &mut receiver.email {
                secrets.extend(email.password.as_mut());
                authorities.push(&mut email.ca_file);
            }
            if let Some(alertmanager) = &mut receiver.alertmanager {
                secrets.extend(alertmanager.password.as_mut());
                secrets.extend(alertmanager.bearer.as_mut());
                authorities.push(&mut alertmanager.ca_file);
            }
            let files = secrets
                .into_iter()
                .filter_map(|secret| secret.file.as_mut())
                .chain(authorities.into_iter().filter_map(Option::as_mut));
            for file in files {
                *file = base.join(&*file);
            }
        }
    }
}
