//! The means by which notices are sent, by the names of the receivers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::Client;
use reqwest::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::http::{self, Post};
use super::render::{alerts, document, from_template, message};
use super::sign::{SIGNATURE_HEADER, signature};
use super::{Notice, Redactor, Refusal, mail};
use crate::config::{Alertmanager, Config, Means, Receiver, SecretSource, Slack, Webhook};

/// What a receiver answered when it took a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sent {
    /// In its own words, shortened: `200 OK: ok`.
    pub answer: String,
}

/// The receivers of a configuration. Secrets are read when something is sent, so that new
/// ones in files count at once.
#[derive(Clone, Debug)]
pub struct Senders {
    receivers: BTreeMap<String, Receiver>,
    /// For receivers without certificates of their own.
    client: Result<Client, Refusal>,
    redactor: Redactor,
    /// How long an alert holds that is not sent again.
    holds: Duration,
}

impl Senders {
    /// The receivers of this configuration.
    pub fn of(config: &Config, redactor: &Redactor) -> Self {
        let notifications = config.notifications.clone().unwrap_or_default();
        Self {
            holds: notifications.repeat().as_std(),
            receivers: notifications.receivers,
            client: http::client(None),
            redactor: redactor.clone(),
        }
    }

    /// The receivers' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.receivers.keys().map(String::as_str)
    }

    /// The kind of a receiver: `webhook`, `slack`, `email`, `alertmanager`.
    pub fn means(&self, receiver: &str) -> Option<&'static str> {
        Some(self.receivers.get(receiver)?.means()?.as_str())
    }

    /// Sends a notice once. `key` is the same at every attempt at one notice to one
    /// receiver: whoever gets it twice can know. An error holds no secret.
    pub async fn send(
        &self,
        receiver: &str,
        notice: &Notice,
        key: &str,
        now: DateTime<Utc>,
    ) -> Result<Sent, Refusal> {
        let means = self.receivers.get(receiver).and_then(Receiver::means);
        let result = match means {
            None => Err(Refusal::lasting(
                "there is no such receiver in the configuration any more",
            )),
            Some(Means::Webhook(webhook)) => self.webhook(webhook, notice, key).await,
            Some(Means::Slack(slack)) => self.slack(slack, notice).await,
            Some(Means::Email(email)) => mail::send(email, notice, key).await,
            Some(Means::Alertmanager(alertmanager)) => {
                self.alertmanager(alertmanager, notice, key, now).await
            }
        };
        // A receiver may repeat what it was sent.
        match result {
            Ok(answer) => Ok(Sent {
                answer: self.redactor.clean(&answer),
            }),
            Err(refusal) => Err(Refusal {
                words: self.redactor.clean(&refusal.words),
                ..refusal
            }),
        }
    }

    fn client(&self, ca_file: Option<&Path>) -> Result<Client, Refusal> {
        match ca_file {
            None => self.client.clone(),
            some => http::client(some),
        }
    }

    async fn webhook(
        &self,
        webhook: &Webhook,
        notice: &Notice,
        key: &str,
    ) -> Result<String, Refusal> {
        let body = match &webhook.template {
            Some(template) => from_template(template, notice),
            None => document(notice),
        };
        let mut post = Post::new(secret(&webhook.url, "url")?, bytes(&body)?);
        for (name, source) in &webhook.headers {
            post.header(name, &secret(source, "headers")?)?;
        }
        post.header("idempotency-key", key)?;
        if let Some(source) = &webhook.secret {
            let shared = secret(source, "secret")?;
            // The receiver holds it against its own clock, so it is never a simulated one.
            let value = signature(shared.as_bytes(), Utc::now().timestamp(), &post.body);
            post.header(SIGNATURE_HEADER, &value)?;
        }
        post.send(&self.client(webhook.ca_file.as_deref())?).await
    }

    async fn slack(&self, slack: &Slack, notice: &Notice) -> Result<String, Refusal> {
        let post = Post::new(secret(&slack.url, "url")?, bytes(&message(notice))?);
        post.send(&self.client(slack.ca_file.as_deref())?).await
    }

    async fn alertmanager(
        &self,
        alertmanager: &Alertmanager,
        notice: &Notice,
        key: &str,
        now: DateTime<Utc>,
    ) -> Result<String, Refusal> {
        let base = alertmanager.url.as_str().trim_end_matches('/');
        let body = alerts(notice, &alertmanager.labels, now, self.holds);
        let mut post = Post::new(format!("{base}/api/v2/alerts"), bytes(&body)?);
        post.header("idempotency-key", key)?;
        if let Some(source) = &alertmanager.bearer {
            let value = format!("Bearer {}", secret(source, "bearer")?);
            post.header(AUTHORIZATION.as_str(), &value)?;
        }
        if let (Some(name), Some(source)) = (&alertmanager.username, &alertmanager.password) {
            post.basic = Some((name.clone(), secret(source, "password")?));
        }
        post.send(&self.client(alertmanager.ca_file.as_deref())?)
            .await
    }
}

/// A secret, now. One that is not there may be there later.
fn secret(source: &SecretSource, key: &'static str) -> Result<String, Refusal> {
    source
        .read(key)
        .map_err(|error| Refusal::passing(error.to_string()))
}

fn bytes(body: &Value) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(body).map_err(|error| Refusal::lasting(error.to_string()))
}
