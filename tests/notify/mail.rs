//! E-mail to a real mail server: STARTTLS, TLS from the first byte, wrong certificates.

use std::path::Path;
use std::time::Duration;

use walproof::finding::Severity;
use walproof::notify::{Dispatched, Dispatcher};

use crate::common::process::{Server, listening, wait_until};
use crate::common::require;
use crate::common::tls;
use crate::{Place, moment, wrong};

struct MailServer {
    port: u16,
    directory: tempfile::TempDir,
    _server: Server,
}

impl MailServer {
    fn start(mode: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        tls::certificates(directory.path());
        let at = |name: &str| directory.path().join(name).display().to_string();
        let log = directory.path().join("log");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/smtp_server.py");
        let (port, server) = listening(None, "a mail server", &log, |port| {
            let port = port.to_string();
            let (cert, key, mails) = (at("cert.pem"), at("key.pem"), at(""));
            let mut arguments = vec![script, &port, mode, &cert, &key, &mails];
            if mode != "plain" {
                arguments.extend(["walproof", "mail-hush-hush"]);
            }
            Server::start(
                Path::new("/usr/bin/python3"),
                &arguments,
                &[],
                false,
                "KILL",
                &log,
            )
        });
        Self {
            port,
            directory,
            _server: server,
        }
    }

    fn mail(&self, number: u32) -> serde_json::Value {
        let file = self.directory.path().join(format!("{number}.json"));
        wait_until(Duration::from_mins(1), "a mail", || file.exists());
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    }

    fn count(&self) -> usize {
        std::fs::read_dir(self.directory.path())
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|it| it == "json"))
            .count()
    }
}

async fn send(server: &MailServer, tls: &str, ca: &str, from: &str, password: &str) -> Dispatched {
    let login = if tls == "none" {
        ""
    } else {
        ", username: walproof, password: {file: password}"
    };
    let place = Place::new(&format!(
        "  receivers:\n    mail: {{email: {{host: 127.0.0.1, port: {}, tls: {tls}, from: {from}, to: [Größe <dbre@example.com>, b@example.com]{login}{ca}}}}}\n  people: {{on-call: [], head: [], team: [], support: [mail]}}\n",
        server.port
    ));
    place.secret("password", password);
    let state = place.state().await;
    let new = wrong("orders", Severity::Info, "größer als nötig");
    state.open_incident(&new, moment()).await.unwrap();
    Dispatcher::of(&place.config())
        .dispatch_once(&state, moment())
        .await
        .unwrap()
}

const FROM: &str = "walproof <walproof@example.com>";
const PASSWORD: &str = "mail-hush-hush";

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_out_over_tls_only_to_the_right_server() {
    require!(Aiosmtpd);
    for (mode, tls) in [("starttls", "starttls"), ("implicit", "implicit")] {
        let server = MailServer::start(mode);
        let ca = format!(
            ", ca_file: {}",
            server.directory.path().join("ca.pem").display()
        );
        assert_eq!(
            send(&server, tls, &ca, FROM, PASSWORD).await.sent,
            1,
            "{mode}"
        );
        let mail = server.mail(1);
        assert_eq!(mail["tls"], true);
        assert_eq!(mail["authenticated"], true);
        assert_eq!(mail["from"], "walproof@example.com");
        assert_eq!(
            mail["to"],
            serde_json::json!(["dbre@example.com", "b@example.com"])
        );
        let text = mail["text"].as_str().unwrap();
        assert!(
            text.contains("Subject: [info] orders/primary: wal-gap"),
            "{text}"
        );
        assert!(text.contains("Message-ID: <"), "{text}");
        assert!(!text.contains(PASSWORD));
        // An authority that is not trusted, and a wrong password: nothing is sent.
        assert_eq!(
            send(&server, tls, "", FROM, PASSWORD).await.put_off,
            1,
            "{mode}"
        );
        assert_eq!(
            send(&server, tls, &ca, FROM, "wrong-hush").await.given_up,
            1,
            "{mode}"
        );
        assert_eq!(server.count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_gets_nothing_unless_that_was_said() {
    require!(Aiosmtpd);
    let server = MailServer::start("plain");
    let done = send(&server, "starttls", "", FROM, PASSWORD).await;
    assert_eq!((done.sent, done.put_off + done.given_up), (0, 1));
    assert_eq!(server.count(), 0);
    assert_eq!(send(&server, "none", "", FROM, PASSWORD).await.sent, 1);
    assert_eq!(server.mail(1)["tls"], false);
    // The server's own word decides whether a later attempt makes sense.
    assert_eq!(
        send(&server, "none", "", "later@example.com", "x")
            .await
            .put_off,
        1
    );
    assert_eq!(
        send(&server, "none", "", "never@example.com", "x")
            .await
            .given_up,
        1
    );
}
