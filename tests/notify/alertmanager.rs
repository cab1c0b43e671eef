//! A real Alertmanager shows what is wrong and ends it when it is right again.

use std::path::Path;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use walproof::finding::Severity;
use walproof::notify::Dispatcher;

use crate::common::http::request;
use crate::common::process::{Server, listening, wait_until};
use crate::common::receiver::Receiver;
use crate::common::require;
use crate::common::require::alertmanager;
use crate::{Place, key, wrong};

struct Alertmanager {
    port: u16,
    _server: Server,
}

impl Alertmanager {
    /// Tells its own receiver at once what fires and what is resolved.
    fn start(directory: &Path, told: &Receiver) -> Self {
        let file = directory.join("alertmanager.yml");
        let text = format!(
            "route: {{receiver: test, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\nreceivers:\n- name: test\n  webhook_configs:\n  - {{url: '{}/told', send_resolved: true}}\n",
            told.url()
        );
        std::fs::write(&file, text).unwrap();
        let log = directory.join("log");
        let (port, server) = listening(None, "Alertmanager", &log, |port| {
            Server::start(
                &alertmanager().unwrap(),
                &[
                    &format!("--config.file={}", file.display()),
                    &format!("--storage.path={}", directory.join("data").display()),
                    &format!("--web.listen-address=127.0.0.1:{port}"),
                    "--cluster.listen-address=",
                ],
                &[],
                false,
                "KILL",
                &log,
            )
        });
        Self {
            port,
            _server: server,
        }
    }

    /// The alerts that it shows as firing.
    fn alerts(&self) -> Vec<serde_json::Value> {
        let host = format!("127.0.0.1:{}", self.port);
        let Ok(answer) = request(&host, "GET", "/api/v2/alerts?active=true", &[], &[]) else {
            return Vec::new();
        };
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanager_fires_and_resolves() {
    require!(Alertmanager);
    let directory = tempfile::tempdir().unwrap();
    let told = Receiver::start();
    let server = Alertmanager::start(directory.path(), &told);
    let place = Place::new(&format!(
        "  receivers: {{am: {{alertmanager: {{url: 'http://127.0.0.1:{}/', labels: {{team: dba}}}}}}}}\n  people: {{on-call: [], head: [am], team: [], support: []}}\n",
        server.port
    ));
    let state = place.state().await;
    let dispatcher = Dispatcher::of(&place.config());
    // Alertmanager has a clock of its own.
    let begin = Utc::now() - TimeDelta::minutes(10);
    let new = wrong("orders", Severity::Critical, "2 segments are missing");
    state.open_incident(&new, begin).await.unwrap();
    let now = Utc::now();
    wait_until(Duration::from_mins(1), "Alertmanager to be ready", || {
        let host = format!("127.0.0.1:{}", server.port);
        request(&host, "GET", "/-/ready", &[], &[]).is_ok_and(|answer| answer.status == 200)
    });
    assert_eq!(dispatcher.dispatch_once(&state, now).await.unwrap().sent, 1);
    wait_until(Duration::from_mins(1), "the alert", || {
        server.alerts().len() == 1
    });
    let alert = &server.alerts()[0];
    for (label, value) in [
        ("alertname", "WalGap"),
        ("severity", "critical"),
        ("cluster", "orders"),
        ("tier", "gold"),
        ("team", "dba"),
    ] {
        assert_eq!(alert["labels"][label], value);
    }
    assert_eq!(
        alert["annotations"]["description"],
        "2 segments are missing"
    );
    // It is sent again every five minutes, because Alertmanager forgets over a restart; to
    // it this is the same alert.
    let later = now + TimeDelta::minutes(5);
    assert_eq!(
        dispatcher.dispatch_once(&state, later).await.unwrap().sent,
        1
    );
    assert_eq!(server.alerts().len(), 1);

    state
        .close_incident(&key("orders"), None, later)
        .await
        .unwrap();
    assert_eq!(
        dispatcher
            .dispatch_once(&state, Utc::now())
            .await
            .unwrap()
            .sent,
        1
    );
    wait_until(Duration::from_mins(1), "the end of the alert", || {
        server.alerts().is_empty()
    });
    wait_until(Duration::from_mins(1), "the word of it", || {
        let statuses: Vec<String> = told
            .received()
            .iter()
            .filter_map(|request| Some(request.json()["status"].as_str()?.to_owned()))
            .collect();
        statuses == ["firing", "resolved"]
    });
}
